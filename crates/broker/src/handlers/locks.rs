//! Locks of orderly consumers: codes 41 and 42.

use ferromq_net::peer::Peer;
use ferromq_protocol::body::{LockBatchAnswer, LockBatchRequest};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;

use crate::broker::Broker;
use crate::response::{Answer, RequestError};

/// LOCK_BATCH_MQ (41): always success, with the queues that the client now holds.
pub(crate) fn lock(broker: &Broker, _peer: &Peer, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked = read(frame)?;
    let lock_ok_mq_set = broker.queue_locks.lock().lock(
        &asked.consumer_group,
        &asked.client_id,
        asked.mq_set,
        broker.elapsed(),
    );
    Ok(Answer::with_body(json::to_vec(&LockBatchAnswer { lock_ok_mq_set })))
}

/// UNLOCK_BATCH_MQ (42).
pub(crate) fn unlock(broker: &Broker, _peer: &Peer, frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let asked = read(frame)?;
    broker.queue_locks.lock().unlock(&asked.consumer_group, &asked.client_id, &asked.mq_set);
    Ok(Answer::success())
}

fn read(frame: &OwnedFrame) -> Result<LockBatchRequest, RequestError> {
    json::from_slice(&frame.body).map_err(|error| RequestError::Body(error.to_string()))
}
