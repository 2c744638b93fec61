//! Settings of subscription groups: bodies of 200, 201, 352 and 353, `subscriptionGroup.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, names};

names! {
    /// Which retry policy of a group applies.
    pub enum GroupRetryPolicyType or Customized {
        /// Growing by a factor.
        Exponential = "EXPONENTIAL",
        /// A list of delays.
        Customized = "CUSTOMIZED",
    }
}

/// Settings of a group (`SubscriptionGroupConfig`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupConfig {
    /// In requests the keys carry a sign: `+key` to set, `-key` to delete.
    pub attributes: BTreeMap<String, String>,
    /// Broker to read from.
    pub broker_id: i64,
    /// Members may consume by broadcast.
    pub consume_broadcast_enable: bool,
    /// Members may consume.
    pub consume_enable: bool,
    /// Unused.
    pub consume_from_min_enable: bool,
    /// Pops are in order.
    pub consume_message_orderly: bool,
    /// Minutes until a message counts as not consumed.
    pub consume_timeout_minute: i32,
    /// The group.
    pub group_name: String,
    /// Delays between attempts.
    pub group_retry_policy: GroupRetryPolicy,
    /// System flag.
    pub group_sys_flag: i32,
    /// Members are told when others come or go.
    pub notify_consumer_ids_changed_enable: bool,
    /// Attempts before a message becomes a dead letter.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Static subscriptions.
    pub subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
    /// Broker to read from when far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// Delays between attempts (`GroupRetryPolicy`). Without the policy its type names, Java's default list applies.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupRetryPolicy {
    /// For [`GroupRetryPolicyType::Customized`].
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// For [`GroupRetryPolicyType::Exponential`].
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Which of the two.
    #[serde(rename = "type")]
    pub kind: GroupRetryPolicyType,
}

/// A list of delays (`CustomizedRetryPolicy`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetryPolicy {
    /// Milliseconds.
    pub next: Vec<i64>,
}

impl Default for CustomizedRetryPolicy {
    fn default() -> Self {
        let minutes = (1..=10).map(|minute| minute * 60_000);
        let seconds = [1_000, 5_000, 10_000, 30_000].into_iter();
        let rest = [1_200_000, 1_800_000, 3_600_000, 7_200_000];
        Self { next: seconds.chain(minutes).chain(rest).collect() }
    }
}

/// Delays that grow by a factor (`ExponentialRetryPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetryPolicy {
    /// First delay, milliseconds.
    pub initial: i64,
    /// Longest delay, milliseconds.
    pub max: i64,
    /// Factor from one delay to the next.
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// A static subscription (`SimpleSubscriptionData`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SimpleSubscriptionData {
    /// The expression.
    pub expression: String,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
    /// Version.
    pub version: i64,
}

/// `subscriptionGroup.json` and answer 201 (`SubscriptionGroupWrapper`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Group to topic to bits of what is forbidden.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// By group.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Answer 353 (`GroupForbidden`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupForbidden {
    /// The group.
    pub group: String,
    /// Whether it may read the topic.
    pub readable: Option<bool>,
    /// The topic.
    pub topic: String,
}

/// Answer 345 (`QuerySubscriptionResponseBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionAnswer {
    /// The group.
    pub group: String,
    /// Absent if the group does not read the topic.
    pub subscription_data: Option<super::SubscriptionData>,
    /// The topic.
    pub topic: Option<String>,
}
