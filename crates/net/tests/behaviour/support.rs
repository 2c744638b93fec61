//! A server whose sessions do what the tests ask for, and a client that speaks raw bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use ferromq_net::connection::{Request, Service, Session};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::peer::Peer;
use ferromq_net::server::{self, Drain, Listener, Server, Settings};
use ferromq_net::tls;
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Encoding, Split, split};
use ferromq_protocol::header::{Head, HeaderDecoder, OwnedFrame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Everything must happen well within this time; it only ends tests that hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub mod ask {
    /// The body comes back at once.
    pub const ECHO: i32 = 1;
    /// The body comes back from `poll`, after another turn.
    pub const ECHO_LATER: i32 = 2;
    /// A body of as many bytes as the field `size` says.
    pub const SIZE: i32 = 3;
    /// No answer until [`Shared::release`](super::Shared::release).
    pub const HOLD: i32 = 4;
    /// The body comes back through `Peer::send` from another task.
    pub const ECHO_ELSEWHERE: i32 = 5;
}

/// What the sessions of a test server have in common.
#[derive(Default)]
pub struct Shared {
    pub peers: parking_lot::Mutex<Vec<Arc<Peer>>>,
    pub requests: AtomicU64,
    pub reads: AtomicU64,
    pub closed: AtomicU64,
    /// Requests that a session holds before it is saturated; 0 for no limit.
    pub hold_max: AtomicU64,
    released: AtomicBool,
    wakers: parking_lot::Mutex<Vec<Waker>>,
}

impl Shared {
    pub fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
        self.wakers.lock().drain(..).for_each(Waker::wake);
    }

    pub fn peer(&self) -> Arc<Peer> {
        self.peers.lock().last().unwrap().clone()
    }
}

pub struct TestService(pub Arc<Shared>);

impl Service for TestService {
    type Session = TestSession;

    fn open(&self, peer: &Arc<Peer>) -> TestSession {
        self.0.peers.lock().push(peer.clone());
        TestSession {
            shared: self.0.clone(),
            peer: peer.clone(),
            later: VecDeque::new(),
            held: VecDeque::new(),
        }
    }
}

pub struct TestSession {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    later: VecDeque<OwnedFrame>,
    held: VecDeque<OwnedFrame>,
}

pub fn answer(out: &mut Vec<u8>, encoding: Encoding, opaque: i32, body: &[u8]) {
    encode::begin(out, encoding, Head::response(0, opaque), None).finish_with(body).unwrap();
}

impl Session for TestSession {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        self.shared.requests.fetch_add(1, Ordering::SeqCst);
        let header = &request.header;
        if header.is_oneway() {
            return;
        }
        let owned = || header.to_owned(request.body.to_vec().into());
        match header.code {
            ask::ECHO => answer(out, header.encoding, header.opaque, request.body),
            ask::ECHO_LATER => self.later.push_back(owned()),
            ask::SIZE => {
                let size = header.field("size").unwrap().parse().unwrap();
                answer(out, header.encoding, header.opaque, &vec![b'x'; size]);
            }
            ask::HOLD => self.held.push_back(owned()),
            ask::ECHO_ELSEWHERE => {
                let (peer, frame) = (self.peer.clone(), owned());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    answer(&mut bytes, frame.encoding, frame.opaque, &frame.body);
                    let _ = peer.send(bytes);
                });
            }
            other => panic!("the tests know no request {other}"),
        }
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {
        self.shared.reads.fetch_add(1, Ordering::SeqCst);
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        if let Some(frame) = self.later.pop_front() {
            answer(out, frame.encoding, frame.opaque, &frame.body);
            if !self.later.is_empty() {
                cx.waker().wake_by_ref();
            }
        }
        if !self.held.is_empty() {
            self.shared.wakers.lock().push(cx.waker().clone());
            if self.shared.released.load(Ordering::SeqCst) {
                for frame in self.held.drain(..) {
                    answer(out, frame.encoding, frame.opaque, &frame.body);
                }
            }
        }
    }

    fn saturated(&self) -> bool {
        let max = self.shared.hold_max.load(Ordering::SeqCst);
        max > 0 && self.held.len() as u64 >= max
    }

    fn unanswered(&self) -> bool {
        !self.later.is_empty() || !self.held.is_empty()
    }

    fn closed(&mut self) {
        self.shared.closed.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct TestServer {
    pub server: Server,
    pub shared: Arc<Shared>,
    pub limiter: Arc<Limiter>,
}

impl TestServer {
    pub fn start() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::with(limits, tls::ServerTls::default())
    }

    pub fn with(limits: Limits, tls: tls::ServerTls) -> Self {
        Self::listening("127.0.0.1:0", limits, tls)
    }

    pub fn listening(address: &str, limits: Limits, tls: tls::ServerTls) -> Self {
        let shared = Arc::new(Shared::default());
        let limiter = Limiter::new(limits);
        let listener = Listener::bind(address.parse().unwrap(), 1024).unwrap();
        let settings = Settings { limiter: limiter.clone(), tls: Arc::new(tls::Acceptor::new(tls).unwrap()) };
        let server = server::serve(listener, settings, Arc::new(TestService(shared.clone()))).unwrap();
        Self { server, shared, limiter }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Bytes that the server has read from the clients connected now.
    pub fn received_bytes(&self) -> u64 {
        self.server.peers().iter().map(|peer| peer.received_bytes()).sum()
    }

    pub async fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client::new(stream)
    }

    pub async fn stop(self) -> usize {
        self.server.stop(Drain { send_away: None, patience: PATIENCE }).await
    }
}

/// A client that writes what it is told and reads frames.
pub struct Client<S> {
    pub stream: S,
    read: Vec<u8>,
    decoder: HeaderDecoder,
}

pub fn request(encoding: Encoding, code: i32, opaque: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::begin(&mut out, encoding, Head::request(code, opaque), None).finish_with(body).unwrap();
    out
}

pub fn sized_request(opaque: i32, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut header = encode::begin(&mut out, Encoding::Json, Head::request(ask::SIZE, opaque), None);
    header.integer("size", size as i64);
    header.finish().unwrap();
    out
}

impl<S: AsyncRead + AsyncWriteExt + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new(), decoder: HeaderDecoder::new() }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub async fn ask(&mut self, code: i32, opaque: i32, body: &[u8]) -> OwnedFrame {
        self.write(&request(Encoding::Json, code, opaque, body)).await;
        self.receive().await
    }

    /// The next frame.
    pub async fn receive(&mut self) -> OwnedFrame {
        self.try_receive().await.expect("the server closed the connection")
    }

    /// The next frame, or nothing if the connection was closed.
    pub async fn try_receive(&mut self) -> Option<OwnedFrame> {
        let receive = async {
            loop {
                if let Split::Frame { frame, consumed } = split(&self.read).unwrap() {
                    let owned = self.decoder.decode(frame).unwrap().to_owned(frame.body.to_vec().into());
                    self.read.drain(..consumed);
                    return Some(owned);
                }
                self.read.reserve(256 * 1024);
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, receive).await.expect("no answer came")
    }

    /// True if the server closes the connection without another frame.
    pub async fn is_cut_off(&mut self) -> bool {
        self.try_receive().await.is_none()
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "never happened: {what}");
        if begin.elapsed() < Duration::from_millis(1) {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
