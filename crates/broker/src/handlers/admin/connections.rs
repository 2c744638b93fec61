//! Who is connected: codes 203, 204 and 328.

use ferromq_net::peer::Peer;
use ferromq_protocol::body::{
    Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTableInfo,
};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;
use ferromq_protocol::request::{GetConsumerConnectionList, GetProducerConnectionList};

use crate::broker::Broker;
use crate::clients::Member;
use crate::response::{Answer, RequestError};

/// GET_CONSUMER_CONNECTION_LIST (203). Tools tell "offline" by the code.
pub(crate) fn consumers(
    broker: &Broker,
    _peer: &Peer,
    asked: &GetConsumerConnectionList<'_>,
) -> Result<Answer, RequestError> {
    let group = asked.consumer_group;
    let view = broker
        .clients
        .group(group)
        .ok_or_else(|| RequestError::NotOnline(format!("the consumer group[{group}] not online")))?;
    let subscriptions = view.subscriptions.iter().map(|read| (read.data.topic.clone(), read.data.clone()));
    Ok(Answer::with_body(json::to_vec(&ConsumerConnection {
        connection_set: view.members.iter().map(connection).collect(),
        consume_from_where: view.consume_from_where,
        consume_type: view.consume_type,
        message_model: view.message_model,
        subscription_table: subscriptions.collect(),
    })))
}

/// GET_PRODUCER_CONNECTION_LIST (204).
pub(crate) fn producers(
    broker: &Broker,
    _peer: &Peer,
    asked: &GetProducerConnectionList<'_>,
) -> Result<Answer, RequestError> {
    let group = asked.producer_group;
    let members = broker
        .clients
        .producers(group)
        .ok_or_else(|| RequestError::Failed(format!("the producer group[{group}] not exist")))?;
    let connection_set = members.iter().map(connection).collect();
    Ok(Answer::with_body(json::to_vec(&ProducerConnection { connection_set })))
}

/// GET_ALL_PRODUCER_INFO (328).
pub(crate) fn all_producers(
    broker: &Broker,
    _peer: &Peer,
    _frame: &OwnedFrame,
) -> Result<Answer, RequestError> {
    let (now, elapsed) = (broker.now().0, broker.elapsed());
    let info = |member: &Member| {
        let silent_ms = elapsed.saturating_sub(member.heard).as_millis();
        ProducerInfo {
            client_id: member.client.id.to_string(),
            language: member.client.language.name().into(),
            last_update_timestamp: now - i64::try_from(silent_ms).unwrap_or(0),
            remote_ip: format!("/{}", member.client.address),
            version: member.client.version,
        }
    };
    let groups = broker.clients.all_producers().into_iter();
    let data = groups.map(|(group, members)| (group.into(), members.iter().map(info).collect())).collect();
    Ok(Answer::with_body(json::to_vec(&ProducerTableInfo { data })))
}

fn connection(member: &Member) -> Connection {
    Connection {
        client_addr: member.client.address.to_string(),
        client_id: member.client.id.to_string(),
        language: member.client.language.name().into(),
        version: member.client.version,
    }
}
