//! The composition root of a broker: everything is built here, in the order of its dependencies, and stopped in the
//! reverse order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle as ThreadHandle;
use std::time::Duration;

use ferromq_config::broker::BrokerConfig;
use ferromq_config::store as section;
use ferromq_net::limits::Limiter;
use ferromq_net::server::{Drain, ListenError, Listener, Server, Settings, serve};
use ferromq_net::tls;
use ferromq_protocol::msg_id::UniqueKeys;
use ferromq_protocol::types::{Host, QueueId};
use ferromq_store::clock::Clock;
use ferromq_store::disk::Disk;
use ferromq_store::dispatch::DelayLevels;
use ferromq_store::retention::RetentionRules;
use ferromq_store::state_file::StateFileError;
use ferromq_store::{Environment, FlushMode, OpenError, StartError, StopReport, Store, StoreConfig};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::broker::{Broker, Identity, Parts};
use crate::housekeeping;
use crate::metadata::{Metadata, files};
use crate::names::SystemTopics;
use crate::registration::{self, Announcements, Registrar};
use crate::requests::BrokerService;
use crate::stall::StallWatch;
use crate::topics::BuiltIn;

/// Threads that may wait for the disk on behalf of requests.
const BACKGROUND_THREADS: usize = 4;
/// How long a stop waits for answers to what was received.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// The second port lies this much below the first; old clients expect it there.
const FAST_PORT_BELOW: u16 = 2;

/// What a broker shares with the other parts of its process.
#[derive(Clone)]
pub struct Surroundings {
    /// Limits of all connections of the process.
    pub limiter: Arc<Limiter>,
    /// TLS of listening ports.
    pub acceptor: Arc<tls::Acceptor>,
    /// TLS of connections to name servers, if they want it.
    pub connector: Option<Arc<tls::Connector>>,
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// A broker that does not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The messages cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store opened but does not take messages.
    #[error(transparent)]
    Store(#[from] StartError),
    /// Topics, groups or offsets cannot be read or written.
    #[error(transparent)]
    Metadata(#[from] StateFileError),
    /// The port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A broker that serves clients.
pub struct RunningBroker {
    broker: Arc<Broker>,
    servers: Vec<Server>,
    registrar: Registrar,
    stopping: watch::Sender<bool>,
    housekeeping: JoinHandle<()>,
    metadata_thread: ThreadHandle<()>,
    stall_watch: StallWatch,
}

/// Starts a broker. Must be called within a tokio runtime. When this returns, clients are served and the name servers
/// that answer know it.
///
/// # Errors
/// See [`BrokerError`]; nothing runs then.
pub async fn start(
    mut config: BrokerConfig,
    surroundings: Surroundings,
) -> Result<RunningBroker, BrokerError> {
    let Surroundings { limiter, acceptor, connector, disk, clock } = surroundings;
    // The ports first: what cannot be served need not be recovered.
    let listener =
        Listener::bind(SocketAddr::new(config.listen.address, config.listen.port), config.listen.backlog)?;
    let port = listener.local_addr().port();
    let fast_listener = listen_fast(&config, port);
    config.set_bound_port(port);

    let store_config = store_config(&config);
    let environment = Environment { disk: Arc::clone(&disk), clock: Arc::clone(&clock) };
    let opened = tokio::task::spawn_blocking(move || Store::open(store_config, environment)).await;
    let store = Arc::new(opened.map_err(|panic| BrokerError::Thread(std::io::Error::other(panic)))??);

    let identity = identity(&config, port, &*clock);
    let built_in = built_in(&config, &identity);
    let system_topics = SystemTopics::new(built_in.topics().iter().map(|topic| &*topic.name));
    let state_files = files::StateFiles::new(&disk, store.layout());
    let loaded = state_files.load(&built_in, &*clock)?;
    let metadata = Arc::new(Metadata::new(loaded, Arc::clone(&clock), state_files.into_writer()));
    if store.recovery().abnormal {
        clamp_offsets(&metadata, &store);
    }
    let metadata_thread = metadata.start().map_err(BrokerError::Thread)?;
    store.start()?;
    let stall_watch = StallWatch::start(Arc::clone(&store)).map_err(BrokerError::Thread)?;

    let unique_keys = UniqueKeys::new(identity.store_host.ip, process_number(), u32::from(port));
    let broker = Arc::new(Broker::new(Parts {
        identity,
        config,
        metadata,
        store,
        system_topics,
        unique_keys,
        announcements: Announcements::default(),
        limiter: Arc::clone(&limiter),
        clock,
        disk,
        memory_bytes: memory_bytes(),
        background_threads: BACKGROUND_THREADS,
    }));

    let settings = Settings { limiter, tls: acceptor };
    let service = Arc::new(BrokerService(Arc::clone(&broker)));
    let mut servers = vec![serve(listener, settings.clone(), Arc::clone(&service))?];
    if let Some(listener) = fast_listener {
        servers.push(serve(listener, settings, service)?);
    }
    let (stopping, stop) = watch::channel(false);
    let housekeeping = tokio::spawn(housekeeping::run(Arc::clone(&broker), stop));
    let registrar = registration::start(Arc::clone(&broker), connector).await;
    Ok(RunningBroker { broker, servers, registrar, stopping, housekeeping, metadata_thread, stall_watch })
}

impl RunningBroker {
    /// The shared state, for tools of the same process.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Where clients are served; the first is the one that is registered.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(Server::local_addr)
    }

    /// Tells the name servers, lets received requests be answered, and brings everything to the disk.
    pub async fn stop(self) -> StopReport {
        let Self { broker, servers, registrar, stopping, housekeeping, metadata_thread, stall_watch } = self;
        registrar.stop().await;
        let drain = Drain { send_away: broker.config().listen.farewell, patience: DRAIN_PATIENCE };
        for server in servers {
            let cut_off = server.stop(drain).await;
            if cut_off > 0 {
                tracing::warn!(connections = cut_off, "connections were cut off with requests unanswered");
            }
        }
        stopping.send_replace(true);
        // A task of ours that panicked has said so.
        let _ = housekeeping.await;
        let stopped = tokio::task::spawn_blocking(move || {
            drop(stall_watch);
            broker.metadata.stop();
            if metadata_thread.join().is_err() {
                tracing::error!("the thread that saves topics, groups and offsets had panicked");
            }
            broker.store.stop()
        });
        stopped.await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "the store did not stop cleanly");
            StopReport { clean: false, end: ferromq_protocol::types::PhysicalOffset(-1) }
        })
    }
}

/// The second port serves the same; if it is taken, clients that prefer it fall back to the first.
fn listen_fast(config: &BrokerConfig, port: u16) -> Option<Listener> {
    if config.listen.port == 0 {
        return None;
    }
    let address = SocketAddr::new(config.listen.address, port.checked_sub(FAST_PORT_BELOW)?);
    match Listener::bind(address, config.listen.backlog) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(%error, "the second port (listenPort - 2) is not served");
            None
        }
    }
}

fn identity(config: &BrokerConfig, port: u16, clock: &dyn Clock) -> Identity {
    let identity = &config.identity;
    Identity {
        cluster: identity.cluster_name.clone(),
        broker_name: identity.broker_name.clone(),
        broker_id: identity.broker_id.0,
        ip: identity.address.host.clone(),
        address: identity.address.with_port(port),
        store_host: Host { ip: identity.address.ip, port: i32::from(port) },
        replication_address: format!("{}:{}", identity.replication_host, config.replication_port(port)),
        region: identity.region_id.clone(),
        started: clock.now(),
    }
}

fn built_in<'a>(config: &'a BrokerConfig, identity: &'a Identity) -> BuiltIn<'a> {
    let topics = &config.topics;
    let queues = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    BuiltIn {
        cluster: &identity.cluster,
        broker_name: &identity.broker_name,
        auto_create: topics.template,
        default_queues: queues(topics.template_queues),
        cluster_topic: topics.cluster_topic,
        broker_topic: topics.broker_topic,
        trace_topic: topics.trace_topic.as_deref(),
        revive_queues: queues(topics.revive_queues),
        timer_topic: topics.timer_topic,
    }
}

/// Takes committed offsets back that lie beyond what the log still has after a crash.
fn clamp_offsets(metadata: &Metadata, store: &Store) {
    let max_offset =
        |topic: &str, queue_id| store.find_queue(topic, QueueId(queue_id)).map(|queue| queue.max_offset().0);
    let clamped = metadata.offsets.clamp(max_offset);
    if clamped > 0 {
        tracing::warn!(offsets = clamped, "committed offsets beyond the end of their queues were taken back");
    }
}

/// The store's words for what the configuration says.
fn store_config(config: &BrokerConfig) -> StoreConfig {
    let section = &config.store;
    let flush_mode = match section.flush {
        section::FlushMode::Async => FlushMode::Async,
        section::FlushMode::Sync => FlushMode::Sync,
    };
    StoreConfig {
        commit_log: Some(section.commit_log.clone()),
        segment_size: section.log_file_bytes,
        queue_file_size: section.queue_file_bytes,
        flush_mode,
        flush_interval: section.flush_interval,
        sync_flush_timeout: section.sync_timeout,
        max_message_size: section.max_body_bytes,
        append_property_crc: section.append_property_crc,
        force_verify_property_crc: section.require_property_crc,
        delay_levels: DelayLevels::parse(&section.delay_levels)
            .expect("invariant: the configuration takes only delays that the store takes"),
        check_crc_on_recover: section.verify_on_recovery,
        index_enabled: section.index.write,
        index_slots: section.index.slots,
        index_entries: section.index.entries,
        skip_corrupt_records: config.live.reads.skip_corrupt,
        ring_bytes: section.hot_tail_bytes as u64,
        open_queue_files_max: section.max_open_queue_files,
        checkpoint_interval: section.thorough_sync_interval,
        retention: retention_rules(&config.live.retention),
        clean_interval: section.clean_interval,
        ..StoreConfig::at(&section.root)
    }
}

/// What the configuration lets the store delete. A change while running goes to the store as well.
pub(crate) fn retention_rules(section: &section::Retention) -> RetentionRules {
    let hours = (0..24_u8).filter(|hour| section.delete_hours.contains(*hour));
    RetentionRules {
        keep: section.keep,
        delete_hours: hours.fold(0, |bits, hour| bits | 1 << hour),
        start_percent: section.start_percent,
        force_percent: section.force_percent,
        full_percent: section.full_percent,
        force: section.force,
        files_per_round: section.files_per_round,
        pause: section.log_file_pause,
    }
}

/// Low half of the process id, as ids of messages carry it.
fn process_number() -> u16 {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Memory of this machine; what is within a share of it counts as recent.
fn memory_bytes() -> u64 {
    const FALLBACK: u64 = 8 << 30;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.map_or(FALLBACK, |kibibytes| kibibytes * 1024)
}
