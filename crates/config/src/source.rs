//! Where values come from: what every source says, before anybody looks at a table.
//!
//! Later sources win: built-in, defaults of `up`, environment, TLS file, `-c` file, command line, updates at run time.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::properties_text;

use crate::table::Table;

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table.
    BuiltIn,
    /// Defaults of `ferromq up` without a file.
    Up,
    /// An environment variable.
    Environment(&'static str),
    /// A line of a file.
    File {
        /// The file as the user named it.
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// An option of the command line, as the user wrote it.
    CommandLine(&'static str),
    /// updateBrokerConfig or updateNamesrvConfig since the start.
    Update,
}

impl Source {
    /// True if a person said it for this process, false for defaults.
    pub fn is_explicit(&self) -> bool {
        !matches!(self, Self::BuiltIn | Self::Up)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::Up => f.write_str("default of up"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::CommandLine(option) => write!(f, "command line {option}"),
            Self::Update => f.write_str("update at run time"),
        }
    }
}

/// One `key = value` that a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// As written: perhaps an alias, perhaps unknown.
    pub key: String,
    /// As written, blanks at the end included.
    pub value: String,
    /// Who says it.
    pub source: Source,
}

impl Assignment {
    /// From an option of the command line, for example `-n` or `--set`.
    pub fn command_line(option: &'static str, key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), source: Source::CommandLine(option) }
    }

    /// From the defaults of `ferromq up`.
    pub fn up(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned(), source: Source::Up }
    }
}

/// A file that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Missing, a directory, no permission.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file as the user named it.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Java would refuse the file as well.
    #[error("{}:{}: \\u must be followed by four hexadecimal digits; write \\\\ for one backslash", path.display(), malformed.line)]
    Malformed {
        /// The file as the user named it.
        path: PathBuf,
        /// Which line.
        malformed: properties_text::MalformedEscape,
    },
}

/// What a `.properties` file says, in its order.
pub fn read_file(path: &Path) -> Result<Vec<Assignment>, FileError> {
    let text = std::fs::read(path).map_err(|error| FileError::Read { path: path.to_owned(), error })?;
    let entries = properties_text::read(&text)
        .map_err(|malformed| FileError::Malformed { path: path.to_owned(), malformed })?;
    let path: Arc<Path> = path.into();
    let assignments = entries.into_iter().map(|entry| Assignment {
        key: entry.key,
        value: entry.value,
        source: Source::File { path: Arc::clone(&path), line: entry.line },
    });
    Ok(assignments.collect())
}

/// What the environment says about the keys of a table. An empty variable says nothing.
///
/// Java's scripts pass `JAVA_OPT` and `JAVA_OPT_EXT` to the virtual machine, and people set its properties there, those
/// of TLS above all. Of these variables `-Dname=value` counts, for names that are properties in Java; they all have a
/// dot. As in Java, a property is stronger than a variable of its own.
pub fn read_environment(table: &Table, variable: impl Fn(&str) -> Option<String>) -> Vec<Assignment> {
    let variables = table.keys().filter_map(|key| {
        let name = key.environment?;
        let value = variable(name).filter(|value| !value.trim().is_empty())?;
        Some(Assignment { key: key.name.to_owned(), value, source: Source::Environment(name) })
    });
    let mut assignments: Vec<_> = variables.collect();
    for name in ["JAVA_OPT", "JAVA_OPT_EXT"] {
        let options = variable(name).unwrap_or_default();
        let properties =
            options.split_whitespace().filter_map(|option| option.strip_prefix("-D")?.split_once('='));
        let known = properties.filter(|(key, _)| key.contains('.') && table.find(key).is_some());
        assignments.extend(known.map(|(key, value)| Assignment {
            key: key.to_owned(),
            value: value.trim_matches(['"', '\'']).to_owned(),
            source: Source::Environment(name),
        }));
    }
    assignments
}
