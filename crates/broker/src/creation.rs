//! Topics and groups that come into being because somebody uses them.
//!
//! A request that lacks one is set aside, what it lacks is created and saved, and the request is looked at again, once.

use std::sync::Arc;

use crate::broker::Broker;
use crate::groups;
use crate::metadata::{Change, PersistError};
use crate::names;
use crate::topics::{self, Topic};

/// What a request needs before it can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The topic of a send, to be created by the client's template.
    TopicOfSend {
        /// The topic.
        topic: Box<str>,
        /// The topic whose settings it takes.
        template: Box<str>,
        /// Queues the client wants.
        queues: i32,
        /// The client is in unit mode.
        unit_mode: bool,
    },
    /// A group, with Java's defaults.
    Group(Box<str>),
    /// The retry topic of a group that sent a heartbeat, also when only its order differs.
    RetryTopic {
        /// The group.
        group: Box<str>,
        /// The group reads an ordered topic.
        ordered: bool,
        /// The client is in unit mode.
        unit_mode: bool,
    },
}

/// Creates what is missing and allowed; done when it is saved and in force.
pub(crate) async fn create(broker: &Broker, missing: Vec<Missing>) -> Result<(), PersistError> {
    let mut created = Vec::new();
    let saved = {
        let mut edit = broker.metadata.edit();
        for missing in missing {
            match missing {
                Missing::TopicOfSend { topic, template, queues, unit_mode } => {
                    if edit.topic(&topic).is_some() {
                        continue;
                    }
                    let template = edit.topic(&template);
                    let config = broker.config();
                    let by_template = topics::created_by_send(
                        &topic,
                        template.as_deref(),
                        config.live.create_topics,
                        queues,
                        unit_mode,
                    );
                    let by_group = || {
                        names::is_retry(&topic).then(|| Topic {
                            sys_flag: topics::flag_of_unit(unit_mode, true),
                            ..Topic::new(&topic, 1)
                        })
                    };
                    if let Some(topic) = by_template.or_else(by_group) {
                        let topic = Arc::new(topic);
                        tracing::info!(topic = %topic.name, queues = topic.write_queues, "topic created by a send");
                        edit.push(Change::PutTopic(Arc::clone(&topic)));
                        created.push(topic);
                    }
                }
                Missing::Group(group) => {
                    if edit.group(&group).is_none() {
                        tracing::info!(%group, "group created by being used");
                        edit.push(Change::PutGroup(Arc::new(groups::with_defaults(&group))));
                    }
                }
                Missing::RetryTopic { group, ordered, unit_mode } => {
                    let Some(settings) = edit.group(&group) else { continue };
                    let name = names::retry_topic(&group);
                    let topic = match edit.topic(&name) {
                        Some(topic) if topic.order == ordered => continue,
                        Some(topic) => Topic { order: ordered, ..(*topic).clone() },
                        None => Topic {
                            order: ordered,
                            sys_flag: topics::flag_of_unit(unit_mode, true),
                            ..Topic::new(&name, settings.retry_queue_nums)
                        },
                    };
                    let topic = Arc::new(topic);
                    edit.push(Change::PutTopic(Arc::clone(&topic)));
                    created.push(topic);
                }
            }
        }
        edit.commit()
    };
    saved.await?;
    broker.announcements.announce(created).await;
    Ok(())
}
