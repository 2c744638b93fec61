//! A follower ends as the same store, whatever it was cut back to and wherever it crashed.
//! `FERROMQ_SIM_SEED=<seed>` runs one seed and tells what happens.

use ferromq_sim::Sabotage;
use ferromq_sim::follower::{Copied, run};

#[test]
fn a_follower_becomes_the_same_store() {
    if let Some(seed) = std::env::var("FERROMQ_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:?}", run(seed, Sabotage::None, true));
        return;
    }
    let mut total = Copied::default();
    for seed in 0..500 {
        let copied = run(seed, Sabotage::None, false).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        total.records += copied.records;
        total.cuts += copied.cuts;
        total.crashes += copied.crashes;
    }
    assert!(total.records > 10_000 && total.cuts > 1_000 && total.crashes > 1_000, "{total:?}");
}
