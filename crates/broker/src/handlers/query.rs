//! Looking messages up by key or position.

use ferromq_protocol::code::response as code;
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::properties::name;
use ferromq_protocol::record;
use ferromq_protocol::request::{QueryMessage, ViewMessage};
use ferromq_store::ReadError;
use ferromq_store::query::{KeyKind, KeyQuery};
use ferromq_store::queue::Wait;

use crate::requests::{Caller, header};
use crate::response::{Answer, RequestError};

/// Topics in which messages lie that belong to another topic.
const HOLDING_TOPICS: [&str; 4] = [
    "SCHEDULE_TOPIC_XXXX",
    "rmq_sys_wheel_timer",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
];

const NOTHING_FOUND: &str = "can not find message, maybe time range not correct";

/// QUERY_MESSAGE (12): messages whose key has this hash; the client compares the keys themselves.
pub(crate) fn by_key(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: QueryMessage<'_> = header(frame)?;
    let limits = caller.broker.config().live.queries;
    if !limits.enabled {
        return Err(RequestError::NotFound(NOTHING_FOUND));
    }
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
    let mut body = Vec::new();
    let hits = caller.broker.store.query(&query, &mut body)?;
    if body.is_empty() {
        return Err(RequestError::NotFound(NOTHING_FOUND));
    }
    Ok(Answer::with_body(body)
        .and_field("indexLastUpdateTimestamp", hits.last_time)
        .and_field("indexLastUpdatePhyoffset", hits.last_physical))
}

/// VIEW_MESSAGE_BY_ID (33): the message at a position of the log.
pub(crate) fn by_offset(caller: &Caller, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked: ViewMessage<'_> = header(frame)?;
    let mut body = Vec::new();
    match caller.broker.store.record_at(asked.offset, Wait::Allowed, &mut body) {
        Ok(()) => {}
        Err(ReadError::NotFound(_)) => {
            return Err(RequestError::Failed(format!(
                "can not find message by the offset, {}",
                asked.offset
            )));
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(topic) = asked.topic.filter(|topic| !topic.is_empty())
        && !belongs_to(&body, topic)
    {
        return Ok(Answer::error(code::NO_PERMISSION, "The topic does not match the message"));
    }
    Ok(Answer::with_body(body))
}

fn belongs_to(record: &[u8], topic: &str) -> bool {
    let Ok(record) = record::decode(record) else { return false };
    if HOLDING_TOPICS.contains(&record.topic) {
        return record.properties.get(name::REAL_TOPIC) == Some(topic);
    }
    record.topic == topic
}
