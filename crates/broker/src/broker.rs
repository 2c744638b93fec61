//! What all sessions of a broker share. Built once by [`crate::server`]; nothing in it is wired later.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use ferromq_config::broker::BrokerConfig;
use ferromq_net::limits::Limiter;
use ferromq_net::peer::Peer;
use ferromq_protocol::body::DataVersion;
use ferromq_protocol::code::request as code;
use ferromq_protocol::encode;
use ferromq_protocol::header::Head;
use ferromq_protocol::msg_id::UniqueKeys;
use ferromq_protocol::properties;
use ferromq_protocol::properties::name;
use ferromq_protocol::request::NotifyConsumerIdsChanged;
use ferromq_protocol::types::{Host, TimestampMs};
use ferromq_store::clock::Clock;
use ferromq_store::disk::{Disk, Space};
use ferromq_store::{ReadLimits, Store};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::background::Background;
use crate::clients::{Clients, ConnectionId, MembersChanged};
use crate::groups;
use crate::holds::HoldCount;
use crate::metadata::Metadata;
use crate::names::SystemTopics;
use crate::queue_locks::QueueLocks;
use crate::registration::Announcements;
use crate::response::{RequestError, SendError};
use crate::stats::Stats;

/// Who this broker is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Cluster name.
    pub cluster: String,
    /// Broker name.
    pub broker_name: String,
    /// Member number; 0 leads.
    pub broker_id: i64,
    /// As remarks show it (`brokerIP1`).
    pub ip: String,
    /// As it is registered with name servers: `ip:port`.
    pub address: String,
    /// Stored in messages and shown in their ids.
    pub store_host: Host,
    /// Replication address, as it is registered.
    pub replication_address: String,
    /// `MSG_REGION` of every message and answer.
    pub region: String,
    /// When this process started, on the wall clock.
    pub started: TimestampMs,
}

/// The shared state of a broker.
pub struct Broker {
    /// Who it is.
    pub identity: Identity,
    config: ArcSwap<BrokerConfig>,
    /// Counts updates of the configuration; held while one is under way.
    pub(crate) config_version: Mutex<DataVersion>,
    /// Topics, groups, offsets.
    pub metadata: Arc<Metadata>,
    /// Who is connected.
    pub clients: Clients,
    /// Locks of orderly consumers.
    pub queue_locks: Mutex<QueueLocks>,
    /// Who submitted to the store last.
    pub(crate) last_sender: LastSender,
    /// What went through.
    pub stats: Stats,
    /// The messages.
    pub store: Arc<Store>,
    /// Parked pulls.
    pub holds: Arc<HoldCount>,
    /// Work that waits for the disk.
    pub background: Background,
    /// Topics that belong to the system.
    pub system_topics: SystemTopics,
    /// Ids for messages whose producer gave none.
    pub unique_keys: UniqueKeys,
    /// Changed topics on their way to the name servers.
    pub announcements: Announcements,
    /// Limits and gauges of all connections of the process.
    pub limiter: Arc<Limiter>,
    /// Connections of clients that sent heartbeats, for pushes.
    peers: RwLock<FxHashMap<ConnectionId, Arc<Peer>>>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    /// Memory of this machine.
    memory_bytes: u64,
    /// Properties that every message gets, with tracing off and on.
    added_properties: [Box<[u8]>; 2],
}

/// Which connection submitted last: one that is alone need not wait for others to join it. On a cache line of its own,
/// since all connections write it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct LastSender(AtomicU64);

impl LastSender {
    /// Notes that this connection submits now; whether it was the last one before, too.
    pub(crate) fn was(&self, id: u64) -> bool {
        let was_last = self.0.load(Ordering::Relaxed) == id;
        if !was_last {
            self.0.store(id, Ordering::Relaxed);
        }
        was_last
    }
}

/// Parts of a broker that are made before it.
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) config: BrokerConfig,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) store: Arc<Store>,
    pub(crate) system_topics: SystemTopics,
    pub(crate) unique_keys: UniqueKeys,
    pub(crate) announcements: Announcements,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) memory_bytes: u64,
    pub(crate) background_threads: usize,
}

impl Broker {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { identity, config, metadata, store, system_topics, unique_keys, announcements, .. } =
            parts;
        let Parts { limiter, clock, disk, .. } = parts;
        let queue_lock_lifetime = config.clients.queue_lock_lifetime;
        let added_properties = ["false", "true"].map(|trace| {
            let mut added = Vec::new();
            properties::push(&mut added, name::MSG_REGION, &identity.region);
            properties::push(&mut added, name::TRACE_SWITCH, trace);
            properties::push(&mut added, name::CLUSTER, &identity.cluster);
            added.into_boxed_slice()
        });
        Self {
            identity,
            config: ArcSwap::from_pointee(config),
            config_version: Mutex::default(),
            metadata,
            clients: Clients::default(),
            queue_locks: Mutex::new(QueueLocks::new(queue_lock_lifetime)),
            last_sender: LastSender::default(),
            stats: Stats::default(),
            store,
            holds: Arc::default(),
            background: Background::new(parts.background_threads),
            system_topics,
            unique_keys,
            announcements,
            limiter,
            peers: RwLock::default(),
            clock,
            disk,
            memory_bytes: parts.memory_bytes,
            added_properties,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> Guard<Arc<BrokerConfig>> {
        self.config.load()
    }

    /// Puts an updated configuration into force.
    pub(crate) fn replace_config(&self, config: BrokerConfig) {
        self.config.store(Arc::new(config));
    }

    /// Wall clock.
    #[must_use]
    pub fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    /// Time since an arbitrary start, never going backwards.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Properties that every message gets.
    pub(crate) fn added_properties(&self, trace: bool) -> &[u8] {
        &self.added_properties[usize::from(trace)]
    }

    /// What one pull may read at most.
    pub(crate) fn read_limits(&self) -> ReadLimits {
        let limits = &self.config().live.reads;
        ReadLimits {
            bytes_in_memory: limits.recent_bytes as usize,
            count_in_memory: limits.recent_count as usize,
            bytes_on_disk: limits.older_bytes as usize,
            count_on_disk: limits.older_count as usize,
            memory_bytes: self.memory_bytes / 100 * u64::from(limits.recent_percent_of_memory),
        }
    }

    /// How full the disks are, in the form of Java's remark.
    pub(crate) fn disk_use(&self) -> String {
        let layout = self.store.layout();
        let ratio = |path: &Path| self.disk_ratio(path).unwrap_or(-1.0);
        format!(
            "CL: {:5.2} CQ: {:5.2} INDEX: {:5.2}",
            ratio(layout.commit_log()),
            ratio(&layout.consume_queues()),
            ratio(&layout.index()),
        )
    }

    /// The file system around a path, if it can be told.
    pub(crate) fn disk_space(&self, path: &Path) -> Option<Space> {
        self.disk.space(path).ok()
    }

    /// Used share of the file system around a path, rounded up to the percent as in Java.
    pub(crate) fn disk_ratio(&self, path: &Path) -> Option<f64> {
        self.disk_space(path).map(|space| f64::from(space.used_percent()) / 100.0)
    }

    /// True if a group that nobody created comes into being by being used.
    pub(crate) fn creates_group(&self, config: &BrokerConfig, group: &str) -> bool {
        groups::is_created_by_use(group, config.live.create_groups, config.live.create_system_groups)
    }

    /// What is refused before a send is looked at.
    pub(crate) fn check_send_gates(&self, config: &BrokerConfig, received: Instant) -> Result<(), SendError> {
        let from = config.live.accept_sends_from;
        if from.0 > 0 && self.now() < from {
            return Err(SendError::TooEarly(crate::java_text::date_time(from)));
        }
        let waited = received.elapsed();
        if config.live.send_wait_max.is_some_and(|longest| waited > longest) {
            return Err(SendError::WaitedTooLong { waited_ms: waited.as_millis(), waiting: 0 });
        }
        Ok(())
    }

    /// Refuses a request that waited too long for a thread that may wait for the disk.
    pub(crate) fn check_wait(&self, received: Instant) -> Result<(), RequestError> {
        let waited = received.elapsed();
        if self.config().live.read_wait_max.is_some_and(|longest| waited > longest) {
            let waiting = self.background.waiting();
            return Err(RequestError::WaitedTooLong { waited_ms: waited.as_millis(), waiting });
        }
        Ok(())
    }

    /// Remembers where pushes to a client go.
    pub(crate) fn keep_peer(&self, peer: &Arc<Peer>) {
        let known = self.peers.read().contains_key(&peer.id());
        if !known {
            self.peers.write().insert(peer.id(), Arc::clone(peer));
        }
    }

    /// The connection, if a client registered over it.
    pub(crate) fn peer(&self, connection: ConnectionId) -> Option<Arc<Peer>> {
        self.peers.read().get(&connection).cloned()
    }

    /// A connection is gone.
    pub(crate) fn connection_closed(&self, connection: ConnectionId) {
        let known = self.peers.read().contains_key(&connection);
        if !known {
            return;
        }
        self.peers.write().remove(&connection);
        for changed in self.clients.connection_closed(connection) {
            let notify = self
                .metadata
                .groups
                .find(&changed.group)
                .is_none_or(|group| group.notify_consumer_ids_changed_enable);
            if notify {
                self.tell_members(&changed);
            }
        }
    }

    /// Tells every member of a group that its members are others now, so that they divide the queues anew.
    pub(crate) fn tell_members(&self, changed: &MembersChanged) {
        if !self.config().live.notify_members {
            return;
        }
        let header = NotifyConsumerIdsChanged { consumer_group: &changed.group };
        for connection in &changed.connections {
            let Some(peer) = self.peer(*connection) else { continue };
            // One that cannot be told is being closed, and its closing tells the others.
            let _ = peer.oneway(|out, encoding, opaque| {
                let head = Head::oneway(code::NOTIFY_CONSUMER_IDS_CHANGED, opaque);
                let mut writer = encode::begin(out, encoding, head, None);
                writer.header(&header);
                let _ = writer.finish();
            });
        }
    }

    /// Closes the connections of clients that stopped sending heartbeats.
    pub(crate) fn close_silent_clients(&self) {
        for connection in self.clients.silent(self.elapsed()) {
            if let Some(peer) = self.peer(connection) {
                tracing::warn!(client = %peer.remote(), "no heartbeat for too long, closing the connection");
                peer.close();
            }
        }
    }
}
