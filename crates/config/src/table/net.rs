//! Keys of Java's `NettyServerConfig` and `NettyClientConfig`.

use crate::key::Key;
use crate::table::processors;
use crate::table::reasons::{JVM, KERNEL_BUFFERS, NO_POOLS, OWN_NET_LIMITS};

pub(crate) const SERVER: &[Key] = &[
    Key::text("bindAddress", "0.0.0.0").honoured("Address to listen on; 0.0.0.0 is every address."),
    Key::int("serverChannelMaxIdleTimeSeconds", 120)
        .positive()
        .honoured("Seconds without traffic after which a connection is closed."),
    Key::int("serverSocketBacklog", 1024).positive().honoured("Connections that may wait to be accepted."),
    Key::bool("enableShutdownGracefully", false)
        .honoured("Before the end, clients are told to go to another broker."),
    Key::int("shutdownWaitTimeSeconds", 30).not_negative().honoured("Seconds that takes at most."),
    Key::int("serverWorkerThreads", 8).irrelevant(NO_POOLS),
    Key::int("serverSelectorThreads", 3).irrelevant(NO_POOLS),
    Key::int("serverCallbackExecutorThreads", 0).irrelevant(NO_POOLS),
    Key::bool("serverNettyWorkerGroupEnable", true).irrelevant(NO_POOLS),
    Key::bool("useEpollNativeSelector", false).irrelevant(NO_POOLS),
    Key::int("serverOnewaySemaphoreValue", 256).irrelevant(OWN_NET_LIMITS),
    Key::int("serverAsyncSemaphoreValue", 64).irrelevant(OWN_NET_LIMITS),
    Key::int("writeBufferHighWaterMark", 0).irrelevant(OWN_NET_LIMITS),
    Key::int("writeBufferLowWaterMark", 0).irrelevant(OWN_NET_LIMITS),
    Key::int("serverSocketSndBufSize", 0).irrelevant(KERNEL_BUFFERS),
    Key::int("serverSocketRcvBufSize", 0).irrelevant(KERNEL_BUFFERS),
    Key::bool("serverPooledByteBufAllocatorEnable", true).irrelevant(JVM),
];

pub(crate) const CLIENT: &[Key] = &[
    Key::int("connectTimeoutMillis", 3000)
        .positive()
        .honoured("Milliseconds a connection to a name server may take to open."),
    Key::bool("useTLS", false)
        .alias(&["tls.enable"])
        .env("ROCKETMQ_TLS_ENABLE")
        .honoured("Connections to name servers are encrypted."),
    Key::text("socksProxyConfig", "{}").unsupported("connections to name servers go through a SOCKS proxy"),
    Key::int("clientWorkerThreads", 4).irrelevant(NO_POOLS),
    Key::int("clientCallbackExecutorThreads", 0).of_host(processors).irrelevant(NO_POOLS),
    Key::bool("disableCallbackExecutor", false).irrelevant(NO_POOLS),
    Key::bool("disableNettyWorkerGroup", false).irrelevant(NO_POOLS),
    Key::int("clientOnewaySemaphoreValue", 65_535).irrelevant(OWN_NET_LIMITS),
    Key::int("clientAsyncSemaphoreValue", 65_535).irrelevant(OWN_NET_LIMITS),
    Key::long("channelNotActiveInterval", 60_000).irrelevant(OWN_NET_LIMITS),
    Key::int("clientChannelMaxIdleTimeSeconds", 120).irrelevant(OWN_NET_LIMITS),
    Key::bool("clientCloseSocketIfTimeout", true).irrelevant(OWN_NET_LIMITS),
    Key::bool("isScanAvailableNameSrv", true).irrelevant(OWN_NET_LIMITS),
    Key::bool("enableReconnectForGoAway", true).irrelevant(OWN_NET_LIMITS),
    Key::long("maxReconnectIntervalTimeSeconds", 60).irrelevant(OWN_NET_LIMITS),
    Key::int("clientSocketSndBufSize", 0).irrelevant(KERNEL_BUFFERS),
    Key::int("clientSocketRcvBufSize", 0).irrelevant(KERNEL_BUFFERS),
    Key::bool("clientPooledByteBufAllocatorEnable", false).irrelevant(JVM),
];
