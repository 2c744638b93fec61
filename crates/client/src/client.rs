//! What producers, consumers and admin calls of one client share: connections, name servers, routes,
//! heartbeats.
//!
//! One task keeps house: it refreshes routes, sends heartbeats and asks for the name server list again.
//! It ends with the last handle.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferromq_net::caller::{self, Caller};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::tls;
use ferromq_protocol::body::{ClusterInfo, TopicRouteData};
use ferromq_protocol::encode::{self, HeaderWriter};
use ferromq_protocol::frame::{Encoding, FRAME_LEN_MAX};
use ferromq_protocol::header::{Head, Language, OwnedFrame};
use ferromq_protocol::msg_id::UniqueKeys;
use ferromq_protocol::request::{GetRouteInfo, UnregisterClient};
use ferromq_protocol::types::TimestampMs;
use ferromq_protocol::{code, json};
use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::error::{CallError, Refused, RouteError};
use crate::members::{Incoming, Members};
use crate::name_servers::{self, AddressServer, NameServerError, NameServers, Source};
use crate::routes::{Route, Routes};

/// Room in a frame for everything but the body.
const HEADER_LEN_MAX: usize = 128 * 1024;
/// The name server list is asked for again after this, first sooner; only if it comes from an address server.
const LIST_REFRESH: Duration = Duration::from_secs(120);
const LIST_REFRESH_FIRST: Duration = Duration::from_secs(10);

/// Settings of a client. The defaults are those of the official clients.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port`, separated by `;`; without it `NAMESRV_ADDR`, then the address server.
    pub name_servers: Option<String>,
    pub address_server: Option<AddressServer>,
    /// Second half of the client id; it must differ between clients of one host.
    pub instance_name: Option<String>,
    pub encoding: Encoding,
    pub tls: Option<Arc<tls::Connector>>,
    pub connect_timeout: Duration,
    /// Timeout of everything but sends and pulls.
    pub call_timeout: Duration,
    pub route_refresh: Duration,
    pub heartbeat: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name_servers: None,
            address_server: None,
            instance_name: None,
            encoding: Encoding::Json,
            tls: None,
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(3),
            route_refresh: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
        }
    }
}

impl ClientConfig {
    pub fn new(name_servers: impl Into<String>) -> Self {
        Self { name_servers: Some(name_servers.into()), ..Self::default() }
    }
}

/// A client. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) id: String,
    caller: Caller<Incoming>,
    source: Source,
    pub(crate) name_servers: NameServers,
    pub(crate) routes: Routes,
    /// Held while a route is fetched, so that many who need it ask once.
    fetching: tokio::sync::Mutex<()>,
    pub(crate) members: Arc<Members>,
    pub(crate) unique_keys: UniqueKeys,
    housekeeping: parking_lot::Mutex<Option<AbortHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(housekeeping) = self.housekeeping.get_mut().take() {
            housekeeping.abort();
        }
    }
}

impl Client {
    /// Finds the name servers and starts keeping house. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When no name server is configured, or the address server does not tell any.
    pub async fn start(config: ClientConfig) -> Result<Self, NameServerError> {
        let environment = std::env::var(name_servers::ENVIRONMENT).ok();
        let configured = config.name_servers.as_deref();
        let source = Source::choose(configured, environment.as_deref(), config.address_server.as_ref())?;
        let addresses = source.addresses().await?;

        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ip = local_ip(&addresses);
        let process = std::process::id();
        let own_name = || format!("{process}#{}", started.as_nanos());
        let id = format!("{ip}@{}", config.instance_name.clone().unwrap_or_else(own_name));
        let [.., high, low] = process.to_be_bytes();

        let members = Arc::new(Members::default());
        let settings = caller::Settings {
            limiter: Limiter::new(Limits { calls: CALLS_MAX, ..Limits::default() }),
            connect_timeout: config.connect_timeout,
            tls: config.tls.clone(),
            encoding: config.encoding,
        };
        let name_servers = NameServers::default();
        name_servers.replace(addresses, started.subsec_nanos() as usize);
        let shared = Arc::new(Shared {
            caller: Caller::new(settings, Arc::new(Incoming { members: members.clone() })),
            config,
            id,
            source,
            name_servers,
            routes: Routes::default(),
            fetching: tokio::sync::Mutex::default(),
            members,
            unique_keys: UniqueKeys::new(ip, u16::from_be_bytes([high, low]), started.subsec_nanos()),
            housekeeping: parking_lot::Mutex::default(),
        });
        let housekeeping = tokio::spawn(keep_house(Arc::downgrade(&shared))).abort_handle();
        *shared.housekeeping.lock() = Some(housekeeping);
        Ok(Self { shared })
    }

    /// How brokers name this client.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Closes all connections. Producers and consumers should have been stopped before.
    pub async fn stop(&self) {
        if let Some(housekeeping) = self.shared.housekeeping.lock().take() {
            housekeeping.abort();
        }
        self.shared.caller.stop().await;
    }

    /// The route of a topic, from memory if it is there.
    ///
    /// # Errors
    /// [`RouteError::NoRoute`] if nobody serves the topic.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, RouteError> {
        self.shared.route(topic).await
    }

    /// Asks the name server for the route of a topic, whatever is known.
    ///
    /// # Errors
    /// As [`Client::route`]; what is known stays.
    pub async fn refresh_route(&self, topic: &str) -> Result<Arc<Route>, RouteError> {
        self.shared.refresh_route(topic).await
    }

    /// All brokers of all clusters.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, RouteError> {
        let code = code::request::GET_BROKER_CLUSTER_INFO;
        self.shared.ask_name_servers(code, |_| {}, None).await
    }
}

/// Requests outstanding on one connection at most, as in the official clients.
const CALLS_MAX: usize = 65_535;

/// The address of this host from which the first name server would be reached. Nothing is sent.
fn local_ip(name_servers: &[String]) -> IpAddr {
    let found = name_servers.iter().find_map(|address| {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect(address).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

pub(crate) fn now() -> TimestampMs {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

impl Shared {
    /// Sends a request and waits for its answer, whatever it says.
    pub(crate) async fn call(
        &self,
        address: &str,
        timeout: Duration,
        code: i32,
        body: &[u8],
        fields: impl Fn(&mut HeaderWriter<'_>),
    ) -> Result<OwnedFrame, CallError> {
        if body.len() > FRAME_LEN_MAX - HEADER_LEN_MAX {
            return Err(CallError::TooLong(body.len()));
        }
        let write = |out: &mut Vec<u8>, encoding, opaque| {
            write_request(out, encoding, Head::request(code, opaque), body, &fields);
        };
        Ok(self.caller.call(address, timeout, write).await?)
    }

    /// Sends a request whose answer must say success.
    pub(crate) async fn call_ok(
        &self,
        address: &str,
        code: i32,
        body: &[u8],
        fields: impl Fn(&mut HeaderWriter<'_>),
    ) -> Result<OwnedFrame, CallError> {
        let answer = self.call(address, self.config.call_timeout, code, body, fields).await?;
        Ok(succeeded(address, answer)?)
    }

    /// Sends a request that gets no answer.
    pub(crate) async fn oneway(
        &self,
        address: &str,
        code: i32,
        body: &[u8],
        fields: impl Fn(&mut HeaderWriter<'_>),
    ) -> Result<(), CallError> {
        if body.len() > FRAME_LEN_MAX - HEADER_LEN_MAX {
            return Err(CallError::TooLong(body.len()));
        }
        let write = |out: &mut Vec<u8>, encoding, opaque| {
            write_request(out, encoding, Head::oneway(code, opaque), body, &fields);
        };
        Ok(self.caller.oneway(address, self.config.connect_timeout, write).await?)
    }

    pub(crate) async fn route(&self, topic: &str) -> Result<Arc<Route>, RouteError> {
        if let Some(route) = self.routes.get(topic) {
            return Ok(route);
        }
        let _fetching = self.fetching.lock().await;
        match self.routes.get(topic) {
            Some(route) => Ok(route),
            None => self.refresh_route(topic).await,
        }
    }

    pub(crate) async fn refresh_route(&self, topic: &str) -> Result<Arc<Route>, RouteError> {
        let data = self.fetch_route(topic).await?;
        Ok(self.keep_route(topic, Route::new(topic, data)))
    }

    /// The route to send by. For a topic that does not exist it is that of the template topic: the send
    /// creates it.
    pub(crate) async fn publish_route(
        &self,
        topic: &str,
        template: &str,
        queue_nums: i32,
    ) -> Result<Arc<Route>, RouteError> {
        let usable = |route: &Arc<Route>| !route.publish.is_empty();
        if let Some(route) = self.routes.get(topic).filter(usable) {
            return Ok(route);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(route) = self.routes.get(topic).filter(usable) {
            return Ok(route);
        }
        let route = match self.fetch_route(topic).await {
            Ok(data) => Route::new(topic, data),
            Err(RouteError::NoRoute { .. }) => match self.fetch_route(template).await {
                Ok(data) => Route::from_template(topic, data, queue_nums),
                Err(RouteError::NoRoute { .. }) => {
                    return Err(RouteError::NoRoute { topic: topic.to_owned() });
                }
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let route = self.keep_route(topic, route);
        if route.publish.is_empty() {
            return Err(RouteError::NoQueue { topic: topic.to_owned(), kind: "writable" });
        }
        Ok(route)
    }

    fn keep_route(&self, topic: &str, route: Route) -> Arc<Route> {
        let (route, changed) = self.routes.put(topic, route);
        if changed {
            tracing::debug!(topic, queues = route.subscribe.len(), "route changed");
            self.members.rebalance(None);
        }
        route
    }

    async fn fetch_route(&self, topic: &str) -> Result<TopicRouteData, RouteError> {
        let header = GetRouteInfo { topic, accept_standard_json_only: None };
        let code = code::request::GET_ROUTEINFO_BY_TOPIC;
        self.ask_name_servers(code, |out| out.header(&header), Some(topic)).await
    }

    /// Asks one name server after the other until one answers.
    async fn ask_name_servers<T: DeserializeOwned>(
        &self,
        code: i32,
        fields: impl Fn(&mut HeaderWriter<'_>),
        topic: Option<&str>,
    ) -> Result<T, RouteError> {
        let mut last = RouteError::NameServers(NameServerError::NotSet);
        for address in self.name_servers.in_turn() {
            let error = match self.call_ok(&address, code, b"", &fields).await {
                Ok(answer) => {
                    self.name_servers.choose(&address);
                    return read_body(&address, code, &answer.body).map_err(RouteError::Call);
                }
                Err(error) => error,
            };
            if let (Some(topic), Some(code::response::TOPIC_NOT_EXIST)) = (topic, error.code()) {
                return Err(RouteError::NoRoute { topic: topic.to_owned() });
            }
            tracing::debug!(address, %error, "name server gave no answer");
            last = RouteError::Call(error);
        }
        Err(last)
    }

    /// Where the leader of a broker name is.
    pub(crate) fn leader(&self, broker_name: &str) -> Result<String, RouteError> {
        self.routes.leader(broker_name).ok_or_else(|| RouteError::NoBroker(broker_name.to_owned()))
    }

    /// Tells all brokers who is here. Producers matter only to leaders.
    pub(crate) async fn heartbeat_all(self: &Arc<Self>) {
        let heartbeat = self.members.heartbeat(&self.id);
        let has_consumers = !heartbeat.consumer_data_set.is_empty();
        if !has_consumers && heartbeat.producer_data_set.is_empty() {
            return;
        }
        let body: Arc<[u8]> = json::to_vec(&heartbeat).into();
        let addresses = self.routes.all_addresses().into_iter();
        let wanted = addresses.filter(|(_, leads)| *leads || has_consumers).map(|(address, _)| address);
        let send = |address: String| {
            let (shared, body) = (self.clone(), body.clone());
            async move {
                if let Err(error) = shared.call_ok(&address, code::request::HEART_BEAT, &body, |_| {}).await {
                    tracing::debug!(address, %error, "heartbeat failed");
                }
            }
        };
        all(wanted.map(send)).await;
    }

    /// Tells all brokers that a group is no longer here.
    pub(crate) async fn unregister_all(
        self: &Arc<Self>,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) {
        let send = |address: String| {
            let shared = self.clone();
            let (producer_group, consumer_group) =
                (producer_group.map(str::to_owned), consumer_group.map(str::to_owned));
            async move {
                let header = UnregisterClient {
                    client_id: &shared.id,
                    producer_group: producer_group.as_deref(),
                    consumer_group: consumer_group.as_deref(),
                };
                let code = code::request::UNREGISTER_CLIENT;
                if let Err(error) = shared.call_ok(&address, code, b"", |out| out.header(&header)).await {
                    tracing::debug!(address, %error, "a broker was not told that we leave");
                }
            }
        };
        all(self.routes.all_addresses().into_keys().map(send)).await;
    }

    async fn refresh_all_routes(&self) {
        for topic in self.routes.topics() {
            if let Err(error) = self.refresh_route(&topic).await {
                tracing::debug!(topic, %error, "route not refreshed, the old one stays");
            }
        }
    }

    async fn refresh_list(&self) {
        match self.source.addresses().await {
            Ok(addresses) => self.name_servers.replace(addresses, 0),
            Err(error) => tracing::warn!(%error, "the name server list stays as it is"),
        }
    }
}

/// Runs everything at once and waits for all of it.
async fn all<F: Future<Output = ()> + Send + 'static>(work: impl Iterator<Item = F>) {
    let mut tasks = JoinSet::new();
    for one in work {
        tasks.spawn(one);
    }
    while tasks.join_next().await.is_some() {}
}

fn write_request(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: Head,
    body: &[u8],
    fields: impl Fn(&mut HeaderWriter<'_>),
) {
    let head = Head { language: Language::Rust, ..head };
    let mut header = encode::begin(out, encoding, head, None);
    fields(&mut header);
    if let Err(error) = header.finish_with(body) {
        // Bodies are checked before; only a header of absurd size comes here, and then the call times out.
        tracing::warn!(code = head.code, %error, "request not sent");
    }
}

/// The answer, if it says success.
pub(crate) fn succeeded(address: &str, answer: OwnedFrame) -> Result<OwnedFrame, Refused> {
    match answer.code {
        code::response::SUCCESS => Ok(answer),
        code => Err(refused(address, code, &answer)),
    }
}

pub(crate) fn refused(address: &str, code: i32, answer: &OwnedFrame) -> Refused {
    Refused { address: address.to_owned(), code, remark: answer.remark.clone().unwrap_or_default() }
}

pub(crate) fn malformed(address: &str, code: i32, reason: impl ToString) -> CallError {
    CallError::Malformed { address: address.to_owned(), code, reason: reason.to_string() }
}

/// Reads the JSON body of an answer.
pub(crate) fn read_body<T: DeserializeOwned>(address: &str, code: i32, body: &[u8]) -> Result<T, CallError> {
    json::from_slice(body).map_err(|error| malformed(address, code, error))
}

async fn keep_house(shared: Weak<Shared>) {
    let Some((config, has_list_server, members)) = shared.upgrade().map(|shared| {
        let has_list_server = matches!(shared.source, Source::AddressServer { .. });
        (shared.config.clone(), has_list_server, shared.members.clone())
    }) else {
        return;
    };
    let every = |period: Duration, first: Duration| {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let mut routes = every(config.route_refresh, config.route_refresh);
    let mut heartbeats = every(config.heartbeat, config.heartbeat.min(Duration::from_secs(1)));
    let mut list = every(LIST_REFRESH, LIST_REFRESH_FIRST);
    loop {
        let work = tokio::select! {
            _ = routes.tick() => Work::Routes,
            _ = heartbeats.tick() => Work::Heartbeats,
            () = members.changed.notified() => Work::Heartbeats,
            _ = list.tick(), if has_list_server => Work::List,
        };
        let Some(shared) = shared.upgrade() else { return };
        match work {
            Work::Routes => shared.refresh_all_routes().await,
            Work::Heartbeats => {
                shared.routes.forget_unused_addresses();
                shared.heartbeat_all().await;
            }
            Work::List => shared.refresh_list().await,
        }
    }
}

enum Work {
    Routes,
    Heartbeats,
    List,
}
