//! `bench send`: messages to one topic, round the queues.

use anyhow::{bail, ensure};

use crate::engine::{self, Lane, Load, Pace, Place};
use crate::measure::{self, Clock, Tally, Window, Worker};
use crate::options::Send;
use crate::report::Summary;
use crate::target::{self, Broker};
use crate::wire::{self, Scanned, SendFrames};

/// Codes of an answer that says "stored": 0, and the three that doubt only a flush or a replica.
pub(crate) const STORED: [i32; 4] = [0, 10, 11, 12];
/// Outstanding while filling: enough to keep any broker busy, too little to overload one.
const FILL_IN_FLIGHT: usize = 64;
/// Filling gives up after ten minutes.
const FILL_TIME_NS: u64 = 600_000_000_000;

pub(crate) fn measure(options: &Send) -> anyhow::Result<Summary> {
    let broker = Broker::find(&options.target)?;
    broker.prepare_topic(&options.target)?;

    let workload = format!(
        "send {} B, {} connection(s), {} in flight, {} queue(s){}",
        options.size,
        options.connections,
        options.in_flight,
        options.target.queues,
        options.rate.map_or_else(String::new, |rate| format!(", {rate} messages/s"))
    );
    let threads = options.threads.min(options.connections);
    let workers = (0..threads)
        .map(|thread| worker(options, &broker, thread, threads))
        .collect::<anyhow::Result<Vec<Worker>>>()?;
    let outcome = measure::run(workers, &options.timing, &workload)?;
    Ok(Summary::of(workload, "send", outcome))
}

fn worker(options: &Send, broker: &Broker, thread: u32, threads: u32) -> anyhow::Result<Worker> {
    let connections = options.connections / threads + u32::from(thread < options.connections % threads);
    let rate = options.rate.map(|rate| rate * f64::from(connections) / f64::from(options.connections));
    let pace = if rate.is_some() { Pace::Shared } else { Pace::Closed };
    let in_flight = usize::try_from(options.in_flight)?;
    let lanes = (0..connections)
        .map(|_| Lane::new(broker.connect()?, in_flight, pace))
        .collect::<anyhow::Result<Vec<Lane>>>()?;
    let frames = SendFrames::new(
        &options.target.topic,
        &broker.name,
        options.target.queues,
        &body(options.size),
        target::salt(thread),
    );
    let queues = options.target.queues;
    Ok(Box::new(move |clock, tally| {
        let mut load = SendLoad { frames, queues, next_queue: thread % queues, clock, tally };
        let unfinished = engine::drive(lanes, rate, clock, load.tally.window, &mut load)?;
        load.tally.missing = (unfinished.unanswered + unfinished.unsent) as u64;
        Ok(load.tally)
    }))
}

/// Printable bytes that do not repeat soon, so that nothing on the way can make them cheap.
pub(crate) fn body(size: u32) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b' ' + (state % 95) as u8
        })
        .collect()
}

struct SendLoad {
    frames: SendFrames,
    queues: u32,
    next_queue: u32,
    clock: Clock,
    tally: Tally,
}

impl Load for SendLoad {
    fn request(&mut self, _at: Place, opaque: i32, due: u64, out: &mut Vec<u8>) {
        self.frames.write(self.next_queue, opaque, self.clock.unix_ms(due), out);
        self.next_queue = (self.next_queue + 1) % self.queues;
    }

    fn answer(&mut self, _at: Place, due: u64, answer: &Scanned<'_>, now: u64) -> anyhow::Result<()> {
        if STORED.contains(&answer.code) {
            self.tally.observe(due, now);
            self.tally.arrived(1, now);
        }
        if answer.code != 0 {
            self.tally.failed(answer.code, || wire::remark(answer.header), now);
        }
        Ok(())
    }

    fn goes_on(&self, now: u64) -> bool {
        now < self.tally.window.end
    }
}

/// Sends messages to a queue each in turn until the broker has stored `messages`, before a measurement.
pub(crate) fn fill(
    broker: &Broker,
    topic: &str,
    queues: u32,
    size: u32,
    messages: u64,
) -> anyhow::Result<()> {
    let clock = Clock::start();
    let window = Window { start: 0, end: FILL_TIME_NS };
    let frames = SendFrames::new(topic, &broker.name, queues, &body(size), target::salt(u32::MAX));
    let mut load = Fill { frames, queues, sent: 0, stored: 0, wanted: messages, clock };
    let lane = Lane::new(broker.connect()?, FILL_IN_FLIGHT, Pace::Closed)?;
    engine::drive(vec![lane], None, clock, window, &mut load)?;
    ensure!(
        load.stored >= messages,
        "filling the topic takes too long: {} of {messages} messages are stored",
        load.stored
    );
    Ok(())
}

struct Fill {
    frames: SendFrames,
    queues: u32,
    sent: u32,
    stored: u64,
    wanted: u64,
    clock: Clock,
}

impl Load for Fill {
    fn request(&mut self, _at: Place, opaque: i32, due: u64, out: &mut Vec<u8>) {
        self.frames.write(self.sent % self.queues, opaque, self.clock.unix_ms(due), out);
        self.sent = self.sent.wrapping_add(1);
    }

    fn answer(&mut self, _at: Place, _due: u64, answer: &Scanned<'_>, _now: u64) -> anyhow::Result<()> {
        if !STORED.contains(&answer.code) {
            bail!("filling the topic failed with code {}: {}", answer.code, wire::remark(answer.header));
        }
        self.stored += 1;
        Ok(())
    }

    fn goes_on(&self, now: u64) -> bool {
        self.stored < self.wanted && now < FILL_TIME_NS
    }
}
