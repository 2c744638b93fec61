//! `bench fsync`: what the disk allows. Appends of the size of a stored message, each followed by
//! fdatasync, on a file prepared as a broker prepares its log segments; one thread, nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use rustix::fs::{FallocateFlags, fallocate, fstatfs};

use crate::measure::{self, Clock, Window};
use crate::options::{Fsync, Prepare};
use crate::report::{Approximate, FsyncSummary, Latency};
use crate::send;

const TMPFS_MAGIC: u64 = 0x0102_1994;
const CHUNK: usize = 1 << 20;

/// A file for appends that are synced one by one. It has no name, so it is gone with the process.
pub(crate) struct SyncFile {
    file: File,
    position: u64,
    len: u64,
    prepare: Prepare,
}

impl SyncFile {
    /// Makes and prepares the file. Refuses tmpfs, which has no disk to sync.
    pub(crate) fn create(dir: &Path, prepare: Prepare, len: u64) -> anyhow::Result<SyncFile> {
        let path = dir.join(format!("ferromq-bench-{}.tmp", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("{} cannot be created", path.display()))?;
        // Without a name it leaves nothing behind, however the process ends.
        std::fs::remove_file(&path)?;
        let mut sync_file = SyncFile { file, position: 0, len, prepare };
        let kind = fstatfs(&sync_file.file)?.f_type;
        if u64::try_from(kind) == Ok(TMPFS_MAGIC) {
            bail!("{} is on tmpfs: syncing costs nothing there and says nothing about a disk", dir.display());
        }
        sync_file.prepare()?;
        Ok(sync_file)
    }

    fn prepare(&mut self) -> anyhow::Result<()> {
        self.position = 0;
        self.file.set_len(0)?;
        if self.prepare != Prepare::Empty {
            fallocate(&self.file, FallocateFlags::empty(), 0, self.len)
                .with_context(|| format!("{} MiB cannot be reserved", self.len >> 20))?;
        }
        if self.prepare == Prepare::ZeroFilled {
            let zeros = vec![0; CHUNK];
            let mut at = 0;
            while at < self.len {
                let chunk = zeros.len().min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
                self.file.write_all_at(&zeros[..chunk], at)?;
                at += chunk as u64;
            }
        }
        self.file.sync_all()?;
        Ok(())
    }

    /// Whether `bytes` more still fit.
    fn has_room(&self, bytes: usize) -> bool {
        self.position + bytes as u64 <= self.len
    }

    /// Appends and waits for the disk. A full file is started again from its beginning.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if !self.has_room(bytes.len()) {
            self.position = 0;
        }
        self.file.write_all_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        self.file.sync_data()?;
        Ok(())
    }
}

pub(crate) fn measure(options: &Fsync) -> anyhow::Result<FsyncSummary> {
    let len = u64::from(options.file_mib) << 20;
    if u64::from(options.size) > len {
        bail!("one append of {} bytes does not fit into a file of {} MiB", options.size, options.file_mib);
    }
    let mut file = SyncFile::create(&options.dir, options.prepare, len)?;
    let bytes = send::body(options.size);
    let mut latency = measure::histogram();

    let clock = Clock::start();
    let mut window = Window::after_warmup(clock.now(), options.warmup, options.seconds);
    loop {
        if !file.has_room(bytes.len()) {
            let began = clock.now();
            file.prepare()?;
            window = window.shifted_by(clock.now() - began);
        }
        let began = Instant::now();
        file.append(&bytes)?;
        let now = clock.now();
        if window.contains(now) {
            latency.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        } else if now >= window.end {
            break;
        }
    }

    let appends = latency.len();
    Ok(FsyncSummary {
        size: options.size,
        prepare: format!("{:?}", options.prepare),
        appends,
        appends_per_s: Approximate(appends).per(window.seconds()),
        latency_ns: Latency::of(&latency),
    })
}
