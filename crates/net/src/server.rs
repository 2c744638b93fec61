//! Listens, accepts, limits, and stops in an orderly way.
//!
//! One task accepts and owns the tasks of all its connections. Running out of descriptors, too many connections or a
//! broken client never end it.

use std::collections::HashMap;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ferromq_protocol::frame::Encoding;
use parking_lot::Mutex;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::connection::{Connection, Phase, Service};
use crate::limits::{Limiter, Place, count};
use crate::peer::{Closed, Peer};
use crate::stream::open_accepted;
use crate::tls;

/// How long accepting pauses when not even the reserve descriptor helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Complaints about refused connections are not logged more often than this.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// Numbers all connections of the process.
static NEXT_PEER: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_peer_id() -> u64 {
    NEXT_PEER.fetch_add(1, Ordering::Relaxed)
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    pub address: SocketAddr,
    pub source: io::Error,
}

impl ListenError {
    /// Somebody else listens there.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// A socket that listens already but accepts nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: StdListener,
    local: SocketAddr,
}

impl Listener {
    /// Port 0 chooses a free one. `[::]` takes IPv4 clients as well.
    ///
    /// # Errors
    /// When the address is taken, not ours, or not permitted.
    pub fn bind(address: SocketAddr, backlog: u32) -> Result<Self, ListenError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() && address.ip().is_unspecified() {
                socket.set_only_v6(false)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
            let socket = StdListener::from(socket);
            let local = socket.local_addr()?;
            Ok(Self { socket, local })
        };
        bind().map_err(|source| ListenError { address, source })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// What a server is given besides its listener and its service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shared by all servers of the process.
    pub limiter: Arc<Limiter>,
    pub tls: Arc<tls::Acceptor>,
}

/// How a server stops.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// First answer new requests with `GO_AWAY` for this long, or until all clients are gone
    /// (`enableShutdownGracefully`, `shutdownWaitTimeSeconds`).
    pub send_away: Option<Duration>,
    /// Then wait this long for the answers to what was received.
    pub patience: Duration,
}

/// A running server. Dropping it cuts all connections off.
#[derive(Debug)]
pub struct Server {
    local: SocketAddr,
    room: Arc<Room>,
    order: watch::Sender<Order>,
    task: JoinHandle<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Accept,
    Finish,
    CutOff,
}

/// The open connections of one server.
#[derive(Debug, Default)]
struct Room {
    phase: Arc<Phase>,
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
}

/// Starts serving. Must be called within a tokio runtime.
///
/// # Errors
/// When the runtime does not take the socket.
pub fn serve<S: Service>(
    listener: Listener,
    settings: Settings,
    service: Arc<S>,
) -> Result<Server, ListenError> {
    let Listener { socket, local } = listener;
    let socket = TcpListener::from_std(socket).map_err(|source| ListenError { address: local, source })?;
    let room = Arc::new(Room::default());
    let (order, orders) = watch::channel(Order::Accept);
    let accepting = Accepting {
        socket,
        settings,
        service,
        room: room.clone(),
        tasks: JoinSet::new(),
        reserve: open_reserve(),
        complained: None,
    };
    let task = tokio::spawn(accepting.run(orders));
    Ok(Server { local, room, order, task })
}

impl Server {
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The clients that are connected now.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.room.peers.lock().values().cloned().collect()
    }

    /// Stops accepting, lets what was received be answered, and closes all connections. Returns how many had to be
    /// cut off.
    pub async fn stop(self, drain: Drain) -> usize {
        let Self { room, order, mut task, .. } = self;
        order.send_replace(Order::Finish);
        let mut joined = None;
        if let Some(patience) = drain.send_away {
            room.phase.send_away();
            joined = tokio::time::timeout(patience, &mut task).await.ok();
        }
        if joined.is_none() {
            room.phase.drain();
            room.peers.lock().values().for_each(|peer| peer.wake());
            joined = tokio::time::timeout(drain.patience, &mut task).await.ok();
        }
        if joined.is_none() {
            order.send_replace(Order::CutOff);
            joined = Some(task.await);
        }
        joined.and_then(Result::ok).unwrap_or_default()
    }
}

struct Accepting<S: Service> {
    socket: TcpListener,
    settings: Settings,
    service: Arc<S>,
    room: Arc<Room>,
    tasks: JoinSet<()>,
    /// Spent to turn a client away when no other descriptor is left.
    reserve: Option<File>,
    complained: Option<Instant>,
}

impl<S: Service> Accepting<S> {
    async fn run(mut self, mut orders: watch::Receiver<Order>) -> usize {
        while *orders.borrow() == Order::Accept {
            tokio::select! {
                biased;
                changed = orders.changed() => if changed.is_err() { break },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => report_panic(ended),
                accepted = self.socket.accept() => match accepted {
                    Ok((tcp, remote)) => self.admit(tcp, remote),
                    Err(error) => self.recover(&error).await,
                },
            }
        }
        let Self { socket, mut tasks, .. } = self;
        drop(socket);
        loop {
            // A server that was dropped gives no more orders.
            if orders.has_changed().is_err() || *orders.borrow() == Order::CutOff {
                let cut_off = tasks.len();
                tasks.shutdown().await;
                return cut_off;
            }
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(ended) => report_panic(ended),
                    None => return 0,
                },
                _ = orders.changed() => {}
            }
        }
    }

    fn admit(&mut self, tcp: TcpStream, remote: SocketAddr) {
        let limiter = self.settings.limiter.clone();
        let Some(place) = Place::take(&limiter) else {
            self.complain("too many connections, a client is turned away");
            return;
        };
        // Either fails only when the client is gone already.
        let (Ok(local), Ok(())) = (tcp.local_addr(), tcp.set_nodelay(true)) else { return };
        count(&limiter.counters.accepted);
        let peer = Arc::new(Peer::new(next_peer_id(), remote, local, Encoding::Json, limiter));
        let seat = Seat::take(self.room.clone(), peer, place);
        self.tasks.spawn(attend(tcp, seat, self.settings.clone(), self.service.clone()));
    }

    /// Accepting failed. Most causes are past already; only missing descriptors stay.
    async fn recover(&mut self, error: &io::Error) {
        let is_exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        if !is_exhausted {
            tracing::debug!(%error, "accepting a connection failed");
            return;
        }
        // With the reserve free, the client in the queue can be accepted and closed, so that it knows at once.
        self.reserve = None;
        let turned_away = self.socket.poll_accept(&mut Context::from_waker(Waker::noop()));
        let is_stuck = match turned_away {
            Poll::Ready(Ok(client)) => {
                drop(client);
                count(&self.settings.limiter.counters.out_of_descriptors);
                self.complain("no descriptors left, a client is turned away");
                false
            }
            // There is nobody: without a descriptor the kernel fails before it looks.
            Poll::Pending => false,
            Poll::Ready(Err(_)) => true,
        };
        self.reserve = open_reserve();
        if is_stuck || self.reserve.is_none() {
            self.complain("no descriptors left, accepting pauses");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    fn complain(&mut self, what: &'static str) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| last + COMPLAINT_PAUSE <= now) {
            self.complained = Some(now);
            let limiter = &self.settings.limiter;
            tracing::warn!(
                connections = limiter.connections.used(),
                limit = limiter.connections.limit(),
                refused = limiter.connections.refused(),
                out_of_descriptors = limiter.counters.out_of_descriptors(),
                "{what}"
            );
        }
    }
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a panic, which is a defect of ours");
    }
}

/// A connection's entry in the room.
struct Seat {
    room: Arc<Room>,
    peer: Arc<Peer>,
    _place: Place,
}

impl Seat {
    fn take(room: Arc<Room>, peer: Arc<Peer>, place: Place) -> Self {
        room.peers.lock().insert(peer.id(), peer.clone());
        Self { room, peer, _place: place }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.peers.lock().remove(&self.peer.id());
        self.peer.ended();
    }
}

/// One accepted connection from its first byte to its end.
async fn attend<S: Service>(tcp: TcpStream, seat: Seat, settings: Settings, service: Arc<S>) {
    let Settings { limiter, tls } = settings;
    let peer = &seat.peer;
    let closed = match open(tcp, peer, &tls, &limiter, &seat.room.phase).await {
        Err(closed) => closed,
        Ok((stream, early)) => {
            let session = service.open(peer);
            let phase = seat.room.phase.clone();
            Connection::new(stream, early, session, peer.clone(), limiter.clone(), phase).await
        }
    };
    let counters = &limiter.counters;
    match closed {
        Closed::Idle => count(&counters.idle_closed),
        Closed::SlowReader | Closed::Overload => {
            count(&counters.slow_reader_closed);
            tracing::info!(peer = %peer.remote(), reason = ?closed, "client disconnected: it does not read its answers");
        }
        Closed::Malformed => count(&counters.malformed_closed),
        Closed::TooSlow => count(&counters.too_slow_closed),
        Closed::TlsRefused => count(&counters.tls_refused),
        Closed::ByPeer | Closed::Broken | Closed::Asked | Closed::Stopping => {}
    }
    tracing::debug!(peer = %peer.remote(), reason = ?closed, "connection closed");
}

/// Opens the connection, unless it is to be closed before it has said anything.
async fn open(
    tcp: TcpStream,
    peer: &Peer,
    tls: &tls::Acceptor,
    limiter: &Limiter,
    phase: &Phase,
) -> Result<(crate::stream::Stream, Vec<u8>), Closed> {
    let mut opening = pin!(open_accepted(tcp, peer, tls, &limiter.limits));
    poll_fn(|cx| {
        peer.watch(cx);
        match peer.closing() {
            Some(reason) => Poll::Ready(Err(reason)),
            None if phase.is_draining() => Poll::Ready(Err(Closed::Stopping)),
            None => opening.as_mut().poll(cx),
        }
    })
    .await
}
