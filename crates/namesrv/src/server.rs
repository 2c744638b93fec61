//! The composition root of a name server: everything is built here, in the order of its dependencies, and stopped in
//! the reverse order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferromq_config::namesrv::NamesrvConfig;
use ferromq_config::server::HeaderEncoding;
use ferromq_net::caller::{self, Caller, NoRequests};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::server::{Drain, ListenError, Listener, Server, Settings, serve};
use ferromq_net::tls;
use ferromq_protocol::code::request::NOTIFY_MIN_BROKER_ID_CHANGE;
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::Head;
use ferromq_protocol::request::NotifyMinBrokerIdChange;
use ferromq_protocol::types::BrokerId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::kv::{Kv, KvError};
use crate::own_broker::OwnBroker;
use crate::requests::{NameServer, NameService};
use crate::routes::Notice;

/// Before the first look for silent brokers.
const FIRST_SCAN: Duration = Duration::from_secs(5);

/// A scan takes microseconds, but not none.
const SCAN_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// How long a stop waits for answers to what was received; requests take milliseconds.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// How long a broker may take to be told of a new smallest id.
const NOTICE_TIMEOUT: Duration = Duration::from_millis(300);

/// Notices that may wait to be sent.
pub(crate) const NOTICES_MAX: usize = 1024;

/// What a name server shares with the other parts of its process.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Limits of all connections of the process.
    pub limiter: Arc<Limiter>,
    /// TLS of the listening port.
    pub acceptor: Arc<tls::Acceptor>,
    /// TLS of connections to brokers, if they want it.
    pub connector: Option<Arc<tls::Connector>>,
    /// The broker of the same process, if its clients are to get the address they came through.
    pub own_broker: Option<OwnBroker>,
}

/// A name server that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The key-value settings cannot be read.
    #[error(transparent)]
    Settings(#[from] KvError),
}

/// A name server that serves clients. Dropping it cuts them off.
pub struct RunningNameServer {
    server: Server,
    drain: Drain,
    tasks: JoinSet<()>,
}

/// Starts a name server. Must be called within a tokio runtime.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub fn start(mut config: NamesrvConfig, surroundings: Surroundings) -> Result<RunningNameServer, StartError> {
    let Surroundings { limiter, acceptor, connector, own_broker } = surroundings;
    let kv = Kv::load(&config.kv_file)?;
    let address = SocketAddr::new(config.listen.address, config.listen.port);
    let listener = Listener::bind(address, config.listen.backlog)?;
    config.set_bound_port(listener.local_addr().port());

    let caller = Caller::new(
        caller::Settings {
            limiter: Limiter::new(Limits { idle: config.listen.idle, ..Limits::default() }),
            connect_timeout: NOTICE_TIMEOUT,
            tls: connector,
            encoding: match config.listen.own_encoding {
                HeaderEncoding::Json => Encoding::Json,
                HeaderEncoding::RocketMq => Encoding::Binary,
            },
        },
        Arc::new(NoRequests),
    );
    let drain = Drain { send_away: config.listen.farewell, patience: DRAIN_PATIENCE };
    let scan_interval = config.scan_interval;
    let (notices, waiting) = mpsc::channel(NOTICES_MAX);
    let name_server = Arc::new(NameServer::new(config, own_broker, kv, notices, Instant::now()));

    let service = Arc::new(NameService(name_server.clone()));
    let server = serve(listener, Settings { limiter, tls: acceptor }, service)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(look_for_silent_brokers(name_server, scan_interval));
    tasks.spawn(tell_brokers(waiting, caller));
    Ok(RunningNameServer { server, drain, tasks })
}

impl RunningNameServer {
    /// Where clients are served.
    pub fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Lets received requests be answered and closes all connections.
    pub async fn stop(self) {
        let Self { server, drain, mut tasks } = self;
        let cut_off = server.stop(drain).await;
        if cut_off > 0 {
            tracing::warn!(connections = cut_off, "connections were cut off with requests unanswered");
        }
        tasks.shutdown().await;
    }
}

async fn look_for_silent_brokers(name_server: Arc<NameServer>, interval: Duration) {
    let interval = interval.max(SCAN_INTERVAL_MIN);
    tokio::time::sleep(FIRST_SCAN.min(interval)).await;
    loop {
        name_server.expire(Instant::now());
        tokio::time::sleep(interval).await;
    }
}

/// Tells brokers that their group has a new smallest id. Nobody waits for it, and who cannot be reached is not told.
async fn tell_brokers(mut notices: mpsc::Receiver<Notice>, caller: Caller) {
    while let Some(notice) = notices.recv().await {
        for address in &notice.addresses {
            let told = caller
                .oneway(address, NOTICE_TIMEOUT, |out, encoding, opaque| {
                    write_notice(&notice, out, encoding, opaque)
                })
                .await;
            if let Err(error) = told {
                tracing::debug!(%error, "a broker was not told of its group's smallest id");
            }
        }
    }
}

fn write_notice(notice: &Notice, out: &mut Vec<u8>, encoding: Encoding, opaque: i32) {
    let head = Head::oneway(NOTIFY_MIN_BROKER_ID_CHANGE, opaque);
    let mut header = encode::begin(out, encoding, head, None);
    header.header(&NotifyMinBrokerIdChange {
        min_broker_id: Some(BrokerId(notice.smallest_id)),
        broker_name: None,
        min_broker_addr: Some(&notice.smallest_address),
        offline_broker_addr: notice.offline_address.as_deref(),
        ha_broker_addr: notice.ha_address.as_deref(),
    });
    let written = header.finish();
    debug_assert!(written.is_ok(), "this frame is short");
}
