//! Outgoing connections: one per address, shared by all requests to it, made on first use.
//!
//! Many calls may wait on one connection at once; replies are matched by their opaque number. A connection that ends
//! is made anew by the next call. When the other side says `GO_AWAY`, the connection keeps what it carries, a new one
//! takes its place, and the call is repeated there once.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::{Head, OwnedFrame};
use ferromq_protocol::{code, encode};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::connection::{Connection, Phase, Request, Service, Session};
use crate::limits::{Limiter, Place};
use crate::peer::{CallError, Closed, Peer};
use crate::server::next_peer_id;
use crate::stream::{Rewound, Stream};
use crate::tls;

/// Addresses that are remembered; beyond, those without a live connection are forgotten.
pub const ADDRESSES_MAX: usize = 1024;

/// How a [`Caller`] connects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of outgoing connections; not shared with a server, so that clients cannot use them up.
    pub limiter: Arc<Limiter>,
    pub connect_timeout: Duration,
    /// Outgoing connections use TLS (`tls.enable`).
    pub tls: Option<Arc<tls::Connector>>,
    /// Encoding of our requests.
    pub encoding: Encoding,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connect to {address} failed: {reason}")]
pub struct ConnectError {
    pub address: String,
    pub reason: ConnectFailure,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    #[error("the address is not host:port, or the host is unknown")]
    Unresolved,
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{text}")]
    Socket { kind: io::ErrorKind, text: String },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("{0} outgoing connections are open already")]
    TooMany(u64),
    #[error("the caller was stopped")]
    Stopped,
}

/// Why a request to an address has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request was not sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("request to {address} failed: {source}")]
    Call { address: String, source: CallError },
}

/// Outgoing connections. Cloning shares them.
#[derive(Debug)]
pub struct Caller<S: Service = NoRequests> {
    shared: Arc<Shared<S>>,
}

impl<S: Service> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

#[derive(Debug)]
struct Shared<S: Service> {
    settings: Settings,
    service: Arc<S>,
    phase: Arc<Phase>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<String, Arc<Slot>>,
    tasks: JoinSet<()>,
    is_stopped: bool,
}

/// One address.
#[derive(Debug, Default)]
struct Slot {
    peer: Mutex<Option<Arc<Peer>>>,
    /// Held while connecting, so that many callers make one connection. Holds the last failure.
    connecting: tokio::sync::Mutex<Option<(Instant, ConnectError)>>,
}

impl Slot {
    fn live(&self) -> Option<Arc<Peer>> {
        self.peer.lock().as_ref().filter(|peer| !peer.is_closed()).cloned()
    }
}

impl<S: Service> Caller<S> {
    /// `service` handles what the other sides ask over our connections.
    pub fn new(settings: Settings, service: Arc<S>) -> Self {
        let shared = Shared { settings, service, phase: Arc::default(), state: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Sends a request to `address` (`host:port`) and waits for its reply. `write` appends the frame with the
    /// encoding and opaque number it is given; it is called again if the request is repeated. The timeout covers
    /// everything.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn call(
        &self,
        address: &str,
        timeout: Duration,
        write: impl Fn(&mut Vec<u8>, Encoding, i32),
    ) -> Result<OwnedFrame, RequestError> {
        let deadline = Instant::now() + timeout;
        let peer = self.connect(address, timeout).await?;
        let reply = self.call_peer(address, &peer, deadline, &write).await?;
        if reply.code != code::response::GO_AWAY {
            return Ok(reply);
        }
        self.set_aside(address, &peer);
        let peer = self.connect(address, deadline - Instant::now()).await?;
        self.call_peer(address, &peer, deadline, &write).await
    }

    /// Sends a request that has no reply. The timeout is for the connection.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn oneway(
        &self,
        address: &str,
        timeout: Duration,
        write: impl FnOnce(&mut Vec<u8>, Encoding, i32),
    ) -> Result<(), RequestError> {
        let peer = self.connect(address, timeout).await?;
        let sent = peer.oneway(write);
        sent.map_err(|error| RequestError::Call { address: address.to_owned(), source: error.into() })
    }

    async fn call_peer(
        &self,
        address: &str,
        peer: &Peer,
        deadline: Instant,
        write: impl Fn(&mut Vec<u8>, Encoding, i32),
    ) -> Result<OwnedFrame, RequestError> {
        let reply = peer.call(deadline - Instant::now(), write).await;
        reply.map_err(|source| RequestError::Call { address: address.to_owned(), source })
    }

    /// The connection to `address`, made if there is none.
    ///
    /// # Errors
    /// When there is none within the timeout or the connect timeout, whichever is shorter.
    pub async fn connect(&self, address: &str, timeout: Duration) -> Result<Arc<Peer>, ConnectError> {
        let slot = self.slot(address);
        if let Some(peer) = slot.live() {
            return Ok(peer);
        }
        let timeout = timeout.min(self.shared.settings.connect_timeout);
        let asked = Instant::now();
        let connect = async {
            let mut failure = slot.connecting.lock().await;
            if let Some(peer) = slot.live() {
                return Ok(peer);
            }
            // Whoever waited for an attempt that failed does not make everyone behind it wait for another one.
            if let Some((when, error)) = failure.as_ref().filter(|(when, _)| *when >= asked) {
                tracing::debug!(address, ago = ?when.elapsed(), "connecting failed just now");
                return Err(error.clone());
            }
            match self.dial(address).await {
                Ok(peer) => {
                    *slot.peer.lock() = Some(peer.clone());
                    Ok(peer)
                }
                Err(reason) => {
                    let error = ConnectError { address: address.to_owned(), reason };
                    *failure = Some((Instant::now(), error.clone()));
                    Err(error)
                }
            }
        };
        match tokio::time::timeout(timeout, connect).await {
            Ok(result) => result,
            Err(_) => {
                Err(ConnectError { address: address.to_owned(), reason: ConnectFailure::Timeout(timeout) })
            }
        }
    }

    /// The connection to `address`, if there is one.
    pub fn connected(&self, address: &str) -> Option<Arc<Peer>> {
        let slot = self.shared.state.lock().slots.get(address).cloned();
        slot.and_then(|slot| slot.live())
    }

    /// Closes the connection to `address`; calls that wait on it fail.
    pub fn disconnect(&self, address: &str) {
        let slot = self.shared.state.lock().slots.remove(address);
        if let Some(peer) = slot.and_then(|slot| slot.live()) {
            peer.close();
        }
    }

    /// Closes all connections and waits for their tasks. Calls made later fail.
    pub async fn stop(&self) {
        let (slots, mut tasks) = {
            let mut state = self.shared.state.lock();
            state.is_stopped = true;
            (std::mem::take(&mut state.slots), std::mem::take(&mut state.tasks))
        };
        for peer in slots.values().filter_map(|slot| slot.live()) {
            peer.close_because(Closed::Stopping);
        }
        tasks.shutdown().await;
    }

    /// Addresses that are remembered, with or without a connection; about [`ADDRESSES_MAX`] at most.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.shared.state.lock().slots.len()
    }

    fn slot(&self, address: &str) -> Arc<Slot> {
        let mut state = self.shared.state.lock();
        if let Some(slot) = state.slots.get(address) {
            return slot.clone();
        }
        if state.slots.len() >= ADDRESSES_MAX {
            state.slots.retain(|_, slot| slot.live().is_some());
        }
        state.slots.entry(address.to_owned()).or_default().clone()
    }

    /// The next call makes a new connection; the old one ends when its replies have come and it is idle.
    fn set_aside(&self, address: &str, peer: &Arc<Peer>) {
        let slot = self.slot(address);
        let mut current = slot.peer.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, peer)) {
            *current = None;
        }
    }

    async fn dial(&self, address: &str) -> Result<Arc<Peer>, ConnectFailure> {
        let Settings { limiter, tls, encoding, .. } = &self.shared.settings;
        let socket_failure =
            |error: io::Error| ConnectFailure::Socket { kind: error.kind(), text: error.to_string() };
        if self.shared.state.lock().is_stopped {
            return Err(ConnectFailure::Stopped);
        }
        let candidates = tokio::net::lookup_host(address).await.map_err(|_| ConnectFailure::Unresolved)?;
        let candidates: Vec<_> = candidates.collect();
        if candidates.is_empty() {
            return Err(ConnectFailure::Unresolved);
        }
        let tcp = TcpStream::connect(&candidates[..]).await.map_err(socket_failure)?;
        tcp.set_nodelay(true).map_err(socket_failure)?;
        let remote = tcp.peer_addr().map_err(socket_failure)?;
        let local = tcp.local_addr().map_err(socket_failure)?;
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(tls) => {
                let config = tls.config().map_err(|error| ConnectFailure::Tls(error.to_string()))?;
                let handshake = TlsConnector::from(config)
                    .connect(server_name(address, remote.ip()), Rewound::new(Vec::new(), tcp));
                let stream = handshake.await.map_err(|error| ConnectFailure::Tls(error.to_string()))?;
                Stream::Tls(Box::new(stream.into()))
            }
        };

        let Some(place) = Place::take(limiter) else {
            return Err(ConnectFailure::TooMany(limiter.connections.limit()));
        };
        let peer = Arc::new(Peer::new(next_peer_id(), remote, local, *encoding, limiter.clone()));
        let session = self.shared.service.open(&peer);
        let phase = self.shared.phase.clone();
        let connection = Connection::new(stream, Vec::new(), session, peer.clone(), limiter.clone(), phase);
        let address = address.to_owned();
        let task = async move {
            let closed = connection.await;
            drop(place);
            tracing::debug!(address, reason = ?closed, "outgoing connection closed");
        };
        let mut state = self.shared.state.lock();
        if state.is_stopped {
            return Err(ConnectFailure::Stopped);
        }
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(task);
        Ok(peer)
    }
}

/// The name a TLS server is greeted with. RocketMQ does not check names, so any will do for an address.
fn server_name(address: &str, ip: IpAddr) -> ServerName<'static> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    ServerName::try_from(host.to_owned()).unwrap_or(ServerName::IpAddress(ip.into()))
}

/// The service of a caller whose peers have nothing to ask: every request is unknown.
#[derive(Clone, Copy, Debug)]
pub struct NoRequests;

impl Service for NoRequests {
    type Session = NoRequests;

    fn open(&self, _peer: &Arc<Peer>) -> NoRequests {
        NoRequests
    }
}

impl Session for NoRequests {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        if request.header.is_oneway() {
            return;
        }
        let head = Head::response(code::response::REQUEST_CODE_NOT_SUPPORTED, request.header.opaque);
        let remark = format!(" request type {} not supported", request.header.code);
        let written = encode::begin(out, request.header.encoding, head, Some(&remark)).finish();
        debug_assert!(written.is_ok(), "this frame is short");
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {}

    fn poll(&mut self, _cx: &mut std::task::Context<'_>, _out: &mut Vec<u8>) {}

    fn saturated(&self) -> bool {
        false
    }

    fn closed(&mut self) {}
}
