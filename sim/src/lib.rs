//! The store on a disk and a clock of our making: everything that happens follows from a seed.
//!
//! `disk` forgets and tears what was not synced and fails on demand; `world` drives a store on it, step by step, through
//! crashes and faults; `model` knows what was promised to whom and compares. A seed that fails is run again with
//! `FERROMQ_SIM_SEED=<seed> cargo test -p ferromq-sim --test seeds`.

pub mod clock;
pub mod disk;
pub mod follower;
pub mod model;
pub mod random;
pub mod world;

pub use disk::{Sabotage, SimDisk};
pub use world::{Failure, Summary, World};
