//! kill -9 of the real binary under load, at random moments, also while it recovers: whatever was acknowledged is
//! there afterwards, once, where it was said to be, and nothing else is.
//!
//! `FERROMQ_SOAK` takes many seeds; `FERROMQ_KILL_SEED` takes one.

mod load;
mod plan;

use std::process::Stdio;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use ferromq_protocol::code::response;

use self::load::Shared;
use self::plan::Plan;
use crate::common::{self, Server};
use crate::ledger::{Ledger, Topic, TopicState, create_group, create_topic};
use crate::random::Random;
use crate::wire::Connection;

/// Small files, so that every run goes over many of their ends.
const SMALL_FILES: &[&str] = &[
    "--set",
    "mappedFileSizeCommitLog=1048576",
    "--set",
    "mappedFileSizeConsumeQueue=6000",
    "--set",
    "maxHashSlotNum=500",
    "--set",
    "maxIndexNum=2000",
    "--set",
    "autoCreateTopicEnable=false",
    // However full the disk of the tests is.
    "--set",
    "cleanFileForciblyEnable=false",
    "--set",
    "flushConsumerOffsetInterval=200",
    "--set",
    "maxTransferCountOnMessageInMemory=1000",
];
/// If a round does not bring its acknowledgements in this time it is killed with what it has.
const ROUND_MAX: Duration = Duration::from_secs(20);

/// A stop takes seconds, whatever goes on.
const STOP_MAX: Duration = Duration::from_secs(15);

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let one = std::env::var("FERROMQ_KILL_SEED").ok().map(|seed| seed.parse().unwrap());
    let (seeds, rounds) = match (one, common::is_soak()) {
        (Some(seed), _) => (seed..seed + 1, 5),
        (None, true) => (0..200, 8),
        (None, false) => (0..4, 3),
    };
    for seed in seeds {
        let plan = Plan::of(seed, rounds);
        println!("{plan:?}");
        // Printed with a failure, whichever thread meets it.
        let run = thread::Builder::new().name(format!("seed {seed}")).spawn(move || run(&plan)).unwrap();
        assert!(run.join().is_ok(), "failed with seed {seed}: FERROMQ_KILL_SEED={seed} runs it again");
    }
}

#[test]
fn a_seed_has_one_plan() {
    assert_eq!(Plan::of(7, 9), Plan::of(7, 9));
    assert_ne!(Plan::of(7, 9).rounds, Plan::of(8, 9).rounds);
    let choices = |seed| Plan::of(seed, 1).stream(3, 5).next();
    assert_eq!(choices(7), choices(7));
    assert_ne!(choices(7), choices(8));
}

fn run(plan: &Plan) {
    let directory = tempfile::tempdir().unwrap();
    let flush = format!("flushDiskType={}", plan.flush);
    let arguments: Vec<&str> = SMALL_FILES.iter().copied().chain(["--set", &flush]).collect();
    let mut ledger = Ledger::default();
    let mut random = plan.stream(0, 255);

    let began = Instant::now();
    let mut server = Server::up(directory.path(), &arguments);
    let start_time = began.elapsed();
    prepare(plan, &server, &mut ledger);
    for (number, round) in plan.rounds.iter().enumerate() {
        let shared = Shared::new(plan, number, server.address("broker", "local"), &ledger);
        shared.run(&mut ledger, || {
            let deadline = Instant::now() + ROUND_MAX;
            while shared.acks.load(SeqCst) < round.acks && Instant::now() < deadline {
                thread::sleep(Duration::from_micros(200));
            }
            thread::sleep(round.later);
            shared.is_over.store(true, SeqCst);
            server.kill();
        });
        for thousandths in &round.recovery_kills {
            let mut command = Server::command(directory.path(), &arguments);
            let mut starting = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(start_time * u32::try_from(*thousandths).unwrap() / 1000);
            starting.kill().unwrap();
            starting.wait().unwrap();
        }
        server = Server::up(directory.path(), &arguments);
        check(&server, &mut ledger, &mut random);
    }
    stop_under_load(plan, server, &mut ledger);
    assert!(!directory.path().join("data/abort").exists(), "stopped cleanly");
    let server = Server::up(directory.path(), &arguments);
    ledger.check_offsets_are_complete(&mut connect(&server));
    let messages = check(&server, &mut ledger, &mut random);
    server.stop();

    let count = |path: &str| common::files(&directory.path().join("data").join(path)).len();
    let (segments, queue_files, index_files) = (count("commitlog"), count("consumequeue"), count("index"));
    println!(
        "seed {}: {messages} messages, {segments} files of the log, {queue_files} of queues, {index_files} of the index",
        plan.seed
    );
    assert!(segments >= 4 * plan.rounds.len() / 3, "too little was written to mean anything");
}

/// Topics and groups that stay.
fn prepare(plan: &Plan, server: &Server, ledger: &mut Ledger) {
    let mut connection = connect(server);
    for (number, queues) in plan.topics.iter().enumerate() {
        let name = load::lasting(number);
        assert_eq!(create_topic(&mut connection, &name, *queues).unwrap().code, response::SUCCESS);
        ledger.topics.insert(name, Topic { state: TopicState::Present { queues: *queues }, life: 0 });
    }
    for number in 0..plan.consumers {
        let created = create_group(&mut connection, &load::group(number)).unwrap();
        assert_eq!(created.code, response::SUCCESS);
        ledger.groups.insert(load::group(number), Some(true));
    }
}

fn check(server: &Server, ledger: &mut Ledger, random: &mut Random) -> usize {
    let mut connection = connect(server);
    let messages = ledger.check(&mut connection);
    ledger.check_index(&mut connection, 20, random);
    messages
}

fn connect(server: &Server) -> Connection {
    Connection::to(server.address("broker", "local")).unwrap()
}

/// SIGTERM while everybody works: what is answered holds, and it takes seconds.
fn stop_under_load(plan: &Plan, server: Server, ledger: &mut Ledger) {
    let shared = Shared::new(plan, plan.rounds.len(), server.address("broker", "local"), ledger);
    shared.run(ledger, || {
        let deadline = Instant::now() + ROUND_MAX;
        while shared.acks.load(SeqCst) < 200 && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(200));
        }
        shared.is_over.store(true, SeqCst);
        let began = Instant::now();
        server.stop();
        assert!(began.elapsed() < STOP_MAX, "a stop took {:?}", began.elapsed());
    });
}
