//! docs/configuration.md says what the tables say. `UPDATE_DOCS=1 cargo test -p ferromq-config --test reference`
//! writes it anew.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ferromq_config::host::Host;
use ferromq_config::key::{Key, Kind};
use ferromq_config::table::Table;

const INTRODUCTION: &str = "\
# Configuration

<!-- Written by a test from the tables in crates/config; change those and run
     UPDATE_DOCS=1 cargo test -p ferromq-config --test reference -->

Files, keys and values are those of RocketMQ 5.5.0: an existing `broker.conf` or `namesrv.conf` works as it is.
`ferromq broker -c FILE --print-config` shows what is in force and where every value comes from.

Sources, later ones win: built-in defaults, environment (also `-Dname=value` in `JAVA_OPT` and `JAVA_OPT_EXT`, for what
is a property of the process in RocketMQ), the TLS file (`tls.config.file`), the file given with `-c`,
the command line (`--set key=value` and options such as `-n`). Blanks around values do not count. A value that does not
parse stops the start and is named with its file and line; `--lenient-config` ignores it instead, as RocketMQ does.
Unknown keys give one warning. What `updateBrokerConfig` changes is written back to the file; the previous one is kept
as `.bak`.

Every key of RocketMQ is known and belongs to one of four kinds:

- **honoured**: it does what it does in RocketMQ;
- **of a feature that is not there yet**: it has no effect, and setting it gives one line in the log;
- **without a meaning here**, such as the sizes of thread pools: the same;
- **not supported yet, and not to be ignored**: any value but the default would change safety, security, visibility or
  files. It stops the start. A broker never runs open or unreplicated because of a line it did not understand.
";

#[test]
fn the_reference_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let expected = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/configuration.md is not what the tables say; see the head of this test"
    );
}

fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (title, table) in [("Broker", Table::broker()), ("Name server", Table::namesrv())] {
        honoured(&mut text, title, table);
        unsupported(&mut text, title, table);
        without_effect(&mut text, title, table);
    }
    text
}

fn honoured(text: &mut String, title: &str, table: &Table) {
    write!(text, "\n## {title}: honoured keys\n\n").unwrap();
    text.push_str("Keys marked with * act at once when they are changed through the admin tools, the others at the next start.\n\n");
    text.push_str("| key | default | |\n|---|---|---|\n");
    for key in sorted(table, |key| key.kind == Kind::Honoured) {
        let star = if key.reloadable { " *" } else { "" };
        let mut names = format!("`{}`{star}", key.name);
        for alias in key.aliases {
            write!(names, ", `{alias}`").unwrap();
        }
        let environment = key.environment.map(|name| format!(" Environment: `{name}`.")).unwrap_or_default();
        writeln!(text, "| {names} | {} | {}{environment} |", default(key), key.about).unwrap();
    }
}

fn unsupported(text: &mut String, title: &str, table: &Table) {
    write!(text, "\n## {title}: keys that stop the start\n\n").unwrap();
    text.push_str("| key | the value that is fine | what another would have meant |\n|---|---|---|\n");
    for key in sorted(table, |key| key.kind == Kind::Unsupported) {
        writeln!(text, "| `{}` | {} | {} |", key.name, default(key), key.about).unwrap();
    }
}

fn without_effect(text: &mut String, title: &str, table: &Table) {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for key in table.keys() {
        let reason = match key.kind {
            Kind::Tunes(feature) => format!("This version does not have {feature}"),
            Kind::Irrelevant => {
                let mut reason = key.about.to_owned();
                reason[..1].make_ascii_uppercase();
                reason
            }
            Kind::Honoured | Kind::Unsupported => continue,
        };
        by_reason.entry(reason).or_default().push(key.name);
    }
    write!(text, "\n## {title}: keys without effect\n\n").unwrap();
    for (reason, mut keys) in by_reason {
        keys.sort_unstable();
        writeln!(text, "- {reason}: `{}`.", keys.join("`, `")).unwrap();
    }
}

fn sorted(table: &Table, wanted: impl Fn(&Key) -> bool) -> Vec<&'static Key> {
    let mut keys: Vec<_> = table.keys().filter(|key| wanted(key)).collect();
    keys.sort_by_key(|key| key.name.to_ascii_lowercase());
    keys
}

fn default(key: &Key) -> String {
    if !key.default_is_fixed() {
        return "from the machine".to_owned();
    }
    match key.default_text(&Host::fictitious()) {
        Some(text) if !text.is_empty() => format!("`{text}`"),
        _ => "not set".to_owned(),
    }
}
