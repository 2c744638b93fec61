//! The broker's own configuration: codes 25 and 26.

use ferromq_config::settings::UpdateError;
use ferromq_net::peer::Peer;
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;

use crate::broker::Broker;
use crate::requests::Caller;
use crate::response::{Answer, RequestError};
use crate::server::retention_rules;

/// GET_BROKER_CONFIG (26): every key with its value in force, as properties.
pub(crate) fn get(broker: &Broker, _peer: &Peer, _frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let version = json::to_vec(&*broker.config_version.lock());
    let version = String::from_utf8_lossy(&version).into_owned();
    let text = broker.config().settings.report();
    Ok(Answer::with_body(text.into_bytes()).and_field("version", version))
}

/// UPDATE_BROKER_CONFIG (25): saved to the configuration file; what can act at once does.
pub(crate) async fn update(caller: Caller, frame: OwnedFrame) -> Result<Answer, RequestError> {
    let broker = caller.broker.clone();
    let updated = tokio::task::spawn_blocking(move || save(&broker, &frame.body)).await;
    let acting = updated.map_err(|panic| RequestError::Failed(panic.to_string()))??;
    tracing::info!(?acting, from = %caller.peer.remote(), "configuration updated");
    if acting.contains(&"brokerPermission") {
        // Routes show the permission, and name servers look at what has a new version only.
        let saved = {
            let mut edit = caller.broker.metadata.edit();
            edit.push(crate::metadata::Change::TouchTopics);
            edit.commit()
        };
        saved.await?;
    }
    if acting.contains(&"brokerPermission") || acting.contains(&"namesrvAddr") {
        caller.broker.announcements.announce_all();
    }
    Ok(Answer::success())
}

/// Returns the keys that act at once.
fn save(broker: &Broker, body: &[u8]) -> Result<Vec<&'static str>, RequestError> {
    // One update at a time: each builds on the one before.
    let mut version = broker.config_version.lock();
    let (next, changes) = broker.config().updated(body).map_err(|error| match error {
        UpdateError::BlackListed => RequestError::Forbidden(error.to_string()),
        other => RequestError::Failed(other.to_string()),
    })?;
    next.settings
        .write_file(&next.file)
        .map_err(|error| RequestError::Failed(format!("cannot save {}: {error}", next.file.display())))?;
    for key in &changes.unknown {
        tracing::warn!(key, "unknown key in an update of the configuration");
    }
    broker.store.set_skip_corrupt_records(next.live.reads.skip_corrupt);
    broker.store.set_max_message_size(next.live.max_body_bytes);
    broker.store.set_retention(retention_rules(&next.live.retention));
    broker.replace_config(next);
    *version = version.next(broker.now().0);
    Ok(changes.acting)
}
