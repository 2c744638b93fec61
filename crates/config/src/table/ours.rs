//! Keys that Java does not have, and settings that in Java are properties of the process.

use crate::key::Key;

/// Of the broker.
pub(crate) const BROKER: &[Key] = &[
    Key::bool("skipCorruptRecords", false)
        .reloadable()
        .honoured("A damaged record is stepped over and counted instead of failing the pull."),
    Key::int("hotTailSize", 64 * 1024 * 1024)
        .within(1024 * 1024, i32::MAX as i64)
        .honoured("Bytes of the newest log that are kept in memory for readers."),
    Key::int("maxOpenQueueFiles", 4_096)
        .within(16, 1_000_000)
        .honoured("Consume queue files that are open at the same time."),
    Key::unset("rmqAddressServerDomain")
        .alias(&["rocketmq.namesrv.domain"])
        .honoured("Host of the address server, with a port if it is not 8080."),
    Key::text("rmqAddressServerSubGroup", "nsaddr")
        .alias(&["rocketmq.namesrv.domain.subgroup"])
        .honoured("Last part of the path on the address server."),
    Key::long("rocketmq.broker.rebalance.lockMaxLiveTime", 60_000)
        .positive()
        .honoured("Milliseconds that the lock of an orderly consumer on a queue lives without renewal."),
];

/// Of every server.
pub(crate) const SERVER: &[Key] = &[
    Key::int("maxConnections", 65_536).positive().honoured("Connections served at the same time."),
    Key::long("maxReceivingSize", 256 * 1024 * 1024).within(16 * 1024 * 1024, i64::MAX).honoured(
        "Bytes of requests that are being received, all connections together; more waits in the kernel.",
    ),
    Key::int("maxUnsentSize", 32 * 1024 * 1024)
        .within(1024 * 1024, i32::MAX as i64)
        .honoured("Bytes waiting for one client that does not read; beyond, it is disconnected."),
    Key::long("maxUnsentSizeTotal", 512 * 1024 * 1024)
        .within(1024 * 1024, i64::MAX)
        .honoured("The same for all clients together; beyond, the one that asks for more is disconnected."),
    Key::choice("rocketmq.serialize.type", &["JSON", "ROCKETMQ"])
        .env("ROCKETMQ_SERIALIZE_TYPE")
        .honoured("Encoding of the headers of requests that this process sends."),
];
