//! What a broker costs that has nothing to do, counted and not timed.

use std::time::{Duration, Instant};

use ferromq_protocol::code::response;

use crate::common::{PATIENCE, Server};
use crate::ledger::create_topic;
use crate::process::{resident_kib, wake_ups};
use crate::wire::{Connection, Pull, records};

/// Over which wake-ups are counted.
const WATCHED: Duration = Duration::from_secs(3);
/// After which whatever a start or a connection leaves to be done is done: a silent connection gives its buffers back
/// after five seconds.
const SETTLED: Duration = Duration::from_secs(6);
/// Threads and timers that may wake once a second each: the loops of the store, and those of the runtime, which come in
/// at most two steps each.
const TIMERS_MAX: u64 = 6;

/// Wake-ups of a process while nobody asks it for anything.
fn counted(server: &Server) -> u64 {
    let before = wake_ups(server.pid());
    std::thread::sleep(WATCHED);
    wake_ups(server.pid()) - before
}

fn hold<'a>(topic: &'a str, tags: &'a str) -> Pull<'a> {
    Pull { tags, held: Duration::from_secs(120), ..Pull::of(topic, 0, 0) }
}

#[test]
fn a_thousand_held_pulls_wake_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::up(directory.path(), &["--set", "maxHashSlotNum=1000"]);
    let address = server.address("broker", "local");
    let mut admin = Connection::to(address).unwrap();
    assert_eq!(create_topic(&mut admin, "orders", 1).unwrap().code, response::SUCCESS);
    std::thread::sleep(SETTLED);
    let (idle, idle_kib) = (counted(&server), resident_kib(server.pid()));

    let mut waiting: Vec<(usize, Connection)> = (0..1000)
        .map(|number| {
            let mut connection = Connection::to(address).unwrap();
            connection.post_pull(&hold("orders", if number % 2 == 0 { "A" } else { "B" })).unwrap();
            (number % 2, connection)
        })
        .collect();
    wait_until_held(&mut admin, 1000);
    std::thread::sleep(SETTLED);
    let (holding, holding_kib) = (counted(&server), resident_kib(server.pid()));
    let seconds = WATCHED.as_secs();
    println!(
        "idle: {idle_kib} KiB, {idle} wake-ups in {seconds} s; 1,000 held pulls: {holding_kib} KiB, {holding}"
    );
    for (what, wake_ups) in [("idle", idle), ("holding", holding)] {
        assert!(wake_ups <= TIMERS_MAX * seconds, "{what}: {wake_ups} wake-ups in {seconds} s");
    }

    // A message wakes those who want it, once; the others go on waiting.
    for (kind, tag) in [(0, "A"), (1, "B")] {
        let properties = format!("TAGS\u{1}{tag}\u{2}");
        assert_eq!(admin.send("orders", 0, &properties, tag.as_bytes()).unwrap().code, response::SUCCESS);
        waiting.retain_mut(|(waits_for, connection)| {
            if *waits_for != kind {
                return true;
            }
            let reply = connection.receive(PATIENCE).unwrap().expect("an answer to a held pull");
            assert_eq!(reply.code, response::SUCCESS);
            let bodies: Vec<Vec<u8>> =
                records(&reply.body).iter().map(|record| record.body.to_vec()).collect();
            assert_eq!(bodies, [tag.as_bytes()]);
            false
        });
        for (_, connection) in &mut waiting {
            let nothing = connection.receive(Duration::from_micros(1)).unwrap();
            assert!(nothing.is_none(), "a waiter for another tag was answered: {nothing:?}");
        }
    }
    assert!(waiting.is_empty());
    server.stop();
}

/// Waits until so many pulls are parked.
fn wait_until_held(admin: &mut Connection, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = admin.call(ferromq_protocol::code::request::GET_BROKER_RUNTIME_INFO, &[], b"").unwrap();
        let info: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let held = info["table"]["ferromqHeldPulls"].as_str().and_then(|held| held.parse::<u64>().ok());
        if held == Some(count) {
            return;
        }
        assert!(Instant::now() < deadline, "held: {held:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
