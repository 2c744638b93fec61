//! A broker on free ports with a directory of its own, and a client that speaks frames.
//!
//! The client is deliberately plain: one blocking socket, every wait bounded, nothing of the product's client code.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferromq_broker::broker::Broker;
use ferromq_broker::server::{self, RunningBroker, Surroundings};
use ferromq_config::broker::{BrokerConfig, BrokerSources};
use ferromq_config::host::Host;
use ferromq_config::namesrv::{NamesrvConfig, NamesrvSources};
use ferromq_config::source::Assignment;
use ferromq_namesrv::server::RunningNameServer;
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::tls::{Acceptor, ServerTls};
use ferromq_protocol::code::request;
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Encoding, Split, split};
use ferromq_protocol::header::{FLAG_ONEWAY, Head, HeaderDecoder, OwnedFrame};
use ferromq_protocol::record::{self, Record};
use ferromq_store::clock::SystemClock;
use ferromq_store::disk::{Disk, RealDisk};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::slow_disk::Gate;

/// Longer than anything that is supposed to happen at once takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough that what must not happen would have happened.
pub const SILENCE: Duration = Duration::from_millis(300);

/// A broker under test.
pub struct TestBroker {
    runtime: Runtime,
    running: Option<RunningBroker>,
    pub directory: TempDir,
    settings: BTreeMap<String, String>,
}

impl TestBroker {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With these keys set on the command line.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Self::at(tempfile::tempdir().unwrap(), settings)
    }

    /// On a store in which these files lie already.
    pub fn with_files(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self::at(directory, BTreeMap::new())
    }

    /// On a directory that another broker left.
    pub fn on(directory: TempDir) -> Self {
        Self::at(directory, BTreeMap::new())
    }

    /// With these keys, on a disk of the test's.
    pub fn on_disk(disk: Arc<dyn Disk>, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Self::build(tempfile::tempdir().unwrap(), settings, Surroundings { disk, ..surroundings() })
    }

    fn at(directory: TempDir, settings: BTreeMap<String, String>) -> Self {
        Self::build(directory, settings, surroundings())
    }

    fn build(directory: TempDir, settings: BTreeMap<String, String>, surroundings: Surroundings) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = config(directory.path(), &settings);
        let running = runtime.block_on(server::start(config, surroundings)).unwrap();
        Self { runtime, running: Some(running), directory, settings }
    }

    pub fn address(&self) -> SocketAddr {
        let port = self.running.as_ref().unwrap().addresses().next().unwrap().port();
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    pub fn broker(&self) -> &Arc<Broker> {
        self.running.as_ref().unwrap().broker()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Jobs that keep every thread of the pool for slow work until the gate opens.
    pub fn occupy_pool(&self, gate: &Gate) {
        let _entered = self.runtime.enter();
        for _ in 0..64 {
            let gate = gate.clone();
            self.broker().background.run(move || gate.pass()).unwrap();
        }
    }

    /// What `brokerStatus` shows under this name.
    pub fn gauge(&self, name: &str) -> usize {
        let reply = self.client().call(request::GET_BROKER_RUNTIME_INFO, &[], b"");
        let table: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let text = table["table"][name].as_str().unwrap_or_else(|| panic!("no gauge {name}"));
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}"))
    }

    /// Stops in order and starts again on the same directory.
    pub fn restart(mut self) -> Self {
        let report = self.runtime.block_on(self.running.take().unwrap().stop());
        assert!(report.clean, "{report:?}");
        let Self { runtime, directory, settings, .. } = self;
        drop(runtime);
        Self::at(directory, settings)
    }

    /// Stops in order; the directory stays.
    pub fn stop(mut self) -> TempDir {
        let report = self.runtime.block_on(self.running.take().unwrap().stop());
        assert!(report.clean, "{report:?}");
        self.directory
    }

    /// Ends without any of the steps of a stop, and starts again on the same directory.
    pub fn crash(self) -> Self {
        let Self { runtime, running, directory, settings } = self;
        // Tasks end where they are; threads of the store end without writing.
        runtime.shutdown_background();
        std::mem::forget(running);
        let copy = tempfile::tempdir().unwrap();
        copy_tree(directory.path(), copy.path());
        drop(directory);
        Self::at(copy, settings)
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The configuration of a broker under test.
pub fn config(root: &Path, settings: &BTreeMap<String, String>) -> BrokerConfig {
    let mut sources = BrokerSources::new(|_| None);
    let mut set = |key: &str, value: String| {
        sources.command_line.push(Assignment::command_line("--set", key, value));
    };
    set("brokerName", "broker-a".into());
    set("brokerClusterName", "DefaultCluster".into());
    set("brokerIP1", "127.0.0.1".into());
    set("listenPort", "0".into());
    set("storePathRootDir", root.display().to_string());
    set("storePathCommitLog", root.join("commitlog").display().to_string());
    set("mappedFileSizeCommitLog", (16 << 20).to_string());
    set("mappedFileSizeConsumeQueue", "60000".into());
    set("maxHashSlotNum", "1000".into());
    set("maxIndexNum", "4000".into());
    // The machine that tests run on may be busy for longer than a send may wait.
    set("waitTimeMillsInSendQueue", "60000".into());
    set("waitTimeMillsInPullQueue", "60000".into());
    for (key, value) in settings {
        set(key, value.clone());
    }
    BrokerConfig::load(&Host::fictitious(), &sources).unwrap()
}

fn surroundings() -> Surroundings {
    Surroundings {
        limiter: Limiter::new(Limits::default()),
        acceptor: Arc::new(Acceptor::new(ServerTls::default()).unwrap()),
        connector: None,
        disk: Arc::new(RealDisk::default()),
        clock: Arc::new(SystemClock::default()),
    }
}

/// A name server beside the broker.
pub struct TestNameServer {
    _runtime: Runtime,
    running: RunningNameServer,
    _directory: TempDir,
}

impl TestNameServer {
    pub fn start() -> Self {
        Self::on(0)
    }

    pub fn on(port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut sources = NamesrvSources::new(|_| None);
        let mut set = |key: &str, value: String| {
            sources.command_line.push(Assignment::command_line("--set", key, value));
        };
        set("listenPort", port.to_string());
        set("kvConfigPath", directory.path().join("kv.json").display().to_string());
        let config = NamesrvConfig::load(&Host::fictitious(), &sources).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let surroundings = ferromq_namesrv::server::Surroundings {
            limiter: Limiter::new(Limits::default()),
            acceptor: Arc::new(Acceptor::new(ServerTls::default()).unwrap()),
            connector: None,
            own_broker: None,
        };
        let running = {
            let _guard = runtime.enter();
            ferromq_namesrv::server::start(config, surroundings).unwrap()
        };
        Self { _runtime: runtime, running, _directory: directory }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.running.address().port())
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address().parse().unwrap())
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    encoding: Encoding,
    opaque: i32,
    read: Vec<u8>,
    decoder: HeaderDecoder,
    /// Requests of the broker and replies to other requests that came while a reply was awaited.
    pub others: Vec<OwnedFrame>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            encoding: Encoding::Json,
            opaque: 0,
            read: Vec::new(),
            decoder: HeaderDecoder::new(),
            others: Vec::new(),
        }
    }

    /// Writes headers in the binary form from now on.
    pub fn binary(mut self) -> Self {
        self.encoding = Encoding::Binary;
        self
    }

    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Another handle of the same connection, for another thread that only writes.
    pub fn split(&self) -> Self {
        Self {
            stream: self.stream.try_clone().unwrap(),
            encoding: self.encoding,
            opaque: self.opaque,
            read: Vec::new(),
            decoder: HeaderDecoder::new(),
            others: Vec::new(),
        }
    }

    /// Sends a request and returns its opaque number.
    pub fn post(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> i32 {
        self.write(Head::request(code, 0), fields, body)
    }

    pub fn oneway(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> i32 {
        self.write(Head { flag: FLAG_ONEWAY, ..Head::request(code, 0) }, fields, body)
    }

    fn write(&mut self, head: Head, fields: &[(&str, &str)], body: &[u8]) -> i32 {
        self.opaque += 1;
        let mut frame = Vec::new();
        let head = Head { opaque: self.opaque, ..head };
        let mut header = encode::begin(&mut frame, self.encoding, head, None);
        for (name, value) in fields {
            header.text(name, value);
        }
        header.finish_with(body).unwrap();
        self.stream.write_all(&frame).unwrap();
        self.opaque
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame, whatever it is; `None` if none comes in time or the connection ends.
    pub fn receive_within(&mut self, time: Duration) -> Option<OwnedFrame> {
        let deadline = Instant::now() + time;
        loop {
            if let Split::Frame { frame, consumed } = split(&self.read).unwrap() {
                let body = Bytes::copy_from_slice(frame.body);
                let owned = self.decoder.decode(frame).unwrap().to_owned(body);
                self.read.drain(..consumed);
                return Some(owned);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.read.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// The reply to a request.
    pub fn reply(&mut self, opaque: i32) -> OwnedFrame {
        let is_it = |frame: &OwnedFrame| frame.head.is_response() && frame.opaque == opaque;
        if let Some(at) = self.others.iter().position(is_it) {
            return self.others.remove(at);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = self.receive_within(left).unwrap_or_else(|| panic!("no reply to request {opaque}"));
            if is_it(&frame) {
                return frame;
            }
            self.others.push(frame);
        }
    }

    pub fn call(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> OwnedFrame {
        let opaque = self.post(code, fields, body);
        self.reply(opaque)
    }

    /// A request of the broker with this code that came meanwhile or comes in time.
    pub fn pushed(&mut self, code: i32, time: Duration) -> Option<OwnedFrame> {
        let is_it = |frame: &OwnedFrame| !frame.head.is_response() && frame.code == code;
        if let Some(at) = self.others.iter().position(is_it) {
            return Some(self.others.remove(at));
        }
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let frame = self.receive_within(left)?;
            if is_it(&frame) {
                return Some(frame);
            }
            self.others.push(frame);
        }
    }

    /// Answers a request of the broker.
    pub fn answer(&mut self, request: &OwnedFrame, code: i32, body: &[u8]) {
        let mut frame = Vec::new();
        let head = Head::response(code, request.opaque);
        encode::begin(&mut frame, request.encoding, head, None).finish_with(body).unwrap();
        self.raw(&frame);
    }

    /// True if the broker closes the connection in time.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut chunk = [0; 65_536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// A send in the form of the Java client, to be varied.
#[derive(Clone, Debug)]
pub struct Send<'a> {
    pub topic: &'a str,
    pub queue: &'a str,
    pub properties: String,
    pub body: &'a [u8],
    pub extra: Vec<(&'a str, &'a str)>,
}

impl<'a> Send<'a> {
    pub fn to(topic: &'a str) -> Self {
        Self { topic, queue: "0", properties: String::new(), body: b"hello", extra: Vec::new() }
    }

    pub fn queue(self, queue: &'a str) -> Self {
        Self { queue, ..self }
    }

    pub fn body(self, body: &'a [u8]) -> Self {
        Self { body, ..self }
    }

    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties += &format!("{name}\u{1}{value}\u{2}");
        self
    }

    /// Another value for a field of the header, or one more.
    pub fn field(mut self, name: &'a str, value: &'a str) -> Self {
        self.extra.push((name, value));
        self
    }

    pub fn fields(&'a self) -> Vec<(&'a str, &'a str)> {
        let mut fields = vec![
            ("a", "pg"),
            ("b", self.topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", self.queue),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", &self.properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
            ("n", "broker-a"),
        ];
        for (name, value) in &self.extra {
            fields.retain(|(known, _)| known != name);
            fields.push((name, value));
        }
        fields
    }

    pub fn by(&self, client: &mut Client) -> OwnedFrame {
        client.call(request::SEND_MESSAGE_V2, &self.fields(), self.body)
    }

    /// Sends and expects success.
    pub fn ok(&self, client: &mut Client) -> OwnedFrame {
        let reply = self.by(client);
        assert_eq!((reply.code, reply.remark.as_deref()), (0, None), "{self:?}");
        reply
    }
}

/// A pull in the form of the Java client, to be varied.
#[derive(Clone, Debug)]
pub struct Pull<'a> {
    pub topic: &'a str,
    pub group: &'a str,
    pub extra: Vec<(&'a str, &'a str)>,
}

impl<'a> Pull<'a> {
    /// Brings its own subscription along, so that no heartbeat is needed.
    pub fn of(topic: &'a str, group: &'a str) -> Self {
        Self { topic, group, extra: Vec::new() }
    }

    pub fn field(mut self, name: &'a str, value: &'a str) -> Self {
        self.extra.push((name, value));
        self
    }

    pub fn at(self, offset: &'a str) -> Self {
        self.field("queueOffset", offset)
    }

    /// May be held this long.
    pub fn held(self, ms: &'a str) -> Self {
        self.field("sysFlag", "6").field("suspendTimeoutMillis", ms)
    }

    pub fn fields(&'a self) -> Vec<(&'a str, &'a str)> {
        let mut fields = vec![
            ("consumerGroup", self.group),
            ("topic", self.topic),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ];
        for (name, value) in &self.extra {
            fields.retain(|(known, _)| known != name);
            fields.push((name, value));
        }
        fields
    }

    pub fn post(&self, client: &mut Client) -> i32 {
        client.post(request::PULL_MESSAGE, &self.fields(), b"")
    }

    pub fn by(&self, client: &mut Client) -> OwnedFrame {
        client.call(request::PULL_MESSAGE, &self.fields(), b"")
    }
}

/// The messages of a pull's body.
pub fn records(body: &[u8]) -> Vec<Record<'_>> {
    record::decode_all(body).map(Result::unwrap).collect()
}

/// An ext field as a number.
pub fn number(frame: &OwnedFrame, name: &str) -> i64 {
    let value = frame.field(name).unwrap_or_else(|| panic!("no field {name} in {frame:?}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}"))
}

/// Waits for something that another thread does.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
