//! `bench pull`: messages that are there already, as fast as the broker gives them out.

use std::collections::VecDeque;

use anyhow::ensure;

use crate::engine::{self, Lane, Load, Pace, Place};
use crate::measure::{self, Tally, Worker};
use crate::options::Pull;
use crate::report::Summary;
use crate::send;
use crate::target::{Broker, Registration};
use crate::wire::{self, PullFrames, Scanned, WhenEmpty};

/// The offsets of a queue that are pulled again and again.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: i64,
    end: i64,
}

pub(crate) fn measure(options: &Pull) -> anyhow::Result<Summary> {
    let target = &options.target;
    let broker = Broker::find(target)?;
    broker.prepare_topic(target)?;
    let registration = Registration::of_consumer(&broker, &target.topic)?;
    let stretches = filled(options, &broker)?;

    let workload = format!(
        "pull {} at a time, {} connection(s), {} in flight, {} queue(s)",
        options.batch, options.connections, options.in_flight, target.queues
    );
    let threads = options.threads.min(options.connections);
    let workers = (0..threads)
        .map(|thread| {
            worker(options, &broker, &stretches, registration.subscription_version, thread, threads)
        })
        .collect::<anyhow::Result<Vec<Worker>>>()?;
    let outcome = measure::run(workers, &options.timing, &workload)?;
    Ok(Summary::of(workload, "pull", outcome))
}

/// What there is to pull, after sending what is missing.
fn filled(options: &Pull, broker: &Broker) -> anyhow::Result<Vec<Stretch>> {
    let Pull { target, from, fill, size, .. } = options;
    let look = || -> anyhow::Result<Vec<Stretch>> {
        let mut connection = broker.call_connection()?;
        (0..target.queues)
            .map(|queue| {
                let smallest = connection.min_offset(&target.topic, queue)?.max(0);
                Ok(Stretch {
                    from: from.unwrap_or(smallest).max(smallest),
                    end: connection.max_offset(&target.topic, queue)?,
                })
            })
            .collect()
    };
    let messages = |stretches: &[Stretch]| {
        stretches.iter().map(|stretch| (stretch.end - stretch.from).max(0).unsigned_abs()).sum::<u64>()
    };

    let mut stretches = look()?;
    let there = messages(&stretches);
    if there < *fill {
        eprintln!("sending {} messages to have {fill} to pull", fill - there);
        send::fill(broker, &target.topic, target.queues, *size, fill - there)?;
        stretches = look()?;
    }
    ensure!(
        messages(&stretches) > 0,
        "the topic holds nothing from offset {} on; use --fill",
        from.unwrap_or(0)
    );
    Ok(stretches)
}

fn worker(
    options: &Pull,
    broker: &Broker,
    stretches: &[Stretch],
    subscription_version: u64,
    thread: u32,
    threads: u32,
) -> anyhow::Result<Worker> {
    let connections = options.connections / threads + u32::from(thread < options.connections % threads);
    // A connection pulls a queue once at a time.
    let filled_queues = stretches.iter().filter(|stretch| stretch.end > stretch.from).count();
    let in_flight = usize::try_from(options.in_flight)?.min(filled_queues);
    let lanes = (0..connections)
        .map(|_| Lane::new(broker.connect()?, in_flight, Pace::Closed))
        .collect::<anyhow::Result<Vec<Lane>>>()?;
    let cursors: Vec<Cursors> =
        (0..connections).map(|connection| Cursors::new(stretches, connection, in_flight)).collect();
    let frames = PullFrames::new(&options.target.topic, &broker.name, options.batch, subscription_version);
    Ok(Box::new(move |clock, tally| {
        let mut load = PullLoad { frames, cursors, tally };
        let unfinished = engine::drive(lanes, None, clock, load.tally.window, &mut load)?;
        load.tally.missing = unfinished.unanswered as u64;
        Ok(load.tally)
    }))
}

/// Where one connection is in every queue.
struct Cursors {
    stretches: Vec<Stretch>,
    next: Vec<i64>,
    /// Queues without an outstanding pull, the next one first.
    idle: VecDeque<usize>,
    /// The queue that each slot pulls.
    pulled: Vec<usize>,
}

impl Cursors {
    fn new(stretches: &[Stretch], connection: u32, in_flight: usize) -> Cursors {
        let mut idle: VecDeque<usize> =
            (0..stretches.len()).filter(|queue| stretches[*queue].end > stretches[*queue].from).collect();
        // Connections begin at different queues, or they would all pull the same one.
        let turn = connection as usize % idle.len().max(1);
        idle.rotate_left(turn);
        let next = stretches.iter().map(|stretch| stretch.from).collect();
        Cursors { stretches: stretches.to_vec(), next, idle, pulled: vec![0; in_flight] }
    }
}

struct PullLoad {
    frames: PullFrames,
    cursors: Vec<Cursors>,
    tally: Tally,
}

impl Load for PullLoad {
    fn request(&mut self, at: Place, opaque: i32, _due: u64, out: &mut Vec<u8>) {
        let cursors = &mut self.cursors[at.lane];
        let queue = cursors.idle.pop_front().expect("no more slots than filled queues");
        cursors.pulled[at.slot] = queue;
        let queue_id = u32::try_from(queue).expect("queues are counted with 32 bits");
        self.frames.write(queue_id, cursors.next[queue], WhenEmpty::Answer, opaque, out);
    }

    fn answer(&mut self, at: Place, due: u64, answer: &Scanned<'_>, now: u64) -> anyhow::Result<()> {
        let cursors = &mut self.cursors[at.lane];
        let queue = cursors.pulled[at.slot];
        cursors.idle.push_back(queue);
        if answer.code != 0 {
            self.tally.failed(answer.code, || wire::remark(answer.header), now);
            cursors.next[queue] = cursors.stretches[queue].from;
            return Ok(());
        }
        let mut messages = 0;
        for body in wire::records(answer.body) {
            body?;
            messages += 1;
        }
        self.tally.observe(due, now);
        self.tally.arrived(messages, now);
        let stretch = cursors.stretches[queue];
        let next = wire::field(answer.header, wire::NEXT_BEGIN_OFFSET).unwrap_or(stretch.from);
        cursors.next[queue] = if next < stretch.end { next } else { stretch.from };
        Ok(())
    }
    fn goes_on(&self, now: u64) -> bool {
        now < self.tally.window.end
    }
}
