//! Clients coming, staying and leaving: codes 34, 35, 38 and 46.

use std::sync::Arc;

use ferromq_filter::ExpressionType;
use ferromq_net::peer::Peer;
use ferromq_protocol::body::{
    CheckClientRequest, ConsumeType, ConsumerData, ConsumerList, HeartbeatData, SubscriptionData,
};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;
use ferromq_protocol::request::GetConsumerListByGroup;

use crate::broker::Broker;
use crate::clients::{Client, ConsumerHeartbeat, Subscription};
use crate::creation::Missing;
use crate::names;
use crate::requests::Envelope;
use crate::response::{Answer, PullError, RequestError, ToAnswer};

/// HEART_BEAT (34). A group that does not exist and may not be created is left out, silently as in Java. What is
/// missing and may be created is returned first; the heartbeat comes again when it exists.
pub(crate) fn heartbeat(
    broker: &Broker,
    peer: &Arc<Peer>,
    frame: &Envelope<'_>,
    may_create: bool,
) -> Result<Answer, Vec<Missing>> {
    let data: HeartbeatData = match json::from_slice(frame.body) {
        Ok(data) => data,
        Err(error) => return Ok(RequestError::Body(error.to_string()).into()),
    };
    let config = broker.config();
    let refuses_pull = config.live.reject_unregistered_pull;
    let consumers = || {
        let is_refused = |data: &&ConsumerData| refuses_pull && data.consume_type == ConsumeType::Actively;
        data.consumer_data_set.iter().filter(move |data| !is_refused(data))
    };
    if may_create {
        let missing: Vec<Missing> =
            consumers().flat_map(|consumer| missing_of(broker, &data, consumer)).collect();
        if !missing.is_empty() {
            return Err(missing);
        }
    }

    broker.keep_peer(peer);
    let client = Client {
        id: data.client_id.as_str().into(),
        address: peer.client(),
        language: frame.head.language,
        version: frame.head.version,
    };
    let now = broker.elapsed();
    let mut wants_subscriptions = data.heartbeat_fingerprint == 0;
    for consumer in consumers() {
        let Some(group) = broker.metadata.groups.find(&consumer.group_name) else { continue };
        let without_subscriptions = data.heartbeat_fingerprint != 0 && data.without_sub;
        let heartbeat = ConsumerHeartbeat {
            group: consumer.group_name.as_str().into(),
            consume_type: consumer.consume_type,
            message_model: consumer.message_model,
            consume_from_where: consumer.consume_from_where,
            subscriptions: (!without_subscriptions)
                .then(|| consumer.subscription_data_set.iter().cloned().map(Subscription::from).collect()),
            notify: group.notify_consumer_ids_changed_enable,
        };
        let fingerprint = data.heartbeat_fingerprint;
        let registered = broker.clients.consumer_heartbeat(peer.id(), &client, heartbeat, fingerprint, now);
        let Ok(registered) = registered else { return Ok(RequestError::Overload.into()) };
        wants_subscriptions |= registered.wants_subscriptions;
        if let Some(changed) = registered.notify {
            broker.tell_members(&changed);
        }
    }
    for producer in &data.producer_data_set {
        if broker.clients.producer_heartbeat(peer.id(), &client, &producer.group_name, now).is_err() {
            return Ok(RequestError::Overload.into());
        }
    }
    Ok(Answer::with_field("IS_SUPPORT_HEART_BEAT_V2", true).and_field("IS_SUB_CHANGE", wants_subscriptions))
}

/// What a consumer group needs before it can be registered.
fn missing_of(broker: &Broker, data: &HeartbeatData, consumer: &ConsumerData) -> Vec<Missing> {
    let group = consumer.group_name.as_str();
    let mut missing = Vec::new();
    if broker.metadata.groups.find(group).is_none() {
        if !broker.creates_group(&broker.config(), group) {
            return missing;
        }
        missing.push(Missing::Group(group.into()));
    }
    let topics = &broker.metadata.topics;
    let ordered = consumer.subscription_data_set.iter().any(|read| topics.is_ordered(&read.topic));
    let is_fine = match topics.find(&names::retry_topic(group)) {
        // A heartbeat without subscriptions says nothing about order.
        Some(topic) => data.without_sub || topic.order == ordered,
        None => false,
    };
    if !is_fine {
        missing.push(Missing::RetryTopic { group: group.into(), ordered, unit_mode: consumer.unit_mode });
    }
    missing
}

impl From<SubscriptionData> for Subscription {
    fn from(data: SubscriptionData) -> Self {
        Self::new(data)
    }
}

/// UNREGISTER_CLIENT (35). The connection says who leaves; the client id is not looked at.
pub(crate) fn unregister(broker: &Broker, peer: &Peer, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    if let Some(group) = frame.field("producerGroup") {
        broker.clients.unregister_producer(peer.id(), group);
    }
    if let Some(group) = frame.field("consumerGroup") {
        let settings = broker.metadata.groups.find(group);
        let notify = settings.is_none_or(|group| group.notify_consumer_ids_changed_enable);
        if let Some(changed) = broker.clients.unregister_consumer(peer.id(), group, notify) {
            broker.tell_members(&changed);
        }
    }
    Ok(Answer::success())
}

/// CHECK_CLIENT_CONFIG (46): whether this broker understands the client's filter.
pub(crate) fn check_client_config(
    _broker: &Broker,
    _peer: &Peer,
    frame: &OwnedFrame,
) -> Result<Answer, RequestError> {
    let asked: CheckClientRequest =
        json::from_slice(&frame.body).map_err(|error| RequestError::Body(error.to_string()))?;
    match ExpressionType::of(asked.subscription_data.expression_type.as_deref()) {
        ExpressionType::Tag => Ok(Answer::success()),
        ExpressionType::Other(kind) => Ok(PullError::ExpressionUnsupported(kind.into()).answer()),
    }
}

/// GET_CONSUMER_LIST_BY_GROUP (38). Nobody is an error: clients then keep the queues they have.
pub(crate) fn consumer_ids(
    broker: &Broker,
    _peer: &Peer,
    asked: &GetConsumerListByGroup<'_>,
) -> Result<Answer, RequestError> {
    let ids = broker.clients.client_ids(asked.consumer_group);
    if ids.is_empty() {
        return Err(RequestError::Failed(format!("no consumer for this group, {}", asked.consumer_group)));
    }
    let consumer_id_list = ids.into_iter().map(String::from).collect();
    Ok(Answer::with_body(json::to_vec(&ConsumerList { consumer_id_list })))
}
