//! Key-value settings by namespace, kept in a file of Java's form (`kvConfig.json`).
//!
//! A change counts when it is on disk: if the file cannot be written, the table stays as it was.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ferromq_config::settings::write_keeping_backup;
use ferromq_protocol::body::KvTable;
use ferromq_protocol::json;
use serde::{Deserialize, Serialize};

/// Queues of ordered topics: topic to `broker:count;broker:count`.
pub const ORDER_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// Why the settings cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// Look at the path and its permissions.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// Mend the file, or take the `.bak` beside it.
    #[error("{path} is no file of name server settings: {source}")]
    Broken { path: PathBuf, source: json::Error },
}

/// The settings.
#[derive(Debug)]
pub struct Kv {
    tables: Tables,
    path: PathBuf,
}

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The file (`KVConfigSerializeWrapper`).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Tables {
    config_table: Namespaces,
}

impl Kv {
    /// Reads the file; without one there are no settings.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn load(path: &Path) -> Result<Self, KvError> {
        let path = path.to_owned();
        let tables = match std::fs::read(&path) {
            Ok(text) if text.is_empty() => Tables::default(),
            Ok(text) => {
                json::from_slice(&text).map_err(|source| KvError::Broken { path: path.clone(), source })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Tables::default(),
            Err(source) => return Err(KvError::File { path, source }),
        };
        Ok(Self { tables, path })
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.tables.config_table.get(namespace)?.get(key).map(String::as_str)
    }

    /// All settings of a namespace; `None` if it never had any.
    pub fn list(&self, namespace: &str) -> Option<KvTable> {
        Some(KvTable { table: self.tables.config_table.get(namespace)?.clone() })
    }

    /// # Errors
    /// When the file cannot be written; nothing has changed then.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        self.change(|tables| {
            tables.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// # Errors
    /// When the file cannot be written; nothing has changed then.
    pub fn delete(&mut self, namespace: &str, key: &str) -> Result<(), KvError> {
        if self.get(namespace, key).is_none() {
            return Ok(());
        }
        self.change(|tables| {
            if let Some(table) = tables.get_mut(namespace) {
                table.remove(key);
            }
        })
    }

    fn change(&mut self, change: impl FnOnce(&mut Namespaces)) -> Result<(), KvError> {
        let mut tables = self.tables.clone();
        change(&mut tables.config_table);
        write_keeping_backup(&self.path, &json::to_vec(&tables))
            .map_err(|source| KvError::File { path: self.path.clone(), source })?;
        self.tables = tables;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_and_the_file_is_javas() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("namesrv/kvConfig.json");
        let mut kv = Kv::load(&path).unwrap();
        kv.put(ORDER_NAMESPACE, "TopicA", "broker-a:4;broker-b:4").unwrap();
        kv.put("other", "key", "välue").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"TopicA":"broker-a:4;broker-b:4"},"other":{"key":"välue"}}}"#
        );
        let mut kv = Kv::load(&path).unwrap();
        assert_eq!(kv.get("other", "key"), Some("välue"));
        kv.delete("other", "key").unwrap();
        kv.delete("other", "key").unwrap();
        kv.delete("never", "seen").unwrap();
        let kv = Kv::load(&path).unwrap();
        assert_eq!(kv.get("other", "key"), None);
        assert_eq!(kv.list("other"), Some(KvTable::default()), "the namespace has been there");
        assert_eq!(kv.list("never"), None);
        assert!(dir.path().join("namesrv/kvConfig.json.bak").exists());
    }

    #[test]
    fn a_change_that_cannot_be_written_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut kv = Kv::load(&path).unwrap();
        kv.put("n", "k", "old").unwrap();
        // A directory where the new file would be written.
        std::fs::create_dir(dir.path().join("file.tmp")).unwrap();
        assert!(matches!(kv.put("n", "k", "new"), Err(KvError::File { .. })));
        assert_eq!(kv.get("n", "k"), Some("old"));
        assert_eq!(Kv::load(&path).unwrap().get("n", "k"), Some("old"));
    }

    #[test]
    fn a_broken_file_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        std::fs::write(&path, "{\"configTable\":").unwrap();
        let error = Kv::load(&path).unwrap_err();
        assert!(error.to_string().contains("kvConfig.json"), "{error}");
    }
}
