//! The producers and consumers of one client, as heartbeats tell them to the brokers, and what brokers
//! ask us in return.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Context;

use ferromq_net::caller::NoRequests;
use ferromq_net::connection::{Request, Service, Session};
use ferromq_net::peer::Peer;
use ferromq_protocol::body::{ConsumerData, HeartbeatData, ProducerData};
use ferromq_protocol::code;
use ferromq_protocol::request::NotifyConsumerIdsChanged;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Who is registered. Shared with the connections, because a broker may say that a group has changed.
#[derive(Debug, Default)]
pub(crate) struct Members {
    state: Mutex<State>,
    /// Somebody came, or subscribes to something else: brokers should hear of it now.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    producers: BTreeSet<String>,
    consumers: BTreeMap<String, Consumer>,
}

#[derive(Debug)]
struct Consumer {
    data: ConsumerData,
    /// Fires when queues may have to be shared out anew.
    rebalance: Arc<Notify>,
}

impl Members {
    /// False if the group has a producer here already.
    pub(crate) fn add_producer(&self, group: &str) -> bool {
        self.state.lock().producers.insert(group.to_owned())
    }

    pub(crate) fn remove_producer(&self, group: &str) {
        self.state.lock().producers.remove(group);
    }

    /// False if the group has a consumer here already.
    pub(crate) fn add_consumer(&self, data: ConsumerData, rebalance: Arc<Notify>) -> bool {
        let mut state = self.state.lock();
        if state.consumers.contains_key(&data.group_name) {
            return false;
        }
        state.consumers.insert(data.group_name.clone(), Consumer { data, rebalance });
        true
    }

    pub(crate) fn remove_consumer(&self, group: &str) {
        self.state.lock().consumers.remove(group);
    }

    /// Marks the subscriptions of a group as newer, after its queues have changed: brokers take the newest.
    pub(crate) fn renew_subscriptions(&self, group: &str, version: i64) {
        if let Some(consumer) = self.state.lock().consumers.get_mut(group) {
            for subscription in &mut consumer.data.subscription_data_set {
                subscription.sub_version = version;
            }
        }
    }

    pub(crate) fn heartbeat(&self, client_id: &str) -> HeartbeatData {
        let state = self.state.lock();
        let producers = state.producers.iter().map(|group| ProducerData { group_name: group.clone() });
        HeartbeatData {
            client_id: client_id.to_owned(),
            consumer_data_set: state.consumers.values().map(|consumer| consumer.data.clone()).collect(),
            producer_data_set: producers.collect(),
            ..HeartbeatData::default()
        }
    }

    /// Shares out the queues of a group anew, or of all groups.
    pub(crate) fn rebalance(&self, group: Option<&str>) {
        for (name, consumer) in &self.state.lock().consumers {
            if group.is_none_or(|group| group == name) {
                consumer.rebalance.notify_one();
            }
        }
    }
}

/// Handles what brokers ask over our connections.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) members: Arc<Members>,
}

impl Service for Incoming {
    type Session = IncomingSession;

    fn open(&self, _peer: &Arc<Peer>) -> IncomingSession {
        IncomingSession { members: self.members.clone() }
    }
}

pub(crate) struct IncomingSession {
    members: Arc<Members>,
}

impl Session for IncomingSession {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        match request.header.code {
            code::request::NOTIFY_CONSUMER_IDS_CHANGED => {
                match request.header.read::<NotifyConsumerIdsChanged<'_>>() {
                    Ok(header) => self.members.rebalance(Some(header.consumer_group)),
                    Err(error) => tracing::debug!(%error, "a broker told of a change without saying where"),
                }
            }
            _ => NoRequests.request(request, out),
        }
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {}

    fn poll(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) {}

    fn saturated(&self) -> bool {
        false
    }

    fn closed(&mut self) {}
}
