//! Bad input and too much of it: each gets Java's answer or loses its connection, somebody else is served all the
//! while, and memory stays bounded.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ferromq_protocol::code::{request, response};

use crate::common::{PATIENCE, Server, files};
use crate::ledger::create_topic;
use crate::process::{open_files_of, raise_open_files, resident_kib};
use crate::wire::{Connection, Pull, frame, number, records, remark, send_fields};

/// A broker, and a well-behaved client that must never notice anything.
struct Fixture {
    server: Server,
    bystander: Connection,
    sent: i64,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let small = ["mappedFileSizeCommitLog=67108864", "maxHashSlotNum=1000", "maxIndexNum=4000"];
        let arguments: Vec<&str> =
            small.iter().chain(settings).flat_map(|setting| ["--set", setting]).collect();
        let server = Server::up(directory.path(), &arguments);
        let mut bystander = Connection::to(server.address("broker", "local")).unwrap();
        assert_eq!(create_topic(&mut bystander, "orders", 4).unwrap().code, response::SUCCESS);
        let mut fixture = Self { server, bystander, sent: 0, _directory: directory };
        fixture.goes_on();
        fixture
    }

    fn address(&self) -> SocketAddr {
        self.server.address("broker", "local")
    }

    fn connect(&self) -> Connection {
        Connection::to(self.address()).unwrap()
    }

    /// The bystander is served. Its group is one that every broker has.
    fn goes_on(&mut self) {
        let body = format!("message {}", self.sent);
        let reply = self.bystander.send("orders", 3, "", body.as_bytes()).unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{}", remark(&reply));
        assert_eq!(number(&reply, "queueOffset"), self.sent);
        let pulled = self.bystander.pull(&pull("orders", 3, self.sent)).unwrap();
        assert_eq!(records(&pulled.body)[0].body, body.as_bytes());
        self.sent += 1;
    }

    fn resident_kib(&self) -> u64 {
        resident_kib(self.server.pid())
    }
}

fn pull(topic: &str, queue: i32, offset: i64) -> Pull<'_> {
    Pull { group: "TOOLS_CONSUMER", ..Pull::of(topic, queue, offset) }
}

/// A frame with these two length fields and nothing behind them.
fn lengths(total: u32, header: u32) -> Vec<u8> {
    [total.to_be_bytes(), header.to_be_bytes()].concat()
}

fn with_header(header: &[u8]) -> Vec<u8> {
    let len = u32::try_from(header.len()).unwrap();
    [&lengths(len + 4, len), header].concat()
}

#[test]
fn malformed_frames_cost_their_connection_and_nothing_else() {
    let mut on = Fixture::start(&[]);
    let before = on.resident_kib();
    let deep = [&br#"{"code":310,"extFields":"#[..], &b"[".repeat(1 << 20)].concat();
    let garbage: [(&str, Vec<u8>); 13] = [
        ("another protocol", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec()),
        ("two gigabytes", lengths(0x7fff_ffff, 8)),
        ("negative", lengths(0xffff_ffff, 8)),
        ("one byte too long", lengths(16 << 20, 100)),
        ("shorter than its own fields", lengths(3, 0)),
        ("a header longer than the frame", [lengths(20, 17), vec![b' '; 64]].concat()),
        ("an unknown serialization", [lengths(12, 0x0900_0008), vec![0; 64]].concat()),
        ("a header that is no JSON", with_header(b"{\"code\":}")),
        ("a header that is no object", with_header(b"[310]")),
        ("bytes that are no text", with_header(b"{\"code\":310,\"remark\":\"\xff\xfe\"")),
        ("a million brackets", with_header(&deep)),
        ("a binary header with impossible lengths", [lengths(25, 0x0100_0015), vec![0xff; 64]].concat()),
        ("a TLS handshake without end", [&b"\x16\x03\x01\xff\xff\x01"[..], &[7; 2000]].concat()),
    ];
    for (what, bytes) in &garbage {
        for _ in 0..20 {
            let mut bad = on.connect();
            // The broker may close before it has everything.
            let _ = bad.raw(bytes);
            assert!(bad.is_closed_within(PATIENCE), "{what}");
        }
        on.goes_on();
    }
    let grown = on.resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more than before");
    on.server.stop();
}

#[test]
fn frames_that_never_end_are_bounded_together() {
    // The least that may be configured.
    let mut on = Fixture::start(&["maxReceivingSize=16777216"]);
    let before = on.resident_kib();
    let unfinished: Vec<Connection> = (0..100)
        .map(|_| {
            let mut connection = on.connect();
            let announced = [&lengths(16_000_000, 200)[..], &vec![b' '; 1 << 20]].concat();
            // What the broker does not take waits in the kernel, and then here.
            connection.stream().set_nonblocking(true).unwrap();
            let _ = connection.stream().write(&announced);
            connection.stream().set_nonblocking(false).unwrap();
            let _ = connection.stream().set_write_timeout(Some(Duration::from_millis(20)));
            let _ = connection.raw(&announced);
            connection
        })
        .collect();
    for _ in 0..50 {
        on.goes_on();
    }
    let grown = on.resident_kib().saturating_sub(before);
    println!("{} unfinished frames: {grown} KiB", unfinished.len());
    assert!(grown < 48 << 10, "{grown} KiB for unfinished frames");
    drop(unfinished);
    on.server.stop();
}

#[test]
fn what_may_not_be_is_answered_as_java_does() {
    let mut on = Fixture::start(&["autoCreateTopicEnable=false", "autoCreateSubscriptionGroup=false"]);
    let mut client = on.connect();
    let mut send = |topic: &str, queue: &str, properties: &str, body: &[u8]| {
        let fields = send_fields(topic, queue, properties, false);
        let reply = client.call(request::SEND_MESSAGE_V2, &fields, body).unwrap();
        (reply.code, remark(&reply).to_owned())
    };
    let expect = |what: &str, (code, remark): (i32, String), wanted: i32, words: &str| {
        assert_eq!(code, wanted, "{what}: {remark}");
        assert!(remark.contains(words), "{what}: {remark}");
    };

    let forbidden =
        (1_u8..128).map(char::from).filter(|c| !c.is_ascii_alphanumeric() && !"%|-_".contains(*c));
    for character in forbidden.chain(['é', '标', '🚀']) {
        let name = format!("or{character}ders");
        let words = "contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
        expect(&name, send(&name, "0", "", b"x"), response::INVALID_PARAMETER, words);
    }
    let long = "x".repeat(128);
    expect(
        "long name",
        send(&long, "0", "", b"x"),
        response::INVALID_PARAMETER,
        "is longer than topic max length: 127",
    );
    expect("blank", send(" ", "0", "", b"x"), response::INVALID_PARAMETER, "blank");
    expect("unknown", send("unknown", "0", "", b"x"), response::TOPIC_NOT_EXIST, "topic[unknown] not exist");
    for queue in ["4", "2147483647"] {
        let words = format!("request queueId[{queue}] is illegal");
        expect("queue", send("orders", queue, "", b"x"), response::INVALID_PARAMETER, &words);
    }
    let illegal = "msg body length limit 4194304B, msg properties length limit 32KB";
    let long = vec![b'x'; (4 << 20) + 1];
    expect("body", send("orders", "0", "", &long), response::MESSAGE_ILLEGAL, illegal);
    let properties = format!("big\u{1}{}\u{2}", "x".repeat(32 << 10));
    expect("properties", send("orders", "0", &properties, b"x"), response::MESSAGE_ILLEGAL, illegal);
    assert_eq!(send("orders", "0", "", &long[1..]).0, response::SUCCESS, "the longest body there may be");

    let mut asked = |pull: Pull<'_>| client.pull(&pull).unwrap();
    let reply = asked(Pull { group: "nobody", ..pull("orders", 0, 0) });
    assert_eq!(reply.code, response::SUBSCRIPTION_GROUP_NOT_EXIST, "{}", remark(&reply));
    for (offset, suggested) in [(-1, 0), (i64::MIN, 0), (5, 1), (i64::MAX, 1)] {
        let reply = asked(pull("orders", 0, offset));
        assert_eq!(reply.code, response::PULL_OFFSET_MOVED, "{offset}: {}", remark(&reply));
        assert_eq!(number(&reply, "nextBeginOffset"), suggested, "{offset}");
    }
    let reply = asked(pull("orders", 9, 0));
    assert_eq!(reply.code, response::INVALID_PARAMETER, "{}", remark(&reply));
    let reply = asked(pull("unknown", 0, 0));
    assert_eq!(reply.code, response::TOPIC_NOT_EXIST, "{}", remark(&reply));
    let reply = client.call(31_337, &[], b"").unwrap();
    assert_eq!(reply.code, response::REQUEST_CODE_NOT_SUPPORTED, "{}", remark(&reply));
    on.goes_on();
    on.server.stop();
}

#[test]
fn ten_thousand_idle_connections_cost_little_memory() {
    let mut on = Fixture::start(&[]);
    // A few descriptors stay for everything else here; the broker leaves a quarter to files.
    let count = (raise_open_files() / 4 * 3).saturating_sub(200).min(10_000);
    let before = on.resident_kib();
    let idle: Vec<Connection> = (0..count).map(|_| on.connect()).collect();
    on.goes_on();
    let bytes_each = (on.resident_kib().saturating_sub(before) << 10) / count;
    println!("{count} idle connections: {bytes_each} bytes each");
    assert!(bytes_each < 8 << 10, "{bytes_each} bytes for a connection that never said anything");

    // They are alive, and the broker gets its memory back when they go.
    for mut connection in idle.into_iter().step_by(97) {
        assert_eq!(connection.send("orders", 0, "", b"x").unwrap().code, response::SUCCESS);
    }
    on.goes_on();
    on.server.stop();
}

/// A command that may have this many files open.
fn with_open_files(count: u32, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

#[test]
fn few_open_files_are_enough_for_many_queues_and_clients() {
    const OPEN_FILES: u32 = 200;
    const QUEUES: i32 = 300;
    let directory = tempfile::tempdir().unwrap();
    let command = Server::command(directory.path(), &["--set", "maxHashSlotNum=1000"]);
    for round in 0..2 {
        let server = Server::start(with_open_files(OPEN_FILES, &command));
        let address = server.address("broker", "local");
        // As many as there may be; those beyond are closed.
        let mut clients: Vec<Connection> =
            (0..OPEN_FILES).map(|_| Connection::to(address).unwrap()).collect();
        let client = &mut clients[0];
        if round == 0 {
            assert_eq!(create_topic(client, "orders", QUEUES).unwrap().code, response::SUCCESS);
        }
        for queue in 0..QUEUES {
            let reply = client.send("orders", queue, "", b"x").unwrap();
            assert_eq!(reply.code, response::SUCCESS, "{}", remark(&reply));
        }
        for queue in 0..QUEUES {
            let reply = client.pull(&pull("orders", queue, 0)).unwrap();
            assert_eq!(records(&reply.body).len(), round + 1, "{}", remark(&reply));
        }
        let queues = directory.path().join("data/consumequeue/orders");
        let deadline = Instant::now() + PATIENCE;
        while files(&queues).len() < usize::try_from(QUEUES).unwrap() {
            assert!(Instant::now() < deadline, "{} of the queues have files", files(&queues).len());
            std::thread::sleep(Duration::from_millis(20));
        }
        let open = open_files_of(server.pid(), &queues);
        assert!(open <= OPEN_FILES as usize / 8, "{open} files of queues are open");
        server.stop();
    }
}

#[test]
fn clients_that_do_not_read_are_cut_off() {
    let mut on =
        Fixture::start(&["serverChannelMaxIdleTimeSeconds=2", "maxTransferBytesOnMessageInMemory=4000000"]);
    for _ in 0..64 {
        assert_eq!(on.bystander.send("orders", 0, "", &[7; 100_000]).unwrap().code, response::SUCCESS);
    }
    let before = on.resident_kib();
    // Each asks for a gigabyte and reads nothing.
    let deaf: Vec<Connection> = (0..50)
        .map(|_| {
            let mut connection = on.connect();
            connection.stream().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            for _ in 0..200 {
                if connection.post_pull(&pull("orders", 0, 0)).is_err() {
                    break;
                }
            }
            connection
        })
        .collect();
    let mut most = 0;
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        on.goes_on();
        most = most.max(on.resident_kib().saturating_sub(before));
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{} clients that do not read: {most} KiB", deaf.len());
    // For each: what may wait before nothing more is begun, one answer, and slack.
    assert!(most < 50 * (1024 + 4096), "{most} KiB for clients that do not read");
    for mut connection in deaf {
        // What the kernel has is still delivered; then comes the end.
        let ended = (0..200).find_map(|_| connection.receive(PATIENCE).err());
        assert!(ended.is_some(), "it was kept although it did not read");
    }
    on.goes_on();
    on.server.stop();
}

#[test]
fn senders_that_do_not_read_their_answers_fill_no_memory() {
    let mut on = Fixture::start(&[]);
    // The first flood fills what keeps recent messages, which is bounded for itself; the second must need no more.
    drop(flood(&mut on));
    let before = on.resident_kib();
    let mut deaf = flood(&mut on);
    let grown = on.resident_kib().saturating_sub(before);
    println!("{} senders that do not read: {grown} KiB", deaf.len());
    assert!(grown < 20 * 2048, "{grown} KiB for senders that do not read");
    // Those who begin to read get their answers.
    assert_eq!(deaf[0].reply().unwrap().code, response::SUCCESS);
    drop(deaf);
    on.server.stop();
}

/// Connections that send as much as goes and read nothing.
fn flood(on: &mut Fixture) -> Vec<Connection> {
    let deaf = (0..20)
        .map(|_| {
            let mut connection = on.connect();
            connection.stream().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            let fields = send_fields("orders", "1", "", false);
            let flood = frame(request::SEND_MESSAGE_V2, 1, &fields, &[7; 10]).repeat(30_000);
            let _ = connection.raw(&flood);
            connection
        })
        .collect();
    for _ in 0..50 {
        on.goes_on();
    }
    deaf
}
