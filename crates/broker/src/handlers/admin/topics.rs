//! Topics: codes 17, 18, 21, 202, 215, 305 and 351.

use std::ops::Range;
use std::sync::Arc;

use ferromq_net::peer::Peer;
use ferromq_protocol::body::{
    MessageQueue, TopicConfig, TopicConfigAndMappingTable, TopicFilterType, TopicList, TopicOffset,
    TopicStatsTable,
};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;
use ferromq_protocol::request::{CreateTopic, GetAllTopicConfig, GetTopicConfig, GetTopicStatsInfo};
use ferromq_protocol::types::{QueueId, QueueOffset};
use serde::Deserialize;

use crate::attributes::{self, SignedAttribute};
use crate::broker::Broker;
use crate::handlers::times;
use crate::metadata::{Change, Edit, PersistError};
use crate::names::{self, NameError, NameOf};
use crate::requests::{Caller, header};
use crate::response::{Answer, RequestError};
use crate::topics::Topic;

/// Queues a topic may have. Java has no limit; ours keeps one request from asking for more than memory holds.
const QUEUES_MAX: i32 = 65_536;

/// What a request asks a topic to be.
struct Asked {
    topic: Topic,
    attributes: Vec<SignedAttribute>,
}

/// UPDATE_AND_CREATE_TOPIC (17): settings replace those there are, attributes are merged.
pub(crate) async fn update(caller: Caller, frame: OwnedFrame) -> Result<Answer, RequestError> {
    let asked: CreateTopic<'_> = header(&frame)?;
    names::check_topic(asked.topic)?;
    check_not_system(&caller.broker, asked.topic)?;
    let multi_tag = match asked.topic_filter_type {
        None => false,
        Some(word) => {
            let filter_type = TopicFilterType::from_name(word);
            filter_type.ok_or_else(|| RequestError::FilterType(word.into()))? == TopicFilterType::MultiTag
        }
    };
    let asked = Asked {
        topic: Topic {
            read_queues: asked.read_queue_nums,
            write_queues: asked.write_queue_nums,
            perm: asked.perm,
            multi_tag,
            sys_flag: asked.topic_sys_flag.unwrap_or(0),
            order: asked.order,
            ..Topic::new(asked.topic, 0)
        },
        attributes: attributes::parse(asked.attributes.unwrap_or_default())?,
    };
    put(&caller, vec![asked]).await?;
    Ok(Answer::success_with_forgotten_remark())
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CreateTopicList {
    topic_config_list: Vec<TopicConfig>,
}

/// UPDATE_AND_CREATE_TOPIC_LIST (18). All names are checked before anything changes; unlike Java, a topic that is as
/// asked already does not keep the others from being set.
pub(crate) async fn update_list(caller: Caller, frame: OwnedFrame) -> Result<Answer, RequestError> {
    let list: CreateTopicList =
        json::from_slice(&frame.body).map_err(|error| RequestError::Body(error.to_string()))?;
    let mut asked = Vec::with_capacity(list.topic_config_list.len());
    for config in list.topic_config_list {
        names::check_topic(&config.topic_name)?;
        check_not_system(&caller.broker, &config.topic_name)?;
        let topic = Topic::from(config);
        let attributes = topic.attributes.clone().into_iter().collect();
        asked.push(Asked { topic, attributes });
    }
    put(&caller, asked).await?;
    Ok(Answer::success_with_forgotten_remark())
}

/// Creates or changes topics, saves them and tells the name servers.
async fn put(caller: &Caller, asked: Vec<Asked>) -> Result<(), RequestError> {
    let broker = &caller.broker;
    let (changed, saved) = {
        let mut edit = broker.metadata.edit();
        let changed = asked.into_iter().filter_map(|asked| change(&edit, asked).transpose());
        let changed: Vec<Arc<Topic>> = changed.collect::<Result<_, RequestError>>()?;
        for topic in &changed {
            tracing::info!(%topic, from = %caller.peer.remote(), "topic set");
            edit.push(Change::PutTopic(Arc::clone(topic)));
        }
        (changed, edit.commit())
    };
    saved.await?;
    broker.announcements.announce(changed).await;
    Ok(())
}

/// The topic as asked for; `None` if it is so already.
fn change(edit: &Edit<'_>, asked: Asked) -> Result<Option<Arc<Topic>>, RequestError> {
    let Asked { mut topic, attributes } = asked;
    for (name, value) in [("readQueueNums", topic.read_queues), ("writeQueueNums", topic.write_queues)] {
        if !(0..=QUEUES_MAX).contains(&value) {
            return Err(RequestError::OutOfRange { name, value, max: QUEUES_MAX });
        }
    }
    let asks = |key: &str, value: &str| {
        attributes.iter().any(|(signed, set)| signed.strip_prefix('+') == Some(key) && set == value)
    };
    if asks(attributes::MESSAGE_TYPE, "MIXED") {
        return Err(RequestError::MixedMessageType);
    }
    let present = edit.topic(&topic.name);
    topic.attributes = attributes::alter(
        attributes::OF_TOPICS,
        present.as_ref().map(|topic| &topic.attributes),
        &attributes,
    )?;
    // What came with a store of Java's stays as it is; asking for it anew is refused.
    if let Some(unsupported) = topic.unsupported()
        && present.as_ref().is_none_or(|present| present.unsupported().is_none())
    {
        return Err(unsupported.into());
    }
    let is_so_already = present.is_some_and(|present| *present == topic);
    Ok((!is_so_already).then(|| Arc::new(topic)))
}

fn check_not_system(broker: &Broker, topic: &str) -> Result<(), RequestError> {
    if broker.config().live.protect_system_topics && broker.system_topics.contains(topic) {
        return Err(RequestError::SystemTopic(topic.into()));
    }
    Ok(())
}

/// DELETE_TOPIC_IN_BROKER (215): the topic, its queues, all offsets in it, and the retry topics that pop consumption
/// made for it. A topic that does not exist is fine.
pub(crate) async fn delete(caller: Caller, frame: OwnedFrame) -> Result<Answer, RequestError> {
    let name = frame.field("topic").unwrap_or_default();
    if name.trim().is_empty() {
        return Err(NameError::Blank(NameOf::Topic).into());
    }
    check_not_system(&caller.broker, name)?;
    let mut topics = vec![name.to_owned()];
    if caller.broker.config().live.delete_pop_retry_topics {
        for group in caller.broker.metadata.offsets.groups_of(name) {
            let names =
                ['+', '_'].map(|separator| format!("{}{group}{separator}{name}", names::RETRY_PREFIX));
            topics
                .extend(names.into_iter().filter(|name| caller.broker.metadata.topics.find(name).is_some()));
        }
    }
    forget(&caller, &topics).await?;
    for topic in &topics {
        caller.broker.stats.forget_topic(topic);
    }
    // The settings went first, so nothing new can get into the queues that go now.
    let broker = Arc::clone(&caller.broker);
    let deleted = tokio::task::spawn_blocking(move || {
        topics.iter().try_for_each(|topic| broker.store.delete_topic(topic).map(drop))
    });
    let deleted = deleted.await.map_err(|panic| RequestError::Failed(panic.to_string()))?;
    deleted.map_err(|error| RequestError::Failed(error.to_string()))?;
    Ok(Answer::success())
}

async fn forget(caller: &Caller, topics: &[String]) -> Result<(), PersistError> {
    let saved = {
        let mut edit = caller.broker.metadata.edit();
        for topic in topics {
            let has_offsets = || !caller.broker.metadata.offsets.groups_of(topic).is_empty();
            if edit.topic(topic).is_some() || has_offsets() {
                tracing::info!(%topic, from = %caller.peer.remote(), "topic deleted");
                edit.push(Change::DeleteTopic(topic.as_str().into()));
            }
        }
        edit.commit()
    };
    saved.await
}

/// The part of a list that a client asks for; everything if it does not ask for pages.
pub(super) fn page(broker: &Broker, already: Option<i32>, wanted: Option<i32>, total: usize) -> Range<usize> {
    let (Some(page_max), Some(already)) = (broker.config().topics.page_entries, already) else {
        return 0..total;
    };
    let wanted = wanted.map_or(usize::MAX, |wanted| usize::try_from(wanted).unwrap_or(0));
    let start = usize::try_from(already).unwrap_or(0).min(total);
    start..start.saturating_add(wanted.min(page_max)).min(total)
}

/// GET_ALL_TOPIC_CONFIG (21), by pages for those who ask for them.
pub(crate) fn get_all(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: GetAllTopicConfig<'_> = header(frame)?;
    let metadata = &caller.broker.metadata;
    let topics = metadata.topics.all();
    let page = page(&caller.broker, asked.topic_seq, asked.max_topic_num, topics.len());
    let total = topics.len();
    let table = TopicConfigAndMappingTable {
        data_version: metadata.versions().topics,
        topic_config_table: topics[page]
            .iter()
            .map(|topic| (topic.name.to_string(), TopicConfig::from(&**topic)))
            .collect(),
        ..TopicConfigAndMappingTable::default()
    };
    Ok(Answer::with_body(json::to_vec(&table)).and_field("totalTopicNum", total))
}

/// GET_TOPIC_CONFIG (351).
pub(crate) fn get(broker: &Broker, _peer: &Peer, asked: &GetTopicConfig<'_>) -> Result<Answer, RequestError> {
    let topic = broker.metadata.topics.find(asked.topic);
    let missing = || RequestError::NoTopic(format!("No topic in this broker. topic: {}", asked.topic));
    Ok(Answer::with_body(json::to_vec(&TopicConfig::from(&*topic.ok_or_else(missing)?))))
}

/// GET_TOPIC_STATS_INFO (202): where each queue begins and ends, and when it was last written.
pub(crate) fn stats(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: GetTopicStatsInfo<'_> = header(frame)?;
    let broker = &caller.broker;
    let topic = broker.metadata.topics.find(asked.topic);
    let topic = topic.ok_or_else(|| RequestError::NoTopic(format!("topic[{}] not exist", asked.topic)))?;
    let mut table = TopicStatsTable::default();
    for queue_id in 0..topic.queues() {
        let queue = broker.store.find_queue(asked.topic, QueueId(queue_id));
        let (min, max) = queue.map_or((0, 0), |queue| (queue.min_offset().0, queue.max_offset().0));
        let last = times::at_offset(&broker.store, asked.topic, QueueId(queue_id), QueueOffset(max - 1))?;
        table.offset_table.insert(
            MessageQueue {
                topic: asked.topic.into(),
                broker_name: broker.identity.broker_name.clone(),
                queue_id,
            },
            TopicOffset {
                min_offset: min,
                max_offset: max,
                last_update_timestamp: last.map_or(0, |time| time.0),
            },
        );
    }
    if let Some(stats) = broker.stats.find_topic(asked.topic) {
        table.topic_put_tps = stats.put_count.windows().minute.tps;
    }
    Ok(Answer::with_body(json::to_vec(&table)))
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305).
pub(crate) fn system(broker: &Broker, _peer: &Peer, _frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let topic_list = broker.system_topics.iter().map(String::from).collect();
    Ok(Answer::with_body(json::to_vec(&TopicList { broker_addr: None, topic_list })))
}
