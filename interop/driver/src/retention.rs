//! A store from which our retention has removed files of the log, of queues and of the index is opened by Java, which
//! serves what is left at the same offsets. On the way each broker finds the store in use by the other, and leaves it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::program;
use crate::roundtrip::{Contents, Position, read};
use crate::server::{BrokerSetup, Make, Server};
use crate::suite::Place;
use crate::toolchain::JavaClient;
use crate::wire;

const TOPIC: &str = "retention";
const QUEUES: u32 = 4;
/// One queue gets about half of them, which is several of its files.
const MESSAGES: u32 = 3_000;

pub fn run(place: &Place<'_>) -> Result<Vec<String>> {
    let mut namesrv = Server::namesrv(Make::Ferromq, &place.path("namesrv"))?;
    namesrv.start(place.tools)?;
    // What is full may go at once, at every hour.
    let setup = BrokerSetup::new(&[namesrv.address()])
        .with("mappedFileSizeCommitLog", 1 << 20)
        .with("mappedFileSizeConsumeQueue", 6000)
        .with("maxHashSlotNum", 500)
        .with("maxIndexNum", 1000)
        .with("cleanResourceInterval", 1000)
        .with("fileReservedTime", 0)
        .with("deleteWhen", (0..24).map(|hour| format!("{hour:02}")).collect::<Vec<_>>().join(";"));
    let mut broker = Server::broker(Make::Ferromq, &place.path("broker"), setup.clone())?;
    let store = broker.store();
    // Another broker on the same directory, at another port.
    let second = |make: Make| {
        let setup = setup
            .clone()
            .with("storePathRootDir", store.display())
            .with("storePathCommitLog", store.join("commitlog").display());
        Server::broker(make, &place.path(&format!("second-{make}")), setup)
    };

    broker.start(place.tools)?;
    wire::put_topic(&broker.address(), TOPIC, QUEUES, QUEUES)?;
    client(place, &["load", &namesrv.address(), "1", &MESSAGES.to_string()], "acknowledged.tsv", &[])?;
    let sent = read(&place.path("acknowledged.tsv"))?;
    wait_until_cleaned(&store)?;
    let ours = serve(place, &namesrv, &broker, "ours.tsv")?;
    ensure!(ours.minimums[1] >= 300, "no file of a queue could go: {:?}", ours.minimums);
    for (position, contents) in &ours.messages {
        ensure!(sent.get(position) == Some(contents), "{position:?} changed: {contents:?}");
    }
    for ((_, queue, offset), contents) in &sent {
        let here = ours.messages.contains_key(&(TOPIC.to_owned(), *queue, *offset));
        let gone = *offset < ours.minimums[*queue as usize];
        ensure!(here != gone, "queue {queue}, offset {offset}, {contents:?}: served {here}, removed {gone}");
    }
    second(Make::Java)?.start_refused(place.tools, "Lock failed")?;
    broker.stop()?;

    broker.switch(Make::Java);
    broker.start(place.tools)?;
    second(Make::Ferromq)?.start_refused(place.tools, "is locked: another broker")?;
    let theirs = serve(place, &namesrv, &broker, "theirs.tsv")?;
    broker.stop()?;
    ensure!(theirs == ours, "Java serves {} messages from {:?}", theirs.messages.len(), theirs.minimums);
    Ok(vec![format!("{} of {} messages left, from {:?}", ours.messages.len(), sent.len(), ours.minimums)])
}

/// What a broker has.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    messages: BTreeMap<Position, Contents>,
    minimums: Vec<u64>,
}

fn serve(place: &Place<'_>, namesrv: &Server, broker: &Server, ledger: &str) -> Result<Served> {
    client(place, &["serve", &namesrv.address()], ledger, &["required"])?;
    let minimum = |queue: u32| -> Result<u64> {
        let ext = wire::fields([("topic", TOPIC), ("queueId", &queue.to_string())]);
        let answer = wire::call(&broker.address(), 31, &ext, &[])?;
        ensure!(answer.code == 0, "the lowest offset: {answer:?}");
        answer.ext.get("offset").context("no offset")?.parse().context("offset")
    };
    let minimums = (0..QUEUES).map(minimum).collect::<Result<_>>()?;
    Ok(Served { messages: read(&place.path(ledger))?, minimums })
}

fn client(place: &Place<'_>, before: &[&str], ledger: &str, after: &[&str]) -> Result<()> {
    let classes = place.tools.build_java("roundtrip", JavaClient::V5)?;
    let mut command = place.tools.java_client(&classes, JavaClient::V5, &place.path("client"));
    command.arg("RoundTrip").args(before).arg(place.path(ledger)).args(after).arg(TOPIC);
    program::run(command, &place.path("client.log"), Duration::from_secs(120), |point| {
        bail!("point {point}")
    })?;
    Ok(())
}

/// Until only the file in use is left of the log, and no index file that speaks of others. As with Java, the first look
/// comes a minute after the start.
fn wait_until_cleaned(store: &Path) -> Result<()> {
    let count = |name: &str| fs::read_dir(store.join(name)).map(Iterator::count);
    let end = Instant::now() + Duration::from_secs(150);
    loop {
        // The next file of the log may have been prepared.
        let (log, index) = (count("commitlog")?, count("index")?);
        let first = count(&format!("consumequeue/{TOPIC}/1"))?;
        if log <= 2 && index <= 3 && first <= 2 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{log} files of the log, {index} of the index, {first} of a queue");
        std::thread::sleep(Duration::from_millis(100));
    }
}
