//! `ferromq store` on the files of a stopped broker: what it says, in which form, and its exit codes.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::Path;

use common::{Server, run, stderr, stdout};

/// Some messages in `<directory>/data`, and a clean stop.
fn stopped_store(directory: &Path) {
    let server = Server::up(directory, &[]);
    let namesrv = server.address("namesrv", "local").to_string();
    let sent = run(
        directory,
        &[
            "bench",
            "send",
            "--namesrv",
            &namesrv,
            "--topic",
            "orders",
            "--queues",
            "1",
            "--connections",
            "1",
            "--in-flight",
            "1",
            "--size",
            "10",
            "--warmup",
            "0",
            "--seconds",
            "0.1",
            "--output",
            "json",
        ],
    );
    assert!(sent.status.success(), "{}", stderr(&sent));
    server.stop();
}

#[test]
fn a_sound_store_is_checked_and_dumped_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    stopped_store(directory.path());
    let before = common::files(directory.path());

    let check = run(directory.path(), &["store", "check", "data"]);
    assert!(check.status.success(), "{}", stderr(&check));
    assert!(
        stdout(&check).contains("nothing wrong") && stdout(&check).contains("after a clean stop"),
        "{}",
        stdout(&check)
    );

    let check = run(directory.path(), &["store", "check", "data", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&check)).unwrap();
    let messages = report["log"]["records"].as_u64().unwrap();
    assert!(messages > 0, "{report}");

    let overview = stdout(&run(directory.path(), &["store", "dump", "data"]));
    assert!(overview.contains("orders") && overview.contains("00000000000000000000"), "{overview}");
    let records =
        stdout(&run(directory.path(), &["store", "dump", "data", "--json", "records", "--count", "3"]));
    assert_eq!(records.lines().count() as u64, messages.min(3));
    let first: serde_json::Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!((&first["topic"], &first["offset"]), (&"orders".into(), &0.into()), "{first}");
    let entries =
        stdout(&run(directory.path(), &["store", "dump", "data", "--json", "entries", "--topic", "orders"]));
    assert_eq!(entries.lines().count() as u64, messages.min(100));
    let checkpoint = stdout(&run(directory.path(), &["store", "dump", "data", "checkpoint"]));
    assert!(checkpoint.contains("queue_position"), "{checkpoint}");

    assert_eq!(common::files(directory.path()), before);
}

#[test]
fn a_store_that_cannot_start_says_so_with_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    stopped_store(directory.path());
    std::fs::rename(directory.path().join("data/commitlog"), directory.path().join("unmounted")).unwrap();
    std::fs::create_dir(directory.path().join("data/commitlog")).unwrap();
    let check = run(directory.path(), &["store", "check", "data"]);
    assert_eq!(check.status.code(), Some(3), "{}{}", stdout(&check), stderr(&check));
    assert!(stderr(&check).contains("a broker would not start on this store"), "{}", stderr(&check));

    let broker =
        run(directory.path(), &["up", "--namesrv-port", "0", "--broker-port", "0", "--data-dir", "data"]);
    assert_eq!(broker.status.code(), Some(253), "{}", stderr(&broker));
    assert!(
        stderr(&broker).contains("holds no commit log, but there are queues with messages"),
        "{}",
        stderr(&broker)
    );
}

#[test]
fn a_repair_needs_a_stopped_broker_and_mends_queues() {
    let directory = tempfile::tempdir().unwrap();
    stopped_store(directory.path());
    let queue = directory.path().join("data/consumequeue/orders/0/00000000000000000000");
    let mut bytes = std::fs::read(&queue).unwrap();
    bytes[..8].copy_from_slice(&[0x7f; 8]);
    std::fs::write(&queue, &bytes).unwrap();
    let check = run(directory.path(), &["store", "check", "data"]);
    assert_eq!(check.status.code(), Some(2), "{}{}", stdout(&check), stderr(&check));

    let server = Server::up(&directory.path().join("other"), &[]);
    let data = server.ready["broker"]["data"].as_str().unwrap();
    let running = run(directory.path(), &["store", "repair", data]);
    assert_eq!(running.status.code(), Some(255), "{}", stderr(&running));
    assert!(stderr(&running).contains("a broker runs on"), "{}", stderr(&running));
    server.stop();

    let repair = run(directory.path(), &["store", "repair", "data"]);
    assert!(repair.status.success(), "{}{}", stdout(&repair), stderr(&repair));
    assert!(run(directory.path(), &["store", "check", "data"]).status.success());
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    for part in ["check", "dump", "repair"] {
        let output = run(directory.path(), &["store", part, "."]);
        assert_eq!(output.status.code(), Some(253), "{part}");
        assert!(stderr(&output).contains("holds no store"), "{part}: {}", stderr(&output));
    }
    assert!(run(directory.path(), &["store", "repair", "--help"]).status.success());
}
