//! How far groups are: codes 208 and 317.

use std::collections::BTreeSet;

use ferromq_protocol::body::{ConsumeStats, ConsumeStatsList, MessageQueue, OffsetWrapper};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;
use ferromq_protocol::request::{GetConsumeStats, GetConsumeStatsInBroker};
use ferromq_protocol::types::{QueueId, QueueOffset};
use ferromq_store::queue::EntriesError;

use crate::broker::Broker;
use crate::clients::Reader;
use crate::handlers::times;
use crate::requests::{Caller, header};
use crate::response::{Answer, RequestError};
use crate::topics::Topic;

/// GET_CONSUME_STATS (208). A group that nobody knows has an empty table.
pub(crate) fn of_group(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: GetConsumeStats<'_> = header(frame)?;
    let broker = &caller.broker;
    let group = asked.consumer_group;
    let mut stats = ConsumeStats::default();
    for name in topics_asked_for(broker, &asked) {
        let Some(topic) = broker.metadata.topics.find(&name) else { continue };
        add_topic(broker, group, &topic, topic.read_queues, &mut stats)?;
    }
    Ok(Answer::with_body(json::to_vec(&stats)))
}

/// Those named; else those in which the group has offsets, without those that it does not read any more.
fn topics_asked_for(broker: &Broker, asked: &GetConsumeStats<'_>) -> BTreeSet<String> {
    let named = asked.topic_list.unwrap_or_default().split(';').filter(|topic| !topic.is_empty());
    let named: BTreeSet<String> = named.map(String::from).collect();
    if !named.is_empty() {
        return named;
    }
    if let Some(topic) = asked.topic {
        return BTreeSet::from([topic.to_owned()]);
    }
    let group = asked.consumer_group;
    let with_offsets = broker.metadata.offsets.topics_of(group).into_iter();
    with_offsets.filter(|topic| is_read(broker, group, topic)).map(String::from).collect()
}

/// False if the group is online and reads other topics.
fn is_read(broker: &Broker, group: &str, topic: &str) -> bool {
    match broker.clients.reader(group, topic) {
        Reader::GroupAbsent | Reader::Subscribed { .. } => true,
        Reader::NotSubscribed { .. } => {
            broker.clients.group(group).is_none_or(|group| group.subscriptions.is_empty())
        }
    }
}

/// GET_BROKER_CONSUME_STATS (317): every group in every topic it has offsets in.
pub(crate) fn of_broker(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: GetConsumeStatsInBroker = header(frame)?;
    let broker = &caller.broker;
    let mut list = ConsumeStatsList { broker_addr: broker.identity.address.clone(), ..Default::default() };
    for group in broker.metadata.groups.all() {
        let group = group.group_name.as_str();
        let mut of_group = Vec::new();
        for name in broker.metadata.offsets.topics_of(group) {
            let Some(topic) = broker.metadata.topics.find(&name) else { continue };
            if (asked.is_order && !topic.order) || !is_read(broker, group, &name) {
                continue;
            }
            let mut stats = ConsumeStats::default();
            add_topic(broker, group, &topic, topic.write_queues, &mut stats)?;
            for offsets in stats.offset_table.values() {
                list.total_diff += offsets.broker_offset - offsets.consumer_offset;
                list.total_inflight_diff += offsets.pull_offset - offsets.consumer_offset;
            }
            of_group.push(stats);
        }
        list.consume_stats_list.push([(group.to_owned(), of_group)].into());
    }
    Ok(Answer::with_body(json::to_vec(&list)))
}

fn add_topic(
    broker: &Broker,
    group: &str,
    topic: &Topic,
    queues: i32,
    stats: &mut ConsumeStats,
) -> Result<(), EntriesError> {
    let name = &*topic.name;
    for queue_id in 0..queues {
        let queue = broker.store.find_queue(name, QueueId(queue_id));
        let offsets = &broker.metadata.offsets;
        let consumer_offset = offsets.committed(group, name, queue_id).unwrap_or(0).max(0);
        let pulled = offsets.last_pulled(group, name, queue_id).unwrap_or(0);
        let last_read = QueueOffset(consumer_offset - 1);
        let last_time = times::at_offset(&broker.store, name, QueueId(queue_id), last_read)?;
        stats.offset_table.insert(
            MessageQueue { topic: name.into(), broker_name: broker.identity.broker_name.clone(), queue_id },
            OffsetWrapper {
                broker_offset: queue.map_or(0, |queue| queue.max_offset().0),
                consumer_offset,
                pull_offset: consumer_offset.max(pulled),
                last_timestamp: last_time.map_or(0, |time| time.0),
            },
        );
    }
    if let Some(delivered) = broker.stats.find_delivery(name, group) {
        stats.consume_tps += delivered.get_count.windows().minute.tps;
    }
    Ok(())
}
