//! The configuration of a broker: from what the sources say to sections that fit together.
//!
//! [`BrokerConfig::load`] is the only way in. What it returns is checked and complete; a component gets its section and
//! nothing else. [`Live`] holds what updateBrokerConfig may change while the broker runs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferromq_protocol::types::{BrokerId, TimestampMs};

use crate::address::{host_text, unreachable_because};
use crate::host::Host;
use crate::server::{Listen, OutgoingTls, Tls, resolve};
use crate::settings::{Changes, Level, Problem, Problems, Settings, Strictness, UpdateError};
use crate::source::{Assignment, Source, read_environment, read_file};
use crate::store::{QueryLimits, ReadLimits, Retention, StoreSection};
use crate::table::Table;
use crate::table::tls::NOT_IN_FILE;

/// Keys that updateBrokerConfig refuses whatever `configBlackList` says.
const ALWAYS_REFUSED: &[&str] = &["brokerConfigPath", "rocketmqHome", "configBlackList"];

/// Defaults of `ferromq up` without a file.
const UP_DEFAULTS: &[(&str, &str)] = &[
    ("brokerName", "broker-a"),
    ("brokerClusterName", "DefaultCluster"),
    ("enablePropertyFilter", "true"),
    ("recallMessageEnable", "true"),
    ("autoCreateTopicEnable", "true"),
    ("storePathRootDir", "./ferromq-data"),
];

/// What the caller knows before any file is read.
#[derive(Clone, Debug)]
pub struct BrokerSources {
    /// The `-c` file.
    pub file: Option<PathBuf>,
    /// True for `ferromq up`: its defaults apply as long as there is no file.
    pub up: bool,
    /// Root directory for this run.
    pub data_directory: Option<PathBuf>,
    /// From options, the strongest last.
    pub command_line: Vec<Assignment>,
    /// What the environment says, see [`BrokerSources::new`].
    pub environment: Vec<Assignment>,
    /// How values that do not parse are taken.
    pub strictness: Strictness,
}

impl BrokerSources {
    /// Nothing but what the environment says.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            file: None,
            up: false,
            data_directory: None,
            command_line: Vec::new(),
            environment: read_environment(Table::broker(), variable),
            strictness: Strictness::Strict,
        }
    }
}

/// Everything a broker needs to start.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Who it is.
    pub identity: Identity,
    /// Where it listens.
    pub listen: Listen,
    /// Encryption of its ports.
    pub tls: Tls,
    /// Encryption of connections it opens; `None` is plain.
    pub outgoing_tls: Option<OutgoingTls>,
    /// How it registers at name servers.
    pub registration: Registration,
    /// Where and how it stores.
    pub store: StoreSection,
    /// Topics and groups it begins with.
    pub topics: Topics,
    /// Clients and their offsets.
    pub clients: Clients,
    /// What may change while it runs.
    pub live: Live,
    /// The effective table.
    pub settings: Settings,
    /// Where updates are written.
    pub file: PathBuf,
    /// The name server in this process, which no source names.
    own_name_server: Option<String>,
}

/// Who a broker is to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Cluster.
    pub cluster_name: String,
    /// Broker group.
    pub broker_name: String,
    /// Member of the group; 0 leads.
    pub broker_id: BrokerId,
    /// In answers to sends.
    pub region_id: String,
    /// Registered, stored in records and message ids.
    pub address: Advertised,
    /// Host of the registered replication address.
    pub replication_host: String,
    /// Port of the registered replication address; `None` is one above the port for clients.
    pub replication_port: Option<u16>,
}

/// The address others are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// As it is registered: an address, in brackets if IPv6, or a host name.
    pub host: String,
    /// What it stands for.
    pub ip: IpAddr,
    /// True if `brokerIP1` says so: then every client is given this address. False: it was chosen, and clients are
    /// given the address they came through.
    pub configured: bool,
}

impl Advertised {
    /// `host:port`.
    pub fn with_port(&self, port: u16) -> String {
        format!("{}:{port}", self.host)
    }

    /// Why clients on other machines cannot use it, if that can be told from here.
    pub fn unreachable_because(&self, host: &Host) -> Option<&'static str> {
        unreachable_because(self.ip).or_else(|| {
            (host.in_container && !self.configured)
                .then_some("this is a container, and its address is hidden behind mapped ports")
        })
    }
}

/// How a broker makes itself known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Ask for name servers here when none are configured.
    pub address_server: Option<AddressServer>,
    /// Register at every address that a name resolves to.
    pub every_resolved_address: bool,
    /// Between two looks at the name servers' names.
    pub resolve_interval: Duration,
    /// Register even if nothing changed.
    pub always: bool,
    /// Between registrations.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How long a connection to a name server may take.
    pub connect_timeout: Duration,
    /// A changed topic is registered together with all others.
    pub changes_with_whole_table: bool,
    /// Topics in one request; `None` sends all in one.
    pub topics_per_request: Option<usize>,
}

/// An HTTP server that knows the name servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressServer {
    /// Whole address of the page.
    pub url: String,
    /// Between two questions.
    pub interval: Duration,
}

/// Topics and groups that exist from the start, and how lists of them are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Queues of the template topic; it exists if topics may be created by sending.
    pub template_queues: u32,
    /// The template topic exists.
    pub template: bool,
    /// The cluster's own topic may be read and written.
    pub cluster_topic: bool,
    /// The broker's own topic may be read and written.
    pub broker_topic: bool,
    /// The trace topic, if it exists.
    pub trace_topic: Option<String>,
    /// Queues of the revive topic.
    pub revive_queues: u32,
    /// The topic of the timer exists.
    pub timer_topic: bool,
    /// Entries on one page of a list; `None` does not cut.
    pub page_entries: Option<usize>,
}

/// Clients, their locks and offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// A client without heartbeats for so long is gone.
    pub expire_after: Duration,
    /// A lock of an orderly consumer lives so long.
    pub queue_lock_lifetime: Duration,
    /// Between two writes of the consumer offsets.
    pub offset_flush_interval: Duration,
}

/// What may change while the broker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// `host:port` of name servers; empty if none are configured.
    pub name_servers: Vec<String>,
    /// Periodic registration begins so long after the start.
    pub registration_delay: Option<Duration>,
    /// 4 read, 2 write.
    pub permission: i32,
    /// A send to an unknown topic creates it.
    pub create_topics: bool,
    /// A consumer of an unknown group creates it.
    pub create_groups: bool,
    /// System groups are created even if others are not.
    pub create_system_groups: bool,
    /// System topics cannot be changed or deleted.
    pub protect_system_topics: bool,
    /// Deleting a topic deletes its pop retry topics.
    pub delete_pop_retry_topics: bool,
    /// Sends are refused before this time.
    pub accept_sends_from: TimestampMs,
    /// A send that waited so long before it was looked at is refused; `None` refuses none.
    pub send_wait_max: Option<Duration>,
    /// Sends are refused while a write to the log has not returned for so long.
    pub stalled_write_max: Duration,
    /// The same as [`Self::send_wait_max`] for requests that read.
    pub read_wait_max: Option<Duration>,
    /// Largest message body in bytes.
    pub max_body_bytes: usize,
    /// Producers may send traces.
    pub trace: bool,
    /// Pulls are held as long as the consumer allows.
    pub long_polling: bool,
    /// Otherwise they are held so long.
    pub short_polling: Duration,
    /// Lite pull consumers are served.
    pub lite_pull: bool,
    /// Pull consumers that did not register are refused.
    pub reject_unregistered_pull: bool,
    /// Consumers are told when members of their group come or go.
    pub notify_members: bool,
    /// Deletion of files.
    pub retention: Retention,
    /// Limits of one pull.
    pub reads: ReadLimits,
    /// Limits of queries by key.
    pub queries: QueryLimits,
}

impl BrokerConfig {
    /// Reads all sources, decides between them and checks the result. Reports every problem it finds, not the first.
    pub fn load(host: &Host, sources: &BrokerSources) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let assignments = collect(sources, &mut problems);
        let (settings, more) = Settings::resolve(Table::broker(), host, &assignments, sources.strictness);
        problems.extend(more);
        check_roles(&settings, &mut problems);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let mut config = Self::from_settings(settings)?;
        if let Some(file) = &sources.file {
            config.file.clone_from(file);
        }
        Ok(config)
    }

    /// Reads the sections from settings without problems of their own.
    fn from_settings(mut settings: Settings) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let listen = Listen::read(&settings, &mut problems);
        // The fast port is two below and must exist.
        if (1..=2).contains(&listen.port) {
            problems.push(settings.rule("listenPort", "write 0 for any free port or at least 3"));
        }
        let identity = Identity::read(&settings, &listen, &mut problems);
        let config = Self {
            tls: Tls::read(&settings, &mut problems),
            outgoing_tls: OutgoingTls::read(&settings, "useTLS", &mut problems),
            registration: Registration::read(&settings, &mut problems),
            topics: Topics::read(&settings),
            clients: Clients::read(&settings),
            live: Live::read(&settings, &mut problems),
            file: PathBuf::new(),
            own_name_server: None,
            store: StoreSection::read(&settings, &mut problems),
            identity,
            listen,
            settings: settings.clone(),
        };
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        note_adjustments(&mut settings, &config);
        settings.settle("brokerId", config.identity.broker_id.to_string());
        settings.settle("brokerIP1", config.identity.address.host.clone());
        settings.settle("brokerIP2", config.identity.replication_host.clone());
        settings.settle("haListenPort", config.replication_port(config.listen.port).to_string());
        Ok(Self { file: config.store.default_config_file(), settings, ..config })
    }

    /// Port of the registered replication address when clients are served on `listen_port`.
    pub fn replication_port(&self, listen_port: u16) -> u16 {
        self.identity.replication_port.unwrap_or(listen_port.wrapping_add(1))
    }

    /// Checks the body of updateBrokerConfig and returns what it leads to: the values that act at once are in `live`
    /// of the new configuration, the others act after the next start. Nothing is written and nothing changes here.
    pub fn updated(&self, body: &[u8]) -> Result<(Self, Changes), UpdateError> {
        let (settings, changes) = self.settings.updated(body, ALWAYS_REFUSED)?;
        let next = Self::from_settings(settings)?;
        let mut config = Self { live: next.live, settings: next.settings, ..self.clone() };
        if next.listen.port == 0 {
            config.set_bound_port(self.listen.port);
        }
        if let Some(address) = &self.own_name_server {
            config.set_own_name_server(address.clone());
        }
        Ok((config, changes))
    }

    /// Adds the name server of this process, `host:port`, to those that sources name.
    pub fn set_own_name_server(&mut self, address: String) {
        if !self.live.name_servers.contains(&address) {
            self.live.name_servers.insert(0, address.clone());
        }
        self.settings.settle("namesrvAddr", self.live.name_servers.join(";"));
        self.own_name_server = Some(address);
    }

    /// The port that was bound, when the configured one was 0.
    pub fn set_bound_port(&mut self, port: u16) {
        self.listen.port = port;
        self.settings.settle("listenPort", port.to_string());
        let replication = self.replication_port(port);
        self.settings.settle("haListenPort", replication.to_string());
    }
}

/// All sources in the order of precedence.
fn collect(sources: &BrokerSources, problems: &mut Vec<Problem>) -> Vec<Assignment> {
    let file = sources.file.as_deref().map(read_file).transpose().unwrap_or_else(|error| {
        problems.push(error.into());
        None
    });
    let mut assignments = Vec::new();
    if sources.up && sources.file.is_none() {
        assignments.extend(UP_DEFAULTS.iter().map(|(key, value)| Assignment::up(key, value)));
    }
    assignments.extend_from_slice(&sources.environment);
    let strongest = [file.unwrap_or_default(), sources.command_line.clone()].concat();
    add_tls_file(&mut assignments, &strongest, problems);
    assignments.extend(strongest);
    if let Some(directory) = &sources.data_directory {
        add_data_directory(&mut assignments, directory, problems);
    }
    assignments
}

/// The TLS file stands between the environment and the `-c` file; both may say where it is.
pub(crate) fn add_tls_file(
    assignments: &mut Vec<Assignment>,
    stronger: &[Assignment],
    problems: &mut Vec<Problem>,
) {
    let named = assignments.iter().chain(stronger).rfind(|said| said.key == "tls.config.file");
    let path = named.map_or("/etc/rocketmq/tls.properties", |said| said.value.trim()).to_owned();
    let path = Path::new(&path);
    if named.is_none() && !path.exists() {
        return;
    }
    match read_file(path) {
        Ok(said) => {
            let usable = said
                .into_iter()
                .filter(|said| said.key.starts_with("tls.") && !NOT_IN_FILE.contains(&&*said.key));
            assignments.extend(usable);
        }
        Err(error) => problems.push(error.into()),
    }
}

/// `--data-dir` moves the whole store. A file that puts it elsewhere is contradicted, so both are named.
fn add_data_directory(assignments: &mut Vec<Assignment>, directory: &Path, problems: &mut Vec<Problem>) {
    let paths =
        [("storePathRootDir", directory.to_owned()), ("storePathCommitLog", directory.join("commitlog"))];
    for (key, path) in paths {
        for said in assignments.iter().filter(|said| said.key == key && said.source != Source::Up) {
            if Path::new(said.value.trim()) != path {
                problems.push(Problem::Rule(format!(
                    "--data-dir {} contradicts {key}={} ({}); leave one of them out",
                    directory.display(),
                    said.value.trim(),
                    said.source
                )));
            }
        }
        let path = path.to_string_lossy().into_owned();
        assignments.push(Assignment::command_line("--data-dir", key, path));
    }
}

/// Values that Java takes differently than they are written; it does so in silence.
fn note_adjustments(settings: &mut Settings, config: &BrokerConfig) {
    let live = &config.live;
    let adjusted = [
        ("brokerId", config.identity.broker_id.0),
        ("mappedFileSizeConsumeQueue", i64::try_from(config.store.queue_file_bytes).unwrap_or(i64::MAX)),
        ("diskMaxUsedSpaceRatio", live.retention.start_percent.into()),
        ("diskSpaceCleanForciblyRatio", live.retention.force_percent.into()),
        ("diskSpaceWarningLevelRatio", live.retention.full_percent.into()),
        (
            "registerNameServerPeriod",
            i64::try_from(config.registration.interval.as_millis()).unwrap_or(i64::MAX),
        ),
    ];
    for (key, taken) in adjusted {
        let written = settings.number(key);
        if written != taken {
            settings.note(Level::Info, format!("{key}={written} counts as {taken}, as in Java"));
        }
    }
}

/// Java's own refusals, with its words and exit codes; they come before ours.
fn check_roles(settings: &Settings, problems: &mut Vec<Problem>) {
    let refuse = |text: &str, exit_code| Problem::Java { text: text.to_owned(), exit_code };
    if settings.flag("enableControllerMode") && settings.flag("enableDLegerCommitLog") {
        problems.insert(
            0,
            refuse("The config enableControllerMode and enableDLegerCommitLog cannot both be true.", 252),
        );
    }
    let slave = settings.text("brokerRole") == "SLAVE" && !settings.flag("enableControllerMode");
    if slave && settings.number("brokerId") <= 0 {
        problems.insert(0, refuse("Slave's brokerId must be > 0", 253));
    }
}

impl Identity {
    fn read(settings: &Settings, listen: &Listen, problems: &mut Vec<Problem>) -> Self {
        let named = |key: &'static str, problems: &mut Vec<Problem>| {
            settings.text_if_set(key).map(str::to_owned).unwrap_or_else(|| {
                problems.push(settings.rule(key, "write a name"));
                String::new()
            })
        };
        let configured = settings.source("brokerIP1").is_some_and(Source::is_explicit);
        let address = if configured {
            let host = settings.text("brokerIP1");
            let ip = resolve(host).unwrap_or_else(|| {
                problems.push(settings.rule("brokerIP1", "write an address, or a host name that resolves"));
                listen.address
            });
            let literal = host.parse::<IpAddr>().is_ok();
            Advertised { host: if literal { host_text(ip) } else { host.to_owned() }, ip, configured }
        } else {
            // A broker that listens on one address can be reached there only.
            let ip = if listen.address.is_unspecified() { settings.host().address } else { listen.address };
            Advertised { host: host_text(ip), ip, configured }
        };
        let replication_configured = settings.source("brokerIP2").is_some_and(Source::is_explicit);
        let replication_host =
            if replication_configured { settings.text("brokerIP2").to_owned() } else { address.host.clone() };
        let port_configured = settings.source("haListenPort").is_some_and(Source::is_explicit);
        let replication_port =
            u16::try_from(settings.number("haListenPort")).ok().filter(|port| *port > 0 && port_configured);
        Self {
            cluster_name: named("brokerClusterName", problems),
            broker_name: named("brokerName", problems),
            // The only role so far is master, and a master is always 0.
            broker_id: BrokerId(0),
            region_id: settings.text("regionId").to_owned(),
            address,
            replication_host,
            replication_port,
        }
    }
}

impl Registration {
    fn read(settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let domain = settings.text_if_set("rmqAddressServerDomain");
        let group = settings.text("rmqAddressServerSubGroup");
        let asked = settings.flag("fetchNamesrvAddrByAddressServer");
        if asked && domain.is_none() {
            problems.push(settings.rule(
                "fetchNamesrvAddrByAddressServer",
                "set rmqAddressServerDomain to the host of the address server as well",
            ));
        }
        let interval = settings.milliseconds("fetchNamesrvAddrInterval");
        let address_server = domain.filter(|_| asked).map(|domain| {
            let port = if domain.contains(':') { "" } else { ":8080" };
            AddressServer { url: format!("http://{domain}{port}/rocketmq/{group}"), interval }
        });
        let period_ms = settings.number("registerNameServerPeriod").clamp(10_000, 60_000);
        let split = settings.flag("enableSplitRegistration");
        Self {
            address_server,
            every_resolved_address: settings.flag("fetchNameSrvAddrByDnsLookup"),
            resolve_interval: settings.milliseconds("updateNameServerAddrPeriod"),
            always: settings.flag("forceRegister"),
            interval: Duration::from_millis(period_ms.unsigned_abs()),
            timeout: settings.milliseconds("registerBrokerTimeoutMills"),
            connect_timeout: settings.milliseconds("connectTimeoutMillis"),
            changes_with_whole_table: settings.flag("enableSingleTopicRegister"),
            topics_per_request: Some(settings.bounded("splitRegistrationSize")).filter(|_| split),
        }
    }
}

impl Topics {
    fn read(settings: &Settings) -> Self {
        Self {
            template_queues: settings.bounded("defaultTopicQueueNums"),
            template: settings.flag("autoCreateTopicEnable"),
            cluster_topic: settings.flag("clusterTopicEnable"),
            broker_topic: settings.flag("brokerTopicEnable"),
            trace_topic: Some(settings.text("msgTraceTopicName").to_owned())
                .filter(|_| settings.flag("traceTopicEnable")),
            revive_queues: settings.bounded("reviveQueueNum"),
            timer_topic: settings.flag("timerWheelEnable"),
            page_entries: Some(settings.bounded("splitMetadataSize"))
                .filter(|_| settings.flag("enableSplitMetadata")),
        }
    }
}

impl Clients {
    fn read(settings: &Settings) -> Self {
        Self {
            expire_after: settings.milliseconds("channelExpiredTimeout"),
            queue_lock_lifetime: settings.milliseconds("rocketmq.broker.rebalance.lockMaxLiveTime"),
            offset_flush_interval: settings.milliseconds("flushConsumerOffsetInterval"),
        }
    }
}

impl Live {
    pub(crate) fn read(settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let refuse_late = settings.flag("brokerFastFailureEnable");
        let name_servers = settings.text_if_set("namesrvAddr").map(name_servers).unwrap_or(Ok(Vec::new()));
        let name_servers = name_servers.unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        });
        Self {
            name_servers,
            registration_delay: u64::try_from(settings.number("disappearTimeAfterStart"))
                .ok()
                .map(Duration::from_millis),
            permission: settings.bounded("brokerPermission"),
            create_topics: settings.flag("autoCreateTopicEnable"),
            create_groups: settings.flag("autoCreateSubscriptionGroup"),
            create_system_groups: settings.flag("enableCreateSysGroup"),
            protect_system_topics: settings.flag("validateSystemTopicWhenUpdateTopic"),
            delete_pop_retry_topics: settings.flag("clearRetryTopicWhenDeleteTopic"),
            accept_sends_from: TimestampMs(settings.number("startAcceptSendRequestTimeStamp")),
            send_wait_max: Some(settings.milliseconds("waitTimeMillsInSendQueue")).filter(|_| refuse_late),
            stalled_write_max: settings.milliseconds("osPageCacheBusyTimeOutMills"),
            read_wait_max: Some(settings.milliseconds("waitTimeMillsInPullQueue")).filter(|_| refuse_late),
            max_body_bytes: settings.bounded("maxMessageSize"),
            trace: settings.flag("traceOn"),
            long_polling: settings.flag("longPollingEnable"),
            short_polling: settings.milliseconds("shortPollingTimeMills"),
            lite_pull: settings.flag("litePullMessageEnable"),
            reject_unregistered_pull: settings.flag("rejectPullConsumerEnable"),
            notify_members: settings.flag("notifyConsumerIdsChangedEnable"),
            retention: Retention::read(settings, problems),
            reads: ReadLimits::read(settings),
            queries: QueryLimits::read(settings),
        }
    }
}

/// `namesrvAddr`: `host:port` separated by semicolons; an entry that starts with `http://` counts from its last slash.
pub fn name_servers(text: &str) -> Result<Vec<String>, Problem> {
    let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let bare =
                entry.strip_prefix("http://").map_or(entry, |rest| rest.rsplit('/').next().unwrap_or(rest));
            let legal = bare
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            legal.then(|| bare.to_owned()).ok_or_else(|| Problem::Java {
                text: format!(
                    "The Name Server Address[{text}] illegal, please set it as follows, \
                     \"127.0.0.1:9876;192.168.0.1:9876\""
                ),
                exit_code: 253,
            })
        })
        .collect()
}
