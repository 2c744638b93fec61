//! Making this broker and its topics known to the name servers.
//!
//! One task registers everything at the start and every half minute, and single topics as soon as they change; it
//! takes the whole backlog of changed topics with each round. Name servers are told in parallel and never wait for
//! each other: one that does not answer is left out of rounds until it does, and then gets everything. Whoever changed
//! a topic may wait until the name servers know, but not long.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferromq_config::broker::AddressServer;
use ferromq_config::server::HeaderEncoding;
use ferromq_net::caller::{self, Caller, NoRequests, RequestError};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::tls;
use ferromq_protocol::body::{
    DataVersion, KvTable, RegisterBrokerBody, TopicConfig, TopicConfigAndMappingTable, perm,
};
use ferromq_protocol::code::{request as code, response};
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::{Head, Header, OwnedFrame};
use ferromq_protocol::json;
use ferromq_protocol::record::body_crc;
use ferromq_protocol::request::{QueryDataVersion, RegisterBroker, UnregisterBroker};
use ferromq_protocol::types::BrokerId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::broker::Broker;
use crate::metadata::Change;
use crate::topics::Topic;

/// How long a change of topics waits for the name servers to know of it.
const ANNOUNCE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a start waits for the name servers.
const START_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long a stop waits for each name server.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// Topics in one request at most, so that it fits into a frame.
const TOPICS_PER_REQUEST_MAX: usize = 30_000;
/// How long the server of addresses may take (`MixAll`'s client).
const ADDRESS_SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest answer of it that is read.
const ADDRESS_PAGE_BYTES_MAX: u64 = 64 << 10;

/// Changed topics on their way to the name servers. Bounded by the number of topics: one that changes again replaces
/// itself.
#[derive(Debug, Default)]
pub struct Announcements {
    backlog: Mutex<Backlog>,
    /// Wakes the task that registers.
    changed: Notify,
}

/// What waits to be announced.
#[derive(Debug, Default)]
struct Backlog {
    topics: Vec<Arc<Topic>>,
    waiters: Vec<oneshot::Sender<()>>,
    /// Everything shall be registered, not only what changed.
    all: bool,
    /// Nobody takes the backlog any more.
    is_closed: bool,
}

impl Announcements {
    /// Tells the name servers of topics that were created or changed; done when they know, or after a while.
    pub(crate) async fn announce(&self, topics: Vec<Arc<Topic>>) {
        if topics.is_empty() {
            return;
        }
        let told = {
            let mut backlog = self.backlog.lock();
            if backlog.is_closed {
                return;
            }
            for topic in topics {
                match backlog.topics.iter_mut().find(|waiting| waiting.name == topic.name) {
                    Some(waiting) => *waiting = topic,
                    None => backlog.topics.push(topic),
                }
            }
            let (sender, receiver) = oneshot::channel();
            backlog.waiters.push(sender);
            receiver
        };
        self.changed.notify_one();
        // Whether they know in time or not, the topic exists.
        let _ = timeout(ANNOUNCE_WAIT_MAX, told).await;
    }

    /// Makes the whole table be registered soon, without waiting.
    pub(crate) fn announce_all(&self) {
        self.backlog.lock().all = true;
        self.changed.notify_one();
    }

    fn take(&self) -> Backlog {
        std::mem::take(&mut *self.backlog.lock())
    }

    /// From here on nobody waits for the name servers.
    fn close(&self) {
        *self.backlog.lock() = Backlog { is_closed: true, ..Backlog::default() };
    }
}

/// The task that registers.
pub(crate) struct Registrar {
    broker: Arc<Broker>,
    known: Arc<Mutex<Vec<Arc<NameServer>>>>,
    caller: Caller<NoRequests>,
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Registers for the first time and goes on by itself.
pub(crate) async fn start(broker: Arc<Broker>, connector: Option<Arc<tls::Connector>>) -> Registrar {
    let (stopping, stop) = watch::channel(false);
    let known = Arc::default();
    let (registration, encoding) = {
        let config = broker.config();
        let encoding = match config.listen.own_encoding {
            HeaderEncoding::Json => Encoding::Json,
            HeaderEncoding::RocketMq => Encoding::Binary,
        };
        (config.registration.clone(), encoding)
    };
    let caller = Caller::new(
        caller::Settings {
            limiter: Limiter::new(Limits::default()),
            connect_timeout: registration.connect_timeout,
            tls: connector,
            encoding,
        },
        Arc::new(NoRequests),
    );
    let mut rounds =
        Rounds { broker: Arc::clone(&broker), known: Arc::clone(&known), caller: caller.clone() };
    rounds.look_up().await;
    // A name server that is down must not keep the broker from serving; the rounds go on.
    let first = rounds.register_all(true);
    let _ = timeout(START_WAIT_MAX, first).await;
    let task = tokio::spawn(rounds.run(stop));
    Registrar { broker, known, caller, stopping, task }
}

impl Registrar {
    /// Tells the name servers that this broker is gone.
    pub(crate) async fn stop(self) {
        self.broker.announcements.close();
        self.stopping.send_replace(true);
        // A round under way is of no use any more.
        self.task.abort();
        let mut calls = JoinSet::new();
        for server in self.known.lock().iter().map(Arc::clone) {
            let (broker, caller) = (Arc::clone(&self.broker), self.caller.clone());
            calls.spawn(async move {
                let identity = &broker.identity;
                let header = UnregisterBroker {
                    broker_name: &identity.broker_name,
                    broker_addr: &identity.address,
                    cluster_name: &identity.cluster,
                    broker_id: BrokerId(identity.broker_id),
                };
                let code = code::UNREGISTER_BROKER;
                let call = call(&caller, &server.address, UNREGISTER_TIMEOUT, code, &header, &[]);
                if let Err(error) = call.await {
                    tracing::warn!(%error, "not unregistered at a name server");
                }
            });
        }
        while calls.join_next().await.is_some() {}
        self.caller.stop().await;
    }
}

/// One name server as far as this broker knows it.
#[derive(Debug)]
struct NameServer {
    address: String,
    /// It has not answered the last request yet.
    is_busy: AtomicBool,
    /// It missed a change and needs everything.
    is_behind: AtomicBool,
    /// Its last answer was an error; said once, not every round.
    is_failing: AtomicBool,
}

struct Rounds {
    broker: Arc<Broker>,
    known: Arc<Mutex<Vec<Arc<NameServer>>>>,
    caller: Caller<NoRequests>,
}

impl Rounds {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let (registration, delay) = {
            let config = self.broker.config();
            (config.registration.clone(), config.live.registration_delay)
        };
        let every = |first: Duration, period: Duration| {
            let mut interval = interval_at(Instant::now() + first, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let first = delay.unwrap_or(Duration::from_secs(10)).min(registration.interval);
        let mut periodic = every(first, registration.interval);
        let look_up = match &registration.address_server {
            Some(server) => server.interval.min(registration.resolve_interval),
            None => registration.resolve_interval,
        };
        let mut look_ups = every(look_up, look_up);
        enum Due {
            Announcement,
            Registration,
            LookUp,
            Stop,
        }
        loop {
            let due = tokio::select! {
                _ = stopping.changed() => Due::Stop,
                () = self.broker.announcements.changed.notified() => Due::Announcement,
                _ = periodic.tick() => Due::Registration,
                _ = look_ups.tick() => Due::LookUp,
            };
            match due {
                Due::Stop => return,
                Due::Announcement => self.announce().await,
                Due::Registration => self.register_all(registration.always).await,
                Due::LookUp => {
                    if self.look_up().await {
                        self.register_all(true).await;
                    }
                }
            }
        }
    }

    /// Finds the name servers. True if there are new ones.
    async fn look_up(&mut self) -> bool {
        let (names, registration) = {
            let config = self.broker.config();
            (config.live.name_servers.clone(), config.registration.clone())
        };
        let mut addresses = match (&registration.address_server, names.is_empty()) {
            (Some(server), true) => match ask_address_server(server).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    tracing::warn!(url = %server.url, %error, "the address server does not tell the name servers");
                    return false;
                }
            },
            _ => names,
        };
        if registration.every_resolved_address {
            addresses = resolve_all(addresses).await;
        }
        let addresses: BTreeSet<String> = addresses.into_iter().collect();
        let mut known = self.known.lock();
        for gone in known.iter().filter(|server| !addresses.contains(&server.address)) {
            self.caller.disconnect(&gone.address);
        }
        known.retain(|server| addresses.contains(&server.address));
        let before = known.len();
        for address in addresses {
            if !known.iter().any(|server| server.address == address) {
                known.push(Arc::new(NameServer {
                    address,
                    is_busy: AtomicBool::new(false),
                    is_behind: AtomicBool::new(true),
                    is_failing: AtomicBool::new(false),
                }));
            }
        }
        known.len() > before
    }

    /// Registers what changed; name servers that missed something get everything.
    async fn announce(&mut self) {
        let backlog = self.broker.announcements.take();
        // A name server that drops what a registration does not name must be given everything.
        let whole_table = self.broker.config().registration.changes_with_whole_table;
        if backlog.all || (whole_table && !backlog.topics.is_empty()) {
            self.look_up().await;
            self.register_all(true).await;
        } else if !backlog.topics.is_empty() {
            let single: Arc<[Payload]> = Arc::new([self.payload(backlog.topics)]);
            // The whole table is large, and needed only by who is behind.
            let (everything, rounds) = (OnceCell::new(), &*self);
            rounds
                .round(move |server| {
                    if server.is_behind.load(Ordering::Acquire) {
                        Job::Register(Arc::clone(everything.get_or_init(|| rounds.everything())))
                    } else {
                        Job::Register(Arc::clone(&single))
                    }
                })
                .await;
        }
        for waiter in backlog.waiters {
            // Who stopped waiting does not care.
            let _ = waiter.send(());
        }
    }

    /// Registers the whole table, at servers that know it already only if `always`.
    async fn register_all(&mut self, always: bool) {
        let everything = self.everything();
        self.round(|server| {
            if always || server.is_behind.load(Ordering::Acquire) {
                Job::Register(Arc::clone(&everything))
            } else {
                Job::RegisterIfChanged(Arc::clone(&everything))
            }
        })
        .await;
    }

    /// The whole table, in as many requests as the configuration wants.
    fn everything(&self) -> Arc<[Payload]> {
        let topics = self.broker.metadata.topics.all();
        let wanted = self.broker.config().registration.topics_per_request;
        // A first request with one topic only would be taken for a change of that topic.
        let chunks = topics.chunks(wanted.unwrap_or(TOPICS_PER_REQUEST_MAX).clamp(2, TOPICS_PER_REQUEST_MAX));
        chunks.map(|topics| self.payload(topics.to_vec())).collect()
    }

    fn payload(&self, topics: Vec<Arc<Topic>>) -> Payload {
        let permission = self.broker.config().live.permission;
        let version = self.broker.metadata.versions().topics;
        // A broker that may not be read or written shows that in every topic.
        let read_write = perm::READ | perm::WRITE;
        let mask = if permission & read_write == read_write { !0 } else { permission };
        let table = topics.iter().map(|topic| {
            let config = TopicConfig { perm: topic.perm & mask, ..TopicConfig::from(&**topic) };
            (topic.name.to_string(), config)
        });
        let body = RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: TopicConfigAndMappingTable {
                data_version: version,
                topic_config_table: table.collect(),
                ..TopicConfigAndMappingTable::default()
            },
        };
        Payload { body: body.to_json(), version }
    }

    /// Runs a job at every name server that is not still busy with the last, and waits for the answers, but not long.
    async fn round(&self, job: impl Fn(&NameServer) -> Job) {
        let servers = self.known.lock().clone();
        let mut answers = JoinSet::new();
        for server in servers {
            if server.is_busy.swap(true, Ordering::AcqRel) {
                server.is_behind.store(true, Ordering::Release);
                continue;
            }
            let job = job(&server);
            let (broker, caller) = (Arc::clone(&self.broker), self.caller.clone());
            answers.spawn(async move {
                let registered = job.run(&broker, &caller, &server.address).await;
                server.is_busy.store(false, Ordering::Release);
                server.note(registered)
            });
        }
        let collected = async {
            let mut order = None;
            while let Some(answer) = answers.join_next().await {
                order = order.or(answer.ok().flatten());
            }
            order
        };
        let ordered = timeout(ANNOUNCE_WAIT_MAX, collected).await.ok().flatten();
        // Those who are late finish by themselves; their number is that of the name servers.
        answers.detach_all();
        if let Some(topics) = ordered {
            self.mark_ordered(&topics).await;
        }
    }

    /// Marks topics as ordered that an administrator named at the name servers.
    async fn mark_ordered(&self, topics: &[String]) {
        let saved = {
            let mut edit = self.broker.metadata.edit();
            for name in topics {
                if let Some(topic) = edit.topic(name).filter(|topic| !topic.order) {
                    edit.push(Change::PutTopic(Arc::new(Topic { order: true, ..(*topic).clone() })));
                }
            }
            edit.commit()
        };
        if let Err(error) = saved.await {
            tracing::warn!(%error, "topics could not be marked as ordered");
        }
    }
}

impl NameServer {
    /// Remembers how a request went; says so when that is news.
    fn note(&self, registered: Result<Option<Vec<String>>, Unregistered>) -> Option<Vec<String>> {
        match registered {
            Ok(order) => {
                self.is_behind.store(false, Ordering::Release);
                if self.is_failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(name_server = %self.address, "registered again");
                }
                order
            }
            Err(error) => {
                self.is_behind.store(true, Ordering::Release);
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(name_server = %self.address, %error, "not registered");
                }
                None
            }
        }
    }
}

/// One registration request's body.
struct Payload {
    body: Vec<u8>,
    version: DataVersion,
}

enum Job {
    Register(Arc<[Payload]>),
    RegisterIfChanged(Arc<[Payload]>),
}

/// Why a name server does not know this broker.
#[derive(Debug, thiserror::Error)]
enum Unregistered {
    #[error(transparent)]
    Call(#[from] RequestError),
    #[error("it answered {code}: {remark}")]
    Refused { code: i32, remark: String },
}

impl Job {
    /// The topics that the name server wants ordered, if it says so.
    async fn run(
        self,
        broker: &Broker,
        caller: &Caller<NoRequests>,
        address: &str,
    ) -> Result<Option<Vec<String>>, Unregistered> {
        let time = broker.config().registration.timeout;
        let payloads = match self {
            Self::Register(payloads) => payloads,
            Self::RegisterIfChanged(payloads) => {
                let changed = match payloads.last() {
                    Some(last) => is_changed(broker, caller, address, time, last).await?,
                    None => false,
                };
                if !changed {
                    return Ok(None);
                }
                payloads
            }
        };
        let identity = &broker.identity;
        let mut order = None;
        for Payload { body, .. } in payloads.iter() {
            let header = RegisterBroker {
                broker_name: &identity.broker_name,
                broker_addr: &identity.address,
                cluster_name: &identity.cluster,
                ha_server_addr: &identity.replication_address,
                broker_id: BrokerId(identity.broker_id),
                heartbeat_timeout_ms: None,
                enable_acting_master: Some(false),
                compressed: false,
                body_crc32: body_crc(body),
            };
            let reply = accepted(call(caller, address, time, code::REGISTER_BROKER, &header, body).await?)?;
            order = ordered_topics(&reply.body);
        }
        Ok(order)
    }
}

async fn is_changed(
    broker: &Broker,
    caller: &Caller<NoRequests>,
    address: &str,
    time: Duration,
    payload: &Payload,
) -> Result<bool, Unregistered> {
    let identity = &broker.identity;
    let header = QueryDataVersion {
        broker_name: &identity.broker_name,
        broker_addr: &identity.address,
        cluster_name: &identity.cluster,
        broker_id: BrokerId(identity.broker_id),
    };
    let body = json::to_vec(&payload.version);
    let reply = accepted(call(caller, address, time, code::QUERY_DATA_VERSION, &header, &body).await?)?;
    Ok(reply.field("changed").is_none_or(|changed| changed.eq_ignore_ascii_case("true")))
}

/// Topics that an administrator named as ordered, from the answer to a registration.
fn ordered_topics(body: &[u8]) -> Option<Vec<String>> {
    let table: KvTable = json::from_slice(body).ok()?;
    Some(table.table.into_keys().collect())
}

fn accepted(reply: OwnedFrame) -> Result<OwnedFrame, Unregistered> {
    if reply.code == response::SUCCESS {
        return Ok(reply);
    }
    let remark = reply.remark.clone().unwrap_or_default();
    Err(Unregistered::Refused { code: reply.code, remark })
}

async fn call<'h>(
    caller: &Caller<NoRequests>,
    address: &str,
    time: Duration,
    code: i32,
    header: &impl Header<'h>,
    body: &[u8],
) -> Result<OwnedFrame, RequestError> {
    caller
        .call(address, time, |out, encoding, opaque| {
            let mut writer = encode::begin(out, encoding, Head::request(code, opaque), None);
            writer.header(header);
            // Bodies are cut into pieces well below the limit.
            let _ = writer.finish_with(body);
        })
        .await
}

/// Asks the server of addresses: the first line of the page lists the name servers (`TopAddressing`).
async fn ask_address_server(server: &AddressServer) -> Result<Vec<String>, String> {
    let url = server.url.clone();
    let ask = move || {
        let agent = ureq::Agent::config_builder().timeout_global(Some(ADDRESS_SERVER_TIMEOUT)).build();
        let mut answer = ureq::Agent::from(agent).get(&url).call().map_err(|error| error.to_string())?;
        let page = answer.body_mut().with_config().limit(ADDRESS_PAGE_BYTES_MAX).read_to_string();
        page.map_err(|error| error.to_string())
    };
    let page = tokio::task::spawn_blocking(ask).await.map_err(|panic| panic.to_string())??;
    let line = page.trim().lines().next().unwrap_or_default();
    let addresses: Vec<String> =
        line.split(';').map(str::trim).filter(|address| !address.is_empty()).map(String::from).collect();
    if addresses.is_empty() { Err("it lists none".into()) } else { Ok(addresses) }
}

/// Every address behind the names (`fetchNameSrvAddrByDnsLookup`). A name that does not resolve now stays as it is.
async fn resolve_all(names: Vec<String>) -> Vec<String> {
    let mut addresses = Vec::new();
    for name in names {
        let resolved = tokio::net::lookup_host(&name).await;
        match resolved.map(|resolved| resolved.map(|address| address.to_string()).collect::<Vec<_>>()) {
            Ok(resolved) => addresses.extend(resolved),
            Err(error) => {
                tracing::warn!(%name, %error, "a name server's name does not resolve");
                addresses.push(name);
            }
        }
    }
    addresses
}
