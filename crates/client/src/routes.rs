//! Who serves which queues of a topic, as the name server told us.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferromq_protocol::body::{QueueData, TopicRouteData, perm};
use ferromq_protocol::types::{BrokerId, QueueId};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::message::MessageQueue;

/// The broker id of the leader in a replica group.
pub(crate) const LEADER: BrokerId = BrokerId(0);

/// Queues of a topic at one broker beyond this are not believed.
const QUEUES_MAX: i32 = 100_000;

/// What a route means for a client.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Route {
    pub data: TopicRouteData,
    /// Queues to send to, in the order in which producers go round them.
    pub publish: Vec<MessageQueue>,
    /// Queues to read from, in Java's order.
    pub subscribe: Vec<MessageQueue>,
}

impl Route {
    pub(crate) fn new(topic: &str, mut data: TopicRouteData) -> Self {
        data.queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        data.broker_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        let topic: Arc<str> = topic.into();
        let publish = match data.order_topic_conf.as_deref() {
            Some(order) if !order.is_empty() => ordered_queues(&topic, order),
            _ => {
                let has_leader = |queues: &&QueueData| {
                    let broker =
                        data.broker_datas.iter().find(|broker| broker.broker_name == queues.broker_name);
                    broker.is_some_and(|broker| broker.broker_addrs.contains_key(&LEADER.0))
                };
                let writable = data.queue_datas.iter().filter(|queues| queues.perm & perm::WRITE != 0);
                writable
                    .filter(has_leader)
                    .flat_map(|queues| numbered(&topic, queues, queues.write_queue_nums))
                    .collect()
            }
        };
        let readable = data.queue_datas.iter().filter(|queues| queues.perm & perm::READ != 0);
        let mut subscribe: Vec<MessageQueue> =
            readable.flat_map(|queues| numbered(&topic, queues, queues.read_queue_nums)).collect();
        subscribe.sort();
        Self { data, publish, subscribe }
    }

    /// The route by which a topic is created on the way: that of the template topic, with few queues.
    pub(crate) fn from_template(topic: &str, mut template: TopicRouteData, queue_nums_max: i32) -> Self {
        for queues in &mut template.queue_datas {
            let queue_nums = queue_nums_max.min(queues.read_queue_nums);
            queues.read_queue_nums = queue_nums;
            queues.write_queue_nums = queue_nums;
        }
        Self::new(topic, template)
    }

    /// One address of every broker that serves the topic, the leader's where there is one.
    pub(crate) fn one_address_each(&self) -> Vec<&str> {
        let brokers = self.data.broker_datas.iter();
        brokers.filter_map(|broker| broker.broker_addrs.values().next()).map(String::as_str).collect()
    }
}

fn numbered(topic: &Arc<str>, queues: &QueueData, count: i32) -> impl Iterator<Item = MessageQueue> + use<> {
    let topic = topic.clone();
    let broker_name: Arc<str> = queues.broker_name.as_str().into();
    (0..count.min(QUEUES_MAX)).map(move |queue| MessageQueue {
        topic: topic.clone(),
        broker_name: broker_name.clone(),
        queue_id: QueueId(queue),
    })
}

/// `broker-a:4;broker-b:4`: the queues of an ordered topic, also of brokers that are away.
fn ordered_queues(topic: &Arc<str>, order: &str) -> Vec<MessageQueue> {
    let brokers = order.split(';').filter_map(|entry| entry.split_once(':'));
    let counted = brokers.filter_map(|(name, count)| Some((name.trim(), count.trim().parse::<i32>().ok()?)));
    counted
        .flat_map(|(name, count)| {
            let queues = QueueData { broker_name: name.to_owned(), ..QueueData::default() };
            numbered(topic, &queues, count)
        })
        .collect()
}

/// All routes that a client has asked for, and the addresses that they name.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_topic: FxHashMap<String, Arc<Route>>,
    addresses: FxHashMap<String, BTreeMap<i64, String>>,
}

impl Routes {
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<Route>> {
        self.state.lock().by_topic.get(topic).cloned()
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.state.lock().by_topic.keys().cloned().collect()
    }

    /// Keeps a route. Returns it, and whether it differs from what was known.
    pub(crate) fn put(&self, topic: &str, route: Route) -> (Arc<Route>, bool) {
        let mut state = self.state.lock();
        for broker in &route.data.broker_datas {
            state.addresses.insert(broker.broker_name.clone(), broker.broker_addrs.clone());
        }
        match state.by_topic.get(topic) {
            Some(known) if **known == route => (known.clone(), false),
            _ => {
                let route = Arc::new(route);
                state.by_topic.insert(topic.to_owned(), route.clone());
                (route, true)
            }
        }
    }

    /// Where the leader of a broker name is: sends and commits go only there.
    pub(crate) fn leader(&self, broker_name: &str) -> Option<String> {
        self.state.lock().addresses.get(broker_name)?.get(&LEADER.0).cloned()
    }

    /// Where to read: the wanted member, else the next one, else any.
    pub(crate) fn reader(&self, broker_name: &str, wanted: BrokerId) -> Option<String> {
        let state = self.state.lock();
        let members = state.addresses.get(broker_name)?;
        let next = || if wanted == LEADER { None } else { members.get(&(wanted.0 + 1)) };
        members.get(&wanted.0).or_else(next).or_else(|| members.values().next()).cloned()
    }

    /// Every address of every broker name with whether it is a leader, without repetition.
    pub(crate) fn all_addresses(&self) -> BTreeMap<String, bool> {
        let state = self.state.lock();
        let members = state.addresses.values().flatten();
        members.map(|(id, address)| (address.clone(), *id == LEADER.0)).collect()
    }

    /// Forgets the addresses of brokers that no route names any more.
    pub(crate) fn forget_unused_addresses(&self) {
        let state = &mut *self.state.lock();
        let named = |name: &String| {
            let brokers = state.by_topic.values().flat_map(|route| &route.data.broker_datas);
            brokers.into_iter().any(|broker| broker.broker_name == *name)
        };
        state.addresses.retain(|name, _| named(name));
    }
}

#[cfg(test)]
mod tests {
    use ferromq_protocol::body::BrokerData;

    use super::*;

    fn broker(name: &str, ids: &[i64]) -> BrokerData {
        BrokerData {
            broker_name: name.to_owned(),
            broker_addrs: ids.iter().map(|id| (*id, format!("{name}-{id}:1"))).collect(),
            ..BrokerData::default()
        }
    }

    fn queues(name: &str, perm: i32, read: i32, write: i32) -> QueueData {
        QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: read,
            write_queue_nums: write,
            ..QueueData::default()
        }
    }

    fn data() -> TopicRouteData {
        TopicRouteData {
            broker_datas: vec![broker("b", &[0, 1]), broker("a", &[0]), broker("headless", &[1])],
            queue_datas: vec![
                queues("headless", 6, 1, 1),
                queues("b", 6, 2, 1),
                queues("a", 4, 1, 1),
                queues("gone", 2, 1, 1),
            ],
            ..TopicRouteData::default()
        }
    }

    fn names(queues: &[MessageQueue]) -> Vec<String> {
        queues.iter().map(MessageQueue::to_string).collect()
    }

    #[test]
    fn sends_need_permission_and_a_leader_reads_only_permission() {
        let route = Route::new("T", data());
        assert_eq!(names(&route.publish), ["T@b:0"]);
        assert_eq!(names(&route.subscribe), ["T@a:0", "T@b:0", "T@b:1", "T@headless:0"]);
    }

    #[test]
    fn an_ordered_topic_has_its_queues_in_the_order_of_its_text() {
        let order_topic_conf = Some("b:2;gone:1; broken;x:y".to_owned());
        let route = Route::new("T", TopicRouteData { order_topic_conf, ..data() });
        assert_eq!(names(&route.publish), ["T@b:0", "T@b:1", "T@gone:0"]);
    }

    #[test]
    fn a_topic_made_on_the_way_gets_few_queues() {
        let template = TopicRouteData {
            broker_datas: vec![broker("a", &[0])],
            queue_datas: vec![queues("a", 7, 8, 8)],
            ..TopicRouteData::default()
        };
        assert_eq!(Route::from_template("New", template.clone(), 4).publish.len(), 4);
        let route = Route::from_template("New", template, 9);
        assert_eq!(route.publish.len(), 8);
        assert_eq!(names(&route.publish)[0], "New@a:0");
    }

    #[test]
    fn reading_falls_back_to_the_next_member_and_then_to_any() {
        let routes = Routes::default();
        routes.put("T", Route::new("T", data()));
        assert_eq!(routes.leader("b").unwrap(), "b-0:1");
        assert_eq!(routes.leader("headless"), None);
        assert_eq!(routes.reader("b", LEADER).unwrap(), "b-0:1");
        assert_eq!(routes.reader("b", BrokerId(1)).unwrap(), "b-1:1");
        assert_eq!(routes.reader("b", BrokerId(7)).unwrap(), "b-0:1");
        assert_eq!(routes.reader("headless", LEADER).unwrap(), "headless-1:1");
        assert_eq!(routes.reader("unknown", LEADER), None);
    }

    #[test]
    fn a_route_in_another_order_is_the_same_route() {
        let routes = Routes::default();
        assert!(routes.put("T", Route::new("T", data())).1);
        let mut shuffled = data();
        shuffled.queue_datas.reverse();
        shuffled.broker_datas.reverse();
        assert!(!routes.put("T", Route::new("T", shuffled)).1);
        let mut changed = data();
        changed.queue_datas.pop();
        assert!(routes.put("T", Route::new("T", changed)).1);
    }

    #[test]
    fn addresses_that_no_route_names_are_forgotten() {
        let routes = Routes::default();
        routes.put("T", Route::new("T", data()));
        let only_a = TopicRouteData { broker_datas: vec![broker("a", &[0])], ..TopicRouteData::default() };
        routes.put("T", Route::new("T", only_a));
        assert_eq!(routes.all_addresses().len(), 4);
        routes.forget_unused_addresses();
        assert_eq!(routes.all_addresses(), BTreeMap::from([("a-0:1".to_owned(), true)]));
    }
}
