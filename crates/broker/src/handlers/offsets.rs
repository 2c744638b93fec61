//! Offsets: what groups committed, where queues begin and end, which offset belongs to a time.

use ferromq_net::peer::Peer;
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::request::{
    GetEarliestMsgStoretime, GetMaxOffset, GetMinOffset, QueryConsumerOffset, SearchOffset,
    UpdateConsumerOffset,
};
use ferromq_protocol::types::{QueueId, QueueOffset};
use ferromq_store::queue::{Boundary, Wait};

use crate::broker::Broker;
use crate::handlers::times;
use crate::requests::{Caller, header};
use crate::response::{Answer, RequestError};

/// QUERY_CONSUMER_OFFSET (14). On "not found" clients start where they are configured to; but a new group on a queue
/// that still has its first message, and has it in memory, starts there, as with Java.
pub(crate) fn query(
    broker: &Broker,
    _peer: &Peer,
    asked: &QueryConsumerOffset<'_>,
) -> Result<Answer, RequestError> {
    let committed = broker.metadata.offsets.committed(asked.consumer_group, asked.topic, asked.queue_id.0);
    if let Some(offset) = committed.filter(|offset| *offset >= 0) {
        return Ok(Answer::with_field("offset", offset));
    }
    if asked.set_zero_if_not_found == Some(false) {
        return Err(RequestError::NotFound("Not found, do not set to zero, maybe this group boot first"));
    }
    if begins_in_memory(broker, asked.topic, asked.queue_id) {
        return Ok(Answer::with_field("offset", 0));
    }
    Err(RequestError::NotFound("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"))
}

/// Whether offset 0 exists and lies close enough to the end of the log to count as being in memory.
fn begins_in_memory(broker: &Broker, topic: &str, queue_id: QueueId) -> bool {
    let Some(queue) = broker.store.find_queue(topic, queue_id) else { return false };
    if queue.min_offset().0 > 0 {
        return false;
    }
    // An entry that would have to be read from the disk is not in memory; an empty queue has none.
    let mut entries = Vec::new();
    let read = queue.entries(QueueOffset(0), 1, Wait::Never, &mut entries);
    let Some(first) = read.ok().and_then(|()| entries.first()) else { return false };
    let behind = broker.store.max_physical().0.saturating_sub(first.physical.0);
    u64::try_from(behind).is_ok_and(|behind| behind <= broker.read_limits().memory_bytes)
}

/// UPDATE_CONSUMER_OFFSET (15). Going backwards is the client's right.
pub(crate) fn update(
    broker: &Broker,
    _peer: &Peer,
    asked: &UpdateConsumerOffset<'_>,
) -> Result<Answer, RequestError> {
    let (group, topic) = (asked.consumer_group, asked.topic);
    if broker.metadata.groups.find(group).is_none() {
        return Err(RequestError::NoGroup(format!("Group {group} not exist!")));
    }
    if broker.metadata.topics.find(topic).is_none() {
        return Err(RequestError::NoTopic(format!("Topic {topic} not exist!")));
    }
    let missing = |what| RequestError::Parameter(format!("{what} is null, topic is {topic}"));
    let queue_id = asked.queue_id.ok_or_else(|| missing("QueueId"))?;
    let offset = asked.commit_offset.ok_or_else(|| missing("Offset"))?;
    broker
        .metadata
        .commit_offset(group, topic, queue_id.0, offset.0)
        .map_err(|error| RequestError::Parameter(error.to_string()))?;
    Ok(Answer::success())
}

/// GET_MAX_OFFSET (30): one past the last message; 0 for a queue that does not exist.
pub(crate) fn max(broker: &Broker, _peer: &Peer, asked: &GetMaxOffset<'_>) -> Result<Answer, RequestError> {
    let queue = broker.store.find_queue(asked.topic, asked.queue_id);
    Ok(Answer::with_field("offset", queue.map_or(0, |queue| queue.max_offset().0)))
}

/// GET_MIN_OFFSET (31): the first message that was not removed yet; 0 for a queue that does not exist.
pub(crate) fn min(broker: &Broker, _peer: &Peer, asked: &GetMinOffset<'_>) -> Result<Answer, RequestError> {
    let queue = broker.store.find_queue(asked.topic, asked.queue_id);
    let answer = Answer::with_field("offset", queue.map_or(0, |queue| queue.min_offset().0));
    Ok(Answer { remark: Some("".into()), ..answer })
}

/// SEARCH_OFFSET_BY_TIMESTAMP (29).
pub(crate) fn search(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: SearchOffset<'_> = header(frame)?;
    // Anything but the one word means the other.
    let boundary = match asked.boundary_type {
        Some(word) if word.eq_ignore_ascii_case("upper") => Boundary::Upper,
        _ => Boundary::Lower,
    };
    let store = &caller.broker.store;
    let offset = times::offset_by_time(store, asked.topic, asked.queue_id, asked.timestamp, boundary)?;
    Ok(Answer::with_field("offset", offset))
}

/// GET_EARLIEST_MSG_STORETIME (32): -1 if there is no message.
pub(crate) fn earliest_store_time(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: GetEarliestMsgStoretime<'_> = header(frame)?;
    let store = &caller.broker.store;
    let first =
        store.find_queue(asked.topic, asked.queue_id).map_or(QueueOffset(0), |queue| queue.min_offset());
    let time = times::at_offset(store, asked.topic, asked.queue_id, first)?;
    Ok(Answer::with_field("timestamp", time.map_or(-1, |time| time.0)))
}
