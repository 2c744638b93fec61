//! Loading from made-up sources.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::PathBuf;

use ferromq_config::broker::{BrokerConfig, BrokerSources};
use ferromq_config::host::Host;
use ferromq_config::namesrv::{NamesrvConfig, NamesrvSources};
use ferromq_config::settings::{Level, Problems};
use ferromq_config::source::Assignment;

/// A directory with a file of this text; the directory goes away with the value.
pub(crate) struct ConfigFile {
    directory: tempfile::TempDir,
}

impl ConfigFile {
    pub(crate) fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("broker.conf"), text).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("broker.conf")
    }
}

pub(crate) fn sources(file: Option<&ConfigFile>) -> BrokerSources {
    BrokerSources { file: file.map(ConfigFile::path), ..BrokerSources::new(|_| None) }
}

pub(crate) fn broker(text: &str) -> Result<BrokerConfig, Problems> {
    let file = ConfigFile::new(text);
    BrokerConfig::load(&Host::fictitious(), &sources(Some(&file)))
}

pub(crate) fn namesrv(text: &str) -> Result<NamesrvConfig, Problems> {
    let file = ConfigFile::new(text);
    let sources = NamesrvSources { file: Some(file.path()), ..NamesrvSources::new(|_| None) };
    NamesrvConfig::load(&Host::fictitious(), &sources)
}

/// The problems of a broker file, with the name of the file as it was.
pub(crate) fn problems(text: &str) -> String {
    broker(text).expect_err(text).to_string()
}

pub(crate) fn set(key: &str, value: &str) -> Assignment {
    Assignment::command_line("--set", key, value)
}

pub(crate) fn notices(config: &BrokerConfig, level: Level) -> Vec<&str> {
    config
        .settings
        .notices()
        .iter()
        .filter(|notice| notice.level == level)
        .map(|notice| &*notice.text)
        .collect()
}
