//! Who serves which queues: answers 105, 106 and 901.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::Value;

/// Answer to GET_ROUTEINFO_BY_TOPIC (`TopicRouteData`). New clients get it in [`crate::json::Form::Strict`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRouteData {
    /// The brokers.
    pub broker_datas: Vec<BrokerData>,
    /// Obsolete; always empty.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker-a:4;broker-b:4` for ordered topics.
    pub order_topic_conf: Option<String>,
    /// Queues per broker.
    pub queue_datas: Vec<QueueData>,
    /// Static topics only.
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, Value>>,
}

/// One replica group (`BrokerData`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// Broker id to `ip:port`; 0 leads.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the group.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
    /// A follower may stand in for the leader.
    pub enable_acting_master: bool,
    /// Zone of the brokers.
    pub zone_name: Option<String>,
}

/// Queues of a topic on one replica group (`QueueData`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// Name of the group.
    pub broker_name: String,
    /// Bits of [`super::perm`].
    pub perm: i32,
    /// Queues to read from.
    pub read_queue_nums: i32,
    /// The topic's system flag.
    pub topic_sys_flag: i32,
    /// Queues to send to.
    pub write_queue_nums: i32,
}

/// Answer to GET_BROKER_CLUSTER_INFO (`ClusterInfo`); integer keys are bare for every client.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    /// By broker name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Cluster to broker names.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

/// Answer to GET_BROKER_MEMBER_GROUP (`GetBrokerMemberGroupResponseBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroupAnswer {
    /// Absent if the group is unknown.
    pub broker_member_group: Option<BrokerMemberGroup>,
}

/// Addresses of a replica group (`BrokerMemberGroup`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroup {
    /// Broker id to `ip:port`.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the group.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
}
