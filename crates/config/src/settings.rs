//! The effective table of one process: every key with its value and the source of it.
//!
//! [`Settings::resolve`] takes what all sources say and decides: later sources win, values that do not parse and
//! values that this version must not ignore are problems, everything worth a line in the log is a notice. The sections
//! of [`crate::broker`] and [`crate::namesrv`] are read from here once; afterwards only updates change it, and they
//! come back to the caller as new values, never behind its back.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferromq_protocol::properties_text;

use crate::host::Host;
use crate::key::{Expected, Key, Kind};
use crate::nearest::nearest;
use crate::source::{Assignment, FileError, Source};
use crate::table::Table;

/// Every key of a table with its value and source, and the keys nobody knows.
#[derive(Clone, Debug)]
pub struct Settings {
    table: &'static Table,
    host: Host,
    /// Parallel to the rows of the table.
    values: Vec<Value>,
    /// Keys of the `-c` file that the table does not have: Java reports them too.
    unknown: BTreeMap<String, String>,
    notices: Vec<Notice>,
    #[cfg(test)]
    read: std::sync::Arc<std::sync::Mutex<std::collections::BTreeSet<&'static str>>>,
}

#[derive(Clone, Debug)]
struct Value {
    /// What the source says; `None` is Java's null.
    text: Option<String>,
    source: Source,
    /// What it is taken as, where that is something else: a chosen port, the id of a master.
    taken: Option<String>,
}

impl Value {
    fn new(text: Option<String>, source: Source) -> Self {
        Self { text, source, taken: None }
    }

    fn reported(&self) -> Option<&str> {
        self.taken.as_deref().or(self.text.as_deref())
    }
}

/// Something a person may want to know; the start goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// A whole sentence.
    pub text: String,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A key has no effect here.
    Info,
    /// Probably a mistake.
    Warn,
}

/// Why a configuration cannot be used; all of it at once.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

/// One reason.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A value that does not parse.
    #[error("{key}={value:?} ({at}): {expected}")]
    Value {
        /// Which key.
        key: &'static str,
        /// As written, trimmed.
        value: String,
        /// Who says it.
        at: Source,
        /// How to write it.
        expected: Expected,
    },
    /// A value that asks for safety, security, visibility or files this version does not provide.
    #[error("{key}={value} ({at}) is not supported yet. It would have meant: {meaning}. {remedy}")]
    Unsupported {
        /// Which key.
        key: &'static str,
        /// As written, trimmed.
        value: String,
        /// Who says it.
        at: Source,
        /// What Java would have done.
        meaning: &'static str,
        /// What to write instead.
        remedy: String,
    },
    /// A key on the command line that no table has.
    #[error("{option} {key}: there is no such key{}", did_you_mean(*.nearest))]
    UnknownOption {
        /// Which option.
        option: &'static str,
        /// As written.
        key: String,
        /// What was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// Values that parse but cannot be, alone or together.
    #[error("{0}")]
    Rule(String),
    /// The text and exit code that scripts know from Java.
    #[error("{text}")]
    Java {
        /// Java's words.
        text: String,
        /// Exit code of the process.
        exit_code: u8,
    },
    /// A file that cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Problems {
    /// Exit code of the process: Java's -3 unless a problem has its own.
    pub fn exit_code(&self) -> u8 {
        let own = |problem: &Problem| {
            if let Problem::Java { exit_code, .. } = problem { Some(*exit_code) } else { None }
        };
        self.0.iter().find_map(own).unwrap_or(253)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// How values that do not parse are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Trimmed; what does not parse is a problem.
    Strict,
    /// As Java: numbers and booleans are not trimmed, what does not parse is ignored. Gives a warning each time.
    Lenient,
}

impl Settings {
    /// Decides between the sources; `assignments` stand in the order of precedence, the strongest last.
    pub fn resolve(
        table: &'static Table,
        host: &Host,
        assignments: &[Assignment],
        strictness: Strictness,
    ) -> (Self, Vec<Problem>) {
        let values = table.keys().map(|key| Value::new(key.default_text(host), Source::BuiltIn)).collect();
        let mut settings = Self {
            table,
            host: host.clone(),
            values,
            unknown: BTreeMap::new(),
            notices: Vec::new(),
            #[cfg(test)]
            read: std::sync::Arc::default(),
        };
        let mut problems = Vec::new();
        let mut strangers = Vec::new();
        for assignment in assignments {
            let Some(index) = table.index_of(&assignment.key) else {
                match assignment.source {
                    Source::CommandLine(option) => problems.push(Problem::UnknownOption {
                        option,
                        key: assignment.key.clone(),
                        nearest: nearest(table, &assignment.key),
                    }),
                    _ => strangers.push(assignment),
                }
                continue;
            };
            let key = table.rows()[index].key;
            match read_value(key, &assignment.value, strictness) {
                Ok(text) => {
                    settings.values[index] = Value::new(Some(text), assignment.source.clone());
                }
                Err(expected) if strictness == Strictness::Lenient => settings.notices.push(Notice {
                    level: Level::Warn,
                    text: format!(
                        "{}={:?} ({}) is ignored, as Java ignores it: {expected}",
                        key.name, assignment.value, assignment.source
                    ),
                }),
                Err(expected) => problems.push(Problem::Value {
                    key: key.name,
                    value: assignment.value.trim().to_owned(),
                    at: assignment.source.clone(),
                    expected,
                }),
            }
        }
        settings.note_strangers(&strangers);
        settings.judge_kinds(&mut problems);
        (settings, problems)
    }

    /// One warning for all keys that nobody knows.
    fn note_strangers(&mut self, strangers: &[&Assignment]) {
        const SHOWN: usize = 10;
        if strangers.is_empty() {
            return;
        }
        let mut named: Vec<String> = strangers
            .iter()
            .take(SHOWN)
            .map(|stranger| {
                let meant = did_you_mean(nearest(self.table, &stranger.key));
                format!("{} ({}{meant})", stranger.key, stranger.source)
            })
            .collect();
        if strangers.len() > SHOWN {
            named.push(format!("and {} more", strangers.len() - SHOWN));
        }
        let text = format!("unknown configuration keys are ignored: {}", named.join(", "));
        self.notices.push(Notice { level: Level::Warn, text });
        self.unknown.extend(strangers.iter().map(|stranger| (stranger.key.clone(), stranger.value.clone())));
    }

    /// Says what has no effect and refuses what must not be ignored.
    fn judge_kinds(&mut self, problems: &mut Vec<Problem>) {
        for (row, value) in self.table.rows().iter().zip(&self.values) {
            let key = row.key;
            if !value.source.is_explicit() || !differs_from_default(key, value.text.as_deref(), &self.host) {
                continue;
            }
            let shown = shown(key, value.text.as_deref().unwrap_or_default());
            let note = |reason: String| Notice {
                level: Level::Info,
                text: format!("{}={shown} ({}) has no effect: {reason}", key.name, value.source),
            };
            match key.kind {
                Kind::Honoured => {}
                // Environments name the installation directory everywhere; that is no news.
                Kind::Irrelevant if matches!(value.source, Source::Environment(_)) => {}
                Kind::Irrelevant => self.notices.push(note(key.about.to_owned())),
                Kind::Tunes(feature) => {
                    self.notices.push(note(format!("this version does not have {feature}")))
                }
                Kind::Unsupported => {
                    problems.push(unsupported(key, shown.to_owned(), &value.source, &self.host))
                }
            }
        }
    }

    /// What a person may want to know about this configuration.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    pub(crate) fn note(&mut self, level: Level, text: String) {
        self.notices.push(Notice { level, text });
    }

    /// The machine that defaults were taken from.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Value of a key as it is reported, `None` for null or an unknown key.
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.table.index_of(name) {
            Some(index) => self.values[index].reported(),
            None => self.unknown.get(name).map(String::as_str),
        }
    }

    /// Who gave a known key its value.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.table.index_of(name).map(|index| &self.values[index].source)
    }

    /// Reports a value that follows from others instead of the one in the table.
    pub(crate) fn settle(&mut self, name: &'static str, text: String) {
        let index = self.index(name);
        self.values[index].taken = Some(text);
    }

    fn index(&self, name: &'static str) -> usize {
        self.table.index_of(name).expect("invariant: sections name keys that are in the table")
    }

    fn text_of(&self, name: &'static str) -> Option<&str> {
        let index = self.index(name);
        #[cfg(test)]
        self.read.lock().unwrap().insert(self.table.rows()[index].key.name);
        self.values[index].text.as_deref()
    }

    // Typed reads for the sections. Every value was checked against its type when it was resolved.

    pub(crate) fn text(&self, name: &'static str) -> &str {
        self.text_of(name).unwrap_or_default()
    }

    /// `None` for null and for an empty text.
    pub(crate) fn text_if_set(&self, name: &'static str) -> Option<&str> {
        self.text_of(name).map(str::trim).filter(|text| !text.is_empty())
    }

    pub(crate) fn path_if_set(&self, name: &'static str) -> Option<PathBuf> {
        self.text_if_set(name).map(PathBuf::from)
    }

    pub(crate) fn flag(&self, name: &'static str) -> bool {
        self.text(name) == "true"
    }

    pub(crate) fn number(&self, name: &'static str) -> i64 {
        self.text(name).parse().expect("invariant: numbers were checked when they were resolved")
    }

    /// A number that its bounds keep within `T`.
    pub(crate) fn bounded<T: TryFrom<i64>>(&self, name: &'static str) -> T {
        let Ok(value) = T::try_from(self.number(name)) else {
            unreachable!("invariant: the bounds of {name} in the table fit its section")
        };
        value
    }

    pub(crate) fn milliseconds(&self, name: &'static str) -> Duration {
        Duration::from_millis(self.bounded(name))
    }

    pub(crate) fn seconds(&self, name: &'static str) -> Duration {
        Duration::from_secs(self.bounded(name))
    }

    /// A problem that names the key, its value and who said it.
    pub(crate) fn rule(&self, name: &'static str, what: impl fmt::Display) -> Problem {
        let index = self.index(name);
        let value = &self.values[index];
        Problem::Rule(format!(
            "{name}={} ({}): {what}",
            value.text.as_deref().unwrap_or_default(),
            value.source
        ))
    }

    // Reports.

    /// Keys that are reported, sorted, with their values: known ones with a value, and unknown ones of the file.
    pub fn reported(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut all = BTreeMap::new();
        for (row, value) in self.table.rows().iter().zip(&self.values) {
            let Some(text) = value.reported() else { continue };
            if row.always_reported || value.source.is_explicit() {
                all.insert(row.key.name, shown(row.key, text));
            }
        }
        all.extend(self.unknown.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        all.into_iter()
    }

    /// The body of getBrokerConfig and getNamesrvConfig: `key=value` lines, sorted, without escapes.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.reported() {
            properties_text::write_plain(&mut text, key, value);
        }
        text
    }

    /// What `-m` prints: the keys that Java marks important.
    pub fn report_important(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.reported() {
            if self.table.find(key).is_some_and(|known| known.important) {
                properties_text::write_plain(&mut text, key, value);
            }
        }
        text
    }

    /// What `--print-config` prints: source and value of every key with a value, sorted.
    pub fn report_with_sources(&self) -> String {
        let mut lines = BTreeMap::new();
        for (row, value) in self.table.rows().iter().zip(&self.values) {
            if let Some(text) = value.reported() {
                lines.insert(row.key.name, (value.source.to_string(), shown(row.key, text)));
            }
        }
        for (key, value) in &self.unknown {
            lines.insert(key, ("unknown key".to_owned(), value));
        }
        let width = lines.values().map(|(source, _)| source.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (key, (source, value)) in lines {
            text.push_str(&format!("{source:width$}  {key}={value}\n"));
        }
        text
    }

    // Updates at run time.

    /// Applies the body of updateBrokerConfig or updateNamesrvConfig to a copy. `always_refused` stands in the code of
    /// both servers, the rest of the black list in `configBlackList`.
    pub(crate) fn updated(
        &self,
        body: &[u8],
        always_refused: &[&str],
    ) -> Result<(Self, Changes), UpdateError> {
        if body.len() > UPDATE_BYTES_MAX {
            return Err(UpdateError::TooLong(body.len()));
        }
        let entries = properties_text::read(body).map_err(|_| UpdateError::Syntax)?;
        let listed = self.value("configBlackList").unwrap_or_default().to_owned();
        let refused =
            |key: &str| always_refused.contains(&key) || listed.split(';').any(|name| name.trim() == key);
        if entries.iter().any(|entry| refused(&entry.key)) {
            return Err(UpdateError::BlackListed);
        }
        let mut settings = Self { notices: Vec::new(), ..self.clone() };
        let mut changes = Changes::default();
        for entry in entries {
            let Some(index) = self.table.index_of(&entry.key) else {
                changes.unknown.push(entry.key);
                continue;
            };
            let key = self.table.rows()[index].key;
            let text = read_value(key, &entry.value, Strictness::Strict).map_err(|expected| {
                let value = entry.value.trim().to_owned();
                UpdateError::Value(Problem::Value { key: key.name, value, at: Source::Update, expected })
            })?;
            if key.kind == Kind::Unsupported && differs_from_default(key, Some(&text), &self.host) {
                return Err(UpdateError::Value(unsupported(key, text, &Source::Update, &self.host)));
            }
            if self.values[index].text.as_deref() != Some(&text) {
                let list = if key.reloadable { &mut changes.acting } else { &mut changes.after_restart };
                list.push(key.name);
            }
            settings.values[index] = Value::new(Some(text), Source::Update);
        }
        Ok((settings, changes))
    }

    /// The file that an update leaves behind: everything that is set or has a default in the table, sorted.
    ///
    /// Java writes all effective values. What came from this machine (its addresses, name, processors), from the
    /// environment or from the command line stays out here, so that the next start finds them anew.
    pub fn file_text(&self) -> String {
        let mut all: BTreeMap<&str, &str> =
            self.unknown.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        for (row, value) in self.table.rows().iter().zip(&self.values) {
            let Some(text) = &value.text else { continue };
            let lasting = match value.source {
                Source::BuiltIn => row.always_reported && row.key.default_is_fixed(),
                Source::Up | Source::File { .. } | Source::Update => true,
                Source::Environment(_) | Source::CommandLine(_) => false,
            };
            if lasting {
                all.insert(row.key.name, text);
            }
        }
        let mut text = String::new();
        for (key, value) in all {
            properties_text::write_escaped(&mut text, key, value);
        }
        text
    }

    /// Writes [`Self::file_text`] to `path`; what was there becomes `<path>.bak`. Other readers see one or the other.
    pub fn write_file(&self, path: &Path) -> std::io::Result<()> {
        write_keeping_backup(path, self.file_text().as_bytes())
    }
}

/// Writes `text` to `path` in one step; what was there becomes `<path>.bak`. Returns when all of it is on disk.
pub fn write_keeping_backup(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;

    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let new = beside(".tmp");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    if path.exists() {
        std::fs::copy(path, beside(".bak"))?;
    }
    std::fs::rename(&new, path)?;
    std::fs::File::open(directory)?.sync_all()
}

/// Longest body of an update. A whole configuration has some tens of kilobytes.
pub const UPDATE_BYTES_MAX: usize = 1 << 20;

/// What an accepted update changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that changed and act at once.
    pub acting: Vec<&'static str>,
    /// Keys that changed and act after the next start.
    pub after_restart: Vec<&'static str>,
    /// Keys that nobody knows; Java ignores them too.
    pub unknown: Vec<String>,
}

/// Why an update is refused; nothing of it is applied.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The body is longer than all keys with their values could be.
    #[error("the body has {0} bytes, at most {UPDATE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The body is no properties text.
    #[error("string2Properties error")]
    Syntax,
    /// It names a key that must not be changed from outside.
    #[error("Can not update config in black list.")]
    BlackListed,
    /// It gives a value that would keep the next start from working.
    #[error(transparent)]
    Value(Problem),
    /// Its values do not go together.
    #[error(transparent)]
    Together(#[from] Problems),
}

fn read_value(key: &Key, written: &str, strictness: Strictness) -> Result<String, Expected> {
    match strictness {
        Strictness::Strict => key.parse(written.trim()),
        Strictness::Lenient => key.parse_as_java(written),
    }
}

/// Null and an empty text ask for the same.
fn differs_from_default(key: &Key, text: Option<&str>, host: &Host) -> bool {
    text.unwrap_or_default() != key.default_text(host).unwrap_or_default()
}

fn unsupported(key: &'static Key, value: String, at: &Source, host: &Host) -> Problem {
    let remedy = match key.default_text(host) {
        Some(default) if !default.is_empty() => format!("Write {}={default} or leave it out.", key.name),
        _ => "Leave it out.".to_owned(),
    };
    Problem::Unsupported { key: key.name, value, at: at.clone(), meaning: key.about, remedy }
}

fn shown<'a>(key: &Key, text: &'a str) -> &'a str {
    if key.secret && !text.is_empty() { "******" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BrokerConfig, BrokerSources, Live};
    use crate::namesrv::{NamesrvConfig, NamesrvSources};

    fn names(table: &Table, wanted: impl Fn(&Key) -> bool) -> std::collections::BTreeSet<&'static str> {
        table.keys().filter(|key| wanted(key)).map(|key| key.name).collect()
    }

    /// A key that says it is honoured is one that a section was made from, and the other way round.
    #[test]
    fn the_sections_read_exactly_the_honoured_keys() {
        // What decides about other keys is read where they are judged, not by a section.
        let read_by_checks = ["enableControllerMode", "enableDLegerCommitLog", "brokerRole"];
        let read_by_loading = ["tls.config.file", "configBlackList"];

        let mut sources = BrokerSources::new(|_| None);
        // Looked at only where they are set.
        for key in ["brokerIP1", "brokerIP2"] {
            sources.command_line.push(Assignment::command_line("--set", key, "192.0.2.9"));
        }
        let settings = BrokerConfig::load(&Host::fictitious(), &sources).unwrap().settings;
        let mut read = settings.read.lock().unwrap().clone();
        read.retain(|key| !read_by_checks.contains(key));
        read.extend(read_by_loading);
        assert_eq!(read, names(Table::broker(), |key| key.kind == Kind::Honoured));

        let settings =
            NamesrvConfig::load(&Host::fictitious(), &NamesrvSources::new(|_| None)).unwrap().settings;
        let mut read = settings.read.lock().unwrap().clone();
        read.extend(read_by_loading);
        assert_eq!(read, names(Table::namesrv(), |key| key.kind == Kind::Honoured));
    }

    /// What acts at once is in [`Live`], and everything in it acts at once.
    #[test]
    fn the_live_section_reads_exactly_the_reloadable_keys() {
        let (settings, _) = Settings::resolve(Table::broker(), &Host::fictitious(), &[], Strictness::Strict);
        Live::read(&settings, &mut Vec::new());
        let read = settings.read.lock().unwrap().clone();
        assert_eq!(read, names(Table::broker(), |key| key.reloadable));
    }
}
