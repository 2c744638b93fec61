//! How a command ends when it cannot do what it was asked.

use std::fmt;

use ferromq_config::settings::Problems;

/// Exit codes that scripts know from Java.
pub(crate) mod exit {
    /// The command line makes no sense.
    pub(crate) const USAGE: u8 = 1;
    /// `store check`: messages are not where they should be.
    pub(crate) const STORE_WRONG: u8 = 2;
    /// `store check`: a broker would not start.
    pub(crate) const STORE_REFUSED: u8 = 3;
    /// The configuration or the files cannot be used (Java's -3).
    pub(crate) const INITIALISATION: u8 = 253;
    /// The start failed: ports, store, another process (Java's -1).
    pub(crate) const START: u8 = 255;
}

/// What to tell the user, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) exit_code: u8,
}

impl Failure {
    pub(crate) fn new(exit_code: u8, text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), exit_code }
    }

    pub(crate) fn start(text: impl fmt::Display) -> Self {
        Self::new(exit::START, text)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::new(problems.exit_code(), problems)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.text.lines();
        let first = lines.next().unwrap_or_default();
        write!(f, "ferromq: {first}")?;
        lines.try_for_each(|line| write!(f, "\nferromq: {line}"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(exit::USAGE, format!("{error:#}"))
    }
}
