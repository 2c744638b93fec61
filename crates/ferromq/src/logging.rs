//! Log lines: `tracing` to standard output, or to standard error when standard output belongs to a script.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::args::{LogFormat, Output};

/// Sets up the log for the whole process.
pub(crate) fn start(output: &Output) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&output.log_level).with_context(|| {
        format!("--log-level or FERROMQ_LOG: {:?} is no list of levels", output.log_level)
    })?;
    let (writer, terminal) = if output.ready_json {
        (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal())
    } else {
        (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal())
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(terminal);
    match output.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
