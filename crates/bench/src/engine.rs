//! The loop of one generator thread: connections, which requests are outstanding on them, and when the
//! next ones are sent.
//!
//! A lane is a connection. A closed lane sends the next request as soon as one is answered; paced lanes
//! share a rate and send when the next request is due, however many are still unanswered, up to the
//! lane's limit. Requests that become ready together leave in one write. Everything runs on the calling
//! thread: with one closed lane on a blocking socket, otherwise on epoll with a timer for the rate.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::measure::{Clock, Window};
use crate::wire::{self, OPAQUE_MIN, Scanned};

/// How long answers are awaited after the window.
const PATIENCE_NS: u64 = 5_000_000_000;
/// A blocking read returns this often to look at the time.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Limits of a blocking lane: what it writes at once and has outstanding. Beyond, its write could wait
/// for a server that itself waits for us to read.
const BLOCKING_BYTES_MAX: usize = 64 * 1024;
const BLOCKING_IN_FLIGHT_MAX: usize = 1024;
const INPUT_LEN_MIN: usize = 64 * 1024;
const TIMER: u64 = u64::MAX;

/// The places of outstanding requests: the low 16 bits of an opaque are the place, the rest tells
/// successive users of it apart.
const SLOTS_MAX: usize = 1 << 16;
const GENERATION_MIN: i32 = (OPAQUE_MIN >> 16) + 1;
const GENERATION_MAX: i32 = (999_999_999 >> 16) - 1;

/// What is sent and what the answers mean.
pub(crate) trait Load {
    /// Appends the next request of a lane to `out`. `due` is the time its latency counts from.
    fn request(&mut self, at: Place, opaque: i32, due: u64, out: &mut Vec<u8>);
    /// The answer to the request last written for this place.
    fn answer(&mut self, at: Place, due: u64, answer: &Scanned<'_>, now: u64) -> anyhow::Result<()>;
    /// Whether a closed lane is to send another request now.
    fn goes_on(&self, now: u64) -> bool;
    /// When it does not go on, or the window is over: whether nothing is awaited any more.
    fn settled(&self, outstanding: usize) -> bool {
        outstanding == 0
    }
}

/// Where an outstanding request belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) lane: usize,
    pub(crate) slot: usize,
}

/// When a lane sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Closed,
    Shared,
}

pub(crate) struct Lane {
    stream: TcpStream,
    pace: Pace,
    input: Vec<u8>,
    /// `input[taken..filled]` holds bytes that are not answers yet.
    taken: usize,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    outstanding: Vec<Outstanding>,
    free: Vec<usize>,
    watching_writes: bool,
}

#[derive(Clone, Copy)]
struct Outstanding {
    due: u64,
    opaque: i32,
    generation: i32,
}

impl Lane {
    pub(crate) fn new(stream: TcpStream, in_flight: usize, pace: Pace) -> anyhow::Result<Lane> {
        let in_flight = in_flight.clamp(1, SLOTS_MAX);
        stream.set_nodelay(true)?;
        Ok(Lane {
            stream,
            pace,
            input: vec![0; INPUT_LEN_MIN],
            taken: 0,
            filled: 0,
            output: Vec::new(),
            written: 0,
            outstanding: vec![Outstanding { due: 0, opaque: 0, generation: GENERATION_MIN }; in_flight],
            free: (0..in_flight).rev().collect(),
            watching_writes: false,
        })
    }

    fn outstanding(&self) -> usize {
        self.outstanding.len() - self.free.len()
    }

    fn send<L: Load>(&mut self, lane: usize, due: u64, load: &mut L) -> bool {
        let Some(slot) = self.free.pop() else { return false };
        let entry = &mut self.outstanding[slot];
        entry.generation =
            if entry.generation == GENERATION_MAX { GENERATION_MIN } else { entry.generation + 1 };
        entry.opaque = entry.generation << 16 | i32::try_from(slot).expect("a slot has 16 bits");
        entry.due = due;
        load.request(Place { lane, slot }, entry.opaque, due, &mut self.output);
        true
    }

    fn send_all_free<L: Load>(&mut self, lane: usize, now: u64, load: &mut L) {
        while self.send(lane, now, load) {}
    }

    /// One read, and every answer that it completed. False when there was nothing to read.
    fn receive<L: Load>(&mut self, lane: usize, clock: Clock, load: &mut L) -> anyhow::Result<bool> {
        if self.filled == self.input.len() {
            if self.taken == 0 {
                self.input.resize(self.input.len() * 2, 0);
            } else {
                self.input.copy_within(self.taken..self.filled, 0);
                self.filled -= self.taken;
                self.taken = 0;
            }
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the broker closed the connection"),
            Ok(len) => self.filled += len,
            Err(error) if is_not_yet(&error) => return Ok(false),
            Err(error) => return Err(error).context("reading from the broker failed"),
        }
        let now = clock.now();
        while let Some((frame, consumed)) = wire::take(&self.input[self.taken..self.filled])? {
            self.taken += consumed;
            if !frame.is_response {
                continue;
            }
            let slot = usize::try_from(frame.opaque & 0xffff).expect("16 bits");
            match self.outstanding.get_mut(slot) {
                Some(entry) if entry.opaque == frame.opaque => {
                    entry.opaque = 0;
                    self.free.push(slot);
                    load.answer(Place { lane, slot }, entry.due, &frame, now)?;
                }
                _ => bail!("the broker answered a request {} that is not outstanding", frame.opaque),
            }
        }
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = 0;
        }
        Ok(true)
    }

    /// Writes what is waiting. False when the socket takes no more for now.
    fn flush(&mut self) -> anyhow::Result<bool> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => bail!("the broker closed the connection"),
                Ok(len) => self.written += len,
                Err(error) if is_not_yet(&error) => return Ok(false),
                Err(error) => return Err(error).context("writing to the broker failed"),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(true)
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// What was still missing when patience ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Requests without an answer.
    pub(crate) unanswered: usize,
    /// Requests that were due and found no lane with room.
    pub(crate) unsent: usize,
}

/// Runs the load until the window is over and everything is answered, or patience ends.
pub(crate) fn drive<L: Load>(
    lanes: Vec<Lane>,
    rate: Option<f64>,
    clock: Clock,
    window: Window,
    load: &mut L,
) -> anyhow::Result<Unfinished> {
    if let [lane] = lanes.as_slice()
        && lane.pace == Pace::Closed
        && lane.outstanding.len() <= BLOCKING_IN_FLIGHT_MAX
    {
        return drive_one(lanes.into_iter().next().expect("one lane"), clock, window, load);
    }
    Many::new(lanes, rate, clock)?.drive(window, load)
}

/// One closed lane needs no readiness: it writes, then waits in the read. This saves a system call and
/// a wake-up through epoll per round.
fn drive_one<L: Load>(
    mut lane: Lane,
    clock: Clock,
    window: Window,
    load: &mut L,
) -> anyhow::Result<Unfinished> {
    lane.stream.set_nonblocking(false)?;
    lane.stream.set_read_timeout(Some(LOOK_UP))?;
    loop {
        let now = clock.now();
        if load.goes_on(now) {
            while lane.output.len() < BLOCKING_BYTES_MAX && lane.send(0, now, load) {}
        } else if load.settled(lane.outstanding()) || now >= window.end + PATIENCE_NS {
            return Ok(Unfinished { unanswered: lane.outstanding(), unsent: 0 });
        }
        lane.flush()?;
        lane.receive(0, clock, load)?;
    }
}

/// Several lanes, or a rate.
struct Many {
    lanes: Vec<Lane>,
    epoll: OwnedFd,
    clock: Clock,
    pacer: Option<Pacer>,
    /// Lanes that got requests in this round and have to be flushed; kept for its memory.
    touched: Vec<usize>,
}

/// Deals out requests at even distances to the lanes that share it.
struct Pacer {
    timer: OwnedFd,
    interval_ns: f64,
    /// The k-th request is due at `start + k * interval`.
    start: u64,
    sent: u64,
    lanes: Vec<usize>,
    turn: usize,
    armed_for: u64,
}

impl Pacer {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a product far below 2^53, never negative"
    )]
    fn due(&self) -> u64 {
        self.start + (self.sent as f64 * self.interval_ns) as u64
    }

    /// Requests not sent yet although they fall due before `end`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a quotient far below 2^53, never negative"
    )]
    fn due_before(&self, end: u64) -> usize {
        (end.saturating_sub(self.due()) as f64 / self.interval_ns).ceil() as usize
    }

    /// Sets the timer for the next request. Nothing is set while one is due already: then all lanes are
    /// full, and the next answer is awaited, not the time.
    fn arm(&mut self, now: u64) -> io::Result<()> {
        let due = self.due();
        if due <= now || due == self.armed_for {
            return Ok(());
        }
        self.armed_for = due;
        let left = Duration::from_nanos(due - now);
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: left };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl Many {
    fn new(lanes: Vec<Lane>, rate: Option<f64>, clock: Clock) -> anyhow::Result<Many> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, lane) in lanes.iter().enumerate() {
            lane.stream.set_nonblocking(true)?;
            epoll::add(&epoll, &lane.stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        }
        let pacer = match rate {
            None => None,
            Some(rate) => {
                let timer = timerfd_create(
                    TimerfdClockId::Monotonic,
                    TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
                )?;
                // Edge-triggered: an expiry is one event and needs no read.
                epoll::add(
                    &epoll,
                    &timer,
                    epoll::EventData::new_u64(TIMER),
                    epoll::EventFlags::IN | epoll::EventFlags::ET,
                )?;
                let shared = (0..lanes.len()).filter(|lane| lanes[*lane].pace == Pace::Shared).collect();
                Some(Pacer {
                    timer,
                    interval_ns: 1e9 / rate,
                    start: clock.now(),
                    sent: 0,
                    lanes: shared,
                    turn: 0,
                    armed_for: 0,
                })
            }
        };
        Ok(Many { lanes, epoll, clock, pacer, touched: Vec::new() })
    }

    fn drive<L: Load>(mut self, window: Window, load: &mut L) -> anyhow::Result<Unfinished> {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].pace == Pace::Closed {
                self.lanes[lane].send_all_free(lane, self.clock.now(), load);
                self.flush(lane)?;
            }
        }
        self.send_due(window, load)?;
        let mut events = Vec::with_capacity(256);
        loop {
            let now = self.clock.now();
            if now >= window.end {
                let unsent = self.pacer.as_ref().map_or(0, |pacer| pacer.due_before(window.end));
                let outstanding: usize = self.lanes.iter().map(Lane::outstanding).sum();
                if (unsent == 0 && load.settled(outstanding)) || now >= window.end + PATIENCE_NS {
                    return Ok(Unfinished { unanswered: outstanding, unsent });
                }
            }
            let look_up = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_UP.subsec_nanos()) };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&look_up)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for the sockets failed"),
            }
            for event in &events {
                // Copied out, because the event is a packed structure.
                let (data, flags) = (event.data, event.flags);
                if data.u64() != TIMER {
                    let lane = usize::try_from(data.u64()).expect("an index of a lane");
                    self.ready(lane, flags, load)?;
                }
            }
            self.send_due(window, load)?;
        }
    }

    fn ready<L: Load>(&mut self, index: usize, flags: epoll::EventFlags, load: &mut L) -> anyhow::Result<()> {
        let lane = &mut self.lanes[index];
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            lane.receive(index, self.clock, load)?;
            let now = self.clock.now();
            if lane.pace == Pace::Closed && load.goes_on(now) {
                lane.send_all_free(index, now, load);
            }
        }
        self.flush(index)
    }

    /// Sends everything that is due now and finds a lane with room. What fell due inside the window is
    /// sent even after it.
    fn send_due<L: Load>(&mut self, window: Window, load: &mut L) -> anyhow::Result<()> {
        let Some(pacer) = &mut self.pacer else { return Ok(()) };
        let now = self.clock.now().min(window.end - 1);
        self.touched.clear();
        'due: while pacer.due() <= now {
            for _ in 0..pacer.lanes.len() {
                let index = pacer.lanes[pacer.turn];
                pacer.turn = (pacer.turn + 1) % pacer.lanes.len();
                let lane = &mut self.lanes[index];
                let was_idle = lane.output.is_empty();
                if lane.send(index, pacer.due(), load) {
                    pacer.sent += 1;
                    if was_idle {
                        self.touched.push(index);
                    }
                    continue 'due;
                }
            }
            break;
        }
        // With the same `now`: a request that has fallen due since then makes the timer fire at once.
        pacer.arm(now)?;
        for touched in 0..self.touched.len() {
            self.flush(self.touched[touched])?;
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> anyhow::Result<()> {
        let lane = &mut self.lanes[index];
        let watch = !lane.flush()?;
        if watch != lane.watching_writes {
            lane.watching_writes = watch;
            let writes = if watch { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            epoll::modify(
                &self.epoll,
                &lane.stream,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN | writes,
            )?;
        }
        Ok(())
    }
}
