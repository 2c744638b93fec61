//! Consumer groups: codes 200, 201, 207, 300, 343, 345 and 352.

use std::collections::BTreeSet;
use std::sync::Arc;

use ferromq_net::peer::Peer;
use ferromq_protocol::body::{
    GroupList, SubscriptionAnswer, SubscriptionGroupConfig, SubscriptionGroupTable, TopicList,
};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;
use ferromq_protocol::request::{
    DeleteSubscriptionGroup, GetAllSubscriptionGroup, GetSubscriptionGroupConfig,
    QuerySubscriptionByConsumer, QueryTopicConsumeByWho, QueryTopicsByConsumer,
};

use crate::attributes::{self, SignedAttribute};
use crate::broker::Broker;
use crate::clients::Reader;
use crate::groups::Group;
use crate::metadata::Change;
use crate::names;
use crate::requests::{Caller, header};
use crate::response::{Answer, RequestError};

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200): settings replace those there are, attributes are merged.
pub(crate) async fn update(caller: Caller, frame: OwnedFrame) -> Result<Answer, RequestError> {
    if frame.body.is_empty() {
        return Ok(Answer::success());
    }
    let asked: SubscriptionGroupConfig =
        json::from_slice(&frame.body).map_err(|error| RequestError::Body(error.to_string()))?;
    names::check_group(&asked.group_name)?;
    let saved = {
        let mut edit = caller.broker.metadata.edit();
        let present = edit.group(&asked.group_name);
        let signed: Vec<SignedAttribute> = asked.attributes.clone().into_iter().collect();
        let present = present.as_ref().map(|group| &group.attributes);
        let attributes = attributes::alter(attributes::OF_GROUPS, present, &signed)?;
        tracing::info!(group = %asked.group_name, from = %caller.peer.remote(), "group set");
        edit.push(Change::PutGroup(Arc::new(Group { attributes, ..asked })));
        edit.commit()
    };
    saved.await?;
    Ok(Answer::success())
}

/// DELETE_SUBSCRIPTIONGROUP (207). Its retry and dead letter topics stay.
pub(crate) async fn delete(caller: Caller, frame: OwnedFrame) -> Result<Answer, RequestError> {
    let asked: DeleteSubscriptionGroup<'_> = header(&frame)?;
    let group = asked.group_name;
    let saved = {
        let mut edit = caller.broker.metadata.edit();
        if edit.group(group).is_some() || asked.clean_offset {
            tracing::info!(group, from = %caller.peer.remote(), "group deleted");
            edit.push(Change::DeleteGroup { group: group.into(), with_offsets: asked.clean_offset });
        }
        edit.commit()
    };
    saved.await?;
    caller.broker.stats.forget_group(group);
    Ok(Answer::success())
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201), by pages for those who ask for them.
pub(crate) fn get_all(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: GetAllSubscriptionGroup<'_> = header(frame)?;
    let metadata = &caller.broker.metadata;
    let groups = metadata.groups.all();
    let page = super::topics::page(&caller.broker, asked.group_seq, asked.max_group_num, groups.len());
    let total = groups.len();
    let forbidden = metadata.groups.forbidden().into_iter();
    let table = SubscriptionGroupTable {
        data_version: metadata.versions().groups,
        forbidden_table: forbidden
            .map(|(group, topics)| {
                (group.into(), topics.into_iter().map(|(topic, bits)| (topic.into(), bits)).collect())
            })
            .collect(),
        subscription_group_table: groups[page]
            .iter()
            .map(|group| (group.group_name.clone(), Group::clone(group)))
            .collect(),
    };
    Ok(Answer::with_body(json::to_vec(&table)).and_field("totalGroupNum", total))
}

/// GET_SUBSCRIPTIONGROUP_CONFIG (352).
pub(crate) fn get(
    broker: &Broker,
    _peer: &Peer,
    asked: &GetSubscriptionGroupConfig<'_>,
) -> Result<Answer, RequestError> {
    let group = broker.metadata.groups.find(asked.group);
    let group = group.ok_or_else(|| RequestError::NoGroup("No group in this broker".into()))?;
    Ok(Answer::with_body(json::to_vec(&*group)))
}

/// QUERY_TOPIC_CONSUME_BY_WHO (300): groups that read the topic, now or ever.
pub(crate) fn readers_of_topic(
    broker: &Broker,
    _peer: &Peer,
    asked: &QueryTopicConsumeByWho<'_>,
) -> Result<Answer, RequestError> {
    let online = broker.clients.groups_reading(asked.topic);
    let with_offsets = broker.metadata.offsets.groups_of(asked.topic);
    let groups: BTreeSet<String> = online.into_iter().chain(with_offsets).map(String::from).collect();
    Ok(Answer::with_body(json::to_vec(&GroupList { group_list: groups.into_iter().collect() })))
}

/// QUERY_TOPICS_BY_CONSUMER (343): topics in which the group has offsets.
pub(crate) fn topics_of_group(
    broker: &Broker,
    _peer: &Peer,
    asked: &QueryTopicsByConsumer<'_>,
) -> Result<Answer, RequestError> {
    let topics: BTreeSet<String> =
        broker.metadata.offsets.topics_of(asked.group).into_iter().map(String::from).collect();
    Ok(Answer::with_body(json::to_vec(&TopicList {
        broker_addr: Some(broker.identity.address.clone()),
        topic_list: topics.into_iter().collect(),
    })))
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
pub(crate) fn subscription(
    broker: &Broker,
    _peer: &Peer,
    asked: &QuerySubscriptionByConsumer<'_>,
) -> Result<Answer, RequestError> {
    let reader = asked.topic.map(|topic| broker.clients.reader(asked.group, topic));
    let subscription_data = match reader {
        Some(Reader::Subscribed { subscription, .. }) => Some(subscription.data.clone()),
        _ => None,
    };
    Ok(Answer::with_body(json::to_vec(&SubscriptionAnswer {
        group: asked.group.into(),
        subscription_data,
        topic: asked.topic.map(String::from),
    })))
}
