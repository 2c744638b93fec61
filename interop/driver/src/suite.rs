//! The scenarios: which servers, which program, what happens meanwhile.
//!
//! Each has servers of its own, so they run side by side and in any order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::roundtrip::Trip;
use crate::server::{BrokerSetup, Make, Server};
use crate::toolchain::{JavaClient, Toolchain};
use crate::{mqadmin, program, retention, rows, wire};

/// How a scenario ended.
#[derive(Debug)]
pub enum Verdict {
    Passed,
    Failed(String),
    /// Only for what cannot be run here; the reason is shown.
    Skipped(String),
}

#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    pub verdict: Verdict,
    pub seconds: u64,
    pub notes: Vec<String>,
}

type Body = Box<dyn Fn(&Place) -> Result<Vec<String>> + Send + Sync>;

pub struct Scenario {
    pub name: String,
    body: Body,
    /// Mixes both makes, so it has a meaning only where ours is under test.
    mixed: bool,
}

/// Where a scenario runs and with what.
pub struct Place<'a> {
    pub tools: &'a Toolchain,
    pub make: Make,
    /// Empty at the start. Logs and stores of a failure stay here.
    pub dir: PathBuf,
}

/// One broker with its name server.
pub struct Single {
    pub namesrv: String,
    pub broker: Server,
    /// Kept running with this value; absent when the process of the broker has the name server too (`ferromq up`).
    _namesrv_server: Option<Server>,
}

impl<'a> Place<'a> {
    /// An empty folder to run in.
    pub fn fresh(tools: &'a Toolchain, make: Make, dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir.join("client")).with_context(|| dir.display().to_string())?;
        Ok(Self { tools, make, dir: dir.to_owned() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A name server and a broker, as two processes.
    pub fn single(&self, change: impl FnOnce(BrokerSetup) -> BrokerSetup) -> Result<Single> {
        let mut namesrv = Server::namesrv(self.make, &self.path("namesrv"))?;
        namesrv.start(self.tools)?;
        let address = namesrv.address();
        let setup = change(BrokerSetup::new(std::slice::from_ref(&address)));
        let mut broker = Server::broker(self.make, &self.path("broker"), setup)?;
        broker.start(self.tools)?;
        Ok(Single { namesrv: address, broker, _namesrv_server: Some(namesrv) })
    }

    /// What a user has after the one command: `ferromq up`; for Java the two processes.
    pub fn up(&self) -> Result<Single> {
        if self.make == Make::Java {
            return self.single(|setup| setup);
        }
        let mut up = Server::up(&self.path("up"))?;
        up.start(self.tools)?;
        Ok(Single {
            namesrv: up.namesrv_of_up().context("up has a name server")?,
            broker: up,
            _namesrv_server: None,
        })
    }

    /// Runs one scenario of `interop/java/scenarios`.
    fn java(
        &self,
        run: &JavaRun,
        namesrv: &str,
        at_point: impl FnMut(&str) -> Result<()>,
    ) -> Result<Vec<String>> {
        let classes = self.tools.build_java("scenarios", run.client)?;
        let mut command = self.tools.java_client(&classes, run.client, &self.path("client"));
        command.arg(format!("-Dnamesrv={namesrv}")).arg(format!("-Dtopic={}", run.topic));
        if run.binary_headers {
            command.arg("-Drocketmq.serialize.type=ROCKETMQ");
        }
        if run.tls {
            command.arg("-Dtls.enable=true");
        }
        command.args(["Main", run.scenario]);
        program::run(command, &self.path("client.log"), Duration::from_secs(420), at_point)
    }

    fn smoke(&self, program: &str, version: &str, namesrv: &str) -> Result<Vec<String>> {
        let mut command = self.tools.smoke(program, version);
        command.env("NAMESRV_ADDR", namesrv);
        program::run(command, &self.path("client.log"), Duration::from_secs(180), |point| {
            bail!("point {point}")
        })
    }

    fn go(
        &self,
        scenario: &str,
        namesrv: &str,
        at_point: impl FnMut(&str) -> Result<()>,
    ) -> Result<Vec<String>> {
        let mut command = Command::new(self.tools.build_go("go")?);
        command
            .arg(scenario)
            .env("NAMESRV", namesrv)
            .env("TOPIC", format!("go_{}", scenario.replace('-', "_")));
        // The client keeps the offsets of broadcast groups below the home directory.
        command.env("HOME", self.path("client"));
        program::run(command, &self.path("client.log"), Duration::from_secs(420), at_point)
    }
}

#[derive(Clone, Copy)]
struct JavaRun {
    scenario: &'static str,
    client: JavaClient,
    topic: &'static str,
    binary_headers: bool,
    tls: bool,
}

/// The queues of the topics that a scenario uses, by suffix of the topic name.
fn queues(scenario: &str) -> &'static [(&'static str, u32)] {
    match scenario {
        "shrink" => &[("", 16)],
        "from-where" => &[("_young", 4), ("_old", 1)],
        _ => &[("", 8)],
    }
}

fn make_topics(broker: &Server, scenario: &str, topic: &str) -> Result<()> {
    for (suffix, number) in queues(scenario) {
        wire::put_topic(&broker.address(), &format!("{topic}{suffix}"), *number, *number)?;
    }
    Ok(())
}

/// Does to a single broker what a program asks for.
fn disturb(place: &Place<'_>, broker: &mut Server, topic: &str, what: &str) -> Result<()> {
    match what {
        "stop-and-start" => {
            broker.stop()?;
            broker.start(place.tools)
        }
        "kill-and-start" => {
            broker.kill()?;
            broker.start(place.tools)
        }
        "write-8" => wire::put_topic(&broker.address(), topic, 16, 8),
        "read-8" => wire::put_topic(&broker.address(), topic, 8, 8),
        other => bail!("a program asks for {other}"),
    }
}

fn single_java(place: &Place<'_>, run: JavaRun) -> Result<Vec<String>> {
    let mut servers = place.single(|setup| match run.scenario {
        // Full files are deleted at the next look, which is due at every hour.
        "from-where" => setup
            .with("mappedFileSizeCommitLog", 1 << 20)
            .with("fileReservedTime", 0)
            .with("deleteWhen", (0..24).map(|hour| format!("{hour:02}")).collect::<Vec<_>>().join(";")),
        _ => setup,
    })?;
    make_topics(&servers.broker, run.scenario, run.topic)?;
    let namesrv = servers.namesrv.clone();
    place.java(&run, &namesrv, |what| disturb(place, &mut servers.broker, run.topic, what))
}

fn single_go(place: &Place<'_>, scenario: &str) -> Result<Vec<String>> {
    let mut servers = place.single(|setup| setup)?;
    let topic = format!("go_{}", scenario.replace('-', "_"));
    make_topics(&servers.broker, scenario, &topic)?;
    let namesrv = servers.namesrv.clone();
    place.go(scenario, &namesrv, |what| disturb(place, &mut servers.broker, &topic, what))
}

/// Three name servers, two broker groups, one topic over both.
fn cluster(place: &Place<'_>, client: JavaClient) -> Result<Vec<String>> {
    let mut namesrvs = Vec::new();
    for number in 0..3 {
        let mut server = Server::namesrv(place.make, &place.path(&format!("namesrv-{number}")))?;
        server.start(place.tools)?;
        namesrvs.push(server);
    }
    let addresses: Vec<String> = namesrvs.iter().map(Server::address).collect();
    let run = JavaRun { scenario: "cluster", client, topic: "cluster", binary_headers: false, tls: false };
    let mut brokers = Vec::new();
    for name in ["broker-a", "broker-b"] {
        let mut broker =
            Server::broker(place.make, &place.path(name), BrokerSetup::new(&addresses).named(name))?;
        broker.start(place.tools)?;
        make_topics(&broker, run.scenario, run.topic)?;
        brokers.push(broker);
    }
    place.java(&run, &addresses.join(";"), |what| match what {
        "kill-namesrv" => namesrvs[0].kill(),
        "kill-broker-b" => brokers[1].kill(),
        "start-all" => {
            namesrvs[0].start(place.tools)?;
            brokers[1].start(place.tools)
        }
        other => bail!("a program asks for {other}"),
    })
}

/// A broker of one make at a name server of the other.
fn mixed(place: &Place<'_>, namesrv: Make, broker: Make) -> Result<Vec<String>> {
    let mut names = Server::namesrv(namesrv, &place.path("namesrv"))?;
    names.start(place.tools)?;
    let address = names.address();
    let setup = BrokerSetup::new(std::slice::from_ref(&address));
    let mut server = Server::broker(broker, &place.path("broker"), setup)?;
    server.start(place.tools)?;
    let mut notes = Vec::new();
    for (scenario, topic) in [("sends", "mixed_sends"), ("tags", "mixed_tags"), ("restart", "mixed_restart")]
    {
        make_topics(&server, scenario, topic)?;
        let run = JavaRun { scenario, client: JavaClient::V5, topic, binary_headers: false, tls: false };
        notes.extend(place.java(&run, &address, |what| disturb(place, &mut server, topic, what))?);
    }
    Ok(notes)
}

/// What `mqadmin` shows depends on the name server alone where the broker is Java's.
fn mixed_session(place: &Place<'_>) -> Result<Vec<String>> {
    let mut namesrv = Server::namesrv(Make::Ferromq, &place.path("namesrv"))?;
    namesrv.start(place.tools)?;
    let mut broker =
        Server::broker(Make::Java, &place.path("broker"), BrokerSetup::new(&[namesrv.address()]))?;
    broker.start(place.tools)?;
    mqadmin::session_at(place, &namesrv.address(), &broker, false)
}

/// Every scenario, those that take longest first.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut add = |name: String, mixed: bool, body: Body| all.push(Scenario { name, body, mixed });
    let clients = [(JavaClient::V5, "java-5.5.0"), (JavaClient::V4, "java-4.9.8")];
    for scenario in [
        "from-where",
        "shrink",
        "group",
        "restart",
        "reconsume",
        "broadcast",
        "lite-pull",
        "pull",
        "tags",
        "sends",
    ] {
        for (client, label) in clients {
            let run = JavaRun { scenario, client, topic: "topic", binary_headers: false, tls: false };
            add(format!("{label} {scenario}"), false, Box::new(move |place| single_java(place, run)));
            if scenario == "from-where" {
                add(format!("{label} cluster"), false, Box::new(move |place| cluster(place, client)));
            }
        }
    }
    for scenario in ["sends", "lite-pull", "tags", "restart"] {
        let run =
            JavaRun { scenario, client: JavaClient::V5, topic: "topic", binary_headers: true, tls: false };
        add(
            format!("java-5.5.0 {scenario}, ROCKETMQ headers"),
            false,
            Box::new(move |place| single_java(place, run)),
        );
        if scenario != "restart" {
            let run = JavaRun { binary_headers: false, tls: true, ..run };
            add(format!("java-5.5.0 {scenario}, TLS"), false, Box::new(move |place| single_java(place, run)));
        }
    }
    for scenario in ["group", "restart", "broadcast", "pull", "tags", "sends"] {
        add(format!("go-2.1.2 {scenario}"), false, Box::new(move |place| single_go(place, scenario)));
    }
    for (program, version) in [("java-remoting", "5.5.0"), ("java-remoting", "4.9.8"), ("go-remoting", "")] {
        let name = format!("smoke {program} {version}").trim_end().to_owned();
        add(
            name,
            false,
            Box::new(move |place| {
                let servers = place.up()?;
                place.smoke(program, version, &servers.namesrv)
            }),
        );
    }
    for (seed, segment_bytes) in [(1, 1 << 20), (2, 2 << 20), (3, 4 << 20)] {
        add_trip(&mut add, Trip { seed, segment_bytes, messages: 1500 });
    }
    add("a store after retention, and its lock".to_owned(), true, Box::new(retention::run));
    add("single answers".to_owned(), false, Box::new(|place| rows::check(place, place.tools.root())));
    add("mqadmin session".to_owned(), false, Box::new(|place| mqadmin::session(place, false)));
    add(
        "our name server, a Java broker".to_owned(),
        true,
        Box::new(|place| mixed(place, Make::Ferromq, Make::Java)),
    );
    add("mqadmin session, our name server, a Java broker".to_owned(), true, Box::new(mixed_session));
    add(
        "a Java name server, our broker".to_owned(),
        true,
        Box::new(|place| mixed(place, Make::Java, Make::Ferromq)),
    );
    all
}

fn add_trip(add: &mut impl FnMut(String, bool, Body), trip: Trip) {
    let name = format!("round trip of a store, seed {}, {} MiB files", trip.seed, trip.segment_bytes >> 20);
    add(name, false, Box::new(move |place| trip.run(place)));
}

/// The round trips that take too long for every run.
pub fn long() -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut add = |name: String, mixed: bool, body: Body| all.push(Scenario { name, body, mixed });
    for seed in 0..10 {
        for segment_bytes in [1 << 20, 2 << 20, 8 << 20] {
            add_trip(&mut add, Trip { seed, segment_bytes, messages: 6000 });
        }
    }
    all
}

/// How the scenarios are run.
#[derive(Debug)]
pub struct Suite<'a> {
    pub tools: &'a Toolchain,
    pub make: Make,
    pub at_once: usize,
    /// Every scenario has a folder of its own in here.
    pub dir: PathBuf,
    /// Whether the folder of a scenario that passed stays, too; it may have a gigabyte.
    pub keep: bool,
}

impl Suite<'_> {
    /// Runs the scenarios and says how each ended as soon as it has.
    pub fn run(&self, scenarios: Vec<Scenario>) -> Result<Vec<Outcome>> {
        let queue = Mutex::new(scenarios.into_iter());
        let outcomes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(|| {
                    while let Some(scenario) = queue.lock().ok().and_then(|mut queue| queue.next()) {
                        let outcome = self.run_one(&scenario);
                        report(&outcome);
                        if let Ok(mut outcomes) = outcomes.lock() {
                            outcomes.push(outcome);
                        }
                    }
                });
            }
        });
        outcomes.into_inner().ok().context("a scenario panicked")
    }

    fn run_one(&self, scenario: &Scenario) -> Outcome {
        let start = Instant::now();
        let folder: String = scenario
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        let dir = self.dir.join(folder);
        let mut notes = Vec::new();
        let verdict = if scenario.mixed && self.make == Make::Java {
            Verdict::Skipped("mixes Java's servers with ours".to_owned())
        } else {
            match Place::fresh(self.tools, self.make, &dir).and_then(|place| (scenario.body)(&place)) {
                Ok(said) => {
                    notes = said;
                    Verdict::Passed
                }
                Err(why) => Verdict::Failed(format!("{why:#}")),
            }
        };
        if matches!(verdict, Verdict::Passed)
            && !self.keep
            && let Err(why) = fs::remove_dir_all(&dir)
        {
            notes.push(format!("{} stays: {why}", dir.display()));
        }
        Outcome { name: scenario.name.clone(), verdict, seconds: start.elapsed().as_secs(), notes }
    }
}

fn report(outcome: &Outcome) {
    let (word, why) = match &outcome.verdict {
        Verdict::Passed => ("ok", String::new()),
        Verdict::Failed(why) => ("FAILED", format!(": {why}")),
        Verdict::Skipped(why) => ("skipped", format!(": {why}")),
    };
    println!("interop {} ... {word} ({} s){why}", outcome.name, outcome.seconds);
    for note in &outcome.notes {
        println!("    {note}");
    }
}
