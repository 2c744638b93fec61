//! Small tables on disk (`config/topics.json` and its like), replaced as a whole, with Java's `.bak` beside them.
//!
//! A save writes a new file in our own directory, syncs it, keeps the present one as `.bak`, renames and syncs the
//! directory; at any moment the name holds a whole table, the last saved one or the one before. A load that finds a
//! damaged table takes the `.bak` as Java does, but keeps what it found instead of deleting it.

use std::fmt::Display;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::clock::Clock;
use crate::disk::{Access, Disk};
use crate::layout::Layout;

/// One table's file.
#[derive(Clone)]
pub struct StateFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    backup: PathBuf,
    staging: PathBuf,
    /// Where damaged tables are kept.
    damaged: PathBuf,
    name: String,
}

/// A table could not be read or written.
#[derive(Debug, Error)]
pub enum StateFileError {
    /// The disk refused. After a failed save the old table is still in force.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Neither the table nor its backup can be understood. Mend or remove the backup by hand: starting with an empty
    /// table would lose what it holds.
    #[error("{} cannot be understood: {reason}", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where a loaded table came from.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// The file itself.
    Current(T),
    /// The `.bak`, because the file was absent or damaged: the last save before a crash may be missing.
    Backup(T),
    /// Neither exists: a new store, or a table never saved.
    Absent,
}

impl<T> Loaded<T> {
    /// The table, wherever it came from.
    pub fn into_option(self) -> Option<T> {
        match self {
            Self::Current(table) | Self::Backup(table) => Some(table),
            Self::Absent => None,
        }
    }
}

impl StateFile {
    /// The table called `name` in the `config` directory.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, layout: &Layout, name: &str) -> Self {
        let path = layout.config().join(name);
        Self {
            disk,
            backup: with_suffix(&path, ".bak"),
            path,
            staging: layout.staging(),
            damaged: layout.ours().join("damaged"),
            name: name.to_owned(),
        }
    }

    /// The file this is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the table, or its backup when the table is absent, empty or damaged. A damaged table is moved to
    /// `ferromq/damaged/`, so that the next save does not make it the backup.
    ///
    /// # Errors
    /// See [`StateFileError`].
    pub fn load<T, E: Display>(
        &self,
        clock: &dyn Clock,
        parse: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<Loaded<T>, StateFileError> {
        let mut main_is_damaged = false;
        if let Some(text) = self.read(&self.path)? {
            match parse_table(&text, &parse) {
                Ok(table) => return Ok(Loaded::Current(table)),
                Err(reason) => {
                    let kept = self.damaged.join(format!("{}-{}", self.name, clock.now()));
                    tracing::error!(file = %self.path.display(), kept_as = %kept.display(), reason,
                        "table is damaged, falling back to its backup");
                    self.keep_damaged(&kept)?;
                    main_is_damaged = true;
                }
            }
        }
        let Some(text) = self.read(&self.backup)? else {
            if main_is_damaged {
                tracing::error!(file = %self.path.display(), "damaged table has no backup, starting empty");
            }
            return Ok(Loaded::Absent);
        };
        match parse_table(&text, &parse) {
            Ok(table) => Ok(Loaded::Backup(table)),
            Err(reason) => Err(StateFileError::Damaged { path: self.backup.clone(), reason }),
        }
    }

    /// Replaces the table. When this returns the new one is durable.
    ///
    /// # Errors
    /// The old table stays in force, except when only the last sync failed: then either may be there after a crash.
    pub fn save(&self, text: &[u8]) -> Result<(), StateFileError> {
        let disk = &self.disk;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        disk.create_dir_all(dir).map_err(io_error("create", dir))?;
        disk.create_dir_all(&self.staging).map_err(io_error("create", &self.staging))?;

        let staged = self.staging.join(&self.name);
        let write = || {
            let file = disk.create_small(&staged)?;
            file.write_at(&[IoSlice::new(text)], 0)?;
            file.sync_data()
        };
        write().map_err(io_error("write", &staged))?;

        if disk.metadata(&self.path).map_err(io_error("look at", &self.path))?.is_some() {
            // A second name first, so that the table never lacks its own.
            let second = self.staging.join(format!("{}.bak", self.name));
            let back_up = || {
                if disk.metadata(&second)?.is_some() {
                    disk.remove_file(&second)?;
                }
                disk.hard_link(&self.path, &second)?;
                disk.rename(&second, &self.backup)
            };
            back_up().map_err(io_error("write", &self.backup))?;
        }
        disk.rename(&staged, &self.path).map_err(io_error("replace", &self.path))?;
        disk.sync_dir(dir).map_err(io_error("sync", dir))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StateFileError> {
        let read = || {
            if self.disk.metadata(path)?.is_none_or(|entry| entry.is_dir) {
                return Ok(None);
            }
            let file = self.disk.open(path, Access::Read)?;
            let mut text = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
            let read = file.read_at(&mut text, 0)?;
            text.truncate(read);
            Ok(Some(text))
        };
        read().map_err(io_error("read", path))
    }

    fn keep_damaged(&self, kept: &Path) -> Result<(), StateFileError> {
        let keep = || {
            self.disk.create_dir_all(&self.damaged)?;
            self.disk.rename(&self.path, kept)?;
            self.disk.sync_dir(&self.damaged)?;
            self.disk.sync_dir(self.path.parent().unwrap_or(Path::new(".")))
        };
        keep().map_err(io_error("move away", &self.path))
    }
}

fn parse_table<T, E: Display>(text: &[u8], parse: impl Fn(&[u8]) -> Result<T, E>) -> Result<T, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    parse(text).map_err(|error| error.to_string())
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateFileError + 'a {
    move |source| StateFileError::Io { action, path: path.to_owned(), source }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::SystemClock;
    use crate::disk::RealDisk;

    struct Scene {
        dir: tempfile::TempDir,
        file: StateFile,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::new(dir.path(), None);
            let file = StateFile::new(Arc::new(RealDisk::default()), &layout, "topics.json");
            Self { dir, file }
        }

        fn load(&self) -> Result<Loaded<String>, StateFileError> {
            self.file.load(&SystemClock::default(), |text| {
                let text = String::from_utf8(text.to_vec()).map_err(|error| error.to_string())?;
                if text.starts_with('{') { Ok(text) } else { Err("not a table".to_owned()) }
            })
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }
    }

    #[test]
    fn the_saved_table_is_loaded_and_the_one_before_is_the_backup() {
        let scene = Scene::new();
        assert_eq!(scene.load().unwrap(), Loaded::Absent);
        for text in ["{1}", "{2}", "{3}"] {
            scene.file.save(text.as_bytes()).unwrap();
        }
        assert_eq!(scene.load().unwrap(), Loaded::Current("{3}".to_owned()));
        assert_eq!(fs::read(scene.path("config/topics.json.bak")).unwrap(), b"{2}");
        assert_eq!(fs::read_dir(scene.path("config")).unwrap().count(), 2, "nothing of ours lies there");
        assert_eq!(fs::read_dir(scene.path("ferromq/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn absent_empty_and_damaged_tables_fall_back_to_the_backup() {
        for damage in [None, Some(&b""[..]), Some(b"\0\0\0"), Some(b"[half")] {
            let scene = Scene::new();
            scene.file.save(b"{old}").unwrap();
            scene.file.save(b"{new}").unwrap();
            match damage {
                None => fs::remove_file(scene.path("config/topics.json")).unwrap(),
                Some(bytes) => fs::write(scene.path("config/topics.json"), bytes).unwrap(),
            }
            assert_eq!(scene.load().unwrap(), Loaded::Backup("{old}".to_owned()), "{damage:?}");
            if let Some(bytes) = damage {
                let kept = fs::read_dir(scene.path("ferromq/damaged")).unwrap().next().unwrap().unwrap();
                assert_eq!(fs::read(kept.path()).unwrap(), bytes, "what was found is kept");
            }
            // The next save must not turn the damage into the backup.
            scene.file.save(b"{next}").unwrap();
            assert_eq!(fs::read(scene.path("config/topics.json.bak")).unwrap(), b"{old}");
        }
    }

    #[test]
    fn a_damaged_backup_stops_the_start() {
        let scene = Scene::new();
        scene.file.save(b"{1}").unwrap();
        fs::rename(scene.path("config/topics.json"), scene.path("config/topics.json.bak")).unwrap();
        fs::write(scene.path("config/topics.json.bak"), b"junk").unwrap();
        let error = scene.load().unwrap_err();
        assert!(matches!(&error, StateFileError::Damaged { path, .. } if path.ends_with("topics.json.bak")));
    }

    #[test]
    fn a_leftover_of_an_interrupted_save_does_not_hinder_the_next() {
        let scene = Scene::new();
        scene.file.save(b"{1}").unwrap();
        fs::write(scene.path("ferromq/tmp/topics.json.bak"), b"leftover").unwrap();
        fs::write(scene.path("ferromq/tmp/topics.json"), b"leftover, and longer than the table").unwrap();
        scene.file.save(b"{2}").unwrap();
        assert_eq!(scene.load().unwrap(), Loaded::Current("{2}".to_owned()));
        assert_eq!(fs::read(scene.path("config/topics.json.bak")).unwrap(), b"{1}");
    }
}
