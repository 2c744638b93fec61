//! Do producers suffer when somebody reads an old backlog? Pairs of runs at a fixed rate, without and with a consumer
//! that drains a backlog far larger than what the broker keeps in memory and that may use one core.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ferromq_interop::server::Make;

use super::workloads::median;
use super::{Bench, Contestant, machine};

const PAIRS: usize = 5;
const SECONDS: u32 = 60;
const RATE: &str = "20000";
/// 2.5 million messages of 1 KB.
const BACKLOG: &str = "2500000";

/// Medians of the producers' p99 in ms.
pub(crate) struct Cold {
    pub(crate) alone_ms: f64,
    pub(crate) with_consumer_ms: f64,
}

impl Cold {
    pub(crate) fn met(&self) -> bool {
        self.with_consumer_ms <= 1.2 * self.alone_ms + 0.3
    }
}

pub(crate) fn measure(bench: &Bench) -> Result<Cold> {
    let running = bench.start(Contestant::Ferromq, false)?;
    // Fills the backlog; the pulls themselves are of no interest.
    bench.bench(&["pull", "--topic", "backlog", "--fill", BACKLOG], &running, 0, 1)?;
    let producers = ["send", "--topic", "live", "--connections", "4", "--in-flight", "64", "--rate", RATE];
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        for with_consumer in if pair % 2 == 0 { [false, true] } else { [true, false] } {
            machine::evict(&bench.dir.join(Make::Ferromq.to_string()))?;
            let consumer = if with_consumer { Some(consumer(bench, &running.address)?) } else { None };
            let figures = bench.bench(&producers, &running, 2, SECONDS)?;
            println!("pair {}, consumer {with_consumer}: p99 {:.3} ms", pair + 1, figures.p99_ms);
            if let Some(mut consumer) = consumer {
                let running = consumer.try_wait()?.is_none();
                consumer.kill()?;
                consumer.wait()?;
                ensure!(running, "the consumer ended before the producers");
                together.push(figures.p99_ms);
            } else {
                alone.push(figures.p99_ms);
            }
        }
    }
    running.stop()?;
    Ok(Cold { alone_ms: median(alone), with_consumer_ms: median(together) })
}

fn consumer(bench: &Bench, address: &str) -> Result<std::process::Child> {
    Command::new("taskset")
        .args(["-c", "0"])
        .arg(&bench.binary)
        .args([
            "bench",
            "pull",
            "--topic",
            "backlog",
            "--no-create",
            "--from",
            "0",
            "--fill",
            "0",
            "--addr",
            address,
        ])
        .args(["--connections", "1", "--warmup", "0", "--seconds", "300", "--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the consumer under taskset")
}
