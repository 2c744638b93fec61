//! A real file system without room: sends are refused as Java refuses them, reads go on, nothing acknowledged is lost,
//! what cannot be saved is refused and leaves the file as it was, and with room again everything works.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use ferromq_protocol::code::{request, response};
use ferromq_protocol::header::OwnedFrame;

use crate::common::{self, PATIENCE, Server};
use crate::ledger::{
    Id, Known, Ledger, Sent, Topic, TopicState, body_of, create_group, create_topic, key_of,
};
use crate::small_disk::{Kind, SmallDisk};
use crate::wire::{Connection, number, remark};

/// Java 5.5.0 has the disks' ratios between the two.
const REFUSAL: [&str; 2] = [
    "service not available now. It may be caused by one of the following reasons: the broker's disk is full [",
    "], messages are put to the slave, message store has been shut down, etc.",
];

/// A broker on a small disk, a client, and what the client knows.
struct Fixture {
    disk: SmallDisk,
    arguments: Vec<String>,
    server: Option<Server>,
    connection: Connection,
    ledger: Ledger,
    next_id: Id,
}

impl Fixture {
    fn start(disk: SmallDisk, settings: &[&str]) -> Self {
        let settings =
            settings.iter().chain(&["cleanFileForciblyEnable=false", "autoCreateTopicEnable=false"]);
        let arguments: Vec<String> =
            settings.flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]).collect();
        let server = Self::server(&disk, &arguments);
        let connection = connect(&server);
        let server = Some(server);
        let mut fixture = Self { disk, arguments, server, connection, ledger: Ledger::default(), next_id: 1 };
        assert_eq!(fixture.create("orders", 1).code, response::SUCCESS);
        // Its first pull would create it otherwise, and that has to be saved.
        assert_eq!(create_group(&mut fixture.connection, "readers").unwrap().code, response::SUCCESS);
        fixture
    }

    fn server(disk: &SmallDisk, arguments: &[String]) -> Server {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Server::start(disk.enter(&Server::command(&disk.inside(), &arguments)))
    }

    fn restart(&mut self) {
        let server = Self::server(&self.disk, &self.arguments);
        self.connection = connect(&server);
        self.server = Some(server);
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// SIGTERM; how it ended and what it logged.
    fn stop(&mut self) -> (ExitStatus, Vec<String>) {
        let server = self.server.take().unwrap();
        server.signal("TERM");
        server.wait()
    }

    fn stop_cleanly(&mut self) {
        let (status, log) = self.stop();
        assert!(status.success(), "{status}\n{}", log.join("\n"));
    }

    fn create(&mut self, name: &str, queues: i32) -> OwnedFrame {
        let reply = create_topic(&mut self.connection, name, queues).unwrap();
        if reply.code == response::SUCCESS {
            let topic = Topic { state: TopicState::Present { queues }, life: 0 };
            self.ledger.topics.insert(name.to_owned(), topic);
        }
        reply
    }

    fn send(&mut self, len: usize) -> OwnedFrame {
        let (id, topic, queue) = (self.next_id, "orders".to_owned(), 0);
        self.next_id += 1;
        let properties = format!("KEYS\u{1}{}\u{2}", key_of(id));
        let reply = self.connection.send(&topic, queue, &properties, &body_of(id, len)).unwrap();
        self.ledger.sent.insert(id, Sent { id, topic: topic.clone(), queue, life: 0 });
        if reply.code == response::SUCCESS {
            let offset = number(&reply, "queueOffset");
            self.ledger.known.push(Known { id, topic, queue, offset, physical: None, life: 0 });
        } else {
            self.ledger.refused.insert(id);
        }
        reply
    }

    /// Sends until nothing more is taken, and looks at what the broker says then.
    fn send_until_refused(&mut self, len: usize) {
        let before = self.ledger.known.len();
        let refusal = loop {
            let reply = self.send(len);
            if reply.code != response::SUCCESS {
                break reply;
            }
        };
        assert_refused(&refusal);
        println!("{} messages were taken", self.ledger.known.len() - before);
    }

    /// Sends until something is taken.
    fn send_until_taken(&mut self, len: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.send(len);
            if reply.code == response::SUCCESS {
                return;
            }
            assert_refused(&reply);
            assert!(Instant::now() < deadline, "there is room, and sends are still refused");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn commit(&mut self, offset: i64) {
        let offset = offset.to_string();
        let fields =
            [("consumerGroup", "readers"), ("topic", "orders"), ("queueId", "0"), ("commitOffset", &*offset)];
        let reply = self.connection.call(request::UPDATE_CONSUMER_OFFSET, &fields, b"").unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{}", remark(&reply));
    }

    /// Everything that was acknowledged is there, and nothing else.
    fn check(&mut self) -> usize {
        self.ledger.check(&mut self.connection)
    }

    fn saved_topics(&self) -> Vec<u8> {
        std::fs::read(self.disk.path().join("data/config/topics.json")).unwrap()
    }
}

fn connect(server: &Server) -> Connection {
    Connection::to(server.address("broker", "local")).unwrap()
}

fn assert_refused(reply: &OwnedFrame) {
    let remark = remark(reply);
    assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{remark}");
    assert!(remark.starts_with(REFUSAL[0]) && remark.ends_with(REFUSAL[1]), "{remark}");
}

/// Runs a test on a small disk, or says why it cannot.
fn on(kind: Kind, mebibytes: u64, test: &str, run: impl FnOnce(SmallDisk)) {
    match SmallDisk::mount(kind, mebibytes) {
        Ok(disk) => run(disk),
        Err(reason) => common::skip(test, &format!("no right to mount: {reason}")),
    }
}

/// So rarely that only the disk itself refuses.
const NO_LOOK_AT_RATIOS: &str = "cleanResourceInterval=3600000";

#[test]
fn a_full_tmpfs_refuses_and_loses_nothing() {
    on(Kind::Tmpfs, 48, "a_full_tmpfs_refuses_and_loses_nothing", refuses_and_loses_nothing);
}

#[test]
fn a_full_ext4_refuses_and_loses_nothing() {
    on(Kind::Ext4, 64, "a_full_ext4_refuses_and_loses_nothing", refuses_and_loses_nothing);
}

fn refuses_and_loses_nothing(disk: SmallDisk) {
    const BALLAST: u64 = 8 << 20;
    const MORE: u64 = 4 << 20;
    const BODY: usize = 20_000;
    disk.put_ballast("ballast", BALLAST + MORE);
    let settings = [
        "mappedFileSizeCommitLog=1048576",
        "mappedFileSizeConsumeQueue=6000",
        "maxHashSlotNum=500",
        "maxIndexNum=2000",
    ];
    let mut on = Fixture::start(disk, &[&settings[..], &[NO_LOOK_AT_RATIOS]].concat());

    // The log finds no room for its next file.
    on.send_until_refused(BODY);
    assert!(on.check() > 500);
    on.disk.fill("the rest");
    for _ in 0..3 {
        let reply = on.send(BODY);
        assert_refused(&reply);
    }

    // Nor do topics; what is there stays as it is.
    let before = on.saved_topics();
    for (name, queues) in [("new", 2), ("orders", 4)] {
        let reply = on.create(name, queues);
        assert_eq!(reply.code, response::SYSTEM_ERROR, "{}", remark(&reply));
        assert!(remark(&reply).contains("not saved and not in force"), "{}", remark(&reply));
    }
    assert!(on.saved_topics() == before, "topics.json was touched");
    on.ledger.topics.insert("new".into(), Topic { state: TopicState::Absent, life: 0 });
    on.check();

    // A consumer goes on and commits; the broker that is killed may forget that, but nothing else.
    on.commit(7);
    on.kill();
    on.arguments.extend(["--set".into(), "cleanResourceInterval=100".into()]);
    on.restart();
    on.check();
    assert_refused(&on.send(BODY));

    // Room: everything works.
    on.disk.remove("the rest");
    on.disk.remove("ballast");
    on.send_until_taken(BODY);
    assert_eq!(on.create("new", 2).code, response::SUCCESS);
    on.check();

    // Full again. A stop ends, says that something is left for the next start, and the next start does it.
    on.disk.put_ballast("ballast", BALLAST);
    on.send_until_refused(BODY);
    on.disk.fill("the rest");
    on.commit(9);
    let (status, log) = on.stop();
    assert_eq!(status.code(), Some(255), "{log:?}");
    assert!(log.iter().any(|line| line.contains("the next start recovers it")), "{log:?}");
    on.disk.remove("the rest");
    on.disk.remove("ballast");
    on.restart();
    on.send_until_taken(BODY);
    on.check();
    on.stop_cleanly();
}

#[test]
fn entries_that_find_no_room_wait_in_memory() {
    on(Kind::Tmpfs, 240, "entries_that_find_no_room_wait_in_memory", |disk| {
        const BODY: usize = 1 << 20;
        const LAG_MAX: usize = 64;
        let mut on = Fixture::start(disk, &["mappedFileSizeCommitLog=209715200", NO_LOOK_AT_RATIOS]);
        // The log gets its file. The queue has none yet: an entry more would still fit into the page of an old one.
        assert_eq!(create_topic(&mut on.connection, "first", 1).unwrap().code, response::SUCCESS);
        // There is no room for two, not even for a moment.
        let first = on.connection.send("first", 0, "", b"x").unwrap();
        assert_eq!(first.code, response::SUCCESS, "{}", remark(&first));
        on.disk.fill("the rest");
        on.send_until_refused(BODY);
        let taken = on.ledger.known.len();
        assert!((LAG_MAX..LAG_MAX + 24).contains(&taken), "{taken} MiB were taken before it was enough");
        on.check();

        on.disk.remove("the rest");
        on.send_until_taken(BODY);
        on.check();

        // What waits in memory when it is killed comes from the log again, for which there has to be room in its file.
        on.disk.fill("the rest");
        for _ in 0..40 {
            on.send(BODY);
        }
        on.kill();
        on.disk.remove("the rest");
        on.restart();
        on.check();
        on.send_until_taken(BODY);
        on.stop_cleanly();
    });
}

#[test]
fn above_the_warning_level_sends_are_refused_although_there_is_room() {
    let test = "above_the_warning_level_sends_are_refused_although_there_is_room";
    on(Kind::Tmpfs, 40, test, |disk| {
        // So slowly that the broker looks at the disk many times before it is full.
        const BODY: usize = 2_000;
        let settings =
            ["mappedFileSizeCommitLog=1048576", "cleanResourceInterval=50", "diskSpaceWarningLevelRatio=60"];
        let mut on = Fixture::start(disk, &settings);
        on.disk.put_ballast("ballast", 20 << 20);
        on.send_until_refused(BODY);
        let refusal = on.send(BODY);
        let percents: Vec<u32> = remark(&refusal)[REFUSAL[0].len()..]
            .split(|char: char| !char.is_ascii_digit() && char != '.')
            .filter_map(|number| number.parse::<f64>().ok())
            .map(|ratio| (ratio * 100.0) as u32)
            .collect();
        assert!(percents.iter().any(|percent| (55..75).contains(percent)), "{}", remark(&refusal));
        on.check();

        // Rules change while the broker runs.
        let update = b"diskSpaceWarningLevelRatio=90\n";
        let reply = on.connection.call(request::UPDATE_BROKER_CONFIG, &[], update).unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{}", remark(&reply));
        on.send_until_taken(BODY);

        // Nothing was forbidden to be kept.
        assert!(on.disk.path().join("data/commitlog/00000000000000000000").exists());
        on.check();
        on.stop_cleanly();
    });
}
