//! The real binary, started in a directory of its own and stopped whatever happens to the test.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Far beyond what anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A command with nothing of the caller's environment that the binary would look at.
pub(crate) fn ferromq(directory: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(directory).env("HOME", directory).stdin(Stdio::null());
    for variable in ["NAMESRV_ADDR", "ROCKETMQ_HOME", "ROCKETMQ_SERIALIZE_TYPE", "FERROMQ_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// The binary under test: the one built here, or another one that was asked for.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("FERROMQ_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ferromq").into(), PathBuf::from)
}

/// Whether tests take their longer form.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("FERROMQ_SOAK").is_some()
}

/// Notes that a test could not run here.
pub(crate) fn skip(test: &str, reason: &str) {
    println!("skipped {test}: {reason}");
    let Some(path) = std::env::var_os("FERROMQ_SKIPPED_TESTS") else { return };
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{test}\t{reason}\n").as_bytes()).unwrap();
}

/// Runs a command to its end, which must come.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = ferromq(directory);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let streams = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
    let Some(status) = wait(&mut child) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{arguments:?} does not end: {}", all(&streams.1));
    };
    Output { status, stdout: all(&streams.0).into(), stderr: all(&streams.1).into() }
}

fn all(lines: &Receiver<String>) -> String {
    lines.iter().map(|line| line + "\n").collect()
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server that said it is ready.
pub(crate) struct Server {
    child: Child,
    pub(crate) ready: serde_json::Value,
    log: Receiver<String>,
}

impl Server {
    /// `ferromq up` on free ports with its data in `directory`.
    pub(crate) fn up(directory: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        Self::start(Self::command(directory, arguments))
    }

    /// What [`Server::up`] runs.
    pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
        let mut command = ferromq(directory);
        command.args(["up", "--namesrv-port", "0", "--data-dir"]).arg(directory.join("data"));
        if !arguments.contains(&"--broker-port") {
            command.args(["--broker-port", "0"]);
        }
        command.args(arguments);
        command
    }

    /// Adds `--ready-json` and waits for the line.
    pub(crate) fn start(mut command: Command) -> Self {
        command.arg("--ready-json").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        let answers = lines(child.stdout.take().unwrap());
        let Ok(ready) = answers.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("not ready: {:?}\n{}", child.wait(), log.iter().collect::<Vec<_>>().join("\n"));
        };
        Self { child, ready: serde_json::from_str(&ready).unwrap(), log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self, server: &str, what: &str) -> SocketAddr {
        self.ready[server][what]
            .as_str()
            .unwrap_or_else(|| panic!("{server}.{what}: {}", self.ready))
            .parse()
            .unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGKILL; the process is gone when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for a line of the log.
    pub(crate) fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("never logged: {words}"));
            if line.contains(words) {
                return;
            }
        }
    }

    /// Waits for the end and returns how it ended and what it wrote to the log.
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let status = wait(&mut self.child).expect("the server does not end");
        (status, self.log.iter().collect())
    }

    /// SIGTERM, and everything that follows.
    pub(crate) fn stop(self) -> Vec<String> {
        self.signal("TERM");
        let (status, log) = self.wait();
        assert!(status.success(), "{status}\n{}", log.join("\n"));
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a stream as they come, so that the process never waits for its reader.
fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.by_ref().read_line(&mut line).is_ok_and(|read| read > 0) {
            if sender.send(line.trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

/// All files below a directory with their sizes, sorted.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
