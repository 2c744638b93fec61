//! A name server and broker in memory: just enough for a client, with a record of what was asked and
//! faults on demand.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use ferromq_client::{Client, ClientConfig};
use ferromq_net::connection::{Request, Service, Session};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::peer::Peer;
use ferromq_net::server::{Listener, Server, Settings, serve};
use ferromq_net::tls::{Acceptor, ServerTls};
use ferromq_protocol::body::{BrokerData, ConsumerList, HeartbeatData, QueueData, TopicRouteData};
use ferromq_protocol::code::{request, response};
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::{Head, OwnedFrame};
use ferromq_protocol::record::{self, Parts, PropertyCrc};
use ferromq_protocol::request::{
    GetMaxOffset, GetRouteInfo, NotifyConsumerIdsChanged, PullMessage, QueryConsumerOffset, SendMessageV2,
    UnregisterClient, UpdateConsumerOffset,
};
use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use ferromq_protocol::{batch, encode, json, response as answers, sys_flag};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What happens to a request instead of the usual.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Answer(i32, &'static str),
    /// The answer of a send, as if the message were stored, with a code that doubts it.
    Sent(i32),
    Silence,
    Disconnect,
}

/// One process of the fake cluster.
pub(crate) struct Fake {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    _server: Server,
}

struct Shared {
    addr: SocketAddr,
    state: Mutex<State>,
    /// Changes with every request, for tests that wait for one.
    seen: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    requests: Vec<OwnedFrame>,
    faults: HashMap<i32, VecDeque<Fault>>,
    routes: HashMap<String, TopicRouteData>,
    queues: BTreeMap<(String, i32), Vec<Vec<u8>>>,
    offsets: BTreeMap<(String, String, i32), i64>,
    members: BTreeMap<String, BTreeMap<String, Arc<Peer>>>,
    holds: Vec<Hold>,
}

struct Hold {
    peer: Arc<Peer>,
    encoding: Encoding,
    opaque: i32,
    topic: String,
    queue: i32,
    offset: i64,
}

impl Fake {
    pub(crate) async fn start(name: &str) -> Fake {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let addr = listener.local_addr();
        let state = Mutex::default();
        let shared = Arc::new(Shared { addr, state, seen: watch::channel(0).0 });
        let settings = Settings {
            limiter: Limiter::new(Limits::default()),
            tls: Arc::new(Acceptor::new(ServerTls::default()).unwrap()),
        };
        let server = serve(listener, settings, Arc::new(FakeService(shared.clone()))).unwrap();
        Fake { name: name.to_owned(), addr, shared, _server: server }
    }

    pub(crate) fn address(&self) -> String {
        self.addr.to_string()
    }

    /// A client that knows this process as its name server.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(|_| {}).await
    }

    pub(crate) async fn client_with(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = ClientConfig::new(self.address());
        change(&mut config);
        Client::start(config).await.unwrap()
    }

    /// Makes this process, as name server, give out a route over brokers with so many queues each.
    pub(crate) fn route(&self, topic: &str, brokers: &[(&Fake, i32)]) {
        let data = TopicRouteData {
            broker_datas: brokers
                .iter()
                .map(|(broker, _)| BrokerData {
                    broker_name: broker.name.clone(),
                    broker_addrs: BTreeMap::from([(0, broker.address())]),
                    cluster: "DefaultCluster".to_owned(),
                    ..BrokerData::default()
                })
                .collect(),
            queue_datas: brokers
                .iter()
                .map(|(broker, queues)| QueueData {
                    broker_name: broker.name.clone(),
                    perm: 6,
                    read_queue_nums: *queues,
                    write_queue_nums: *queues,
                    topic_sys_flag: 0,
                })
                .collect(),
            ..TopicRouteData::default()
        };
        self.shared.state.lock().routes.insert(topic.to_owned(), data);
    }

    /// The next request with this code meets a fault; further ones queue up.
    pub(crate) fn fault(&self, code: i32, fault: Fault) {
        self.shared.state.lock().faults.entry(code).or_default().push_back(fault);
    }

    pub(crate) fn clear_faults(&self) {
        self.shared.state.lock().faults.clear();
    }

    /// The requests with this code so far.
    pub(crate) fn requests(&self, code: i32) -> Vec<OwnedFrame> {
        let state = self.shared.state.lock();
        state.requests.iter().filter(|request| request.code == code).cloned().collect()
    }

    /// Waits until that many requests with this code have come.
    pub(crate) async fn wait_for(&self, code: i32, count: usize) -> Vec<OwnedFrame> {
        let mut seen = self.shared.seen.subscribe();
        loop {
            let requests = self.requests(code);
            if requests.len() >= count {
                return requests;
            }
            seen.changed().await.unwrap();
        }
    }

    /// Stores a message as if somebody had sent it.
    pub(crate) fn store(&self, topic: &str, queue: i32, body: &[u8], properties: &[u8]) {
        let mut state = self.shared.state.lock();
        self.shared.append(&mut state, topic, queue, body, properties, 0);
    }

    pub(crate) fn stored(&self, topic: &str, queue: i32) -> usize {
        self.shared.state.lock().queues.get(&(topic.to_owned(), queue)).map_or(0, Vec::len)
    }

    pub(crate) fn bodies(&self, topic: &str, queue: i32) -> Vec<Vec<u8>> {
        let state = self.shared.state.lock();
        let records = state.queues.get(&(topic.to_owned(), queue)).into_iter().flatten();
        records.map(|bytes| record::decode(bytes).unwrap().body.to_vec()).collect()
    }

    pub(crate) fn committed(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        self.shared.state.lock().offsets.get(&(group.to_owned(), topic.to_owned(), queue)).copied()
    }
}

impl Shared {
    fn append(
        &self,
        state: &mut State,
        topic: &str,
        queue: i32,
        body: &[u8],
        properties: &[u8],
        sys_flag: i32,
    ) -> (QueueOffset, PhysicalOffset) {
        let host = Host { ip: self.addr.ip(), port: i32::from(self.addr.port()) };
        let parts = Parts {
            topic,
            queue_id: QueueId(queue),
            flag: 0,
            sys_flag,
            born_timestamp: TimestampMs(1),
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: PhysicalOffset(0),
            body,
            properties,
        };
        let mut bytes = Vec::new();
        record::encode(&mut bytes, &parts, PropertyCrc::Off).unwrap();
        let records = state.queues.entry((topic.to_owned(), queue)).or_default();
        let offset = QueueOffset(i64::try_from(records.len()).unwrap());
        let physical = PhysicalOffset(1000 * offset.0);
        record::patch_position(&mut bytes, physical, offset, TimestampMs(2));
        records.push(bytes);
        let (woken, holds) = std::mem::take(&mut state.holds)
            .into_iter()
            .partition(|hold| hold.topic == topic && hold.queue == queue);
        state.holds = holds;
        for hold in Vec::<Hold>::from_iter(woken) {
            let mut out = Vec::new();
            state.write_pull(&mut out, hold.encoding, hold.opaque, (&hold.topic, hold.queue), hold.offset);
            let _ = hold.peer.send(out);
        }
        (offset, physical)
    }
}

impl State {
    fn max_offset(&self, topic: &str, queue: i32) -> i64 {
        self.queues.get(&(topic.to_owned(), queue)).map_or(0, |records| records.len().try_into().unwrap())
    }

    fn write_pull(
        &self,
        out: &mut Vec<u8>,
        encoding: Encoding,
        opaque: i32,
        (topic, queue): (&str, i32),
        offset: i64,
    ) {
        let max = self.max_offset(topic, queue);
        let (code, next) = match offset {
            offset if offset > max => (response::PULL_OFFSET_MOVED, max),
            offset if offset == max => (response::PULL_NOT_FOUND, offset),
            offset => (response::SUCCESS, (offset + 32).min(max)),
        };
        let mut body = Vec::new();
        for offset in offset..next {
            let records = &self.queues[&(topic.to_owned(), queue)];
            body.extend_from_slice(&records[usize::try_from(offset).unwrap()]);
        }
        let header = answers::PullMessage {
            suggest_which_broker_id: ferromq_protocol::types::BrokerId(0),
            next_begin_offset: QueueOffset(next),
            min_offset: QueueOffset(0),
            max_offset: QueueOffset(max),
            offset_delta: None,
            topic_sys_flag: None,
            group_sys_flag: None,
            forbidden_type: None,
        };
        let mut writer = encode::begin(out, encoding, Head::response(code, opaque), None);
        writer.header(&header);
        writer.finish_with(&body).unwrap();
    }

    /// Tells the members of a group that it has changed.
    fn notify(&self, group: &str) {
        for peer in self.members.get(group).into_iter().flat_map(BTreeMap::values) {
            let _ = peer.oneway(|out, encoding, opaque| {
                let head = Head::oneway(request::NOTIFY_CONSUMER_IDS_CHANGED, opaque);
                let mut writer = encode::begin(out, encoding, head, None);
                writer.header(&NotifyConsumerIdsChanged { consumer_group: group });
                writer.finish().unwrap();
            });
        }
    }
}

struct FakeService(Arc<Shared>);

impl Service for FakeService {
    type Session = FakeSession;

    fn open(&self, peer: &Arc<Peer>) -> FakeSession {
        FakeSession { shared: self.0.clone(), peer: peer.clone() }
    }
}

struct FakeSession {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
}

impl Session for FakeSession {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        let code = request.header.code;
        state.requests.push(request.header.to_owned(Bytes::copy_from_slice(request.body)));
        match state.faults.get_mut(&code).and_then(VecDeque::pop_front) {
            None => self.answer(&mut state, &request, out),
            Some(Fault::Answer(code, remark)) => write(out, &request, code, Some(remark), &[], b""),
            Some(Fault::Sent(code)) => {
                let place = ("msgId", "id".to_owned());
                let fields = [place, ("queueId", "0".to_owned()), ("queueOffset", "0".to_owned())];
                write(out, &request, code, None, &fields, b"");
            }
            Some(Fault::Silence) => {}
            Some(Fault::Disconnect) => self.peer.close(),
        }
        drop(state);
        shared.seen.send_modify(|seen| *seen += 1);
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {}

    fn poll(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) {}

    fn saturated(&self) -> bool {
        false
    }

    fn closed(&mut self) {}
}

impl FakeSession {
    fn answer(&self, state: &mut State, request: &Request<'_>, out: &mut Vec<u8>) {
        let header = &request.header;
        let offset_field = |offset: i64| [("offset", offset.to_string())];
        match header.code {
            request::GET_ROUTEINFO_BY_TOPIC => {
                let topic = header.read::<GetRouteInfo<'_>>().unwrap().topic;
                match state.routes.get(topic) {
                    Some(route) => write(out, request, response::SUCCESS, None, &[], &json::to_vec(route)),
                    None => write(out, request, response::TOPIC_NOT_EXIST, Some("no route"), &[], b""),
                }
            }
            request::SEND_MESSAGE_V2 => {
                let send: SendMessageV2<'_> = header.read().unwrap();
                let (topic, queue) = (send.topic, send.queue_id.0);
                let properties = send.properties.unwrap_or_default().as_bytes();
                let place = self.shared.append(state, topic, queue, request.body, properties, send.sys_flag);
                write_sent(out, request, queue, &[place]);
            }
            request::SEND_BATCH_MESSAGE => {
                let send: SendMessageV2<'_> = header.read().unwrap();
                let (topic, queue) = (send.topic, send.queue_id.0);
                let places: Vec<_> = batch::entries(request.body)
                    .map(|entry| {
                        let entry = entry.unwrap();
                        self.shared.append(state, topic, queue, entry.body, entry.properties, send.sys_flag)
                    })
                    .collect();
                write_sent(out, request, queue, &places);
            }
            request::PULL_MESSAGE => {
                let pull: PullMessage<'_> = header.read().unwrap();
                let (topic, queue, offset) = (pull.topic, pull.queue_id.0, pull.queue_offset.0);
                if pull.sys_flag & sys_flag::pull::SUSPEND != 0 && offset == state.max_offset(topic, queue) {
                    state.holds.push(Hold {
                        peer: self.peer.clone(),
                        encoding: header.encoding,
                        opaque: header.opaque,
                        topic: topic.to_owned(),
                        queue,
                        offset,
                    });
                } else {
                    state.write_pull(out, header.encoding, header.opaque, (topic, queue), offset);
                }
            }
            request::GET_MAX_OFFSET => {
                let asked: GetMaxOffset<'_> = header.read().unwrap();
                let offset = state.max_offset(asked.topic, asked.queue_id.0);
                write(out, request, response::SUCCESS, None, &offset_field(offset), b"");
            }
            request::GET_MIN_OFFSET | request::SEARCH_OFFSET_BY_TIMESTAMP => {
                write(out, request, response::SUCCESS, None, &offset_field(0), b"");
            }
            request::QUERY_CONSUMER_OFFSET => {
                let asked: QueryConsumerOffset<'_> = header.read().unwrap();
                let key = (asked.consumer_group.to_owned(), asked.topic.to_owned(), asked.queue_id.0);
                match state.offsets.get(&key) {
                    Some(offset) => {
                        write(out, request, response::SUCCESS, None, &offset_field(*offset), b"");
                    }
                    None => write(out, request, response::QUERY_NOT_FOUND, None, &[], b""),
                }
            }
            request::UPDATE_CONSUMER_OFFSET => {
                let update: UpdateConsumerOffset<'_> = header.read().unwrap();
                let queue = update.queue_id.unwrap().0;
                let key = (update.consumer_group.to_owned(), update.topic.to_owned(), queue);
                state.offsets.insert(key, update.commit_offset.unwrap().0);
                if !header.is_oneway() {
                    write(out, request, response::SUCCESS, None, &[], b"");
                }
            }
            request::HEART_BEAT => {
                let heartbeat: HeartbeatData = json::from_slice(request.body).unwrap();
                for consumer in heartbeat.consumer_data_set {
                    let members = state.members.entry(consumer.group_name.clone()).or_default();
                    if members.insert(heartbeat.client_id.clone(), self.peer.clone()).is_none() {
                        state.notify(&consumer.group_name);
                    }
                }
                write(out, request, response::SUCCESS, None, &[], b"");
            }
            request::UNREGISTER_CLIENT => {
                let leaving: UnregisterClient<'_> = header.read().unwrap();
                if let Some(group) = leaving.consumer_group {
                    state.members.entry(group.to_owned()).or_default().remove(leaving.client_id);
                    state.notify(group);
                }
                write(out, request, response::SUCCESS, None, &[], b"");
            }
            request::GET_CONSUMER_LIST_BY_GROUP => {
                let group = header.field("consumerGroup").unwrap();
                let ids = state.members.get(group).into_iter().flat_map(BTreeMap::keys).cloned().collect();
                let body = json::to_vec(&ConsumerList { consumer_id_list: ids });
                write(out, request, response::SUCCESS, None, &[], &body);
            }
            _ => write(out, request, response::REQUEST_CODE_NOT_SUPPORTED, Some("not here"), &[], b""),
        }
    }
}

fn write_sent(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    queue: i32,
    places: &[(QueueOffset, PhysicalOffset)],
) {
    let ids: Vec<String> = places.iter().map(|(_, physical)| format!("id-{}", physical.0)).collect();
    let fields = [
        ("msgId", ids.join(",")),
        ("queueId", queue.to_string()),
        ("queueOffset", places[0].0.0.to_string()),
    ];
    if !request.header.is_oneway() {
        write(out, request, response::SUCCESS, None, &fields, b"");
    }
}

fn write(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    code: i32,
    remark: Option<&str>,
    fields: &[(&str, String)],
    body: &[u8],
) {
    let head = Head::response(code, request.header.opaque);
    let mut writer = encode::begin(out, request.header.encoding, head, remark);
    for (name, value) in fields {
        writer.text(name, value);
    }
    writer.finish_with(body).unwrap();
}
