//! A name server on a free port, and a client that asks it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ferromq_config::host::Host;
use ferromq_config::namesrv::{NamesrvConfig, NamesrvSources};
use ferromq_config::source::Assignment;
use ferromq_namesrv::server::{RunningNameServer, StartError, Surroundings, start};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::tls;
use ferromq_protocol::body::{RegisterBrokerBody, TopicConfig};
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Encoding, Split, split};
use ferromq_protocol::header::{Head, HeaderDecoder, OwnedFrame};
use ferromq_protocol::json::{self, Value};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Everything must happen well within this time; it only ends tests that hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct TestServer {
    pub server: RunningNameServer,
    pub dir: TempDir,
}

pub fn try_start(dir: &Path, settings: &[(&str, &str)]) -> Result<RunningNameServer, StartError> {
    let mut sources = NamesrvSources::new(|_| None);
    let path = |name: &str| dir.join(name).display().to_string();
    let own = [
        ("bindAddress", "127.0.0.1".to_owned()),
        ("listenPort", "0".to_owned()),
        ("kvConfigPath", path("kvConfig.json")),
        ("configStorePath", path("namesrv.properties")),
    ];
    let given = settings.iter().map(|(key, value)| (*key, (*value).to_owned()));
    sources.command_line = own
        .into_iter()
        .chain(given)
        .map(|(key, value)| Assignment::command_line("--set", key, value))
        .collect();
    let config = NamesrvConfig::load(&Host::fictitious(), &sources).unwrap();
    let surroundings = Surroundings {
        limiter: Limiter::new(Limits::default()),
        acceptor: Arc::new(tls::Acceptor::new(tls::ServerTls::default()).unwrap()),
        connector: None,
        own_broker: None,
    };
    start(config, surroundings)
}

impl TestServer {
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { server: try_start(dir.path(), settings).unwrap(), dir }
    }

    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, read: Vec::new(), opaque: 0 }
    }
}

pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
    opaque: i32,
}

impl Client {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn receive(&mut self) -> OwnedFrame {
        self.try_receive().await.expect("the connection was closed")
    }

    pub async fn try_receive(&mut self) -> Option<OwnedFrame> {
        let receive = async {
            loop {
                if let Split::Frame { frame, consumed } = split(&self.read).unwrap() {
                    let body = frame.body.to_vec().into();
                    let owned = HeaderDecoder::new().decode(frame).unwrap().to_owned(body);
                    self.read.drain(..consumed);
                    return Some(owned);
                }
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, receive).await.expect("no answer came")
    }

    pub async fn ask(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> OwnedFrame {
        self.ask_as(ferromq_protocol::version::CURRENT, code, fields, body).await
    }

    pub async fn ask_as(
        &mut self,
        version: i32,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> OwnedFrame {
        self.opaque += 1;
        let head = Head { version, ..Head::request(code, self.opaque) };
        let mut bytes = Vec::new();
        let mut header = encode::begin(&mut bytes, Encoding::Json, head, None);
        for (name, value) in fields {
            header.text(name, value);
        }
        header.finish_with(body).unwrap();
        self.send(&bytes).await;
        let reply = self.receive().await;
        assert_eq!(reply.opaque, self.opaque);
        reply
    }

    /// Registers the leader of `name` with these topics.
    pub async fn register(&mut self, name: &str, topics: &[&str]) -> OwnedFrame {
        self.register_with(name, topics, &[]).await
    }

    pub async fn register_with(&mut self, name: &str, topics: &[&str], more: &[(&str, &str)]) -> OwnedFrame {
        let address = format!("{name}:10911");
        let mut fields = vec![
            ("brokerName", name),
            ("brokerAddr", &address),
            ("clusterName", "DefaultCluster"),
            ("haServerAddr", "ha:10912"),
            ("brokerId", "0"),
            ("enableActingMaster", "false"),
        ];
        fields.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
        fields.extend(more);
        self.ask(103, &fields, &registration(topics).to_json()).await
    }
}

pub fn registration(topics: &[&str]) -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version.counter = 1;
    for topic in topics {
        let config = TopicConfig { topic_name: (*topic).to_owned(), ..TopicConfig::default() };
        table.topic_config_table.insert((*topic).to_owned(), config);
    }
    body
}

/// What a body says, whatever the order of its members.
pub fn meaning(body: &[u8]) -> Option<Value> {
    (!body.is_empty()).then(|| json::from_slice(body).unwrap())
}

pub fn outcome(reply: &OwnedFrame) -> (i32, Option<&str>) {
    (reply.code, reply.remark.as_deref())
}

/// Asks until the answer is as wanted.
pub async fn eventually(client: &mut Client, code: i32, is_wanted: impl Fn(&OwnedFrame) -> bool) {
    let begin = std::time::Instant::now();
    while !is_wanted(&client.ask(code, &[], b"").await) {
        assert!(begin.elapsed() < PATIENCE, "never came about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
