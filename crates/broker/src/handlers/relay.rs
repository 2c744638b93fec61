//! Questions that a tool asks a client through the broker.

use std::time::Duration;

use ferromq_net::peer::CallError;
use ferromq_protocol::encode;
use ferromq_protocol::header::{Head, OwnedFrame};
use ferromq_protocol::request::GetConsumerRunningInfo;
use ferromq_protocol::version;

use crate::requests::{Caller, header};
use crate::response::{Answer, RequestError};

/// How long a client may take (`Broker2Client`).
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// Clients below do not know the question.
const V3_1_8_SNAPSHOT: i32 = 62;

/// GET_CONSUMER_RUNNING_INFO (307): the client's answer, as it is.
pub(crate) async fn running_info(caller: Caller, frame: OwnedFrame) -> Result<Answer, RequestError> {
    let asked: GetConsumerRunningInfo<'_> = header(&frame)?;
    let (group, client_id) = (asked.consumer_group, asked.client_id);
    let not_online = || RequestError::Failed(format!("The Consumer <{group}> <{client_id}> not online"));
    let member = caller.broker.clients.find_member(group, client_id).ok_or_else(not_online)?;
    if member.client.version < V3_1_8_SNAPSHOT {
        let version = version::describe(member.client.version);
        return Err(RequestError::Failed(format!(
            "The Consumer <{client_id}> Version <{version}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT"
        )));
    }
    let peer = caller.broker.peer(member.connection).ok_or_else(not_online)?;
    let reply = peer
        .call(CLIENT_PATIENCE, |out, encoding, opaque| {
            let mut writer = encode::begin(out, encoding, Head::request(frame.code, opaque), None);
            for (name, value) in frame.fields() {
                writer.text(name, value);
            }
            // It came in one frame and goes on in one of the same length.
            let _ = writer.finish_with(&frame.body);
        })
        .await;
    let reply = reply.map_err(|error| match error {
        CallError::Timeout(_) => {
            RequestError::ClientTimeout(format!("consumer <{group}> <{client_id}> Timeout: {error}"))
        }
        other => RequestError::Failed(format!("invoke consumer <{group}> <{client_id}> Exception: {other}")),
    })?;
    Ok(Answer {
        code: reply.code,
        remark: reply.remark.map(Into::into),
        fields: Vec::new(),
        body: reply.body.to_vec(),
    })
}
