//! What one seed does. Everything that is chosen is chosen here or from a stream of random numbers named here; what
//! the machine's timing adds is not.

use std::time::Duration;

use crate::random::Random;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) flush: &'static str,
    /// Queues of the topics that stay, by number.
    pub(crate) topics: Vec<i32>,
    /// Connections that send.
    pub(crate) producers: u64,
    /// Connections that pull and commit offsets.
    pub(crate) consumers: u64,
    /// Topics that are created and deleted over and over.
    pub(crate) churned: u64,
    pub(crate) rounds: Vec<Round>,
}

/// Load, a kill, and starts, of which only the last is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// The kill comes after so many acknowledgements ...
    pub(crate) acks: u64,
    /// ... and this much later.
    pub(crate) later: Duration,
    /// Kills during recovery: after how many thousandths of the time that the first start took.
    pub(crate) recovery_kills: Vec<u64>,
}

impl Plan {
    pub(crate) fn of(seed: u64, rounds: usize) -> Self {
        let mut random = Random::new(seed);
        let round = |random: &mut Random| Round {
            acks: random.within(200, 3000),
            later: Duration::from_micros(random.below(3000)),
            recovery_kills: (0..random.below(4)).map(|_| random.within(50, 1100)).collect(),
        };
        Self {
            seed,
            flush: if seed.is_multiple_of(2) { "ASYNC_FLUSH" } else { "SYNC_FLUSH" },
            topics: (0..random.within(2, 4)).map(|_| i32::try_from(random.within(1, 6)).unwrap()).collect(),
            producers: random.within(4, 12),
            consumers: random.within(1, 3),
            churned: random.within(1, 3),
            rounds: (0..rounds).map(|_| round(&mut random)).collect(),
        }
    }

    /// The choices of one client in one round.
    pub(crate) fn stream(&self, round: usize, client: u64) -> Random {
        let mut mix = Random::new(self.seed ^ (round as u64) << 40 ^ client << 48);
        Random::new(mix.next())
    }
}
