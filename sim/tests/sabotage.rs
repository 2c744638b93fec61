//! The simulation bites: leave out one sync, or the order of the checkpoint, and a few seeds later a promise is broken.

use ferromq_sim::{Sabotage, World, follower};

const SEEDS: u64 = 1_000;

/// The first seed that notices.
fn noticed(sabotage: Sabotage) -> Option<u64> {
    (0..SEEDS).find(|seed| World::run(*seed, sabotage, false).is_err())
}

#[test]
fn a_log_that_is_not_synced_is_noticed() {
    assert!(noticed(Sabotage::SkipSyncData("commitlog")).is_some());
}

#[test]
fn queue_files_that_are_not_synced_are_noticed() {
    assert!(noticed(Sabotage::SkipSyncData("consumequeue")).is_some());
}

#[test]
fn index_files_that_are_not_synced_are_noticed() {
    assert!(noticed(Sabotage::SkipSyncData("index")).is_some());
}

#[test]
fn names_of_log_files_that_are_not_synced_are_noticed() {
    assert!(noticed(Sabotage::SkipSyncDir("commitlog")).is_some());
}

#[test]
fn names_of_queue_directories_that_are_not_synced_are_noticed() {
    assert!(noticed(Sabotage::SkipSyncDir("consumequeue")).is_some());
}

#[test]
fn names_in_the_root_that_are_not_synced_are_noticed() {
    assert!(noticed(Sabotage::SkipSyncDir("store")).is_some());
}

#[test]
fn a_checkpoint_that_comes_before_the_queues_is_noticed() {
    assert!(noticed(Sabotage::CheckpointFirst).is_some());
}

#[test]
fn a_deletion_that_is_appended_and_not_synced_is_noticed() {
    assert!(noticed(Sabotage::SkipSyncData("ferromq/deleted-topics")).is_some());
}

#[test]
fn a_list_of_deletions_that_is_written_anew_and_not_synced_is_noticed() {
    assert!(noticed(Sabotage::SkipSyncData("tmp/deleted-topics")).is_some());
}

#[test]
fn the_intent_of_a_cut_that_is_not_synced_is_noticed() {
    let sabotage = Sabotage::SkipSyncData("ferromq/truncation");
    assert!((0..SEEDS).any(|seed| follower::run(seed, sabotage, false).is_err()));
}

#[test]
fn the_name_of_the_intent_of_a_cut_that_is_not_synced_is_noticed() {
    let sabotage = Sabotage::SkipSyncDir("ferromq");
    assert!((0..SEEDS).any(|seed| follower::run(seed, sabotage, false).is_err()));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let run = || World::run(seed, Sabotage::None, false).map_err(|failure| failure.to_string());
        assert_eq!(run(), run());
    }
}
