//! Looking messages up by key or position.

use ferromq_protocol::body::{ConsumeQueueAnswer, ConsumeQueueData};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;
use ferromq_protocol::request::{QueryConsumeQueue, QueryMessage, ViewMessage};
use ferromq_store::ReadError;
use ferromq_store::query::{KeyHits, KeyKind, KeyQuery};
use ferromq_store::queue::Wait;

use crate::clients::Reader;
use crate::requests::{Caller, header};
use crate::response::{Answer, RequestError};

/// Entries of one answer to [`queue_entries`].
const QUEUE_ENTRIES_MAX: usize = 10_000;

const NOTHING_FOUND: &str = "can not find message, maybe time range not correct";

/// QUERY_MESSAGE (12): messages whose key has this hash; the client compares the keys themselves.
pub(crate) fn by_key(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let limits = caller.broker.config().live.queries;
    let mut body = Vec::new();
    let mut hits = KeyHits::default();
    // Without a key there is nothing to find, and Java says just that.
    if limits.enabled && frame.field("key").is_some() {
        let asked: QueryMessage<'_> = header(frame)?;
        let max = if asked.unique_key_query {
            limits.by_unique_key
        } else {
            u32::try_from(asked.max_num).unwrap_or(0).min(limits.by_key)
        };
        let query = KeyQuery {
            topic: asked.topic,
            key: asked.key,
            kind: if asked.index_type == Some("T") { KeyKind::Tag } else { KeyKind::Key },
            max: max as usize,
            begin: asked.begin_timestamp,
            end: asked.end_timestamp,
        };
        hits = caller.broker.store.query(&query, &mut body)?;
    }
    let answer =
        if body.is_empty() { RequestError::NotFound(NOTHING_FOUND).into() } else { Answer::with_body(body) };
    Ok(answer
        .and_field("indexLastUpdateTimestamp", hits.last_time)
        .and_field("indexLastUpdatePhyoffset", hits.last_physical))
}

/// VIEW_MESSAGE_BY_ID (33): the message at a position of the log, whatever topic the client believes it to be in.
pub(crate) fn by_offset(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: ViewMessage<'_> = header(frame)?;
    let mut body = Vec::new();
    match caller.broker.store.record_at(asked.offset, Wait::Allowed, &mut body) {
        Ok(()) => Ok(Answer::with_body(body)),
        Err(ReadError::NotFound(_)) => {
            Err(RequestError::Failed(format!("can not find message by the offset, {}", asked.offset)))
        }
        Err(error) => Err(error.into()),
    }
}

/// QUERY_CONSUME_QUEUE (321): entries of a queue as they lie there, for people who look for what went wrong.
pub(crate) fn queue_entries(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: QueryConsumeQueue<'_> = header(frame)?;
    let broker = &caller.broker;
    let topic = asked.topic.unwrap_or_default();
    // A queue that was never written is an empty one.
    let queue = broker.store.find_queue(topic, asked.queue_id);
    let (min, max) = queue.as_ref().map_or((0, 0), |queue| (queue.min_offset().0, queue.max_offset().0));
    let mut answer =
        ConsumeQueueAnswer { min_queue_index: min, max_queue_index: max, ..ConsumeQueueAnswer::default() };
    if let Some(group) = asked.consumer_group
        && let Reader::Subscribed { subscription, .. } = broker.clients.reader(group, topic)
    {
        answer.subscription_data = Some(subscription.data.clone());
    }
    let count = usize::try_from(asked.count).unwrap_or(0).min(QUEUE_ENTRIES_MAX);
    let mut entries = Vec::new();
    if let Some(queue) = queue.filter(|_| asked.index.0 >= min) {
        queue.entries(asked.index, count, Wait::Allowed, &mut entries).map_err(ReadError::from)?;
    }
    let shown = entries.iter().map(|entry| ConsumeQueueData {
        physic_offset: entry.physical.0,
        physic_size: entry.size,
        tags_code: entry.tag_code,
        ..ConsumeQueueData::default()
    });
    answer.queue_data = Some(shown.collect());
    let body = json::to_vec(&answer);
    if entries.is_empty() {
        // Java answers without a body here, on which its own tool fails.
        let remark = format!("Index {} of {}@{topic} is not exist!", asked.index, asked.queue_id);
        return Ok(Answer { body, remark: Some(remark.into()), ..Answer::default() });
    }
    Ok(Answer { body, ..Answer::success_with_forgotten_remark() })
}
