//! Calls to one broker by its address, as tools make them: topics, groups, statistics, configuration,
//! single messages.

use ferromq_protocol::body::{
    ConsumeStats, ConsumerConnection, ConsumerList, GroupList, KvTable, SubscriptionGroupConfig, TopicConfig,
    TopicConfigTable, TopicStatsTable,
};
use ferromq_protocol::encode::HeaderWriter;
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::msg_id::OffsetMsgId;
use ferromq_protocol::request::{
    CreateTopic, DeleteSubscriptionGroup, DeleteTopic, DeleteTopicFromNamesrv, GetConsumeStats,
    GetConsumerConnectionList, GetConsumerListByGroup, GetTopicConfig, GetTopicStatsInfo, QueryMessage,
    QueryTopicConsumeByWho, ViewMessage,
};
use ferromq_protocol::types::TimestampMs;
use ferromq_protocol::{code, json, properties_text, response};
use serde::de::DeserializeOwned;

use crate::client::{Client, malformed, read_body};
use crate::error::{CallError, RouteError};
use crate::message::ReceivedMessage;
use crate::pull::{BadMessage, messages_in};

/// Admin calls.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// Messages found by a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMessages {
    pub messages: Vec<ReceivedMessage>,
    /// How far the broker's index reaches; what is newer is not found yet.
    pub index_last_update: TimestampMs,
}

impl Client {
    pub fn admin(&self) -> Admin {
        Admin { client: self.clone() }
    }
}

impl Admin {
    /// Creates a topic, or changes it to what `config` says. `topic_name`, queue numbers, permission,
    /// order and attributes count.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn create_topic(&self, broker: &str, config: &TopicConfig) -> Result<(), CallError> {
        let attributes: Vec<String> =
            config.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let attributes = attributes.join(",");
        let header = CreateTopic {
            topic: &config.topic_name,
            default_topic: "TBW102",
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            perm: config.perm,
            topic_filter_type: Some(config.topic_filter_type.name()),
            topic_sys_flag: Some(config.topic_sys_flag),
            order: config.order,
            attributes: (!attributes.is_empty()).then_some(attributes.as_str()),
            force: false,
        };
        self.call(broker, code::request::UPDATE_AND_CREATE_TOPIC, b"", |out| out.header(&header)).await?;
        Ok(())
    }

    /// Deletes a topic at one broker.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn delete_topic(&self, broker: &str, topic: &str) -> Result<(), CallError> {
        let header = DeleteTopic { topic };
        self.call(broker, code::request::DELETE_TOPIC_IN_BROKER, b"", |out| out.header(&header)).await?;
        Ok(())
    }

    /// Makes one name server forget a topic.
    ///
    /// # Errors
    /// When the name server refuses it or does not answer.
    pub async fn delete_topic_route(&self, name_server: &str, topic: &str) -> Result<(), CallError> {
        let header = DeleteTopicFromNamesrv { topic, cluster_name: None };
        self.call(name_server, code::request::DELETE_TOPIC_IN_NAMESRV, b"", |out| out.header(&header))
            .await?;
        Ok(())
    }

    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn topic_config(&self, broker: &str, topic: &str) -> Result<TopicConfig, CallError> {
        let header = GetTopicConfig { topic, logical: None };
        self.read(broker, code::request::GET_TOPIC_CONFIG, |out| out.header(&header)).await
    }

    /// The settings of all topics of a broker.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn all_topic_configs(&self, broker: &str) -> Result<TopicConfigTable, CallError> {
        self.read(broker, code::request::GET_ALL_TOPIC_CONFIG, |_| {}).await
    }

    /// Smallest and largest offset of every queue of a topic.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn topic_stats(&self, broker: &str, topic: &str) -> Result<TopicStatsTable, CallError> {
        let header = GetTopicStatsInfo { topic };
        self.read(broker, code::request::GET_TOPIC_STATS_INFO, |out| out.header(&header)).await
    }

    /// How far a group has read, in one topic or in all it reads.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn consume_stats(
        &self,
        broker: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, CallError> {
        let header = GetConsumeStats { consumer_group: group, topic, topic_list: None };
        self.read(broker, code::request::GET_CONSUME_STATS, |out| out.header(&header)).await
    }

    /// The consumers of a group that are connected to a broker.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer; also when there are none.
    pub async fn consumer_connections(
        &self,
        broker: &str,
        group: &str,
    ) -> Result<ConsumerConnection, CallError> {
        let header = GetConsumerConnectionList { consumer_group: group };
        self.read(broker, code::request::GET_CONSUMER_CONNECTION_LIST, |out| out.header(&header)).await
    }

    /// The client ids of a group.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer; also when there are none.
    pub async fn consumer_ids(&self, broker: &str, group: &str) -> Result<Vec<String>, CallError> {
        let header = GetConsumerListByGroup { consumer_group: group };
        let code = code::request::GET_CONSUMER_LIST_BY_GROUP;
        let list: ConsumerList = self.read(broker, code, |out| out.header(&header)).await?;
        Ok(list.consumer_id_list)
    }

    /// The groups that read a topic.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn groups_of_topic(&self, broker: &str, topic: &str) -> Result<Vec<String>, CallError> {
        let header = QueryTopicConsumeByWho { topic };
        let code = code::request::QUERY_TOPIC_CONSUME_BY_WHO;
        let list: GroupList = self.read(broker, code, |out| out.header(&header)).await?;
        Ok(list.group_list)
    }

    /// Creates a subscription group, or changes it.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn create_group(
        &self,
        broker: &str,
        config: &SubscriptionGroupConfig,
    ) -> Result<(), CallError> {
        let code = code::request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        self.call(broker, code, &json::to_vec(config), |_| {}).await?;
        Ok(())
    }

    /// Deletes a subscription group, with its offsets if wanted.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn delete_group(
        &self,
        broker: &str,
        group: &str,
        offsets: GroupOffsets,
    ) -> Result<(), CallError> {
        let clean_offset = offsets == GroupOffsets::Delete;
        let header = DeleteSubscriptionGroup { group_name: group, clean_offset };
        self.call(broker, code::request::DELETE_SUBSCRIPTIONGROUP, b"", |out| out.header(&header)).await?;
        Ok(())
    }

    /// The configuration in force, by Java's names.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn broker_config(&self, broker: &str) -> Result<Vec<properties_text::Entry>, CallError> {
        let code = code::request::GET_BROKER_CONFIG;
        let answer = self.call(broker, code, b"", |_| {}).await?;
        properties_text::read(&answer.body).map_err(|error| malformed(broker, code, error))
    }

    /// Changes configuration values that can be changed while the broker runs.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn update_broker_config(&self, broker: &str, values: &[(&str, &str)]) -> Result<(), CallError> {
        let mut text = String::new();
        for (key, value) in values {
            properties_text::write_plain(&mut text, key, value);
        }
        self.call(broker, code::request::UPDATE_BROKER_CONFIG, text.as_bytes(), |_| {}).await?;
        Ok(())
    }

    /// What a broker says of itself, by Java's names.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn runtime_info(&self, broker: &str) -> Result<KvTable, CallError> {
        self.read(broker, code::request::GET_BROKER_RUNTIME_INFO, |_| {}).await
    }

    /// The message with this offset id, from the broker that stored it.
    ///
    /// # Errors
    /// When that broker has no such message or does not answer.
    pub async fn view_message(&self, id: &OffsetMsgId) -> Result<ReceivedMessage, CallError> {
        let code = code::request::VIEW_MESSAGE_BY_ID;
        let address = id.store_host.socket_addr().map(|address| address.to_string());
        let address = address.ok_or_else(|| malformed("message id", code, "its port is impossible"))?;
        let header = ViewMessage { topic: None, offset: id.physical };
        let answer = self.call(&address, code, b"", |out| out.header(&header)).await?;
        let mut messages = read_messages(&address, code, &answer)?;
        messages.pop().ok_or_else(|| malformed(&address, code, "there is no message in it"))
    }

    /// Messages of a topic with a key, stored in a span of time.
    ///
    /// # Errors
    /// When the broker refuses it, finds nothing or does not answer.
    pub async fn query_by_key(
        &self,
        broker: &str,
        topic: &str,
        key: &str,
        max_messages: i32,
        span: std::ops::RangeInclusive<TimestampMs>,
    ) -> Result<FoundMessages, CallError> {
        let header = QueryMessage {
            topic,
            key,
            max_num: max_messages,
            begin_timestamp: *span.start(),
            end_timestamp: *span.end(),
            index_type: None,
            last_key: None,
            unique_key_query: false,
        };
        let code = code::request::QUERY_MESSAGE;
        let answer = self.call(broker, code, b"", |out| out.header(&header)).await?;
        let messages = read_messages(broker, code, &answer)?;
        let header: response::QueryMessage = answer.read().map_err(|error| malformed(broker, code, error))?;
        Ok(FoundMessages { messages, index_last_update: header.index_last_update_timestamp })
    }

    /// The name servers that are asked, the one that answered last first.
    pub fn name_servers(&self) -> Vec<String> {
        self.client.shared.name_servers.in_turn()
    }

    /// The leaders of a topic's brokers.
    ///
    /// # Errors
    /// When nobody serves the topic.
    pub async fn leaders_of_topic(&self, topic: &str) -> Result<Vec<String>, RouteError> {
        let route = self.client.route(topic).await?;
        let leaders = route.data.broker_datas.iter().filter_map(|broker| broker.broker_addrs.get(&0));
        Ok(leaders.cloned().collect())
    }

    async fn call(
        &self,
        address: &str,
        code: i32,
        body: &[u8],
        fields: impl Fn(&mut HeaderWriter<'_>),
    ) -> Result<OwnedFrame, CallError> {
        self.client.shared.call_ok(address, code, body, fields).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        address: &str,
        code: i32,
        fields: impl Fn(&mut HeaderWriter<'_>),
    ) -> Result<T, CallError> {
        let answer = self.call(address, code, b"", fields).await?;
        read_body(address, code, &answer.body)
    }
}

/// What becomes of the offsets of a group that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupOffsets {
    Keep,
    Delete,
}

fn read_messages(address: &str, code: i32, answer: &OwnedFrame) -> Result<Vec<ReceivedMessage>, CallError> {
    // Brokers do not say their name here.
    let broker_name = "".into();
    let messages = messages_in(&answer.body, &broker_name).map(|message| {
        message.map_err(|error| match error {
            BadMessage::Record(reason) => malformed(address, code, reason),
            BadMessage::Body { source, .. } => malformed(address, code, source),
        })
    });
    messages.collect()
}
