//! `ferromq store`: looks at the files of a stopped store, or repairs them. The work is done in `ferromq_store::offline`.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset};
use ferromq_store::StoreConfig;
use ferromq_store::clock::{Clock as _, SystemClock};
use ferromq_store::disk::{Disk, RealDisk};
use ferromq_store::offline::check::{CheckReport, Severity};
use ferromq_store::offline::repair::{RepairOptions, repair};
use ferromq_store::offline::{OfflineError, StoreFiles};
use serde::Serialize;

use crate::args::{Dump, DumpPart, Store, StoreDirectory};
use crate::failure::{Failure, exit};

/// Between two updates of the progress line.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) fn run(command: &Store) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
    let progress = ProgressLine::default();
    let show = |what: &str, done, of| progress.show(what, done, of);
    match command {
        Store::Check { store } => {
            let report = StoreFiles::open(config(store), disk)?.check(&show)?;
            progress.clear();
            Lines::new(store.json).put(&report);
            verdict(&report)
        }
        Store::Dump(args) => dump(args, disk),
        Store::Repair { store, accept_loss, rebuild_queues, rebuild_index } => {
            let options = RepairOptions {
                accept_loss: *accept_loss,
                rebuild_queues: *rebuild_queues,
                rebuild_index: *rebuild_index,
                now: SystemClock::default().now(),
            };
            let report = repair(&config(store), &disk, &options, &show)?;
            progress.clear();
            Lines::new(store.json).put(&report);
            verdict(&report.after)
        }
    }
}

/// Sizes of log and queue files are taken from the files; those of the index are Java's defaults unless said.
fn config(store: &StoreDirectory) -> StoreConfig {
    let defaults = StoreConfig::at(&store.root);
    StoreConfig {
        commit_log: store.commit_log.clone(),
        index_slots: store.index_slots.unwrap_or(defaults.index_slots),
        index_entries: store.index_entries.unwrap_or(defaults.index_entries),
        ..defaults
    }
}

/// The exit code is the finding, for scripts.
fn verdict(report: &CheckReport) -> Result<(), Failure> {
    match report.worst() {
        None | Some(Severity::Note | Severity::Mended) => Ok(()),
        Some(Severity::Wrong) => {
            Err(Failure::new(exit::STORE_WRONG, "messages are not where they should be"))
        }
        Some(Severity::Refused) => {
            Err(Failure::new(exit::STORE_REFUSED, "a broker would not start on this store"))
        }
    }
}

fn dump(args: &Dump, disk: Arc<dyn Disk>) -> Result<(), Failure> {
    let files = StoreFiles::open(config(&args.store), disk)?;
    let mut lines = Lines::new(args.store.json);
    match &args.part {
        None => {
            lines.title("log files");
            lines.put_all(&files.dump_segments()?);
            lines.title("queues");
            lines.put_all(&files.dump_queues()?);
            lines.title("index files");
            lines.put_all(&files.dump_index()?);
        }
        Some(DumpPart::Records { from, count }) => {
            let end = files.dump_records(PhysicalOffset(*from), *count, &mut |line| lines.put(&line))?;
            if let Some(why) = end {
                lines.title(&format!("the log ends here: {why}"));
            }
        }
        Some(DumpPart::Entries { topic, queue, from, count }) => {
            let (queue, from) = (QueueId(*queue), QueueOffset(*from));
            files.dump_entries(topic, queue, from, *count, &mut |line| lines.put(&line))?;
        }
        Some(DumpPart::Keys { file, from, count }) => {
            files.dump_keys(file, *from, *count, &mut |line| lines.put(&line))?;
        }
        Some(DumpPart::Checkpoint) => lines.put_json(&files.dump_checkpoint()),
    }
    Ok(())
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        match error {
            OfflineError::InUse { path } => {
                Self::start(format!("a broker runs on {}; stop it first", path.display()))
            }
            other => Self::new(exit::INITIALISATION, other),
        }
    }
}

/// Standard output as text or as one JSON value per line. A reader that goes away early ends the output.
struct Lines {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    is_open: bool,
}

impl Lines {
    fn new(json: bool) -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), json, is_open: true }
    }

    /// True while somebody reads.
    fn put<T: Display + Serialize>(&mut self, value: &T) -> bool {
        if self.json {
            self.put_json(value);
        } else if self.is_open {
            self.is_open = writeln!(self.out, "{value}").is_ok();
        }
        self.is_open
    }

    fn put_all<T: Display + Serialize>(&mut self, values: &[T]) {
        for value in values {
            if !self.put(value) {
                break;
            }
        }
    }

    fn put_json<T: Serialize>(&mut self, value: &T) {
        let line = serde_json::to_string(value).expect("invariant: reports have names for keys");
        self.is_open = self.is_open && writeln!(self.out, "{line}").is_ok();
    }

    /// For people only.
    fn title(&mut self, text: &str) {
        if !self.json && self.is_open {
            self.is_open = writeln!(self.out, "# {text}").is_ok();
        }
    }
}

/// One line on the terminal that says how far the work is. Elsewhere nothing.
#[derive(Default)]
struct ProgressLine {
    clock: SystemClock,
    /// When it was drawn last, in milliseconds of the clock; 0 is never.
    drawn_ms: AtomicU64,
}

impl ProgressLine {
    fn show(&self, what: &str, done: u64, of: u64) {
        let now = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.drawn_ms.load(Ordering::Relaxed);
        let is_due = last == 0 || now - last >= PROGRESS_INTERVAL.as_millis() as u64;
        if !is_due || !io::stderr().is_terminal() {
            return;
        }
        self.drawn_ms.store(now, Ordering::Relaxed);
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
        let _ = write!(io::stderr(), "\r\x1b[K{what}: {percent} %");
    }

    fn clear(&self) {
        if self.drawn_ms.load(Ordering::Relaxed) > 0 {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
