//! One store, opened in turn by two brokers that know nothing of each other.
//!
//! Every turn opens the store with a real process, has the Java client serve every message and compares with the ledger
//! of what was seen and acknowledged before, then sends more and ends: with SIGTERM, or with SIGKILL while messages are
//! being sent. Nothing may be lost, nothing may change, offsets stay. The two are Java and ours, or Java twice, which
//! shows that the procedure itself asks for nothing that Java does not do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Process;
use crate::program;
use crate::server::{BrokerSetup, Make, Server};
use crate::suite::Place;
use crate::toolchain::JavaClient;
use crate::wire;

const TOPICS: [&str; 3] = ["trip_a", "trip_b", "trip_c"];
const GROUP: &str = "GID_round_trip";
const QUEUES: u32 = 4;

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
}

/// What one round trip is like.
#[derive(Debug, Clone, Copy)]
pub struct Trip {
    pub seed: u64,
    /// Size of a file of the log; the load fills several.
    pub segment_bytes: u32,
    /// Messages sent in a turn that ends well; one that is killed gets about as many.
    pub messages: u32,
}

/// Place of a message: topic, queue, offset.
pub(crate) type Position = (String, u32, u64);

/// What must stay: offset id, unique id, CRC of the body.
pub(crate) type Contents = [String; 3];

#[derive(Debug, Default)]
struct Ledger {
    messages: BTreeMap<Position, Contents>,
    /// Committed consumer offsets by topic and queue.
    committed: BTreeMap<(String, u32), u64>,
}

impl Trip {
    /// Who has the store, turn by turn; whoever is first differs from seed to seed.
    fn turns(self, tested: Make) -> Vec<(Make, End)> {
        let other = Make::Java;
        let mut turns = vec![
            (tested, End::Stop),
            (other, End::Stop),
            (tested, End::Kill),
            (other, End::Kill),
            (tested, End::Stop),
            (other, End::Stop),
        ];
        if self.seed % 2 == 1 {
            turns.insert(0, (other, if self.seed % 4 == 1 { End::Stop } else { End::Kill }));
        }
        turns
    }

    pub fn run(self, place: &Place<'_>) -> Result<Vec<String>> {
        let mut namesrv = Server::namesrv(place.make, &place.path("namesrv"))?;
        namesrv.start(place.tools)?;
        let setup = BrokerSetup::new(&[namesrv.address()])
            .with("mappedFileSizeCommitLog", self.segment_bytes)
            .with("mappedFileSizeConsumeQueue", 6000)
            .with("maxHashSlotNum", 5000)
            .with("maxIndexNum", 20_000)
            .with("fileReservedTime", 876_000);
        let mut broker = Server::broker(place.make, &place.path("broker"), setup)?;
        let mut ledger = Ledger::default();
        let turns = self.turns(place.make);
        for (number, &(make, end)) in turns.iter().enumerate() {
            let last = number + 1 == turns.len();
            self.turn(place, &namesrv.address(), &mut broker, &mut ledger, number, make, end, last)
                .with_context(|| format!("seed {}, turn {number}: {make}, to end by {end:?}", self.seed))?;
        }
        let files = fs::read_dir(broker.store().join("commitlog"))?.count();
        ensure!(files >= 3, "only {files} files of the log: the load never rolled over");
        Ok(vec![format!(
            "{} turns, {} messages, {files} files of the log",
            turns.len(),
            ledger.messages.len()
        )])
    }

    #[expect(clippy::too_many_arguments, reason = "one turn of one trip; a struct would only rename them")]
    fn turn(
        self,
        place: &Place<'_>,
        namesrv: &str,
        broker: &mut Server,
        ledger: &mut Ledger,
        number: usize,
        make: Make,
        end: End,
        last: bool,
    ) -> Result<()> {
        broker.switch(make);
        broker.start(place.tools)?;
        if number == 0 {
            for topic in TOPICS {
                wire::put_topic(&broker.address(), topic, QUEUES, QUEUES)?;
            }
            let group = wire::call(
                &broker.address(),
                200,
                &BTreeMap::new(),
                format!("{{\"groupName\":\"{GROUP}\"}}").as_bytes(),
            )?;
            ensure!(group.code == 0, "create the group: {group:?}");
        } else {
            self.verify(place, namesrv, &broker.address(), ledger, number)?;
        }
        if !last {
            self.load(place, namesrv, broker, ledger, number, end)?;
        }
        match end {
            End::Stop => broker.stop(),
            End::Kill => Ok(()),
        }
    }

    /// Everything known is served where it was; what is served in addition (sent, but the answer was lost) is known from now on.
    fn verify(
        self,
        place: &Place<'_>,
        namesrv: &str,
        broker: &str,
        ledger: &mut Ledger,
        number: usize,
    ) -> Result<()> {
        let served_path = place.path(&format!("served-{number}.tsv"));
        let classes = place.tools.build_java("roundtrip", JavaClient::V5)?;
        let mut command = place.tools.java_client(&classes, JavaClient::V5, &place.path("client"));
        // Java drops index files after a crash and builds only the newest part again, so from then on keys may be missing.
        let killed = self.turns(place.make)[..number].iter().any(|(_, end)| *end == End::Kill);
        command.args(["RoundTrip", "serve", namesrv]).arg(&served_path);
        command.arg(if killed { "-" } else { "required" }).args(TOPICS);
        program::run(command, &place.path("client.log"), Duration::from_secs(300), |point| {
            bail!("point {point}")
        })?;
        let served = read(&served_path)?;
        for (position, contents) in &ledger.messages {
            match served.get(position) {
                None => bail!("lost: {position:?} {contents:?}"),
                Some(now) if now != contents => bail!("changed: {position:?} was {contents:?}, is {now:?}"),
                Some(_) => {}
            }
        }
        ledger.messages = served;
        for ((topic, queue), committed) in &mut ledger.committed {
            let now = committed_offset(broker, topic, *queue)?;
            // After a kill an offset may be an older one, never a newer one.
            ensure!(now <= *committed, "{topic} {queue}: committed {committed}, now {now}");
            *committed = now;
        }
        Ok(())
    }

    fn load(
        self,
        place: &Place<'_>,
        namesrv: &str,
        broker: &mut Server,
        ledger: &mut Ledger,
        number: usize,
        end: End,
    ) -> Result<()> {
        let path = place.path(&format!("acknowledged-{number}.tsv"));
        let classes = place.tools.build_java("roundtrip", JavaClient::V5)?;
        let mut command = place.tools.java_client(&classes, JavaClient::V5, &place.path("client"));
        command.args(["RoundTrip", "load", namesrv, &(self.seed * 100 + number as u64).to_string()]);
        match end {
            End::Stop => {
                command.arg(self.messages.to_string()).arg(&path).args(TOPICS);
                program::run(command, &place.path("client.log"), Duration::from_secs(300), |point| {
                    bail!("point {point}")
                })?;
            }
            End::Kill => {
                command.arg("0").arg(&path).args(TOPICS);
                let client = Process::spawn(command, "load", &place.path("client.log"))?;
                // Somewhere in the load, at another place for every seed.
                let goal = self.messages / 2 + u32::try_from(self.seed * 7919 % u64::from(self.messages))?;
                wait_for_lines(&path, goal as usize)?;
                broker.kill()?;
                client.kill()?;
            }
        }
        for (position, contents) in read(&path)? {
            if let Some(before) = ledger.messages.insert(position.clone(), contents) {
                bail!("{position:?} was acknowledged again, it is {before:?}");
            }
        }
        if end == End::Stop {
            for topic in TOPICS {
                for queue in 0..QUEUES {
                    commit(&broker.address(), topic, queue, u64::from(queue) + number as u64)?;
                    ledger.committed.insert((topic.to_owned(), queue), u64::from(queue) + number as u64);
                }
            }
        }
        Ok(())
    }
}

fn commit(broker: &str, topic: &str, queue: u32, offset: u64) -> Result<()> {
    let (queue, offset) = (queue.to_string(), offset.to_string());
    let ext = wire::fields([
        ("consumerGroup", GROUP),
        ("topic", topic),
        ("queueId", &queue),
        ("commitOffset", &offset),
    ]);
    let answer = wire::call(broker, 15, &ext, &[])?;
    ensure!(answer.code == 0, "commit: {answer:?}");
    Ok(())
}

fn committed_offset(broker: &str, topic: &str, queue: u32) -> Result<u64> {
    let queue = queue.to_string();
    let ext = wire::fields([("consumerGroup", GROUP), ("topic", topic), ("queueId", &queue)]);
    let answer = wire::call(broker, 14, &ext, &[])?;
    match answer.code {
        0 => answer.ext.get("offset").context("no offset")?.parse().context("offset"),
        22 => Ok(0),
        _ => bail!("the committed offset: {answer:?}"),
    }
}

fn wait_for_lines(path: &Path, goal: usize) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let lines = fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
        if lines >= goal {
            return Ok(());
        }
        ensure!(Instant::now() < end, "only {lines} of {goal} messages acknowledged");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A ledger that a client wrote; the last line may be cut, because the client was killed.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<Position, Contents>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut all = BTreeMap::new();
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        let fields: Vec<&str> = line.split('\t').collect();
        let [topic, queue, offset, offset_id, unique_id, crc] = fields[..] else {
            bail!("{}: {line}", path.display())
        };
        let position = (topic.to_owned(), queue.parse()?, offset.parse()?);
        let before = all.insert(position, [offset_id.to_owned(), unique_id.to_owned(), crc.to_owned()]);
        ensure!(before.is_none(), "{}: twice {topic} {queue} {offset}", path.display());
    }
    Ok(all)
}
