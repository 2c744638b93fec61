//! A log that is not there (not mounted, configured elsewhere) must not cost the queues: the start is refused.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{config, open, queue, real, send};
use ferromq_store::{OpenError, Store};

fn queue_files(root: &Path) -> Vec<Vec<u8>> {
    let dir = root.join("consumequeue/TopicA/0");
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn queues_without_a_log_are_kept_and_the_start_refused() {
    // What the start goes by instead of the log: our table of queues, the queue files alone, or neither after a crash.
    for (without_table, after_crash) in [(false, false), (true, false), (false, true), (true, true)] {
        let case = format!("without_table {without_table}, after_crash {after_crash}");
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let store = open(config.clone());
        for _ in 0..100 {
            send(&store, &queue(&store, "TopicA", 0), &[b"message"]);
        }
        assert!(store.stop().clean);
        drop(store);
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(dir.path().join("commitlog"), &elsewhere).unwrap();
        if without_table {
            fs::remove_file(dir.path().join("ferromq/queues.stamp")).unwrap();
        }
        if after_crash {
            fs::write(dir.path().join("abort"), b"").unwrap();
        }
        let before = queue_files(dir.path());

        let refused = Store::open(config.clone(), real()).map(|_| ()).unwrap_err();
        assert!(matches!(refused, OpenError::LogMissing { .. }), "{case}: {refused}");
        assert!(queue_files(dir.path()) == before, "{case}: the queues were changed");

        fs::remove_dir_all(dir.path().join("commitlog")).unwrap();
        fs::rename(&elsewhere, dir.path().join("commitlog")).unwrap();
        let store = open(config);
        assert_eq!(
            queue(&store, "TopicA", 0).max_offset().0,
            100,
            "{case}: and it goes on when the log is back"
        );
        store.stop();
    }
}
