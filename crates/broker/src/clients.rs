//! Who is connected: producers and consumers by group, as their heartbeats say.
//!
//! A registration belongs to a connection: it goes when the connection goes, and a push to a client is a push to the
//! connection that sent its heartbeats. Plain state behind one lock; every method says which connections have to be
//! told that a group's members changed, and the caller tells them after the lock is gone. `now` is an argument.
//!
//! Two faults of Java's second heartbeat form are not copied: a heartbeat without subscriptions never erases stored
//! ones and, when there are none (the broker was restarted), asks for the full form; and fingerprints are kept per
//! client, so that members with different heartbeats do not make each other repeat theirs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ferromq_protocol::body::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use ferromq_protocol::header::Language;
use ferromq_store::queue::TagFilter;
use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHashSet};

/// A registration without a heartbeat for this long is dropped and its connection closed.
pub const EXPIRY: Duration = Duration::from_secs(120);

/// Groups that one connection may register; heartbeats that bring more are refused. Clients have a handful.
pub const GROUPS_PER_CONNECTION_MAX: usize = 10_000;
/// Bytes of all registrations; heartbeats that bring more are refused. A client has some hundred.
pub const REGISTERED_BYTES_MAX: usize = 256 << 20;

/// A connection registers too many groups, or all connections together too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuchRegistered;

/// Number of a connection, unique while the process lives.
pub type ConnectionId = u64;

/// What a group reads of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// As the heartbeat brought it.
    pub data: SubscriptionData,
    /// What queue entries it wants.
    pub filter: TagFilter,
}

impl Subscription {
    /// The filter follows from the hashes that the client sends; only the star wants everything.
    #[must_use]
    pub fn new(data: SubscriptionData) -> Self {
        // Obsolete filter classes choose for themselves.
        let filter = if data.sub_string == "*" || data.class_filter_mode {
            TagFilter::All
        } else {
            TagFilter::Hashes(data.code_set.as_slice().into())
        };
        Self { data, filter }
    }

    /// What it takes in memory, roughly.
    fn bytes(&self) -> usize {
        let data = &self.data;
        let tags: usize = data.tags_set.iter().map(|tag| size_of::<String>() + tag.len()).sum();
        let texts = 2 * data.topic.len() + data.sub_string.len() + tags;
        size_of::<Self>() + texts + 2 * size_of_val(data.code_set.as_slice())
    }
}

/// The client end of a connection, as its heartbeat presents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Client id.
    pub id: Box<str>,
    /// Where it connects from.
    pub address: SocketAddr,
    /// What it is written in.
    pub language: Language,
    /// Version ordinal.
    pub version: i32,
}

/// A client of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its connection.
    pub connection: ConnectionId,
    /// Who it is.
    pub client: Client,
    /// When it last sent a heartbeat.
    pub heard: Duration,
}

impl Member {
    /// What its place in a group takes in memory, roughly.
    fn bytes(&self, group: &str) -> usize {
        size_of::<Self>() + 2 * self.client.id.len() + group.len()
    }
}

/// One consumer group's part of a heartbeat.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    /// Group.
    pub group: Box<str>,
    /// Overwrites what the group had.
    pub consume_type: ConsumeType,
    /// Overwrites what the group had.
    pub message_model: MessageModel,
    /// Where new groups start; shown by tools only.
    pub consume_from_where: ConsumeFromWhere,
    /// What it reads; `None` in a heartbeat of the second form without subscriptions.
    pub subscriptions: Option<Vec<Subscription>>,
    /// Whether members of this group want to be told of changes.
    pub notify: bool,
}

#[derive(Debug)]
struct Group {
    consume_type: ConsumeType,
    message_model: MessageModel,
    consume_from_where: ConsumeFromWhere,
    subscriptions: FxHashMap<Box<str>, Arc<Subscription>>,
    /// False until a heartbeat with subscriptions came, even an empty set.
    has_subscriptions: bool,
    members: FxHashMap<ConnectionId, Member>,
    /// Last fingerprint of each client id.
    fingerprints: FxHashMap<Box<str>, i32>,
    /// Of the subscriptions.
    bytes: usize,
}

impl Group {
    fn connections(&self) -> Vec<ConnectionId> {
        self.members.keys().copied().collect()
    }

    fn is_broadcasting(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }

    /// Whether this subscription is newer than what the group has.
    fn is_news(&self, subscription: &Subscription) -> bool {
        let known = self.subscriptions.get(subscription.data.topic.as_str());
        known.is_none_or(|known| subscription.data.sub_version > known.data.sub_version)
    }

    /// Nobody is this client any more.
    fn forget_fingerprint(&mut self, client_id: &str) {
        if !self.members.values().any(|member| *member.client.id == *client_id) {
            self.fingerprints.remove(client_id);
        }
    }
}

/// A consumer group whose members have to be told that they are others now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChanged {
    /// The group.
    pub group: Box<str>,
    /// Connections of all its members.
    pub connections: Vec<ConnectionId>,
}

/// A consumer group as tools see it.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// How it consumes.
    pub consume_type: ConsumeType,
    /// How it shares.
    pub message_model: MessageModel,
    /// Where it said it starts.
    pub consume_from_where: ConsumeFromWhere,
    /// What it reads, by topic.
    pub subscriptions: Vec<Arc<Subscription>>,
    /// Its members.
    pub members: Vec<Member>,
}

/// What a pull has to know about its group.
#[derive(Clone, Debug)]
pub enum Reader {
    /// No member of the group is connected.
    GroupAbsent,
    /// The group reads other topics.
    NotSubscribed {
        /// Whether every member gets everything.
        broadcasting: bool,
    },
    /// The group reads this topic.
    Subscribed {
        /// Whether every member gets everything.
        broadcasting: bool,
        /// What it wants of it.
        subscription: Arc<Subscription>,
    },
}

#[derive(Debug, Default)]
struct State {
    consumers: FxHashMap<Box<str>, Group>,
    producers: FxHashMap<Box<str>, FxHashMap<ConnectionId, Member>>,
    connections: FxHashMap<ConnectionId, Registrations>,
    /// Of all members and subscriptions.
    bytes: usize,
}

impl State {
    fn check_room(&self, more: usize) -> Result<(), TooMuchRegistered> {
        if more > 0 && self.bytes.saturating_add(more) > REGISTERED_BYTES_MAX {
            return Err(TooMuchRegistered);
        }
        Ok(())
    }
}

/// Groups of one connection.
#[derive(Debug, Default)]
struct Registrations {
    consumers: FxHashSet<Box<str>>,
    producers: FxHashSet<Box<str>>,
}

impl Registrations {
    /// Whether the connection may register in one more group.
    fn has_room(&self) -> bool {
        self.consumers.len() + self.producers.len() < GROUPS_PER_CONNECTION_MAX
    }
}

/// All registrations.
#[derive(Debug, Default)]
pub struct Clients {
    state: RwLock<State>,
}

/// What a consumer's heartbeat led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Who has to be told.
    pub notify: Option<MembersChanged>,
    /// The client should send its subscriptions again (meaning only for the second heartbeat form).
    pub wants_subscriptions: bool,
}

impl Clients {
    /// A heartbeat's word about one consumer group. `fingerprint` is 0 in the first heartbeat form.
    pub fn consumer_heartbeat(
        &self,
        connection: ConnectionId,
        client: &Client,
        heartbeat: ConsumerHeartbeat,
        fingerprint: i32,
        now: Duration,
    ) -> Result<Registered, TooMuchRegistered> {
        let mut state = self.state.write();
        let ConsumerHeartbeat { group: name, subscriptions, .. } = heartbeat;
        let member = Member { connection, client: client.clone(), heard: now };
        let known = state.consumers.get(&name);
        let is_member = known.is_some_and(|group| group.members.contains_key(&connection));
        let brings = |subscription: &&Subscription| known.is_none_or(|group| group.is_news(subscription));
        let news: usize = subscriptions.iter().flatten().filter(brings).map(Subscription::bytes).sum();
        state.check_room(news + if is_member { 0 } else { member.bytes(&name) })?;

        let State { consumers, connections, bytes, .. } = &mut *state;
        let registrations = connections.entry(connection).or_default();
        if !registrations.consumers.contains(&name) {
            if !registrations.has_room() {
                return Err(TooMuchRegistered);
            }
            registrations.consumers.insert(name.clone());
        }
        let group = consumers.entry(name.clone()).or_insert_with(|| Group {
            consume_type: heartbeat.consume_type,
            message_model: heartbeat.message_model,
            consume_from_where: heartbeat.consume_from_where,
            subscriptions: FxHashMap::default(),
            has_subscriptions: false,
            members: FxHashMap::default(),
            fingerprints: FxHashMap::default(),
            bytes: 0,
        });
        group.consume_type = heartbeat.consume_type;
        group.message_model = heartbeat.message_model;
        group.consume_from_where = heartbeat.consume_from_where;

        *bytes += member.bytes(&name);
        let before = group.members.insert(connection, member);
        let mut changed = before.is_none();
        if let Some(before) = before {
            *bytes -= before.bytes(&name);
            if before.client.id != client.id {
                group.forget_fingerprint(&before.client.id);
            }
        }

        let wants_subscriptions = if fingerprint == 0 {
            true
        } else {
            let known = group.fingerprints.insert(client.id.clone(), fingerprint);
            let never_sent = subscriptions.is_none() && !(group.has_subscriptions && known.is_some());
            never_sent || known.is_some_and(|known| known != fingerprint)
        };
        if let Some(subscriptions) = subscriptions {
            let bytes_before = group.bytes;
            changed |= subscribe(group, subscriptions);
            *bytes = *bytes + group.bytes - bytes_before;
        }
        let notify = (changed && heartbeat.notify && !group.is_broadcasting())
            .then(|| MembersChanged { group: name, connections: group.connections() });
        Ok(Registered { notify, wants_subscriptions })
    }

    /// A heartbeat's word about one producer group.
    pub fn producer_heartbeat(
        &self,
        connection: ConnectionId,
        client: &Client,
        group: &str,
        now: Duration,
    ) -> Result<(), TooMuchRegistered> {
        let mut state = self.state.write();
        let member = Member { connection, client: client.clone(), heard: now };
        let is_member = state.producers.get(group).is_some_and(|members| members.contains_key(&connection));
        state.check_room(if is_member { 0 } else { member.bytes(group) })?;
        let State { producers, connections, bytes, .. } = &mut *state;
        let registrations = connections.entry(connection).or_default();
        if !registrations.producers.contains(group) {
            if !registrations.has_room() {
                return Err(TooMuchRegistered);
            }
            registrations.producers.insert(group.into());
        }
        *bytes += member.bytes(group);
        let before = match producers.get_mut(group) {
            Some(members) => members.insert(connection, member),
            None => producers.entry(group.into()).or_default().insert(connection, member),
        };
        *bytes -= before.map_or(0, |before| before.bytes(group));
        Ok(())
    }

    /// A client leaves a consumer group.
    pub fn unregister_consumer(
        &self,
        connection: ConnectionId,
        group: &str,
        notify: bool,
    ) -> Option<MembersChanged> {
        let mut state = self.state.write();
        if let Some(registrations) = state.connections.get_mut(&connection) {
            registrations.consumers.remove(group);
        }
        let changed = leave(&mut state, connection, group);
        changed.filter(|_| notify)
    }

    /// A client leaves a producer group.
    pub fn unregister_producer(&self, connection: ConnectionId, group: &str) {
        let mut state = self.state.write();
        if let Some(registrations) = state.connections.get_mut(&connection) {
            registrations.producers.remove(group);
        }
        stop_producing(&mut state, connection, group);
    }

    /// A connection is gone, and with it all its registrations.
    pub fn connection_closed(&self, connection: ConnectionId) -> Vec<MembersChanged> {
        if !self.state.read().connections.contains_key(&connection) {
            return Vec::new();
        }
        let mut state = self.state.write();
        let Some(Registrations { consumers, producers }) = state.connections.remove(&connection) else {
            return Vec::new();
        };
        for group in producers {
            stop_producing(&mut state, connection, &group);
        }
        consumers.iter().filter_map(|group| leave(&mut state, connection, group)).collect()
    }

    /// Connections that have not been heard of for too long; the caller closes them, and their closing does the rest.
    #[must_use]
    pub fn silent(&self, now: Duration) -> Vec<ConnectionId> {
        let state = self.state.read();
        let consumers = state.consumers.values().flat_map(|group| group.members.values());
        let producers = state.producers.values().flat_map(FxHashMap::values);
        let silent: FxHashSet<ConnectionId> = consumers
            .chain(producers)
            .filter(|member| now.saturating_sub(member.heard) > EXPIRY)
            .map(|member| member.connection)
            .collect();
        silent.into_iter().collect()
    }

    /// What a group reads of a topic.
    #[must_use]
    pub fn reader(&self, group: &str, topic: &str) -> Reader {
        let state = self.state.read();
        let Some(group) = state.consumers.get(group) else { return Reader::GroupAbsent };
        let broadcasting = group.is_broadcasting();
        match group.subscriptions.get(topic) {
            None => Reader::NotSubscribed { broadcasting },
            Some(subscription) => Reader::Subscribed { broadcasting, subscription: Arc::clone(subscription) },
        }
    }

    /// How the group consumes and whether this connection belongs to it.
    #[must_use]
    pub fn membership(&self, group: &str, connection: ConnectionId) -> Option<(ConsumeType, bool)> {
        let state = self.state.read();
        let group = state.consumers.get(group)?;
        Some((group.consume_type, group.members.contains_key(&connection)))
    }

    /// Client ids of a group's members, each once. Every member divides queues by this list.
    #[must_use]
    pub fn client_ids(&self, group: &str) -> Vec<Box<str>> {
        let state = self.state.read();
        let Some(group) = state.consumers.get(group) else { return Vec::new() };
        let mut ids: Vec<Box<str>> = group.members.values().map(|member| member.client.id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Everything about a consumer group, if any member is connected.
    #[must_use]
    pub fn group(&self, group: &str) -> Option<GroupView> {
        let state = self.state.read();
        let group = state.consumers.get(group)?;
        let mut subscriptions: Vec<_> = group.subscriptions.values().cloned().collect();
        subscriptions.sort_unstable_by(|a, b| a.data.topic.cmp(&b.data.topic));
        Some(GroupView {
            consume_type: group.consume_type,
            message_model: group.message_model,
            consume_from_where: group.consume_from_where,
            subscriptions,
            members: in_order(group.members.values()),
        })
    }

    /// The member of a consumer group with this client id.
    #[must_use]
    pub fn find_member(&self, group: &str, client_id: &str) -> Option<Member> {
        let state = self.state.read();
        state.consumers.get(group)?.members.values().find(|member| *member.client.id == *client_id).cloned()
    }

    /// Consumer groups with a connected member that reads the topic.
    #[must_use]
    pub fn groups_reading(&self, topic: &str) -> Vec<Box<str>> {
        let state = self.state.read();
        let reads = |group: &Group| group.subscriptions.contains_key(topic);
        state.consumers.iter().filter(|(_, group)| reads(group)).map(|(name, _)| name.clone()).collect()
    }

    /// Connected members of a producer group.
    #[must_use]
    pub fn producers(&self, group: &str) -> Option<Vec<Member>> {
        Some(in_order(self.state.read().producers.get(group)?.values()))
    }

    /// All producer groups with their members.
    #[must_use]
    pub fn all_producers(&self) -> Vec<(Box<str>, Vec<Member>)> {
        let state = self.state.read();
        let mut groups: Vec<_> = state
            .producers
            .iter()
            .map(|(group, members)| (group.clone(), in_order(members.values())))
            .collect();
        groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        groups
    }

    /// Registered connections, for the gauge.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.read().connections.len()
    }

    /// Bytes of all registrations, for the gauge.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.read().bytes
    }
}

fn in_order<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<Member> {
    let mut members: Vec<Member> = members.cloned().collect();
    members.sort_unstable_by_key(|member| member.connection);
    members
}

/// Takes over a full set of subscriptions; true if a topic came or went.
fn subscribe(group: &mut Group, subscriptions: Vec<Subscription>) -> bool {
    let mut changed = false;
    let topics: FxHashSet<Box<str>> = subscriptions.iter().map(|s| s.data.topic.as_str().into()).collect();
    group.has_subscriptions = true;
    for subscription in subscriptions {
        if group.is_news(&subscription) {
            let topic = subscription.data.topic.as_str().into();
            changed |= group.subscriptions.insert(topic, Arc::new(subscription)).is_none();
        }
    }
    let before = group.subscriptions.len();
    group.subscriptions.retain(|topic, _| topics.contains(topic));
    group.bytes = group.subscriptions.values().map(|subscription| subscription.bytes()).sum();
    changed || group.subscriptions.len() != before
}

fn leave(state: &mut State, connection: ConnectionId, name: &str) -> Option<MembersChanged> {
    let State { consumers, bytes, .. } = state;
    let group = consumers.get_mut(name)?;
    let member = group.members.remove(&connection)?;
    *bytes -= member.bytes(name);
    if group.members.is_empty() {
        *bytes -= group.bytes;
        consumers.remove(name);
        return None;
    }
    group.forget_fingerprint(&member.client.id);
    let connections = group.connections();
    (!group.is_broadcasting()).then(|| MembersChanged { group: name.into(), connections })
}

fn stop_producing(state: &mut State, connection: ConnectionId, group: &str) {
    let State { producers, bytes, .. } = state;
    if let Some(members) = producers.get_mut(group) {
        *bytes -= members.remove(&connection).map_or(0, |member| member.bytes(group));
        if members.is_empty() {
            producers.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consume(
        clients: &Clients,
        connection: ConnectionId,
        client: &Client,
        heartbeat: ConsumerHeartbeat,
        fingerprint: i32,
        now: Duration,
    ) -> Registered {
        clients.consumer_heartbeat(connection, client, heartbeat, fingerprint, now).unwrap()
    }

    fn produce(clients: &Clients, connection: ConnectionId, client: &Client, group: &str, now: Duration) {
        clients.producer_heartbeat(connection, client, group, now).unwrap();
    }

    fn client(id: &str) -> Client {
        Client {
            id: id.into(),
            address: "10.0.0.1:5000".parse().unwrap(),
            language: Language::Java,
            version: 513,
        }
    }

    fn subscription(topic: &str, version: i64) -> Subscription {
        Subscription::new(SubscriptionData {
            topic: topic.into(),
            sub_string: "*".into(),
            sub_version: version,
            ..SubscriptionData::default()
        })
    }

    fn heartbeat(topics: Option<&[(&str, i64)]>) -> ConsumerHeartbeat {
        ConsumerHeartbeat {
            group: "g".into(),
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
            subscriptions: topics
                .map(|topics| topics.iter().map(|(topic, version)| subscription(topic, *version)).collect()),
            notify: true,
        }
    }

    fn told(registered: &Registered) -> Vec<ConnectionId> {
        let mut connections = registered.notify.clone().map(|n| n.connections).unwrap_or_default();
        connections.sort_unstable();
        connections
    }

    const T: Option<&[(&str, i64)]> = Some(&[("T", 1)]);

    #[test]
    fn a_new_member_is_listed_at_once_and_all_are_told() {
        let clients = Clients::default();
        let first = consume(&clients, 1, &client("a"), heartbeat(T), 0, Duration::ZERO);
        assert_eq!(told(&first), [1], "the newcomer too");
        let again = consume(&clients, 1, &client("a"), heartbeat(T), 0, Duration::ZERO);
        assert_eq!(again.notify, None);
        let second = consume(&clients, 2, &client("b"), heartbeat(T), 0, Duration::ZERO);
        assert_eq!(told(&second), [1, 2]);
        assert_eq!(clients.client_ids("g"), ["a".into(), "b".into()]);
    }

    #[test]
    fn a_client_with_two_connections_counts_once() {
        let clients = Clients::default();
        for connection in [1, 2] {
            consume(&clients, connection, &client("a"), heartbeat(T), 0, Duration::ZERO);
        }
        assert_eq!(clients.client_ids("g"), ["a".into()]);
        clients.connection_closed(1);
        assert_eq!(clients.client_ids("g"), ["a".into()], "the newer connection still stands");
    }

    #[test]
    fn topics_come_and_go_with_heartbeats_and_newer_versions_replace() {
        let clients = Clients::default();
        let beat = |topics: &[(&str, i64)]| {
            consume(&clients, 1, &client("a"), heartbeat(Some(topics)), 0, Duration::ZERO)
        };
        let version = |topic| match clients.reader("g", topic) {
            Reader::Subscribed { subscription, .. } => Some(subscription.data.sub_version),
            _ => None,
        };
        beat(&[("T", 5), ("U", 5)]);
        assert_eq!(told(&beat(&[("T", 4)])), [1], "U is gone");
        assert_eq!((version("T"), version("U")), (Some(5), None), "an older version does not replace");
        assert_eq!(beat(&[("T", 6)]).notify, None, "a newer version is no change of members");
        assert_eq!(version("T"), Some(6));
        assert_eq!(told(&beat(&[])), [1]);
        assert!(matches!(clients.reader("g", "T"), Reader::NotSubscribed { broadcasting: false }));
        assert!(matches!(clients.reader("h", "T"), Reader::GroupAbsent));
    }

    #[test]
    fn heartbeats_without_subscriptions_keep_the_stored_ones() {
        let clients = Clients::default();
        let beat = |id, topics, fingerprint| {
            consume(&clients, 1, &client(id), heartbeat(topics), fingerprint, Duration::ZERO)
        };
        assert!(!beat("a", T, 7).wants_subscriptions, "they have just been sent");
        let light = beat("a", None, 7);
        assert!(!light.wants_subscriptions && light.notify.is_none());
        assert!(matches!(clients.reader("g", "T"), Reader::Subscribed { .. }));
        assert!(beat("a", None, 8).wants_subscriptions, "another fingerprint");
        assert!(beat("b", None, 7).wants_subscriptions, "this client's were never seen");
    }

    #[test]
    fn after_a_restart_a_heartbeat_without_subscriptions_asks_for_them() {
        let clients = Clients::default();
        for _ in 0..2 {
            let registered = consume(&clients, 1, &client("a"), heartbeat(None), 7, Duration::ZERO);
            assert!(registered.wants_subscriptions);
        }
        let full = consume(&clients, 1, &client("a"), heartbeat(T), 7, Duration::ZERO);
        assert!(!full.wants_subscriptions);
    }

    #[test]
    fn members_with_different_fingerprints_do_not_disturb_each_other() {
        let clients = Clients::default();
        let beat = |connection, id, fingerprint| {
            let beat = heartbeat(T);
            clients
                .consumer_heartbeat(connection, &client(id), beat, fingerprint, Duration::ZERO)
                .unwrap()
                .wants_subscriptions
        };
        for _ in 0..3 {
            assert!(!beat(1, "a", 7) && !beat(2, "b", 8));
        }
    }

    #[test]
    fn a_closed_connection_leaves_all_its_groups_and_the_rest_is_told() {
        let clients = Clients::default();
        for connection in [1, 2] {
            let id = connection.to_string();
            consume(&clients, connection, &client(&id), heartbeat(T), 0, Duration::ZERO);
            produce(&clients, connection, &client(&id), "p", Duration::ZERO);
        }
        let changed = clients.connection_closed(1);
        assert_eq!(changed, [MembersChanged { group: "g".into(), connections: vec![2] }]);
        assert_eq!(clients.producers("p").unwrap().len(), 1);
        assert_eq!(clients.connection_closed(2), []);
        assert!(clients.producers("p").is_none());
        assert!(matches!(clients.reader("g", "T"), Reader::GroupAbsent));
        assert_eq!(clients.connections(), 0);
    }

    #[test]
    fn broadcasting_groups_are_never_told() {
        let clients = Clients::default();
        let beat = || ConsumerHeartbeat { message_model: MessageModel::Broadcasting, ..heartbeat(T) };
        for connection in [1, 2] {
            let registered = consume(&clients, connection, &client("a"), beat(), 0, Duration::ZERO);
            assert_eq!(registered.notify, None);
        }
        assert_eq!(clients.connection_closed(1), []);
        assert!(matches!(clients.reader("g", "T"), Reader::Subscribed { broadcasting: true, .. }));
    }

    #[test]
    fn unregistering_tells_the_others_unless_the_group_does_not_want_it() {
        let clients = Clients::default();
        for connection in [1, 2, 3] {
            let id = connection.to_string();
            consume(&clients, connection, &client(&id), heartbeat(T), 0, Duration::ZERO);
        }
        assert!(clients.unregister_consumer(1, "g", true).is_some());
        assert!(clients.unregister_consumer(1, "g", true).is_none(), "not a member any more");
        assert!(clients.unregister_consumer(2, "g", false).is_none());
        assert_eq!(clients.client_ids("g"), ["3".into()]);
    }

    #[test]
    fn one_connection_cannot_register_in_groups_without_end() {
        let clients = Clients::default();
        for n in 0..GROUPS_PER_CONNECTION_MAX {
            produce(&clients, 1, &client("a"), &format!("p{n}"), Duration::ZERO);
        }
        let refused = clients.producer_heartbeat(1, &client("a"), "one more", Duration::ZERO);
        assert_eq!(refused, Err(TooMuchRegistered));
        assert_eq!(clients.all_producers().len(), GROUPS_PER_CONNECTION_MAX);
        let refused = clients.consumer_heartbeat(1, &client("a"), heartbeat(T), 0, Duration::ZERO);
        assert_eq!(refused, Err(TooMuchRegistered));
        assert!(clients.group("g").is_none());
        produce(&clients, 1, &client("b"), "p0", Duration::ZERO);
        assert_eq!(&*clients.producers("p0").unwrap()[0].client.id, "b", "known groups go on");
    }

    #[test]
    fn all_registrations_together_have_an_end() {
        let clients = Clients::default();
        let long = "x".repeat(REGISTERED_BYTES_MAX / 8);
        let beat = |connection, group: &str, version| {
            let mut subscription = subscription("T", version);
            subscription.data.sub_string.clone_from(&long);
            let subscriptions = Some(vec![subscription]);
            let heartbeat = ConsumerHeartbeat { group: group.into(), subscriptions, ..heartbeat(None) };
            clients.consumer_heartbeat(connection, &client("a"), heartbeat, 0, Duration::ZERO)
        };
        for group in 0..7 {
            assert!(beat(1, &group.to_string(), 1).is_ok());
        }
        let full = clients.bytes();
        assert!(full < REGISTERED_BYTES_MAX && full > REGISTERED_BYTES_MAX / 8 * 7);
        assert_eq!(beat(2, "7", 1), Err(TooMuchRegistered));
        assert_eq!(
            clients.producer_heartbeat(2, &client("a"), &long, Duration::ZERO),
            Err(TooMuchRegistered)
        );
        assert_eq!((clients.bytes(), clients.connections()), (full, 1), "nothing of it stays");
        assert!(beat(1, "0", 1).is_ok(), "who is registered goes on");
        assert_eq!(clients.bytes(), full);

        clients.unregister_consumer(1, "0", true);
        assert!(beat(2, "7", 1).is_ok(), "there is room again");
        produce(&clients, 2, &client("a"), "p", Duration::ZERO);
        clients.connection_closed(1);
        clients.connection_closed(2);
        assert_eq!(clients.bytes(), 0);
    }

    #[test]
    fn a_connection_that_changes_its_client_id_leaves_nothing_behind() {
        let clients = Clients::default();
        consume(&clients, 1, &client("first"), heartbeat(T), 7, Duration::ZERO);
        let bytes = clients.bytes();
        for n in 10_000..10_100 {
            consume(&clients, 1, &client(&n.to_string()), heartbeat(T), 7, Duration::ZERO);
        }
        assert_eq!(clients.state.read().consumers["g"].fingerprints.len(), 1);
        assert_eq!(clients.bytes(), bytes);
    }

    #[test]
    fn silent_connections_expire_after_their_time() {
        let clients = Clients::default();
        consume(&clients, 1, &client("a"), heartbeat(T), 0, Duration::ZERO);
        produce(&clients, 2, &client("b"), "p", Duration::from_secs(10));
        assert!(clients.silent(EXPIRY).is_empty());
        assert_eq!(clients.silent(EXPIRY + Duration::from_secs(1)), [1]);
        let mut both = clients.silent(EXPIRY + Duration::from_secs(11));
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
    }
}
