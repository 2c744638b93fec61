//! From request code to function: one table, one answer type, one page of error codes.
//!
//! Every request is answered on its connection's task. Most take microseconds; those that parse a whole broker's
//! topics or write a file say so to the runtime, which lets the other connections go on meanwhile.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use ferromq_config::namesrv::{NamesrvConfig, NamesrvLive};
use ferromq_config::settings::UpdateError;
use ferromq_net::connection::{Request, Service, Session};
use ferromq_net::peer::Peer;
use ferromq_protocol::body::{
    BrokerMemberGroupAnswer, DataVersion, RegisterBrokerBody, TopicConfigAndMappingTable, TopicList,
    TopicRouteData,
};
use ferromq_protocol::code::{request as code, response};
use ferromq_protocol::encode::{self, FrameTooLong};
use ferromq_protocol::header::{FieldError, Head, Header, HeaderRef};
use ferromq_protocol::record::body_crc;
use ferromq_protocol::{body, json, request, version};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;

use crate::kv::{Kv, KvError, ORDER_NAMESPACE};
use crate::own_broker::OwnBroker;
use crate::routes::{ConnectionId, Departure, Leader, Member, Notice, Registration, Routes, TopicKind};

/// Ends Java's remark about an unknown topic.
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Ext fields that Java's headers do not declare.
const ZONE_NAME: &str = "__ZONE_NAME";
const ZONE_MODE: &str = "__ZONE_MODE";

/// Brokers before 3.0.11 register with a bare topic table.
const V3_0_11: i32 = 37;

/// Bodies larger than this are parsed where that holds nobody up.
const LARGE_BODY_BYTES: usize = 64 * 1024;

/// Everything the requests work on.
pub struct NameServer {
    pub(crate) routes: RwLock<Routes>,
    pub(crate) kv: RwLock<Kv>,
    config: RwLock<NamesrvConfig>,
    own_broker: Option<OwnBroker>,
    /// Connections over which brokers registered, to be closed when those fall silent.
    brokers: Mutex<HashMap<u64, Arc<Peer>>>,
    notices: mpsc::Sender<Notice>,
    started: Instant,
}

/// One request, with who asks.
struct Call<'a> {
    header: HeaderRef<'a>,
    body: &'a [u8],
    peer: &'a Arc<Peer>,
    now: Instant,
}

impl<'a> Call<'a> {
    fn read<H: Header<'a>>(&self) -> Result<H, FieldError> {
        self.header.read()
    }
}

/// An answer without its head.
#[derive(Debug, Default)]
struct Answer {
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn success() -> Result<Self, RequestError> {
        Ok(Self::default())
    }

    fn with_field(name: &'static str, value: impl ToString) -> Result<Self, RequestError> {
        Ok(Self { fields: vec![(name, value.to_string())], ..Self::default() })
    }

    fn with_body<T: serde::Serialize + ?Sized>(body: &T) -> Result<Self, RequestError> {
        Ok(Self { body: json::to_vec(body), ..Self::default() })
    }
}

/// Why a request is refused; its text is the remark.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(" request type {0} not supported")]
    Unsupported(i32),
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("crc32 not match")]
    Crc,
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Registration(#[from] body::RegisterError),
    #[error("the body is not what this request wants: {0}")]
    Body(#[from] json::Error),
    #[error("name server not ready")]
    NotReady,
    #[error("No topic route info in name server for the topic: {0}{FAQ}")]
    NoRoute(String),
    #[error("namespace or key is null")]
    NullKey,
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoItem { namespace: String, key: String },
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    #[error("disable")]
    Disabled,
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error("the change was not kept: {0}")]
    Kv(#[from] KvError),
    #[error("the change was not kept: {path}: {source}")]
    ConfigFile { path: String, source: std::io::Error },
}

impl RequestError {
    fn code(&self) -> i32 {
        match self {
            Self::Unsupported(_) => response::REQUEST_CODE_NOT_SUPPORTED,
            Self::NoRoute(_) => response::TOPIC_NOT_EXIST,
            Self::NoItem { .. } | Self::NoNamespace(_) => response::QUERY_NOT_FOUND,
            Self::Update(UpdateError::BlackListed) => response::NO_PERMISSION,
            Self::Field(_)
            | Self::Crc
            | Self::Registration(_)
            | Self::Body(_)
            | Self::NotReady
            | Self::NullKey
            | Self::Disabled
            | Self::Update(
                UpdateError::Syntax
                | UpdateError::TooLong(_)
                | UpdateError::Value(_)
                | UpdateError::Together(_),
            )
            | Self::Kv(_)
            | Self::ConfigFile { .. } => response::SYSTEM_ERROR,
        }
    }
}

impl NameServer {
    pub(crate) fn new(
        config: NamesrvConfig,
        own_broker: Option<OwnBroker>,
        kv: Kv,
        notices: mpsc::Sender<Notice>,
        started: Instant,
    ) -> Self {
        Self {
            routes: RwLock::default(),
            kv: RwLock::new(kv),
            config: RwLock::new(config),
            own_broker,
            brokers: Mutex::default(),
            notices,
            started,
        }
    }

    fn answer(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        match call.header.code {
            code::PUT_KV_CONFIG => self.put_kv(call),
            code::GET_KV_CONFIG => self.get_kv(call),
            code::DELETE_KV_CONFIG => self.delete_kv(call),
            code::REGISTER_BROKER => self.register_broker(call),
            code::UNREGISTER_BROKER => self.unregister_broker(call),
            code::GET_ROUTEINFO_BY_TOPIC => self.route(call),
            code::GET_BROKER_CLUSTER_INFO => self.cluster_info(call),
            code::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_perm(call),
            code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.all_topics(),
            code::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(call),
            code::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(call),
            code::GET_KVLIST_BY_NAMESPACE => self.list_kv(call),
            code::GET_TOPICS_BY_CLUSTER => self.topics_of_cluster(call),
            code::GET_SYSTEM_TOPIC_LIST_FROM_NS => self.system_topics(call),
            code::GET_UNIT_TOPIC_LIST => self.topics_of_kind(TopicKind::Unit),
            code::GET_HAS_UNIT_SUB_TOPIC_LIST => self.topics_of_kind(TopicKind::UnitSub),
            code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => self.topics_of_kind(TopicKind::UnitSubOfOthers),
            code::UPDATE_NAMESRV_CONFIG => self.update_config(call),
            code::GET_NAMESRV_CONFIG => self.config_text(),
            code::QUERY_DATA_VERSION => self.query_data_version(call),
            code::ADD_WRITE_PERM_OF_BROKER => self.add_write_perm(call),
            code::GET_BROKER_MEMBER_GROUP => self.member_group(call),
            code::BROKER_HEARTBEAT => self.broker_heartbeat(call),
            other => Err(RequestError::Unsupported(other)),
        }
    }

    fn live(&self) -> NamesrvLive {
        self.config.read().live.clone()
    }

    // Brokers.

    fn register_broker(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::RegisterBroker<'_> = call.read()?;
        if header.body_crc32 != 0 && header.body_crc32 != body_crc(call.body) {
            return Err(RequestError::Crc);
        }
        if call.body.len() > LARGE_BODY_BYTES {
            at_length(|| self.register(call, &header))
        } else {
            self.register(call, &header)
        }
    }

    fn register(
        &self,
        call: &Call<'_>,
        header: &request::RegisterBroker<'_>,
    ) -> Result<Answer, RequestError> {
        let body = if call.header.version >= V3_0_11 {
            RegisterBrokerBody::decode(call.body)?
        } else {
            let topics: TopicConfigAndMappingTable =
                if call.body.is_empty() { Default::default() } else { json::from_slice(call.body)? };
            RegisterBrokerBody { topic_config_serialize_wrapper: topics, ..Default::default() }
        };
        let connection = ConnectionId(call.peer.id());
        let registration = Registration {
            member: member(header.cluster_name, header.broker_addr),
            broker_name: header.broker_name.to_owned(),
            broker_id: header.broker_id.0,
            ha_address: header.ha_server_addr.to_owned(),
            zone: call.header.field(ZONE_NAME).filter(|zone| !zone.is_empty()).map(str::to_owned),
            liveness: header.heartbeat_timeout_ms.map(milliseconds),
            acting_master: header.enable_acting_master,
            topics: body.topic_config_serialize_wrapper,
            filter_servers: body.filter_server_list,
            connection,
        };
        let live = self.live();
        let (Leader { address, ha_address }, notice) =
            self.routes.write().register(registration, live.drop_unregistered_topics, call.now);
        self.brokers.lock().insert(connection.0, call.peer.clone());
        if live.notify_smallest_id {
            self.tell(notice);
        }

        let fields = [("haServerAddr", ha_address), ("masterAddr", address)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let order = if live.order_to_brokers { self.kv.read().list(ORDER_NAMESPACE) } else { None };
        Ok(Answer { fields, body: order.map(|table| json::to_vec(&table)).unwrap_or_default() })
    }

    fn unregister_broker(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::UnregisterBroker<'_> = call.read()?;
        let departure = Departure {
            member: member(header.cluster_name, header.broker_addr),
            broker_name: header.broker_name.to_owned(),
            broker_id: header.broker_id.0,
        };
        let notice = self.routes.write().unregister(&departure);
        if self.live().notify_smallest_id {
            self.tell(notice);
        }
        Answer::success()
    }

    fn broker_heartbeat(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::BrokerHeartbeat<'_> = call.read()?;
        self.routes.write().heartbeat(&member(header.cluster_name, header.broker_addr), call.now);
        Answer::success()
    }

    fn query_data_version(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::QueryDataVersion<'_> = call.read()?;
        let asked: Option<DataVersion> =
            if call.body.is_empty() { None } else { Some(json::from_slice(call.body)?) };
        let member = member(header.cluster_name, header.broker_addr);
        let mut routes = self.routes.write();
        routes.heartbeat(&member, call.now);
        let known = routes.data_version(&member);
        drop(routes);
        let changed = known.is_none() || known != asked;
        let body = known.map(|version| json::to_vec(&version)).unwrap_or_default();
        Ok(Answer { fields: vec![("changed", changed.to_string())], body })
    }

    fn member_group(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::GetBrokerMemberGroup<'_> = call.read()?;
        let group = self.routes.read().member_group(header.cluster_name, header.broker_name);
        Answer::with_body(&BrokerMemberGroupAnswer { broker_member_group: Some(group) })
    }

    // Topics.

    fn route(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::GetRouteInfo<'_> = call.read()?;
        let live = self.live();
        if live.warm_up.is_some_and(|warm_up| call.now.saturating_duration_since(self.started) < warm_up) {
            return Err(RequestError::NotReady);
        }
        let route = self.routes.read().route(header.topic, live.acting_master);
        let mut route = route.ok_or_else(|| RequestError::NoRoute(header.topic.to_owned()))?;
        if let Some(own) = &self.own_broker {
            own.show(&mut route.broker_datas, call.peer.local().ip());
        }
        if live.order_in_routes {
            route.order_topic_conf = self.kv.read().get(ORDER_NAMESPACE, header.topic).map(str::to_owned);
        }
        let is_zoned = call.header.field(ZONE_MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("true"));
        if let Some(zone) = call.header.field(ZONE_NAME).filter(|zone| is_zoned && !zone.trim().is_empty()) {
            keep_zone(&mut route, zone);
        }
        let is_strict =
            call.header.version >= version::V4_9_4 || header.accept_standard_json_only == Some(true);
        let mut body = Vec::new();
        json::write(&mut body, &route, if is_strict { json::Form::Strict } else { json::Form::Wire });
        Ok(Answer { body, ..Answer::default() })
    }

    fn cluster_info(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let mut info = self.routes.read().cluster_info();
        if let Some(own) = &self.own_broker {
            own.show(info.broker_addr_table.values_mut(), call.peer.local().ip());
        }
        Answer::with_body(&info)
    }

    fn system_topics(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let mut topics = self.routes.read().system_topics();
        let shown = self.own_broker.as_ref().zip(topics.broker_addr.as_deref());
        if let Some(shown) = shown.and_then(|(own, address)| own.as_reached(address, call.peer.local().ip()))
        {
            topics.broker_addr = Some(shown);
        }
        Answer::with_body(&topics)
    }

    fn register_topic(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::RegisterTopic<'_> = call.read()?;
        if !call.body.is_empty() {
            let route: TopicRouteData = json::from_slice(call.body)?;
            if !route.queue_datas.is_empty() {
                self.routes.write().register_topic(header.topic, route.queue_datas);
            }
        }
        Answer::success()
    }

    fn delete_topic(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::DeleteTopicFromNamesrv<'_> = call.read()?;
        let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
        self.routes.write().delete_topic(header.topic, cluster);
        Answer::success()
    }

    fn wipe_write_perm(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::WipeWritePermOfBroker<'_> = call.read()?;
        let count = self.routes.write().wipe_write_perm(header.broker_name);
        tracing::info!(broker = header.broker_name, client = %call.peer.client(), topics = count, "write permission wiped");
        Answer::with_field("wipeTopicCount", count)
    }

    fn add_write_perm(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::AddWritePermOfBroker<'_> = call.read()?;
        let count = self.routes.write().add_write_perm(header.broker_name);
        tracing::info!(broker = header.broker_name, client = %call.peer.client(), topics = count, "write permission added");
        Answer::with_field("addTopicCount", count)
    }

    fn all_topics(&self) -> Result<Answer, RequestError> {
        self.topic_list(self.live().list_all_topics, Routes::all_topics)
    }

    fn topics_of_cluster(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::GetTopicsByCluster<'_> = call.read()?;
        self.topic_list(self.live().list_topics, |routes| routes.topics_of_cluster(header.cluster))
    }

    fn topics_of_kind(&self, kind: TopicKind) -> Result<Answer, RequestError> {
        self.topic_list(self.live().list_topics, |routes| routes.topics_of_kind(kind))
    }

    fn topic_list(
        &self,
        is_enabled: bool,
        list: impl FnOnce(&Routes) -> TopicList,
    ) -> Result<Answer, RequestError> {
        if !is_enabled {
            return Err(RequestError::Disabled);
        }
        let list = list(&self.routes.read());
        Answer::with_body(&list)
    }

    // Settings.

    fn put_kv(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::PutKvConfig<'_> = call.read()?;
        let (Some(namespace), Some(key)) = (header.namespace, header.key) else {
            return Err(RequestError::NullKey);
        };
        at_length(|| self.kv.write().put(namespace, key, header.value.unwrap_or_default()))?;
        Answer::success()
    }

    fn get_kv(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::GetKvConfig<'_> = call.read()?;
        let kv = self.kv.read();
        let value = kv.get(header.namespace, header.key).ok_or_else(|| RequestError::NoItem {
            namespace: header.namespace.to_owned(),
            key: header.key.to_owned(),
        })?;
        Answer::with_field("value", value)
    }

    fn delete_kv(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::DeleteKvConfig<'_> = call.read()?;
        if let (Some(namespace), Some(key)) = (header.namespace, header.key) {
            at_length(|| self.kv.write().delete(namespace, key))?;
        }
        Answer::success()
    }

    fn list_kv(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        let header: request::GetKvListByNamespace<'_> = call.read()?;
        let list = self.kv.read().list(header.namespace);
        Answer::with_body(&list.ok_or_else(|| RequestError::NoNamespace(header.namespace.to_owned()))?)
    }

    fn update_config(&self, call: &Call<'_>) -> Result<Answer, RequestError> {
        if call.body.is_empty() {
            return Answer::success();
        }
        at_length(|| {
            // Held over the write, so that the file says what the last update said.
            let mut config = self.config.write();
            let (next, changes) = config.updated(call.body)?;
            next.settings.write_file(&next.file).map_err(|source| RequestError::ConfigFile {
                path: next.file.display().to_string(),
                source,
            })?;
            tracing::info!(client = %call.peer.client(), ?changes, "configuration updated");
            *config = next;
            Answer::success()
        })
    }

    fn config_text(&self) -> Result<Answer, RequestError> {
        let body = self.config.read().settings.report().into_bytes();
        Ok(Answer { body, ..Answer::default() })
    }

    // What happens without a request.

    /// Drops brokers that did not report in time and closes their connections.
    pub(crate) fn expire(&self, now: Instant) {
        let expired = self.routes.write().expire(now);
        for connection in expired.connections {
            // What else registered over it goes when it is closed.
            if let Some(peer) = self.brokers.lock().get(&connection.0) {
                peer.close();
            }
        }
        self.tell_if_wanted(expired.notices);
    }

    fn connection_closed(&self, peer: &Peer) {
        if self.brokers.lock().remove(&peer.id()).is_some() {
            let notices = self.routes.write().connection_closed(ConnectionId(peer.id()));
            self.tell_if_wanted(notices);
        }
    }

    fn tell_if_wanted(&self, notices: Vec<Notice>) {
        if self.live().notify_smallest_id {
            notices.into_iter().for_each(|notice| self.tell(Some(notice)));
        }
    }

    fn tell(&self, notice: Option<Notice>) {
        if let Some(notice) = notice
            && self.notices.try_send(notice).is_err()
        {
            tracing::warn!("too many changes of smallest ids at once, brokers are not told of one");
        }
    }
}

fn member(cluster: &str, address: &str) -> Member {
    Member { cluster: cluster.to_owned(), address: address.to_owned() }
}

/// A negative time is over at once.
fn milliseconds(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

/// Keeps the brokers of one zone, and those whose leader is away: what they have can be read elsewhere only there.
fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    route.broker_datas.retain(|broker| {
        let is_near = broker.zone_name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(zone));
        let is_kept = is_near || !broker.broker_addrs.contains_key(&0);
        if !is_kept {
            route.queue_datas.retain(|queues| queues.broker_name != broker.broker_name);
            route
                .filter_server_table
                .retain(|address, _| !broker.broker_addrs.values().any(|a| a == address));
        }
        is_kept
    });
}

/// Runs what takes milliseconds or waits for the disk, without holding up the other connections of this worker.
fn at_length<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Makes the sessions of a name server's connections.
pub(crate) struct NameService(pub(crate) Arc<NameServer>);

impl Service for NameService {
    type Session = NameSession;

    fn open(&self, peer: &Arc<Peer>) -> NameSession {
        NameSession { server: self.0.clone(), peer: peer.clone() }
    }
}

pub(crate) struct NameSession {
    server: Arc<NameServer>,
    peer: Arc<Peer>,
}

impl Session for NameSession {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        let header = request.header;
        let call = Call { header, body: request.body, peer: &self.peer, now: request.received };
        let answer = self.server.answer(&call);
        if header.is_oneway() {
            return;
        }
        let (code, remark, Answer { fields, body }) = match answer {
            Ok(answer) => (response::SUCCESS, None, answer),
            Err(error) => (error.code(), Some(Cow::Owned(error.to_string())), Answer::default()),
        };
        write(out, &header, code, remark, &fields, &body);
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {}

    fn poll(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) {}

    fn saturated(&self) -> bool {
        false
    }

    fn closed(&mut self) {
        self.server.connection_closed(&self.peer);
    }
}

fn write(
    out: &mut Vec<u8>,
    header: &HeaderRef<'_>,
    code: i32,
    remark: Option<Cow<'static, str>>,
    fields: &[(&'static str, String)],
    body: &[u8],
) {
    let head = Head::response(code, header.opaque);
    let mut writer = encode::begin(out, header.encoding, head, remark.as_deref());
    for (name, value) in fields {
        writer.text(name, value);
    }
    if let Err(FrameTooLong { len }) = writer.finish_with(body) {
        let remark = format!("the answer of {len} bytes exceeds the largest frame");
        let head = Head::response(response::SYSTEM_ERROR, header.opaque);
        let written = encode::begin(out, header.encoding, head, Some(&remark)).finish();
        debug_assert!(written.is_ok(), "this frame is short");
    }
}

#[cfg(test)]
mod tests {
    use ferromq_config::host::Host;
    use ferromq_config::namesrv::NamesrvSources;

    use super::*;
    use crate::server::NOTICES_MAX;

    #[test]
    fn notices_that_nobody_passes_on_have_an_end() {
        let config = NamesrvConfig::load(&Host::fictitious(), &NamesrvSources::new(|_| None)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kv = Kv::load(&directory.path().join("kv.json")).unwrap();
        let (notices, mut waiting) = mpsc::channel(NOTICES_MAX);
        let name_server = NameServer::new(config, None, kv, notices, Instant::now());
        let notice = |smallest_id| Notice {
            smallest_id,
            smallest_address: "a:1".to_owned(),
            addresses: Vec::new(),
            offline_address: None,
            ha_address: None,
        };
        (0..).take(NOTICES_MAX + 10).for_each(|id| name_server.tell(Some(notice(id))));
        assert_eq!((name_server.notices.capacity(), waiting.len()), (0, NOTICES_MAX));
        assert_eq!(waiting.try_recv(), Ok(notice(0)), "the first ones are kept");
        name_server.tell(Some(notice(7)));
        assert_eq!(waiting.len(), NOTICES_MAX);
    }
}
