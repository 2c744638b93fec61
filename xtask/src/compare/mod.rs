//! `cargo xtask compare`: Java RocketMQ, FerroMQ and the null broker under the same loads on the same disk.
//!
//! Every round starts each of the three with an empty store, in an order that turns from round to round, so that none
//! always has the warmer or the dirtier disk. Of every figure the median of all rounds counts. The result replaces the
//! part between two marks of docs/performance.md; what people wrote around it stays.

mod cold;
mod footprint;
mod internals;
mod machine;
mod report;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferromq_interop::process::Process;
use ferromq_interop::server::{BrokerSetup, Jvm, Make, Server};
use ferromq_interop::toolchain::{JavaClient, Toolchain};
use serde_json::Value;

use machine::FileSystem;
use workloads::{Figures, Medians, WORKLOADS, Workload};

/// The heap that Java's broker is given, in MiB.
const JAVA_HEAP_MIB: u32 = 4096;

/// Seconds of load before Java's first measurement, so that its code is compiled.
const JAVA_WARMUP: u32 = 20;

const WARMUP: u32 = 3;

/// Some gigabytes are written, and brokers begin to delete at 75 %.
const USED_PERCENT_MAX: u64 = 65;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Java,
    Ferromq,
    Null,
}

/// Everything a measurement needs.
struct Bench {
    tools: Toolchain,
    binary: PathBuf,
    /// On the disk that is measured.
    dir: PathBuf,
    seconds: u32,
}

/// What the rounds gave for one load.
#[derive(Default)]
struct Runs {
    java: Vec<Figures>,
    ours: Vec<Figures>,
    null: Vec<Figures>,
    fsync: Vec<Figures>,
}

impl Runs {
    fn of(&mut self, contestant: Contestant) -> &mut Vec<Figures> {
        match contestant {
            Contestant::Java => &mut self.java,
            Contestant::Ferromq => &mut self.ours,
            Contestant::Null => &mut self.null,
        }
    }

    fn medians(&self) -> Medians {
        Medians {
            java: Figures::medians(&self.java),
            ours: Figures::medians(&self.ours),
            null: Figures::medians(&self.null),
            fsync: (!self.fsync.is_empty()).then(|| Figures::medians(&self.fsync)),
        }
    }
}

/// A server that is under load.
struct Running {
    address: String,
    pid: u32,
    /// In the order of stopping; empty for the null broker, which is killed with its process.
    servers: Vec<Server>,
    _null: Option<Process>,
}

impl Running {
    fn stop(mut self) -> Result<()> {
        self.servers.iter_mut().try_for_each(Server::stop)
    }
}

pub(crate) fn task(arguments: &[String]) -> Result<()> {
    let mut words = arguments.to_vec();
    let number = |words: &mut Vec<String>, name: &str, default: u32| -> Result<u32> {
        crate::option(words, name)?.map_or(Ok(default), |text| text.parse().with_context(|| name.to_owned()))
    };
    let rounds = number(&mut words, "--rounds", 5)?;
    let seconds = number(&mut words, "--seconds", 10)?;
    let dir =
        crate::option(&mut words, "--dir")?.map_or_else(|| crate::target("compare"), |dir| Ok(dir.into()))?;
    let only = crate::option(&mut words, "--only")?;
    let skip = crate::option(&mut words, "--skip")?;
    let dry = crate::flag(&mut words, "--dry-run");
    ensure!(words.is_empty(), "cargo xtask compare does not take {words:?}");
    ensure!(rounds > 0 && seconds > 0, "nothing would be measured");

    fs::create_dir_all(&dir)?;
    let file_system = FileSystem::of(&dir)?;
    let selected: Vec<&Workload> = WORKLOADS
        .iter()
        .filter(|load| only.as_ref().is_none_or(|word| load.name.contains(word.as_str())))
        .collect();
    ensure!(
        !file_system.is_memory() || selected.iter().all(|load| !load.sync),
        "{} is in memory ({}), where SYNC_FLUSH costs nothing: choose a folder on a disk with --dir",
        dir.display(),
        file_system.kind
    );
    let used = machine::used_percent(&dir)?;
    ensure!(
        used < USED_PERCENT_MAX,
        "the disk of {} is {used} % full: brokers would delete what was sent; make room, or choose another with --dir",
        dir.display()
    );
    let binary = crate::interop::release_binary()?;
    let tools = Toolchain::new(&crate::root()?, Some(binary.clone()))?;
    tools.fetch_java(JavaClient::V5)?;
    let bench = Bench { tools, binary, dir, seconds };

    let mut runs: Vec<Runs> = selected.iter().map(|_| Runs::default()).collect();
    for round in 0..rounds {
        for sync in [false, true] {
            bench.round(round, sync, &selected, &mut runs)?;
        }
    }
    let medians: Vec<(&Workload, Medians)> =
        selected.into_iter().zip(&runs).map(|(load, runs)| (load, runs.medians())).collect();
    let wanted = |section: &str| {
        only.as_ref().is_none_or(|word| word == section) && skip.as_ref().is_none_or(|word| word != section)
    };
    let mut missing = Vec::new();
    let footprint = wanted("footprint").then(|| footprint::measure(&bench));
    let footprint = measured("footprint", footprint, &mut missing);
    let cold = measured("cold", wanted("cold").then(|| cold::measure(&bench)), &mut missing);
    let costs = measured("costs", wanted("costs").then(|| internals::measure(&bench)), &mut missing);
    let costs = costs.unwrap_or_default();
    let mut text =
        report::text(&bench, &file_system, rounds, &medians, footprint.as_ref(), cold.as_ref(), &costs);
    let left_out = skip.iter().map(|word| format!("{word}: left out with --skip"));
    for part in missing.iter().cloned().chain(left_out) {
        text.push_str(&format!("\nNot measured: {part}\n"));
    }
    println!("\n{text}");
    if only.is_none() && !dry {
        report::store(&crate::root()?.join("docs/performance.md"), &text)?;
    }
    ensure!(missing.is_empty(), "not everything could be measured: {missing:?}");
    Ok(())
}

/// What was measured before a part failed is not thrown away with it.
fn measured<T>(part: &str, result: Option<Result<T>>, missing: &mut Vec<String>) -> Option<T> {
    match result? {
        Ok(figures) => Some(figures),
        Err(error) => {
            missing.push(format!("{part}: {error:#}"));
            None
        }
    }
}

impl Bench {
    /// All loads of one flush mode, by all three.
    fn round(&self, round: u32, sync: bool, selected: &[&Workload], runs: &mut [Runs]) -> Result<()> {
        if selected.iter().all(|load| load.sync != sync) {
            return Ok(());
        }
        let fsync = if sync { Some(self.fsync()?) } else { None };
        let mut order = [Contestant::Java, Contestant::Ferromq, Contestant::Null];
        order.rotate_left(round as usize % 3);
        for contestant in order {
            let running = self.start(contestant, sync)?;
            let mut warm = contestant != Contestant::Java;
            for (load, runs) in selected.iter().zip(runs.iter_mut()).filter(|(load, _)| load.sync == sync) {
                let warmup = if warm { WARMUP } else { JAVA_WARMUP };
                warm = true;
                let figures = self.load(load, &running, warmup)?;
                println!(
                    "round {}: {contestant:?}, {}: {:.0}/s, {:.1} µs, p99 {:.2} ms",
                    round + 1,
                    load.name,
                    figures.per_second,
                    figures.cpu_us.unwrap_or(f64::NAN),
                    figures.p99_ms
                );
                runs.of(contestant).push(figures);
                runs.fsync.extend(fsync);
            }
            running.stop()?;
        }
        Ok(())
    }

    /// An empty folder for one start.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    fn start(&self, contestant: Contestant, sync: bool) -> Result<Running> {
        let make = match contestant {
            Contestant::Null => return self.start_null(sync),
            Contestant::Java => Make::Java,
            Contestant::Ferromq => Make::Ferromq,
        };
        self.start_broker(make, &[], sync)
    }

    /// Our broker below a program that watches it.
    fn start_under(&self, wrapper: &[String], sync: bool) -> Result<Running> {
        self.start_broker(Make::Ferromq, wrapper, sync)
    }

    /// A broker with its name server, both with defaults but for the flush mode.
    fn start_broker(&self, make: Make, wrapper: &[String], sync: bool) -> Result<Running> {
        let dir = self.fresh(&make.to_string())?;
        let mut namesrv = Server::namesrv(make, &dir.join("namesrv"))?;
        namesrv.start(&self.tools)?;
        let setup = BrokerSetup::plain(&[namesrv.address()])
            .with("flushDiskType", if sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" });
        let mut broker = Server::broker(make, &dir.join("broker"), setup)?;
        broker.set_jvm(Jvm::Measured { heap_mib: JAVA_HEAP_MIB });
        broker.set_wrapper(wrapper);
        broker.start(&self.tools)?;
        let (address, pid) = (broker.address(), broker.pid().context("a started broker has a process")?);
        Ok(Running { address, pid, servers: vec![broker, namesrv], _null: None })
    }

    fn start_null(&self, sync: bool) -> Result<Running> {
        let dir = self.fresh("null")?;
        let mut command = Command::new(&self.binary);
        command.args(["bench", "null", "--listen", "127.0.0.1:0"]);
        if sync {
            command.arg("--sync").arg(&dir);
        }
        let log = dir.join("null.log");
        let mut process = Process::spawn(command, "null broker", &log)?;
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            process.expect_alive()?;
            let text = fs::read_to_string(&log)?;
            let address = text.lines().find_map(|line| line.strip_prefix("null broker listening on "));
            if let Some(address) = address.filter(|_| text.ends_with('\n')) {
                let (address, pid) = (address.to_owned(), process.id());
                return Ok(Running { address, pid, servers: Vec::new(), _null: Some(process) });
            }
            ensure!(Instant::now() < end, "the null broker does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One load against one server, in a topic of its own.
    fn load(&self, load: &Workload, running: &Running, warmup: u32) -> Result<Figures> {
        let topic: String = load.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let arguments: Vec<&str> =
            load.arguments.iter().copied().chain(["--topic", topic.as_str()]).collect();
        self.bench(&arguments, running, warmup, self.seconds)
    }

    /// Runs `ferromq bench`; any error that the server answered is a failure.
    fn raw(&self, arguments: &[&str], running: &Running, warmup: u32, seconds: u32) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        command.arg("bench").args(arguments).args(["--addr", &running.address, "--output", "json"]);
        command.args(["--pid", &running.pid.to_string(), "--warmup", &warmup.to_string()]);
        command.args(["--seconds", &seconds.to_string()]);
        let result = json_of(&mut command)?;
        let errors = result["errors"].as_array().map_or(0, Vec::len);
        ensure!(errors == 0, "{arguments:?}: the server answered errors: {}", result["errors"]);
        Ok(result)
    }

    fn bench(&self, arguments: &[&str], running: &Running, warmup: u32, seconds: u32) -> Result<Figures> {
        figures(&self.raw(arguments, running, warmup, seconds)?, "messages_per_s")
    }

    /// What the disk allows: appends of a stored message, each with `fdatasync`.
    fn fsync(&self) -> Result<Figures> {
        let mut command = Command::new(&self.binary);
        command.args(["bench", "fsync", "--output", "json", "--seconds", "5", "--dir"]).arg(&self.dir);
        figures(&json_of(&mut command)?, "appends_per_s")
    }
}

fn json_of(command: &mut Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {command:?} printed"))
}

fn figures(result: &Value, throughput: &str) -> Result<Figures> {
    let number =
        |value: &Value, key: &str| value[key].as_f64().with_context(|| format!("no {key} in {result}"));
    let latency = &result["latency_ns"];
    let server = &result["server"];
    Ok(Figures {
        per_second: number(result, throughput)?,
        cpu_us: server["cpu_us_per_message"].as_f64(),
        mean_ms: number(latency, "mean")? / 1e6,
        p50_ms: number(latency, "p50")? / 1e6,
        p99_ms: number(latency, "p99")? / 1e6,
        p999_ms: number(latency, "p99_9")? / 1e6,
        rss_mib: server["rss_bytes"].as_f64().map(|bytes| bytes / f64::from(1 << 20)),
    })
}

/// The size of a folder on disk; used to see that a load was as large as intended.
fn disk_use(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() {
            disk_use(&entry.path())?
        } else {
            std::os::unix::fs::MetadataExt::blocks(&meta) * 512
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_output_of_the_bench() {
        let result = serde_json::json!({
            "messages_per_s": 1000.5, "latency_ns": {"mean": 2e6, "p50": 1_000_000, "p99": 3_000_000, "p99_9": 4_000_000},
            "server": {"cpu_us_per_message": 7.5, "rss_bytes": 33_554_432},
        });
        let read = figures(&result, "messages_per_s").unwrap();
        assert_eq!((read.per_second, read.cpu_us, read.mean_ms, read.p999_ms), (1000.5, Some(7.5), 2.0, 4.0));
        assert_eq!(read.rss_mib, Some(32.0));
        assert!(figures(&serde_json::json!({}), "messages_per_s").is_err());
    }
}
