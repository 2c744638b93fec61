//! Name servers and brokers, Java's or ours, started from the same properties file.
//!
//! A server has a directory of its own: configuration, store, home of the Java process, log. It keeps its port over
//! restarts. Starting returns when it can be used: a name server answers, a broker is known to all its name servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Process;
use crate::toolchain::Toolchain;
use crate::{ports, wire};

/// Who made a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Java,
    Ferromq,
}

impl std::fmt::Display for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Java => "java",
            Self::Ferromq => "ferromq",
        })
    }
}

/// How long a server may take to start on a busy machine, or to stop.
const PATIENCE: Duration = Duration::from_secs(90);

/// Memory options of a Java server.
#[derive(Debug, Clone)]
pub enum Jvm {
    /// For tests: starts quickly and stays small.
    Small,
    /// For measurements: heap of so many MiB, the collector and compiler of Java's start script.
    Measured { heap_mib: u32 },
}

#[derive(Debug)]
enum Kind {
    Namesrv,
    Broker {
        name: String,
        namesrv: Vec<String>,
    },
    /// `ferromq up`: both in one process, configured by arguments alone.
    Up {
        namesrv_port: u16,
    },
}

#[derive(Debug)]
pub struct Server {
    pub make: Make,
    pub port: u16,
    pub dir: PathBuf,
    kind: Kind,
    jvm: Jvm,
    /// A program that starts the server, with its arguments; empty for none.
    wrapper: Vec<String>,
    process: Option<Process>,
}

/// What a broker is to be; keys not named here have Java's defaults.
#[derive(Debug, Clone)]
pub struct BrokerSetup {
    pub name: String,
    pub namesrv: Vec<String>,
    pub keys: BTreeMap<String, String>,
}

impl BrokerSetup {
    /// Java's defaults for everything.
    pub fn plain(namesrv: &[String]) -> Self {
        Self { name: "broker-a".to_owned(), namesrv: namesrv.to_vec(), keys: BTreeMap::new() }
    }

    /// For tests: small files, which start quickly, and patience, because a busy machine is not what they are about.
    pub fn new(namesrv: &[String]) -> Self {
        Self::plain(namesrv)
            .with("mappedFileSizeCommitLog", 64 << 20)
            .with("mappedFileSizeConsumeQueue", 600_000)
            .with("maxHashSlotNum", 50_000)
            .with("maxIndexNum", 200_000)
            .with("registerNameServerPeriod", 10_000)
            .with("waitTimeMillsInSendQueue", 10_000)
            .with("diskMaxUsedSpaceRatio", 98)
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }
}

impl Server {
    /// Writes the configuration of a name server; it is not started yet.
    pub fn namesrv(make: Make, dir: &Path) -> Result<Self> {
        let port = ports::one()?;
        let keys = BTreeMap::from([("listenPort".to_owned(), port.to_string())]);
        Self::prepare(make, dir, port, Kind::Namesrv, &keys)
    }

    /// Writes the configuration of a broker; it is not started yet.
    pub fn broker(make: Make, dir: &Path, setup: BrokerSetup) -> Result<Self> {
        let port = ports::broker()?;
        let store = dir.join("store").display().to_string();
        let mut keys: BTreeMap<String, String> = [
            ("brokerClusterName", "DefaultCluster".to_owned()),
            ("brokerName", setup.name.clone()),
            ("brokerId", "0".to_owned()),
            ("brokerIP1", "127.0.0.1".to_owned()),
            ("listenPort", port.to_string()),
            ("haListenPort", (port + 1).to_string()),
            ("namesrvAddr", setup.namesrv.join(";")),
            ("storePathCommitLog", format!("{store}/commitlog")),
            ("storePathRootDir", store),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        keys.extend(setup.keys);
        Self::prepare(make, dir, port, Kind::Broker { name: setup.name, namesrv: setup.namesrv }, &keys)
    }

    /// `ferromq up`, as a user would start it; it is not started yet.
    pub fn up(dir: &Path) -> Result<Self> {
        let (port, namesrv_port) = (ports::broker()?, ports::one()?);
        Self::prepare(Make::Ferromq, dir, port, Kind::Up { namesrv_port }, &BTreeMap::new())
    }

    /// The address of the name server in the process of `up`.
    pub fn namesrv_of_up(&self) -> Option<String> {
        match self.kind {
            Kind::Up { namesrv_port } => Some(format!("127.0.0.1:{namesrv_port}")),
            Kind::Namesrv | Kind::Broker { .. } => None,
        }
    }

    fn prepare(
        make: Make,
        dir: &Path,
        port: u16,
        kind: Kind,
        keys: &BTreeMap<String, String>,
    ) -> Result<Self> {
        fs::create_dir_all(dir.join("home/conf")).with_context(|| dir.display().to_string())?;
        let dir = fs::canonicalize(dir)?;
        let mut text = String::new();
        for (key, value) in keys {
            writeln!(text, "{key}={value}").expect("a string takes everything");
        }
        fs::write(dir.join("server.conf"), text)?;
        let jvm = Jvm::Small;
        Ok(Self { make, port, dir, kind, jvm, wrapper: Vec::new(), process: None })
    }

    /// Takes this make from now on: the same store and port, the other program.
    pub fn switch(&mut self, make: Make) {
        assert!(self.process.is_none(), "a running server cannot change its make");
        self.make = make;
    }

    pub fn set_jvm(&mut self, jvm: Jvm) {
        self.jvm = jvm;
    }

    /// Has another program start the server, in the same process (valgrind, for example).
    pub fn set_wrapper(&mut self, wrapper: &[String]) {
        self.wrapper = wrapper.to_vec();
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Starts it and waits until it can be used.
    pub fn start(&mut self, tools: &Toolchain) -> Result<()> {
        assert!(self.process.is_none(), "started twice");
        let mut command = self.command(tools)?;
        command.current_dir(&self.dir);
        self.process = Some(Process::spawn(command, &self.describe(), &self.dir.join("server.log"))?);
        self.wait_until_usable()
    }

    fn describe(&self) -> String {
        match &self.kind {
            Kind::Namesrv => format!("{} name server", self.make),
            Kind::Broker { name, .. } => format!("{} {name}", self.make),
            Kind::Up { .. } => "ferromq up".to_owned(),
        }
    }

    fn command(&self, tools: &Toolchain) -> Result<Command> {
        let conf = self.dir.join("server.conf");
        let home = self.dir.join("home");
        let mut command = match self.make {
            Make::Java => tools.java_server(&self.jvm, &home),
            Make::Ferromq => match self.wrapper.split_first() {
                None => Command::new(tools.ferromq()?),
                Some((program, arguments)) => {
                    let mut command = Command::new(program);
                    command.args(arguments).arg(tools.ferromq()?);
                    command
                }
            },
        };
        match (self.make, &self.kind) {
            (Make::Java, Kind::Namesrv) => command.arg("org.apache.rocketmq.namesrv.NamesrvStartup"),
            (Make::Java, Kind::Broker { .. }) => command.arg("org.apache.rocketmq.broker.BrokerStartup"),
            (Make::Java, Kind::Up { .. }) => bail!("Java has no single process"),
            (Make::Ferromq, Kind::Namesrv) => command.arg("namesrv"),
            (Make::Ferromq, Kind::Broker { .. }) => command.arg("broker"),
            (Make::Ferromq, Kind::Up { .. }) => command.arg("up"),
        };
        if let Kind::Up { namesrv_port } = self.kind {
            command.arg("--data-dir").arg(self.store());
            command.args([
                "--namesrv-port",
                &namesrv_port.to_string(),
                "--broker-port",
                &self.port.to_string(),
            ]);
        } else {
            command.arg("-c").arg(conf);
        }
        command.env("HOME", &home).env("ROCKETMQ_HOME", &home).env_remove("NAMESRV_ADDR");
        Ok(command)
    }

    fn wait_until_usable(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.process.as_mut().context("not started")?.expect_alive()?;
            match self.usable() {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() > end => {
                    return Err(why.context(format!("{} is not usable after {PATIENCE:?}", self.describe())));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn usable(&self) -> Result<()> {
        // The broker is asked for the lowest offset of a queue that every broker has.
        let probe = match self.kind {
            Kind::Namesrv => wire::call(&self.address(), 106, &BTreeMap::new(), &[])?,
            Kind::Broker { .. } | Kind::Up { .. } => wire::call(
                &self.address(),
                31,
                &wire::fields([("topic", "SELF_TEST_TOPIC"), ("queueId", "0")]),
                &[],
            )?,
        };
        if probe.code != 0 {
            bail!("{} {:?}", probe.code, probe.remark);
        }
        let (name, namesrv) = match &self.kind {
            Kind::Namesrv => return Ok(()),
            Kind::Broker { name, namesrv } => (name.as_str(), namesrv.clone()),
            Kind::Up { .. } => ("broker-a", self.namesrv_of_up().into_iter().collect()),
        };
        for address in &namesrv {
            let Ok(known) = wire::call(address, 106, &BTreeMap::new(), &[]) else {
                // A name server that is down is somebody's test.
                continue;
            };
            let text = String::from_utf8_lossy(&known.body).into_owned();
            if !text.contains(&format!("\"{name}\"")) || !text.contains(&format!(":{}\"", self.port)) {
                bail!("name server {address} does not know {name}: {text}");
            }
        }
        Ok(())
    }

    /// Starts it and waits until it says why it does not serve. Java's process goes on for half a minute after that, so
    /// its end is not waited for.
    pub fn start_refused(&self, tools: &Toolchain, reason: &str) -> Result<()> {
        let mut command = self.command(tools)?;
        command.current_dir(&self.dir);
        let log = self.dir.join("server.log");
        let _process = Process::spawn(command, &self.describe(), &log)?;
        let end = Instant::now() + PATIENCE;
        while !fs::read_to_string(&log)?.contains(reason) {
            if Instant::now() > end {
                bail!("{} does not say {reason:?}, see {}", self.describe(), log.display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// SIGTERM; returns when the process has ended.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.terminate(PATIENCE).map(drop),
            None => Ok(()),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("kill a server that is not running")?.kill()
    }

    /// Leaves it running when this process ends; returns its process id.
    pub fn detach(mut self) -> Option<u32> {
        self.process.take().map(Process::detach)
    }
}
