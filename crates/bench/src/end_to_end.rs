//! `bench e2e`: from the moment a message is due at the producer until its bytes are read by the
//! consumer, by long polling.
//!
//! Every message carries a mark of this run and the time it was due, so that consumers need no table,
//! and messages of others are passed over.

use anyhow::bail;

use crate::engine::{self, Lane, Load, Pace, Place};
use crate::measure::{self, Clock, Tally, Worker};
use crate::options::EndToEnd;
use crate::report::Summary;
use crate::send;
use crate::target::{self, Broker, Registration};
use crate::wire::{self, PullFrames, Scanned, SendFrames, WhenEmpty};

/// Messages that one long pull may bring.
const BATCH: u32 = 32;
const MARK_LEN: usize = 8;
const STAMP_LEN: usize = MARK_LEN + 8;

pub(crate) fn measure(options: &EndToEnd) -> anyhow::Result<Summary> {
    let target = &options.target;
    let broker = Broker::find(target)?;
    broker.prepare_topic(target)?;
    let registration = Registration::of_consumer(&broker, &target.topic)?;

    let workload = format!(
        "end to end {} B at {} messages/s, {} producer(s), {} consumer connection(s), {} queue(s)",
        options.size, options.rate, options.connections, options.consumers, target.queues
    );
    let worker = worker(options, &broker, registration.subscription_version)?;
    let outcome = measure::run(vec![worker], &options.timing, &workload)?;
    Ok(Summary::of(workload, "end to end", outcome))
}

fn worker(options: &EndToEnd, broker: &Broker, subscription_version: u64) -> anyhow::Result<Worker> {
    let EndToEnd { target, rate, .. } = options;
    let rate = *rate;
    let mut offsets = Vec::new();
    let mut connection = broker.call_connection()?;
    for queue in 0..target.queues {
        offsets.push(connection.max_offset(&target.topic, queue)?);
    }

    let producers = usize::try_from(options.connections)?;
    let consumers = options.consumers.min(target.queues);
    let queues_of: Vec<Vec<u32>> = (0..consumers)
        .map(|consumer| (consumer..target.queues).step_by(consumers as usize).collect())
        .collect();
    let mut lanes = Vec::new();
    for _ in 0..producers {
        lanes.push(Lane::new(broker.connect()?, usize::try_from(options.in_flight)?, Pace::Shared)?);
    }
    for queues in &queues_of {
        lanes.push(Lane::new(broker.connect()?, queues.len(), Pace::Closed)?);
    }

    let frames = SendFrames::new(
        &target.topic,
        &broker.name,
        target.queues,
        &send::body(options.size),
        target::salt(0),
    );
    let pulls = PullFrames::new(&target.topic, &broker.name, BATCH, subscription_version);
    let (queues, mark) = (target.queues, subscription_version.to_be_bytes());
    Ok(Box::new(move |clock, tally| {
        let mut load = EndToEndLoad {
            frames,
            pulls,
            producers,
            queues,
            next_queue: 0,
            queues_of,
            offsets,
            mark,
            sent: 0,
            answered: 0,
            stored: 0,
            received: 0,
            clock,
            tally,
        };
        let unfinished = engine::drive(lanes, Some(rate), clock, load.tally.window, &mut load)?;
        let lost = (load.sent - load.answered) + load.stored.saturating_sub(load.received);
        load.tally.missing = lost + unfinished.unsent as u64;
        Ok(load.tally)
    }))
}

struct EndToEndLoad {
    frames: SendFrames,
    pulls: PullFrames,
    /// Lanes below this number send, the others pull.
    producers: usize,
    queues: u32,
    next_queue: u32,
    /// The queues of every consumer lane; slot k of the lane pulls its k-th queue.
    queues_of: Vec<Vec<u32>>,
    offsets: Vec<i64>,
    mark: [u8; MARK_LEN],
    sent: u64,
    answered: u64,
    stored: u64,
    received: u64,
    clock: Clock,
    tally: Tally,
}

impl Load for EndToEndLoad {
    fn request(&mut self, at: Place, opaque: i32, due: u64, out: &mut Vec<u8>) {
        if at.lane < self.producers {
            let body = self.frames.write(self.next_queue, opaque, self.clock.unix_ms(due), out);
            out[body..body + MARK_LEN].copy_from_slice(&self.mark);
            out[body + MARK_LEN..body + STAMP_LEN].copy_from_slice(&due.to_be_bytes());
            self.next_queue = (self.next_queue + 1) % self.queues;
            self.sent += 1;
        } else {
            let queue = self.queues_of[at.lane - self.producers][at.slot];
            self.pulls.write(queue, self.offsets[queue as usize], WhenEmpty::Hold, opaque, out);
        }
    }

    fn answer(&mut self, at: Place, _due: u64, answer: &Scanned<'_>, now: u64) -> anyhow::Result<()> {
        if at.lane < self.producers {
            self.answered += 1;
            self.stored += u64::from(send::STORED.contains(&answer.code));
            if answer.code != 0 {
                self.tally.failed(answer.code, || wire::remark(answer.header), now);
            }
            return Ok(());
        }
        let queue = self.queues_of[at.lane - self.producers][at.slot] as usize;
        match answer.code {
            0 | 19 | 20 | 21 => {}
            code => bail!("a pull failed with code {code}: {}", wire::remark(answer.header)),
        }
        if let Some(next) = wire::field(answer.header, wire::NEXT_BEGIN_OFFSET) {
            self.offsets[queue] = next;
        }
        for body in wire::records(answer.body) {
            if let Some(due) = self.due(body?) {
                self.received += 1;
                self.tally.observe(due, now);
                self.tally.arrived(1, now);
            }
        }
        Ok(())
    }

    /// Consumers go on until everything is received.
    fn goes_on(&self, _now: u64) -> bool {
        true
    }

    /// The pulls stay held for ever; what is awaited are the messages.
    fn settled(&self, _outstanding: usize) -> bool {
        self.answered == self.sent && self.received >= self.stored
    }
}

impl EndToEndLoad {
    /// When the message was due, if this run sent it.
    fn due(&self, body: &[u8]) -> Option<u64> {
        let stamp = body.strip_prefix(&self.mark)?.first_chunk::<8>()?;
        Some(u64::from_be_bytes(*stamp))
    }
}
