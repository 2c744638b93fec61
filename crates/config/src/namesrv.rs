//! The configuration of a name server.

use std::path::PathBuf;
use std::time::Duration;

use crate::broker::add_tls_file;
use crate::host::Host;
use crate::server::{Listen, OutgoingTls, Tls};
use crate::settings::{Changes, Problem, Problems, Settings, Strictness, UpdateError};
use crate::source::{Assignment, read_environment, read_file};
use crate::table::Table;

/// Keys that updateNamesrvConfig refuses whatever `configBlackList` says.
const ALWAYS_REFUSED: &[&str] = &["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

/// What the caller knows before any file is read.
#[derive(Clone, Debug)]
pub struct NamesrvSources {
    /// The `-c` file.
    pub file: Option<PathBuf>,
    /// The file of a broker in the same process: keys that every server has count from it, the others do not.
    pub broker_file: Option<PathBuf>,
    /// From options, the strongest last.
    pub command_line: Vec<Assignment>,
    /// What the environment says, see [`NamesrvSources::new`].
    pub environment: Vec<Assignment>,
    /// How values that do not parse are taken.
    pub strictness: Strictness,
}

impl NamesrvSources {
    /// Nothing but what the environment says.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            file: None,
            broker_file: None,
            command_line: Vec::new(),
            environment: read_environment(Table::namesrv(), variable),
            strictness: Strictness::Strict,
        }
    }
}

/// Everything a name server needs to start.
#[derive(Clone, Debug)]
pub struct NamesrvConfig {
    /// Where it listens.
    pub listen: Listen,
    /// Encryption of its port.
    pub tls: Tls,
    /// Encryption of connections it opens; `None` is plain.
    pub outgoing_tls: Option<OutgoingTls>,
    /// File of the key-value settings.
    pub kv_file: PathBuf,
    /// Where updates are written.
    pub file: PathBuf,
    /// Between two looks for brokers that stopped registering.
    pub scan_interval: Duration,
    /// What may change while it runs.
    pub live: NamesrvLive,
    /// The effective table.
    pub settings: Settings,
}

/// What may change while a name server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesrvLive {
    /// Routes carry the order settings of a topic.
    pub order_in_routes: bool,
    /// Brokers get the order settings when they register.
    pub order_to_brokers: bool,
    /// Routes show the first slave as master while a group has none.
    pub acting_master: bool,
    /// The list of all topics is served.
    pub list_all_topics: bool,
    /// Lists of topics by cluster or kind are served.
    pub list_topics: bool,
    /// Brokers are told when the smallest id of their group changes.
    pub notify_smallest_id: bool,
    /// No routes until the server has been up so long.
    pub warm_up: Option<Duration>,
    /// Topics that a full registration no longer names are dropped.
    pub drop_unregistered_topics: bool,
}

impl NamesrvConfig {
    /// Reads all sources, decides between them and checks the result. Reports every problem it finds, not the first.
    pub fn load(host: &Host, sources: &NamesrvSources) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut read = |file: &Option<PathBuf>| {
            file.as_deref().map_or(Ok(Vec::new()), read_file).unwrap_or_else(|error| {
                problems.push(error.into());
                Vec::new()
            })
        };
        let mut strongest = read(&sources.broker_file);
        strongest.retain(|said| Table::is_of_every_server(&said.key));
        strongest.extend(read(&sources.file));
        strongest.extend_from_slice(&sources.command_line);
        let mut assignments = sources.environment.clone();
        add_tls_file(&mut assignments, &strongest, &mut problems);
        assignments.extend(strongest);
        if let Some(file) = &sources.file {
            let path = file.to_string_lossy().into_owned();
            assignments.push(Assignment::command_line("-c", "configStorePath", path));
        }
        let (settings, more) = Settings::resolve(Table::namesrv(), host, &assignments, sources.strictness);
        problems.extend(more);
        if problems.is_empty() { Self::from_settings(settings) } else { Err(Problems(problems)) }
    }

    fn from_settings(settings: Settings) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let path = |key, problems: &mut Vec<Problem>| {
            settings.path_if_set(key).unwrap_or_else(|| {
                problems.push(settings.rule(key, "name a file"));
                PathBuf::new()
            })
        };
        let config = Self {
            kv_file: path("kvConfigPath", &mut problems),
            file: path("configStorePath", &mut problems),
            listen: Listen::read(&settings, &mut problems),
            tls: Tls::read(&settings, &mut problems),
            outgoing_tls: OutgoingTls::read(&settings, "tls.enable", &mut problems),
            scan_interval: settings.milliseconds("scanNotActiveBrokerInterval"),
            live: NamesrvLive::read(&settings),
            settings: settings.clone(),
        };
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// Checks the body of updateNamesrvConfig and returns what it leads to; see [`crate::broker::BrokerConfig::updated`].
    pub fn updated(&self, body: &[u8]) -> Result<(Self, Changes), UpdateError> {
        let (settings, changes) = self.settings.updated(body, ALWAYS_REFUSED)?;
        let next = Self::from_settings(settings)?;
        let mut config = Self { live: next.live, settings: next.settings, ..self.clone() };
        if next.listen.port == 0 {
            config.set_bound_port(self.listen.port);
        }
        Ok((config, changes))
    }

    /// The port that was bound, when the configured one was 0.
    pub fn set_bound_port(&mut self, port: u16) {
        self.listen.port = port;
        self.settings.settle("listenPort", port.to_string());
    }
}

impl NamesrvLive {
    fn read(settings: &Settings) -> Self {
        let warm_up = settings.seconds("waitSecondsForService");
        Self {
            order_in_routes: settings.flag("orderMessageEnable"),
            order_to_brokers: settings.flag("returnOrderTopicConfigToBroker"),
            acting_master: settings.flag("supportActingMaster"),
            list_all_topics: settings.flag("enableAllTopicList"),
            list_topics: settings.flag("enableTopicList"),
            notify_smallest_id: settings.flag("notifyMinBrokerIdChanged"),
            warm_up: Some(warm_up).filter(|_| settings.flag("needWaitForService")),
            drop_unregistered_topics: settings.flag("deleteTopicWithBrokerRegistration"),
        }
    }
}
