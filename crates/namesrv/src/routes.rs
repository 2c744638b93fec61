//! Who serves which queues: the tables of a name server and everything that changes or reads them.
//!
//! A plain struct: no clock, no lock, no socket. Whoever owns it passes `now` and closes the connections it is told
//! to. Two members of a broker name are told apart by their id; a broker is alive as long as it reports in time and
//! its connection lasts. What a broker says about its topics replaces what it said before, topic by topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ferromq_protocol::body::{
    BrokerData, BrokerMemberGroup, ClusterInfo, DataVersion, QueueData, TopicConfig,
    TopicConfigAndMappingTable, TopicList, TopicRouteData, perm, topic_sys_flag,
};
use ferromq_protocol::json::Value;

/// How long a broker counts as alive without a word, unless it says otherwise (`DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`).
pub const LIVENESS_DEFAULT: Duration = Duration::from_secs(120);

/// The id of a leader.
const LEADER: i64 = 0;

/// Topics through which followers find each other; they always see the group as it is.
const MEMBER_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// The connection over which a broker registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(pub u64);

/// A broker process, as brokers name themselves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub cluster: String,
    /// `ip:port`.
    pub address: String,
}

/// What a broker says when it registers.
#[derive(Clone, Debug)]
pub struct Registration {
    pub member: Member,
    pub broker_name: String,
    pub broker_id: i64,
    pub ha_address: String,
    pub zone: Option<String>,
    /// `None` for [`LIVENESS_DEFAULT`].
    pub liveness: Option<Duration>,
    /// `None` from brokers that know no acting masters.
    pub acting_master: Option<bool>,
    pub topics: TopicConfigAndMappingTable,
    pub filter_servers: Vec<String>,
    pub connection: ConnectionId,
}

/// What a registered broker is told about its leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leader {
    pub address: Option<String>,
    pub ha_address: Option<String>,
}

/// Brokers that have to know about a new smallest id in their group (`NOTIFY_MIN_BROKER_ID_CHANGE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whom to tell.
    pub addresses: Vec<String>,
    pub smallest_id: i64,
    pub smallest_address: String,
    /// Who went away, if that was the cause.
    pub offline_address: Option<String>,
    /// Where followers connect to the newcomer, if that was the cause.
    pub ha_address: Option<String>,
}

/// Someone leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    pub member: Member,
    pub broker_name: String,
    pub broker_id: i64,
}

/// Which brokers did not report in time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Their connections, to be closed.
    pub connections: Vec<ConnectionId>,
    pub notices: Vec<Notice>,
}

/// Which topics a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    Unit,
    UnitSub,
    /// Unit subscriptions on a topic that is none of a unit.
    UnitSubOfOthers,
}

#[derive(Debug)]
struct Live {
    seen: Instant,
    timeout: Duration,
    version: DataVersion,
    connection: ConnectionId,
    ha_address: String,
}

impl Live {
    fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) > self.timeout
    }
}

/// The tables of a name server.
#[derive(Debug, Default)]
pub struct Routes {
    /// Queues of a topic, sorted by broker name; never empty.
    topics: BTreeMap<String, Vec<QueueData>>,
    brokers: BTreeMap<String, BrokerData>,
    clusters: BTreeMap<String, BTreeSet<String>>,
    live: BTreeMap<Member, Live>,
    /// Obsolete, but brokers that name them find them in routes.
    filter_servers: BTreeMap<Member, Vec<String>>,
    /// Static topics: topic, then broker name. Java's form, passed on as it came.
    mappings: BTreeMap<String, BTreeMap<String, Value>>,
}

// Registration and liveness.

impl Routes {
    /// Takes over what a broker says. `drop_missing` drops its topics that the registration does not list.
    pub fn register(
        &mut self,
        registration: Registration,
        drop_missing: bool,
        now: Instant,
    ) -> (Leader, Option<Notice>) {
        let Registration { member, broker_name, broker_id, topics, .. } = &registration;
        let broker_id = *broker_id;
        let known = self.brokers.get(broker_name);
        let occupant = known.and_then(|broker| broker.broker_addrs.get(&broker_id)).cloned();
        // One topic is what brokers send when that topic changes. From a broker that is not known (Java refuses it) it is
        // taken, but not its version: asked for it, the broker learns that the rest is missing here.
        let is_part = occupant.is_none() && topics.topic_config_table.len() == 1;
        let version = if is_part { DataVersion::default() } else { topics.data_version };

        let is_new_name = known.is_none();
        self.clusters.entry(member.cluster.clone()).or_default().insert(broker_name.clone());
        let broker = self.brokers.entry(broker_name.clone()).or_insert_with(|| BrokerData {
            broker_name: broker_name.clone(),
            cluster: member.cluster.clone(),
            ..BrokerData::default()
        });
        broker.enable_acting_master = registration.acting_master.unwrap_or(false);
        broker.zone_name.clone_from(&registration.zone);
        let smallest_before = broker.broker_addrs.keys().next().copied().unwrap_or(0);
        // A process that changes its role keeps one entry.
        broker.broker_addrs.retain(|id, address| *id == broker_id || *address != member.address);

        if let Some(occupant) = occupant.as_ref().filter(|occupant| **occupant != member.address) {
            let occupant = Member { cluster: member.cluster.clone(), address: occupant.clone() };
            let defends = self
                .live
                .get(&occupant)
                .is_some_and(|live| live.version.state_version > version.state_version);
            if defends {
                self.live.remove(member);
                return (Leader::default(), None);
            }
        }
        broker.broker_addrs.insert(broker_id, member.address.clone());
        let is_smallest = broker.broker_addrs.keys().next() == Some(&broker_id);
        let notice = (broker_id < smallest_before)
            .then(|| Notice::of(broker, None, Some(registration.ha_address.clone())))
            .flatten();
        let is_acting = registration.acting_master.is_some() && broker_id != LEADER && is_smallest;
        let is_read_only = is_acting && broker.enable_acting_master;

        if broker_id == LEADER || is_acting {
            let is_changed = is_new_name
                || occupant.is_none()
                || self.live.get(member).is_none_or(|live| live.version != version);
            self.take_topics(&registration, is_changed, is_read_only, drop_missing);
        }

        let Registration { member, broker_name, ha_address, liveness, connection, filter_servers, .. } =
            registration;
        if filter_servers.is_empty() {
            self.filter_servers.remove(&member);
        } else {
            self.filter_servers.insert(member.clone(), filter_servers);
        }
        let timeout = liveness.unwrap_or(LIVENESS_DEFAULT);
        let cluster = member.cluster.clone();
        self.live.insert(member, Live { seen: now, timeout, version, connection, ha_address });
        let leader = if broker_id == LEADER { None } else { self.leader(&cluster, &broker_name) };
        (leader.unwrap_or_default(), notice)
    }

    fn take_topics(
        &mut self,
        registration: &Registration,
        is_changed: bool,
        is_read_only: bool,
        drop_missing: bool,
    ) {
        let (name, table) = (&registration.broker_name, &registration.topics);
        let has_mappings = !table.topic_queue_mapping_info_map.is_empty();
        if drop_missing && !has_mappings {
            self.retain_queues(|topic, queues| {
                queues.broker_name != *name || table.topic_config_table.contains_key(topic)
            });
        }
        let taken: Vec<&String> = if is_changed {
            table.topic_config_table.keys().collect()
        } else {
            self.unlisted(name, &table.topic_config_table)
        };
        for topic in taken {
            self.put_queues(topic, queues_of(name, &table.topic_config_table[topic], is_read_only));
        }
        if is_changed {
            for (topic, mapping) in &table.topic_queue_mapping_info_map {
                let owner = mapping.get("bname").and_then(Value::as_str).unwrap_or(name);
                let mappings = self.mappings.entry(topic.clone()).or_default();
                mappings.insert(owner.to_owned(), mapping.clone());
            }
        }
    }

    /// Those of `topics` that have no queues of this broker yet. A large table is walked along, because brokers send
    /// all they have twice a minute and nothing is new as a rule.
    fn unlisted<'a>(&self, broker_name: &str, topics: &'a BTreeMap<String, TopicConfig>) -> Vec<&'a String> {
        let is_listed = |queues: &Vec<QueueData>| position(queues, broker_name).is_ok();
        if topics.len() < self.topics.len() / 16 {
            let is_new = |topic: &&String| !self.topics.get(*topic).is_some_and(is_listed);
            return topics.keys().filter(is_new).collect();
        }
        let mut known = self.topics.iter().peekable();
        let is_new = |topic: &&String| {
            while known.next_if(|(name, _)| name < topic).is_some() {}
            !known.peek().is_some_and(|(name, queues)| name == topic && is_listed(queues))
        };
        topics.keys().filter(is_new).collect()
    }

    fn leader(&self, cluster: &str, broker_name: &str) -> Option<Leader> {
        let address = self.brokers.get(broker_name)?.broker_addrs.get(&LEADER)?.clone();
        let member = Member { cluster: cluster.to_owned(), address };
        let ha_address = self.live.get(&member)?.ha_address.clone();
        Some(Leader { address: Some(member.address), ha_address: Some(ha_address) })
    }

    /// A broker reports that it is alive.
    pub fn heartbeat(&mut self, member: &Member, now: Instant) {
        if let Some(live) = self.live.get_mut(member) {
            live.seen = now;
        }
    }

    /// The version of a broker's topics that we know.
    pub fn data_version(&self, member: &Member) -> Option<DataVersion> {
        self.live.get(member).map(|live| live.version)
    }

    /// A broker leaves, or is taken to have left.
    pub fn unregister(&mut self, departure: &Departure) -> Option<Notice> {
        let Departure { member, broker_name, broker_id } = departure;
        self.live.remove(member);
        self.filter_servers.remove(member);
        let broker = self.brokers.get_mut(broker_name)?;
        let was_smallest = broker.broker_addrs.keys().next() == Some(broker_id);
        broker.broker_addrs.retain(|_, address| *address != member.address);
        if broker.broker_addrs.is_empty() {
            self.brokers.remove(broker_name);
            self.retain_queues(|_, queues| queues.broker_name != *broker_name);
            self.clusters.retain(|_, names| {
                names.remove(broker_name);
                !names.is_empty()
            });
            return None;
        }
        let is_led = broker.broker_addrs.keys().next().is_some_and(|smallest| *smallest <= LEADER);
        if !broker.enable_acting_master {
            return None;
        }
        let notice = was_smallest.then(|| Notice::of(broker, Some(member.address.clone()), None)).flatten();
        if !is_led {
            self.change_perm(broker_name, |perm| perm & !perm::WRITE);
        }
        notice
    }

    /// All brokers that registered over this connection are gone.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<Notice> {
        let of_connection = |(_, live): &(&Member, &Live)| live.connection == connection;
        let gone: Vec<_> = self.live.iter().filter(of_connection).map(|(member, _)| member.clone()).collect();
        gone.iter().flat_map(|member| self.lose(member)).collect()
    }

    /// Drops the brokers that did not report in time.
    pub fn expire(&mut self, now: Instant) -> Expired {
        let late = self.live.iter().filter(|(_, live)| live.is_expired(now));
        let late: Vec<_> = late.map(|(member, live)| (member.clone(), live.connection)).collect();
        let mut expired = Expired::default();
        for (member, connection) in late {
            tracing::warn!(
                broker = member.address,
                cluster = member.cluster,
                "broker did not report in time"
            );
            expired.notices.extend(self.lose(&member));
            expired.connections.push(connection);
        }
        expired
    }

    /// A broker is gone without a word: it leaves every name under which it is known.
    fn lose(&mut self, member: &Member) -> Vec<Notice> {
        let mut departures = Vec::new();
        for broker in self.brokers.values().filter(|broker| broker.cluster == member.cluster) {
            let id = broker.broker_addrs.iter().find(|(_, address)| **address == member.address);
            if let Some((broker_id, _)) = id {
                departures.push(Departure {
                    member: member.clone(),
                    broker_name: broker.broker_name.clone(),
                    broker_id: *broker_id,
                });
            }
        }
        self.live.remove(member);
        self.filter_servers.remove(member);
        departures.iter().filter_map(|departure| self.unregister(departure)).collect()
    }
}

impl Notice {
    fn of(broker: &BrokerData, offline_address: Option<String>, ha_address: Option<String>) -> Option<Self> {
        let (smallest_id, smallest_address) = broker.broker_addrs.iter().next()?;
        // A newcomer knows that it came; when someone went, all that are left have to hear of it.
        let tells_all = offline_address.is_some() || broker.broker_addrs.len() == 1;
        let told = broker.broker_addrs.iter().filter(|(id, _)| tells_all || *id != smallest_id);
        Some(Self {
            addresses: told.map(|(_, address)| address.clone()).collect(),
            smallest_id: *smallest_id,
            smallest_address: smallest_address.clone(),
            offline_address,
            ha_address,
        })
    }
}

// Topics.

impl Routes {
    /// Adds queues of one topic, up to the first that names an unknown broker. A new topic is added whole or not at
    /// all.
    pub fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) {
        let is_known = |queues: &QueueData| self.brokers.contains_key(&queues.broker_name);
        if !self.topics.contains_key(topic) && !queues.iter().all(is_known) {
            return;
        }
        let known = queues.iter().take_while(|queues| is_known(queues)).count();
        for queues in queues.into_iter().take(known) {
            self.put_queues(topic, queues);
        }
    }

    /// Forgets a topic, in one cluster or in all.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            return;
        };
        let Some(names) = self.clusters.get(cluster) else { return };
        if let Some(queues) = self.topics.get_mut(topic) {
            queues.retain(|queues| !names.contains(&queues.broker_name));
            if queues.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Makes all queues of a broker read-only. Returns the number of its topics.
    pub fn wipe_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_perm(broker_name, |perm| perm & !perm::WRITE)
    }

    /// Makes all queues of a broker readable and writable, whatever they were. Returns the number of its topics.
    pub fn add_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_perm(broker_name, |_| perm::READ | perm::WRITE)
    }

    fn change_perm(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> usize {
        let mut topics = 0;
        for queues in self.topics.values_mut() {
            if let Ok(at) = position(queues, broker_name) {
                queues[at].perm = change(queues[at].perm);
                topics += 1;
            }
        }
        topics
    }

    fn put_queues(&mut self, topic: &str, new: QueueData) {
        match self.topics.get_mut(topic) {
            None => {
                self.topics.insert(topic.to_owned(), vec![new]);
            }
            Some(queues) => match position(queues, &new.broker_name) {
                Ok(at) => queues[at] = new,
                Err(at) => queues.insert(at, new),
            },
        }
    }

    fn retain_queues(&mut self, keep: impl Fn(&str, &QueueData) -> bool) {
        self.topics.retain(|topic, queues| {
            queues.retain(|queues| keep(topic, queues));
            !queues.is_empty()
        });
    }
}

fn position(queues: &[QueueData], broker_name: &str) -> Result<usize, usize> {
    queues.binary_search_by(|queues| queues.broker_name.as_str().cmp(broker_name))
}

fn queues_of(broker_name: &str, config: &TopicConfig, is_read_only: bool) -> QueueData {
    QueueData {
        broker_name: broker_name.to_owned(),
        perm: if is_read_only { config.perm & !perm::WRITE } else { config.perm },
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    }
}

// Answers.

impl Routes {
    /// Who serves a topic; `None` if nobody does. With `acting_master` a group without a leader that is not writable
    /// shows its smallest member as the leader, so that whoever asks for the leader reaches somebody.
    pub fn route(&self, topic: &str, acting_master: bool) -> Option<TopicRouteData> {
        let queue_datas = self.topics.get(topic)?.clone();
        let brokers = queue_datas.iter().filter_map(|queues| self.brokers.get(&queues.broker_name));
        let mut broker_datas: Vec<BrokerData> = brokers.cloned().collect();
        if broker_datas.is_empty() {
            return None;
        }
        let mut filter_server_table = BTreeMap::new();
        if !self.filter_servers.is_empty() {
            for (broker, address) in broker_datas
                .iter()
                .flat_map(|broker| broker.broker_addrs.values().map(move |address| (broker, address)))
            {
                let member = Member { cluster: broker.cluster.clone(), address: address.clone() };
                if let Some(servers) = self.filter_servers.get(&member) {
                    filter_server_table.insert(member.address, servers.clone());
                }
            }
        }
        if acting_master && !topic.starts_with(MEMBER_TOPIC_PREFIX) {
            for broker in &mut broker_datas {
                let is_writable = position(&queue_datas, &broker.broker_name)
                    .is_ok_and(|at| queue_datas[at].perm & perm::WRITE != 0);
                if broker.enable_acting_master
                    && !is_writable
                    && !broker.broker_addrs.contains_key(&LEADER)
                    && let Some((_, address)) = broker.broker_addrs.pop_first()
                {
                    broker.broker_addrs.insert(LEADER, address);
                }
            }
        }
        let topic_queue_mapping_by_broker = self.mappings.get(topic).cloned();
        Some(TopicRouteData {
            broker_datas,
            filter_server_table,
            order_topic_conf: None,
            queue_datas,
            topic_queue_mapping_by_broker,
        })
    }

    /// All clusters and brokers as they are.
    pub fn cluster_info(&self) -> ClusterInfo {
        let names = |names: &BTreeSet<String>| names.iter().cloned().collect();
        ClusterInfo {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: self.clusters.iter().map(|(key, set)| (key.clone(), names(set))).collect(),
        }
    }

    /// The members of one broker name; none if it is unknown.
    pub fn member_group(&self, cluster: &str, broker_name: &str) -> BrokerMemberGroup {
        let broker = self.brokers.get(broker_name);
        BrokerMemberGroup {
            broker_addrs: broker.map(|broker| broker.broker_addrs.clone()).unwrap_or_default(),
            broker_name: broker_name.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    pub fn all_topics(&self) -> TopicList {
        list(self.topics.keys().cloned())
    }

    /// Topics with queues in a cluster; none if it is unknown.
    pub fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        let Some(names) = self.clusters.get(cluster) else { return TopicList::default() };
        let is_in = |queues: &QueueData| names.contains(&queues.broker_name);
        list(
            self.topics.iter().filter(|(_, queues)| queues.iter().any(is_in)).map(|(topic, _)| topic.clone()),
        )
    }

    pub fn topics_of_kind(&self, kind: TopicKind) -> TopicList {
        let is_of_kind = |queues: &[QueueData]| {
            // All brokers should say the same of a topic; like Java we ask one of them.
            let flags = queues.first().map_or(0, |queues| queues.topic_sys_flag);
            let is_unit = flags & topic_sys_flag::UNIT != 0;
            let has_unit_sub = flags & topic_sys_flag::UNIT_SUB != 0;
            match kind {
                TopicKind::Unit => is_unit,
                TopicKind::UnitSub => has_unit_sub,
                TopicKind::UnitSubOfOthers => has_unit_sub && !is_unit,
            }
        };
        list(self.topics.iter().filter(|(_, queues)| is_of_kind(queues)).map(|(topic, _)| topic.clone()))
    }

    /// The names of clusters and brokers, which are topics too, and one broker to ask for the others.
    pub fn system_topics(&self) -> TopicList {
        let names: BTreeSet<_> =
            self.clusters.keys().chain(self.clusters.values().flatten()).cloned().collect();
        let mut addresses = self.brokers.values().flat_map(|broker| broker.broker_addrs.values());
        TopicList { broker_addr: addresses.next().cloned(), ..list(names) }
    }
}

fn list(topics: impl IntoIterator<Item = String>) -> TopicList {
    TopicList { broker_addr: None, topic_list: topics.into_iter().collect() }
}

#[cfg(test)]
mod tests;
