//! Who holds a port or a file, found through /proc: so that "in use" names the process to stop.

use std::fs;
use std::path::{Path, PathBuf};

/// A process, as far as this user may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) command: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// Who listens on a port. `None` if nobody is found: another user's process, another system than Linux, or gone by now.
pub(crate) fn of_port(port: u16) -> Option<Owner> {
    let sockets: Vec<PathBuf> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]").into())
        .collect();
    holder_of_one_of(&sockets)
}

/// Who else has a file open.
pub(crate) fn of_file(path: &Path) -> Option<Owner> {
    holder_of_one_of(&[fs::canonicalize(path).ok()?])
}

fn holder_of_one_of(targets: &[PathBuf]) -> Option<Owner> {
    if targets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| *pid != std::process::id() && holds_one_of(*pid, targets))?;
    Some(Owner { pid, command: command_of(pid) })
}

/// Inodes of the sockets that listen on a port, from the text of /proc/net/tcp.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTENING: &str = "0A";
    let lines = table.lines().skip(1);
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (local, state, inode) = (*fields.get(1)?, *fields.get(3)?, *fields.get(9)?);
            let (_, local_port) = local.rsplit_once(':')?;
            let matches = state == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
            matches.then(|| inode.to_owned())
        })
        .collect()
}

fn holds_one_of(pid: u32, targets: &[PathBuf]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut links = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    links.any(|link| targets.contains(&link))
}

/// The command line, cut to what helps to recognise it.
fn command_of(pid: u32) -> String {
    const SHOWN: usize = 120;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&arguments).replace('\0', " ");
    let text = text.trim();
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    // A Java command line begins with its class path; what runs stands at the end.
    let words: Vec<&str> = text.split(' ').collect();
    format!("{} … {}", words[0], words[words.len().saturating_sub(3)..].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:2694 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0\n\
             1: 0100007F:2694 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 22 1 0\n\
             2: 00000000:2A9F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33 1 0\n\
             broken line\n";
        assert_eq!(listening_inodes(table, 9_876), ["11"]);
        assert_eq!(listening_inodes(table, 10_911), ["33"]);
        assert!(listening_inodes(table, 1).is_empty());
    }
}
