//! A disk in memory that keeps no promise but those of [`ferromq_store::disk`].
//!
//! Every file has two contents: what this process reads (the page cache) and what a power cut leaves (the disk). A write
//! changes the first; pages reach the second when a sync says so, or earlier, one by one, whenever the seed likes. A
//! power cut decides for every page that was not synced: lost, kept, or torn into sectors, or at any byte. Names behave
//! likewise: each change of a directory that was not synced happened or did not. A failed sync forgets which pages it
//! did not write, as Linux does, so that the next one succeeds without them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::types::TimestampMs;
use ferromq_store::clock::Clock;
use ferromq_store::disk::{Access, DirEntry, Disk, DiskFile, DiskLock, Fill, Space};
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::random::Random;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What goes wrong on purpose, to see whether anybody notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// Syncs of this file, or of files below this directory, do nothing.
    SkipSyncData(&'static str),
    /// Syncs of directories whose path ends like this do nothing.
    SkipSyncDir(&'static str),
    /// Queue files are synced only after the next checkpoint was written: the checkpoint comes first.
    CheckpointFirst,
}

/// Which calls a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultyCall {
    /// Writes to files.
    Write,
    /// Syncs of files.
    SyncData,
    /// Syncs of directories.
    SyncDir,
    /// Creations of files.
    Create,
    /// Reads that may wait.
    Read,
}

/// One failure to come.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which calls count.
    pub call: FaultyCall,
    /// Calls that still succeed.
    pub after: u64,
    /// Calls that then fail.
    pub times: u64,
    /// With what.
    pub kind: ErrorKind,
}

/// How everything ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the machine goes on.
    Kill,
    /// The machine loses power.
    PowerCut,
}

type InodeId = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(InodeId),
    Dir,
}

#[derive(Default)]
struct Inode {
    cached: Vec<u8>,
    on_disk: Vec<u8>,
    dirty: BTreeSet<usize>,
    allocated: BTreeSet<usize>,
    modified: i64,
    /// Tears come at multiples of so many bytes; 0 stands for 1.
    grain: usize,
}

/// Java's checkpoint relies on numbers of eight bytes being old or new, never both.
const CHECKPOINT_GRAIN: usize = 8;
/// No device writes less at once. In a log without checksums over whole records, a smaller loss could hit nothing but a
/// number that nothing covers, the id of the queue for example, and nobody could notice.
const LOG_GRAIN: usize = 64;

impl Inode {
    fn cut(&self, at: usize) -> usize {
        at - at % self.grain.max(1)
    }

    /// How much of a write happened that did not come to its end.
    fn interrupted(&self, len: usize) -> usize {
        if self.grain == CHECKPOINT_GRAIN { self.cut(len) } else { len }
    }
}

#[derive(Default)]
struct Dir {
    entries: BTreeMap<String, Node>,
    on_disk: BTreeMap<String, Node>,
    /// Changes since the last sync: the name, and what it stood for afterwards.
    pending: Vec<(String, Option<Node>)>,
}

impl Dir {
    fn set(&mut self, name: &str, node: Option<Node>) {
        match node {
            Some(node) => self.entries.insert(name.to_owned(), node),
            None => self.entries.remove(name),
        };
        self.pending.push((name.to_owned(), node));
    }

    fn sync(&mut self) {
        self.on_disk = self.entries.clone();
        self.pending.clear();
    }
}

struct State {
    random: Random,
    dirs: BTreeMap<PathBuf, Dir>,
    inodes: Vec<Inode>,
    locks: BTreeSet<PathBuf>,
    /// Handles of earlier lives are of no use.
    life: u64,
    dead: bool,
    dies_in: Option<u64>,
    faults: Vec<Fault>,
    sabotage: Sabotage,
    postponed: Vec<InodeId>,
    capacity: u64,
    log_grain: usize,
    calls: u64,
}

/// What the next call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCall {
    /// Opens or creates a file.
    Opens,
    /// Reads a file, waiting for the disk.
    Reads,
    /// Anything else.
    Other,
}

/// What runs between the calls of others.
type Interlude = Arc<dyn Fn(&Path, NextCall) + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    clock: Arc<SimClock>,
    interlude: Mutex<Option<Interlude>>,
}

/// See the head of this file. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

fn crashed() -> io::Error {
    io::Error::other("the simulated process is dead")
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(random: Random, clock: Arc<SimClock>, sabotage: Sabotage) -> Self {
        let mut dirs = BTreeMap::new();
        dirs.insert(PathBuf::from("/"), Dir::default());
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                random,
                dirs,
                inodes: Vec::new(),
                locks: BTreeSet::new(),
                life: 0,
                dead: false,
                dies_in: None,
                faults: Vec::new(),
                sabotage,
                postponed: Vec::new(),
                capacity: u64::MAX,
                log_grain: LOG_GRAIN,
                calls: 0,
            }),
            clock,
            interlude: Mutex::default(),
        }))
    }

    /// Has something run before every call, as if on another thread.
    pub fn set_interlude(&self, interlude: Option<Interlude>) {
        *self.0.interlude.lock() = interlude;
    }

    /// The process dies within the call after so many others.
    pub fn die_in(&self, calls: u64) {
        self.0.state.lock().dies_in = Some(calls);
    }

    /// Whether it has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.state.lock().dead
    }

    /// Adds a failure to come.
    pub fn fail(&self, fault: Fault) {
        self.0.state.lock().faults.push(fault);
    }

    /// Neither a failure nor a death is to come any more.
    pub fn heal(&self) {
        let mut state = self.0.state.lock();
        state.faults.clear();
        state.dies_in = None;
    }

    /// Bytes that fit.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.state.lock().capacity = bytes;
    }

    /// From here on new files of the log tear at any byte.
    pub fn tear_log_anywhere(&self) {
        self.0.state.lock().log_grain = 1;
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.state.lock().used()
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.state.lock().calls
    }

    /// Ends the life of everything that holds handles, and with a power cut loses what was not synced.
    pub fn crash(&self, how: Crash) {
        let mut state = self.0.state.lock();
        state.life += 1;
        state.dead = false;
        state.dies_in = None;
        state.faults.clear();
        state.locks.clear();
        if how == Crash::PowerCut {
            state.postponed.clear();
            state.lose_power();
        }
    }

    /// Content of a file as a process would read it now.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.state.lock();
        state.file(path).ok().map(|inode| state.inodes[inode].cached.clone())
    }

    /// Paths of all files below a directory.
    #[must_use]
    pub fn files(&self, below: &Path) -> Vec<PathBuf> {
        let state = self.0.state.lock();
        let mut files = Vec::new();
        for (dir, content) in state.dirs.iter().filter(|(dir, _)| dir.starts_with(below)) {
            let names = content.entries.iter().filter(|(_, node)| matches!(node, Node::File(_)));
            files.extend(names.map(|(name, _)| dir.join(name)));
        }
        files
    }

    /// Runs the interlude, then counts the call; the state for what the call does.
    fn call(&self, path: &Path) -> parking_lot::MutexGuard<'_, State> {
        self.next_call(path, NextCall::Other)
    }

    fn next_call(&self, path: &Path, next: NextCall) -> parking_lot::MutexGuard<'_, State> {
        let interlude = self.0.interlude.lock().clone();
        if let Some(interlude) = interlude {
            interlude(path, next);
        }
        let mut state = self.0.state.lock();
        state.calls += 1;
        state
    }

    fn open_inode(&self, state: &State, path: &Path, inode: InodeId) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), inode, life: state.life })
    }
}

/// What a call comes to.
enum Fate {
    Works,
    Fails(io::Error),
    /// The process dies in the middle of it.
    Dies,
}

impl State {
    fn fate(&mut self, call: FaultyCall) -> Fate {
        if self.dead {
            return Fate::Fails(crashed());
        }
        if let Some(left) = &mut self.dies_in {
            if *left == 0 {
                self.dead = true;
                return Fate::Dies;
            }
            *left -= 1;
        }
        for fault in &mut self.faults {
            if fault.call != call || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            return Fate::Fails(fault.kind.into());
        }
        Fate::Works
    }

    /// The fate of a call that either happens or does not.
    fn simple_fate(&mut self, call: FaultyCall) -> io::Result<()> {
        match self.fate(call) {
            Fate::Works => Ok(()),
            Fate::Fails(error) => Err(error),
            // Dead from here on; whether this last call still happened is open.
            Fate::Dies if self.random.one_in(2) => Ok(()),
            Fate::Dies => Err(crashed()),
        }
    }

    fn used(&self) -> u64 {
        self.inodes.iter().map(|inode| (inode.allocated.len() * PAGE) as u64).sum()
    }

    fn node(&self, path: &Path) -> Option<Node> {
        if self.dirs.contains_key(path) {
            return Some(Node::Dir);
        }
        let name = path.file_name()?.to_str()?;
        self.dirs.get(path.parent()?)?.entries.get(name).copied()
    }

    fn file(&self, path: &Path) -> io::Result<InodeId> {
        match self.node(path) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Dir) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn set_name(&mut self, path: &Path, node: Option<Node>) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidInput)?;
        let dir = path.parent().and_then(|dir| self.dirs.get_mut(dir)).ok_or(ErrorKind::NotFound)?;
        dir.set(name, node);
        Ok(())
    }

    fn new_inode(&mut self, inode: Inode) -> InodeId {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    /// Takes space for pages of a file; nothing if there is none left.
    fn allocate(&mut self, inode: InodeId, pages: std::ops::Range<usize>) -> io::Result<()> {
        let missing = pages.clone().filter(|page| !self.inodes[inode].allocated.contains(page)).count();
        if self.capacity != u64::MAX && self.used() + (missing * PAGE) as u64 > self.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        self.inodes[inode].allocated.extend(pages);
        Ok(())
    }

    fn write(&mut self, inode: InodeId, bytes: &[u8], at: usize, now: i64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let pages = at / PAGE..(at + bytes.len()).div_ceil(PAGE);
        self.allocate(inode, pages.clone())?;
        let target = &mut self.inodes[inode];
        if target.cached.len() < at + bytes.len() {
            target.cached.resize(at + bytes.len(), 0);
        }
        target.cached[at..at + bytes.len()].copy_from_slice(bytes);
        target.dirty.extend(pages);
        target.modified = now;
        if self.random.one_in(12) {
            let dirty: Vec<usize> = self.inodes[inode].dirty.iter().copied().collect();
            for page in dirty {
                if self.random.one_in(2) {
                    self.write_back(inode, page);
                }
            }
        }
        Ok(())
    }

    /// Brings a page to the disk as it is now.
    fn write_back(&mut self, inode: InodeId, page: usize) {
        let inode = &mut self.inodes[inode];
        inode.dirty.remove(&page);
        let range = page * PAGE..((page + 1) * PAGE).min(inode.cached.len());
        if range.start >= inode.cached.len() {
            return;
        }
        if inode.on_disk.len() < range.end {
            inode.on_disk.resize(range.end, 0);
        }
        inode.on_disk[range.clone()].copy_from_slice(&inode.cached[range]);
    }

    fn sync_inode(&mut self, inode: InodeId) {
        let dirty: Vec<usize> = self.inodes[inode].dirty.iter().copied().collect();
        for page in dirty {
            self.write_back(inode, page);
        }
        let len = self.inodes[inode].cached.len();
        self.inodes[inode].on_disk.resize(len, 0);
    }

    fn lose_power(&mut self) {
        for dir in self.dirs.values_mut() {
            let pending = std::mem::take(&mut dir.pending);
            let mut survived = dir.on_disk.clone();
            let names: BTreeSet<&String> = pending.iter().map(|(name, _)| name).collect();
            for name in names {
                // Any of the states the name went through.
                let states: Vec<Option<Node>> =
                    pending.iter().filter(|(other, _)| other == name).map(|(_, node)| *node).collect();
                let chosen = self.random.index(states.len() + 1);
                if let Some(state) = chosen.checked_sub(1).map(|place| states[place]) {
                    match state {
                        Some(node) => survived.insert(name.clone(), node),
                        None => survived.remove(name),
                    };
                }
            }
            dir.entries = survived.clone();
            dir.on_disk = survived;
        }
        // A directory whose name is gone is gone with everything in it.
        let lost: Vec<PathBuf> = self
            .dirs
            .keys()
            .filter(|dir| {
                let known = dir.parent().zip(dir.file_name().and_then(|name| name.to_str()));
                known.is_some_and(|(parent, name)| {
                    self.dirs.get(parent).is_none_or(|parent| parent.entries.get(name) != Some(&Node::Dir))
                })
            })
            .cloned()
            .collect();
        self.dirs.retain(|dir, _| !lost.iter().any(|lost| dir.starts_with(lost)));
        // And a name whose directory is gone is a directory no more.
        let dirs: BTreeSet<PathBuf> = self.dirs.keys().cloned().collect();
        for (path, dir) in &mut self.dirs {
            dir.entries.retain(|name, node| *node != Node::Dir || dirs.contains(&path.join(name)));
            dir.on_disk = dir.entries.clone();
        }
        for inode in &mut self.inodes {
            tear(inode, &mut self.random);
        }
    }
}

/// Decides what of a file's unsynced pages is on the disk.
fn tear(inode: &mut Inode, random: &mut Random) {
    let len = if random.one_in(2) { inode.cached.len() } else { inode.on_disk.len() };
    inode.on_disk.resize(len, 0);
    for page in std::mem::take(&mut inode.dirty) {
        let range = page * PAGE..((page + 1) * PAGE).min(len.min(inode.cached.len()));
        if range.is_empty() {
            continue;
        }
        match random.below(4) {
            0 => {}
            1 => inode.on_disk[range.clone()].copy_from_slice(&inode.cached[range]),
            2 => {
                for start in range.clone().step_by(SECTOR) {
                    let sector = start..(start + SECTOR).min(range.end);
                    if random.one_in(2) {
                        inode.on_disk[sector.clone()].copy_from_slice(&inode.cached[sector]);
                    }
                }
            }
            _ => {
                let cut = inode.cut(range.start + random.index(range.len() + 1));
                let part = if random.one_in(2) { range.start..cut } else { cut..range.end };
                inode.on_disk[part.clone()].copy_from_slice(&inode.cached[part]);
            }
        }
    }
    inode.cached.clone_from(&inode.on_disk);
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, _access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.next_call(path, NextCall::Opens);
        state.simple_fate(FaultyCall::Read)?;
        let inode = state.file(path)?;
        Ok(self.open_inode(&state, path, inode))
    }

    fn create(&self, path: &Path, len: u64, fill: Fill, _staging: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.next_call(path, NextCall::Opens);
        state.simple_fate(FaultyCall::Create)?;
        if state.node(path).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let modified = self.0.clock.now().0;
        // The length is as durable as the name, that is the promise of this call.
        let grain = if path.ends_with("checkpoint") {
            CHECKPOINT_GRAIN
        } else if path.parent().is_some_and(|dir| dir.ends_with("commitlog")) {
            state.log_grain
        } else {
            1
        };
        let inode =
            Inode { cached: vec![0; len], on_disk: vec![0; len], modified, grain, ..Inode::default() };
        let inode = state.new_inode(inode);
        if fill == Fill::Reserved {
            state.allocate(inode, 0..len.div_ceil(PAGE))?;
        }
        state.set_name(path, Some(Node::File(inode)))?;
        Ok(self.open_inode(&state, path, inode))
    }

    fn create_small(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.call(path);
        state.simple_fate(FaultyCall::Create)?;
        let inode = match state.node(path) {
            Some(Node::File(inode)) => {
                let file = &mut state.inodes[inode];
                file.cached.clear();
                file.dirty.clear();
                // Truncation may reach the disk long before what is written next, and on its own.
                if state.random.one_in(2) {
                    state.inodes[inode].on_disk.clear();
                }
                inode
            }
            Some(Node::Dir) => return Err(ErrorKind::IsADirectory.into()),
            None => {
                let inode = state.new_inode(Inode::default());
                state.set_name(path, Some(Node::File(inode)))?;
                inode
            }
        };
        state.inodes[inode].modified = self.0.clock.now().0;
        Ok(self.open_inode(&state, path, inode))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(path);
        state.simple_fate(FaultyCall::Create)?;
        let missing: Vec<PathBuf> =
            path.ancestors().take_while(|dir| !state.dirs.contains_key(*dir)).map(Path::to_owned).collect();
        for dir in missing.iter().rev() {
            state.set_name(dir, Some(Node::Dir))?;
            state.dirs.insert(dir.clone(), Dir::default());
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.call(dir);
        state.simple_fate(FaultyCall::Read)?;
        let Some(content) = state.dirs.get(dir) else { return Ok(Vec::new()) };
        Ok(content.entries.iter().map(|(name, node)| state.describe(name, *node)).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<DirEntry>> {
        let mut state = self.call(path);
        state.simple_fate(FaultyCall::Read)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(state.node(path).map(|node| state.describe(name, node)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(from);
        state.simple_fate(FaultyCall::Create)?;
        let inode = state.file(from)?;
        if state.node(to) == Some(Node::File(inode)) {
            return Ok(());
        }
        state.set_name(to, Some(Node::File(inode)))?;
        state.set_name(from, None)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(from);
        state.simple_fate(FaultyCall::Create)?;
        let inode = state.file(from)?;
        if state.node(to).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.set_name(to, Some(Node::File(inode)))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(path);
        state.simple_fate(FaultyCall::Create)?;
        let inode = state.file(path)?;
        state.set_name(path, None)?;
        let linked =
            state.dirs.values().any(|dir| dir.entries.values().any(|node| *node == Node::File(inode)));
        if !linked {
            state.inodes[inode].allocated.clear();
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(path);
        state.simple_fate(FaultyCall::Create)?;
        match state.dirs.get(path) {
            None => return Err(ErrorKind::NotFound.into()),
            Some(dir) if !dir.entries.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
            Some(_) => {}
        }
        state.dirs.remove(path);
        state.set_name(path, None)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.call(dir);
        let fate = state.fate(FaultyCall::SyncDir);
        if let Sabotage::SkipSyncDir(name) = state.sabotage
            && dir.ends_with(name)
        {
            return Ok(());
        }
        if !state.dirs.contains_key(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        match fate {
            Fate::Works => {}
            Fate::Fails(error) => return Err(error),
            Fate::Dies => return Err(crashed()),
        }
        if let Some(content) = state.dirs.get_mut(dir) {
            content.sync();
        }
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let mut state = self.call(path);
        state.simple_fate(FaultyCall::Read)?;
        let free = state.capacity.saturating_sub(state.used());
        Ok(Space { total: state.capacity, free, available: free })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut state = self.call(path);
        state.simple_fate(FaultyCall::Create)?;
        let inode = match state.file(path) {
            Ok(inode) => inode,
            Err(_) => {
                let inode = state.new_inode(Inode::default());
                state.set_name(path, Some(Node::File(inode)))?;
                inode
            }
        };
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let file = SimFile { disk: self.clone(), path: path.to_owned(), inode, life: state.life };
        Ok(Some(Box::new(SimLock { file })))
    }
}

impl State {
    fn describe(&self, name: &str, node: Node) -> DirEntry {
        let (is_dir, len, modified) = match node {
            Node::Dir => (true, 0, 0),
            Node::File(inode) => (false, self.inodes[inode].cached.len() as u64, self.inodes[inode].modified),
        };
        DirEntry { name: name.to_owned(), is_dir, len, modified: TimestampMs(modified) }
    }
}

struct SimLock {
    file: SimFile,
}

impl DiskLock for SimLock {
    fn file(&self) -> &dyn DiskFile {
        &self.file
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.file.disk.0.state.lock();
        if state.life == self.file.life {
            state.locks.remove(&self.file.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: InodeId,
    life: u64,
}

impl SimFile {
    fn call(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        self.next_call(NextCall::Other)
    }

    fn next_call(&self, next: NextCall) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.disk.next_call(&self.path, next);
        if state.life == self.life { Ok(state) } else { Err(crashed()) }
    }

    fn now(&self) -> i64 {
        self.disk.0.clock.now().0
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut state = self.call()?;
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let at = usize::try_from(at).map_err(io::Error::other)?;
        match state.fate(FaultyCall::Write) {
            Fate::Works => state.write(self.inode, &bytes, at, self.now()),
            Fate::Fails(error) => {
                if !state.dead {
                    let part = state.random.index(bytes.len() + 1);
                    let part = state.inodes[self.inode].interrupted(part);
                    state.write(self.inode, &bytes[..part], at, self.now())?;
                }
                Err(error)
            }
            Fate::Dies => {
                let part = state.random.index(bytes.len() + 1);
                let part = state.inodes[self.inode].interrupted(part);
                state.write(self.inode, &bytes[..part], at, self.now())?;
                Err(crashed())
            }
        }
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.next_call(NextCall::Reads)?;
        state.simple_fate(FaultyCall::Read)?;
        Ok(read(&state.inodes[self.inode].cached, buf, at))
    }

    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let mut state = self.call()?;
        if state.dead {
            return Err(crashed());
        }
        if state.random.one_in(3) {
            return Ok(None);
        }
        Ok(Some(read(&state.inodes[self.inode].cached, buf, at)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.call()?;
        let fate = state.fate(FaultyCall::SyncData);
        match state.sabotage {
            Sabotage::SkipSyncData(below)
                if self.path.ancestors().any(|dir| dir.ends_with(below)) && matches!(fate, Fate::Works) =>
            {
                return Ok(());
            }
            Sabotage::CheckpointFirst if matches!(fate, Fate::Works) => {
                if self.path.ancestors().any(|dir| dir.ends_with("consumequeue")) {
                    state.postponed.push(self.inode);
                    return Ok(());
                }
                if self.path.ends_with("checkpoint") {
                    state.sync_inode(self.inode);
                    // Here the power may fail. Whoever is lucky gets the rest.
                    if state.random.one_in(2) {
                        for inode in std::mem::take(&mut state.postponed) {
                            state.sync_inode(inode);
                        }
                    }
                    return Ok(());
                }
            }
            _ => {}
        }
        match fate {
            Fate::Works => {
                state.sync_inode(self.inode);
                Ok(())
            }
            Fate::Fails(error) if state.dead => Err(error),
            Fate::Fails(error) => {
                let dirty = std::mem::take(&mut state.inodes[self.inode].dirty);
                for page in dirty {
                    if state.random.one_in(2) {
                        state.write_back(self.inode, page);
                    }
                    // Otherwise the kernel thinks from now on that it was written.
                }
                Err(error)
            }
            Fate::Dies => {
                let dirty: Vec<usize> = state.inodes[self.inode].dirty.iter().copied().collect();
                for page in dirty {
                    if state.random.one_in(2) {
                        state.write_back(self.inode, page);
                    }
                }
                Err(crashed())
            }
        }
    }

    fn start_write_back(&self, at: u64, len: u64) {
        let Ok(mut state) = self.call() else { return };
        if state.dead {
            return;
        }
        let page = |position: u64| usize::try_from(position).unwrap_or(usize::MAX) / PAGE;
        let range = page(at)..page(at.saturating_add(len));
        let dirty: Vec<usize> = state.inodes[self.inode].dirty.range(range).copied().collect();
        for page in dirty {
            if state.random.one_in(2) {
                state.write_back(self.inode, page);
            }
        }
    }

    fn will_need(&self, _at: u64, _len: u64) {}

    fn dont_need(&self, _at: u64, _len: u64) {}

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.call()?;
        state.simple_fate(FaultyCall::Write)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let modified = self.now();
        let inode = &mut state.inodes[self.inode];
        inode.cached.resize(len, 0);
        inode.modified = modified;
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        let mut state = self.call()?;
        state.simple_fate(FaultyCall::Read)?;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let bytes = &state.inodes[self.inode].cached;
        let Some(rest) = bytes.get(at..) else { return Ok(None) };
        let found = rest.iter().position(|byte| *byte != 0).map(|place| at + place);
        // As exact as a map of holes: to the page.
        Ok(found.map(|place| (place - place % PAGE).max(at) as u64))
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.call()?;
        state.simple_fate(FaultyCall::Read)?;
        Ok(state.inodes[self.inode].cached.len() as u64)
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.write_at(&[IoSlice::new(&vec![0; usize::try_from(len).map_err(io::Error::other)?])], at)
    }
}

fn read(bytes: &[u8], buf: &mut [u8], at: u64) -> usize {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let rest = bytes.get(at..).unwrap_or_default();
    let len = rest.len().min(buf.len());
    buf[..len].copy_from_slice(&rest[..len]);
    len
}
