//! A small file system in a mount namespace of its own. It is gone with the value, and also if the test's process dies:
//! whoever holds the namespace waits for the end of a pipe from here.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Tmpfs,
    /// In a file, through a loop device. Only root may do that.
    Ext4,
}

/// $1 is the directory to mount on, $2 the kind, $3 its size in MiB, $4 a place for the file with the file system.
const HOLDER: &str = r#"
set -eu
case $2 in
    Tmpfs) mount -t tmpfs -o size="$3"m tmpfs "$1" ;;
    Ext4)
        truncate -s "$3"M "$4"
        mkfs.ext4 -q -m 0 "$4"
        mount -o loop "$4" "$1"
        ;;
esac
echo mounted
cat > /dev/null
"#;

pub(crate) struct SmallDisk {
    holder: Child,
    directory: TempDir,
}

impl SmallDisk {
    /// # Errors
    /// Why nothing can be mounted here.
    pub(crate) fn mount(kind: Kind, mebibytes: u64) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("disk");
        std::fs::create_dir(&place).unwrap();
        let mut unshare = Command::new("unshare");
        if !is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", HOLDER, "sh"]);
        unshare
            .arg(&place)
            .args([format!("{kind:?}"), mebibytes.to_string()])
            .arg(directory.path().join("image"));
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = unshare.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "mounted\n" {
            let mut said = String::new();
            let _ = holder.stderr.take().unwrap().read_to_string(&mut said);
            let _ = holder.wait();
            return Err(format!("cannot mount {kind:?}: {}", said.trim()));
        }
        Ok(Self { holder, directory })
    }

    /// Its root, as processes outside see it.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.directory.path().strip_prefix("/").unwrap()).join("disk")
    }

    /// The same command, run where the disk is mounted. Paths in it are those of [`SmallDisk::inside`].
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut entering = Command::new("nsenter");
        entering.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if !is_root() {
            entering.args(["--user", "--preserve-credentials"]);
        }
        entering.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        entering
    }

    /// Its root, as processes that entered see it.
    pub(crate) fn inside(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Puts a file of this size on it.
    pub(crate) fn put_ballast(&self, name: &str, bytes: u64) {
        let file = File::create(self.path().join(name)).unwrap();
        let left = write_zeros(&file, bytes, 64 << 10);
        assert_eq!(left, 0, "the disk is too small for this test");
    }

    /// Leaves no free block.
    pub(crate) fn fill(&self, name: &str) {
        let file = File::create(self.path().join(name)).unwrap();
        for chunk in [64 << 10, 4 << 10, 512] {
            write_zeros(&file, u64::MAX, chunk);
        }
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Writes so many zeros and returns how many did not fit.
fn write_zeros(mut file: &File, bytes: u64, chunk: usize) -> u64 {
    let zeros = vec![0; chunk];
    let mut left = bytes;
    while left > 0 {
        match file.write(&zeros).and_then(|written| file.sync_data().map(|()| written)) {
            Ok(written) => left = left.saturating_sub(written as u64),
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => panic!("{error}"),
        }
    }
    left
}

fn is_root() -> bool {
    let own = Path::new("/proc/self");
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(own).unwrap()) == 0
}
