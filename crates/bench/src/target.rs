//! The broker under load: finding it, making the topic, and the few calls around a measurement, one at
//! a time on blocking sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use ferromq_protocol::encode;
use ferromq_protocol::frame::{self, Encoding, Split};
use ferromq_protocol::header::{Head, HeaderDecoder};
use serde_json::{Value, json};

use crate::options::Target;
use crate::wire::{CONSUMER_GROUP, PRODUCER_GROUP};

const TIMEOUT: Duration = Duration::from_secs(5);
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(30);
/// The topic whose route shows where topics can be created.
const TEMPLATE_TOPIC: &str = "TBW102";
const TOPIC_NOT_EXIST: i32 = 17;

/// The broker that gets the load.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub(crate) addr: SocketAddr,
    pub(crate) name: String,
}

impl Broker {
    pub(crate) fn find(target: &Target) -> anyhow::Result<Broker> {
        if let Some(addr) = &target.addr {
            return Ok(Broker { addr: resolve(addr)?, name: target.broker_name.clone() });
        }
        let name_servers = target.namesrv.as_deref().unwrap_or_default();
        let mut last_error = anyhow!("no name server is given");
        for name_server in
            name_servers.split(';').map(str::trim).filter(|name_server| !name_server.is_empty())
        {
            match Broker::from_route(name_server, target) {
                Ok(broker) => return Ok(broker),
                Err(error) => last_error = error.context(format!("name server {name_server}")),
            }
        }
        Err(last_error)
    }

    /// The leader of the wanted broker name, from the route of the topic or of the template topic.
    fn from_route(name_server: &str, target: &Target) -> anyhow::Result<Broker> {
        let mut connection = Connection::open(resolve(name_server)?)?;
        let mut route = connection.call(105, &[("topic", &target.topic)], b"")?;
        if route.code == TOPIC_NOT_EXIST {
            route = connection.call(105, &[("topic", TEMPLATE_TOPIC)], b"")?;
        }
        let route: Value = serde_json::from_slice(&route.success()?.body).context("the route is not JSON")?;
        let brokers = route["brokerDatas"].as_array().map(Vec::as_slice).unwrap_or_default();
        let broker = brokers
            .iter()
            .find(|broker| broker["brokerName"] == target.broker_name.as_str())
            .or_else(|| brokers.first())
            .context("the route names no broker")?;
        let name = broker["brokerName"].as_str().context("the route names no broker")?.to_owned();
        let addr = broker["brokerAddrs"]["0"].as_str().with_context(|| format!("{name} has no leader"))?;
        Ok(Broker { addr: resolve(addr)?, name })
    }

    /// A connection for the load.
    pub(crate) fn connect(&self) -> anyhow::Result<TcpStream> {
        TcpStream::connect_timeout(&self.addr, TIMEOUT)
            .with_context(|| format!("no connection to the broker at {}", self.addr))
    }

    pub(crate) fn call_connection(&self) -> anyhow::Result<Connection> {
        Connection::open(self.addr)
    }

    /// Creates the topic with the wanted number of queues, or changes it to that.
    pub(crate) fn prepare_topic(&self, target: &Target) -> anyhow::Result<()> {
        if target.no_create {
            return Ok(());
        }
        let queues = target.queues.to_string();
        let fields = [
            ("topic", target.topic.as_str()),
            ("defaultTopic", TEMPLATE_TOPIC),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        let created = self.call_connection()?.call(17, &fields, b"")?.success();
        created.with_context(|| format!("topic {} cannot be created at {}", target.topic, self.addr))?;
        Ok(())
    }
}

fn resolve(addr: &str) -> anyhow::Result<SocketAddr> {
    let mut found = addr.to_socket_addrs().with_context(|| format!("{addr} is not an address"))?;
    found.next().with_context(|| format!("{addr} has no address"))
}

/// A number that differs between runs and threads, for the ids of messages.
pub(crate) fn salt(thread: u32) -> u32 {
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u32::try_from(unix_ms & 0xffff_ffff).unwrap_or(0).wrapping_mul(0x9e37_79b1) ^ thread
}

/// One request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    opaque: i32,
}

#[derive(Debug)]
pub(crate) struct Answer {
    code: i32,
    remark: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn success(self) -> anyhow::Result<Answer> {
        ensure!(self.code == 0, "code {}: {}", self.code, self.remark);
        Ok(self)
    }

    fn number(&self, name: &str) -> anyhow::Result<i64> {
        let value = self.fields.iter().find(|(field, _)| field == name);
        value
            .and_then(|(_, value)| value.parse().ok())
            .with_context(|| format!("an answer without the number {name}"))
    }
}

impl Connection {
    fn open(addr: SocketAddr) -> anyhow::Result<Connection> {
        let stream =
            TcpStream::connect_timeout(&addr, TIMEOUT).with_context(|| format!("no connection to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Connection { stream, input: Vec::new(), opaque: 0 })
    }

    pub(crate) fn max_offset(&mut self, topic: &str, queue: u32) -> anyhow::Result<i64> {
        self.call(30, &[("topic", topic), ("queueId", &queue.to_string())], b"")?.success()?.number("offset")
    }

    pub(crate) fn min_offset(&mut self, topic: &str, queue: u32) -> anyhow::Result<i64> {
        self.call(31, &[("topic", topic), ("queueId", &queue.to_string())], b"")?.success()?.number("offset")
    }

    fn call(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Answer> {
        self.opaque += 1;
        let mut request = Vec::new();
        let mut header = encode::begin(&mut request, Encoding::Json, Head::request(code, self.opaque), None);
        for (name, value) in fields {
            header.text(name, value);
        }
        header.finish_with(body)?;
        self.stream.write_all(&request).context("a request cannot be written")?;
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(answer);
            }
            let mut chunk = [0; 16 * 1024];
            let len =
                self.stream.read(&mut chunk).with_context(|| format!("no answer to request code {code}"))?;
            ensure!(len > 0, "the connection was closed instead of an answer to request code {code}");
            self.input.extend_from_slice(&chunk[..len]);
        }
    }

    /// The awaited answer if it is complete; requests that a broker sends to its clients are passed over.
    fn take_answer(&mut self) -> anyhow::Result<Option<Answer>> {
        loop {
            let (answer, consumed) = match frame::split(&self.input)? {
                Split::Incomplete { .. } => return Ok(None),
                Split::Frame { frame, consumed } => {
                    let mut decoder = HeaderDecoder::new();
                    let header = decoder.decode(frame)?;
                    let awaited = header.head.is_response() && header.head.opaque == self.opaque;
                    let answer = awaited.then(|| Answer {
                        code: header.head.code,
                        remark: header.remark().unwrap_or("no remark").to_owned(),
                        fields: header
                            .fields()
                            .map(|(name, value)| (name.to_owned(), value.to_owned()))
                            .collect(),
                        body: frame.body.to_vec(),
                    });
                    (answer, consumed)
                }
            };
            self.input.drain(..consumed);
            if answer.is_some() {
                return Ok(answer);
            }
        }
    }
}

/// Keeps the consumer group and its subscription known to the broker, which serves pulls only then. Its
/// own connection sends the heartbeats, so that the load does not have to.
pub(crate) struct Registration {
    pub(crate) subscription_version: u64,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Registration {
    pub(crate) fn of_consumer(broker: &Broker, topic: &str) -> anyhow::Result<Registration> {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let subscription_version = u64::try_from(unix_ms)?;
        let heartbeat = heartbeat(topic, subscription_version).to_string();
        let mut connection = broker.call_connection()?;
        connection
            .call(34, &[], heartbeat.as_bytes())?
            .success()
            .context("the broker does not take the consumer")?;
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            while stopped.recv_timeout(HEARTBEAT_PERIOD) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = connection.call(34, &[], heartbeat.as_bytes()) {
                    eprintln!("a heartbeat failed, pulls will be refused soon: {error:#}");
                    return;
                }
            }
        })?;
        Ok(Registration { subscription_version, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn heartbeat(topic: &str, subscription_version: u64) -> Value {
    json!({
        "clientID": format!("127.0.0.1@{}", std::process::id()),
        "consumerDataSet": [{
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
            "consumeType": "CONSUME_PASSIVELY",
            "groupName": CONSUMER_GROUP,
            "messageModel": "CLUSTERING",
            "subscriptionDataSet": [{
                "classFilterMode": false,
                "codeSet": [],
                "expressionType": "TAG",
                "subString": "*",
                "subVersion": subscription_version,
                "tagsSet": [],
                "topic": topic,
            }],
            "unitMode": false,
        }],
        "heartbeatFingerprint": 0,
        "producerDataSet": [{"groupName": PRODUCER_GROUP}],
        "withoutSub": false,
    })
}
