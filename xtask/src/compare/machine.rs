//! What the figures were taken on.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise, statvfs};

/// The file system that a folder is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) kind: String,
    pub(crate) device: String,
    pub(crate) mount: String,
    pub(crate) options: String,
}

impl FileSystem {
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
        find(&fs::read_to_string("/proc/self/mounts")?, &dir)
            .context("the folder is on no mounted file system")
    }

    /// In memory: `fdatasync` costs nothing there, so figures of SYNC_FLUSH would mean nothing.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }
}

/// The mount with the longest path above the folder; of equal ones the last, which covers the others.
fn find(mounts: &str, dir: &Path) -> Option<FileSystem> {
    let mut best: Option<FileSystem> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(mount), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let longer = best.as_ref().is_none_or(|best| mount.len() >= best.mount.len());
        if dir.starts_with(mount) && longer {
            best = Some(FileSystem {
                kind: kind.to_owned(),
                device: device.to_owned(),
                mount: mount.to_owned(),
                options: fields.next().unwrap_or_default().to_owned(),
            });
        }
    }
    best
}

/// How full a disk is, as `df` and brokers count: what is reserved for root is no space.
pub(crate) fn used_percent(dir: &Path) -> Result<u64> {
    let space = statvfs(dir)?;
    let used = space.f_blocks.saturating_sub(space.f_bfree);
    Ok(100 * used / (used + space.f_bavail).max(1))
}

/// Takes the files of a folder out of the page cache.
pub(crate) fn evict(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            evict(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            // What is dirty stays.
            file.sync_data()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn meminfo_mib(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 10)
}

/// One line about the machine.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = meminfo_mib("MemTotal").map_or_else(String::new, |mib| format!("{} GiB memory", mib >> 10));
    format!("{cores} cores ({model}), {memory}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

/// First line that a program prints, wherever it prints it.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return format!("{program}: not found");
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_holds_the_folder() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw,nosuid 0 0\n/dev/vdb /tmp/data xfs rw 0 0\n";
        let kind = |dir: &str| find(mounts, Path::new(dir)).unwrap().kind;
        assert_eq!(kind("/home/x"), "ext4");
        assert_eq!(kind("/tmp/x"), "tmpfs");
        assert_eq!(kind("/tmp/data/x"), "xfs");
        assert_eq!(kind("/tmpx"), "ext4");
        assert!(find(mounts, Path::new("/tmp/x")).unwrap().is_memory());
    }
}
