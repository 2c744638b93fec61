//! Subscription groups and their statistics.

use crate::header::declare::headers;

headers! {
    /// GET_SUBSCRIPTIONGROUP_CONFIG (352).
    pub struct GetSubscriptionGroupConfig<'a>: "GetSubscriptionGroupConfigRequestHeader" {
        /// Group.
        group: &'a str = "group" required,
    }

    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201). Without any field everything is wanted at once.
    pub struct GetAllSubscriptionGroup<'a>: "GetAllSubscriptionGroupRequestHeader" {
        /// First group of the page.
        group_seq: Option<i32> = "groupSeq" or (None),
        /// Version the caller had at page 0, JSON.
        data_version: Option<&'a str> = "dataVersion" or (None),
        /// Groups per page.
        max_group_num: Option<i32> = "maxGroupNum" or (None),
    }

    /// DELETE_SUBSCRIPTIONGROUP (207).
    pub struct DeleteSubscriptionGroup<'a>: "DeleteSubscriptionGroupRequestHeader" {
        /// Group.
        group_name: &'a str = "groupName" required,
        /// Forget its offsets too.
        clean_offset: bool = "cleanOffset" or (false),
    }

    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353).
    pub struct UpdateGroupForbidden<'a>: "UpdateGroupForbiddenRequestHeader" {
        /// Group.
        group: &'a str = "group" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// Absent: only ask.
        readable: Option<bool> = "readable" or (None),
    }

    /// GET_CONSUME_STATS (208).
    pub struct GetConsumeStats<'a>: "GetConsumeStatsRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Only this topic.
        topic: Option<&'a str> = "topic" or (None),
        /// Only these topics, separated by semicolons.
        topic_list: Option<&'a str> = "topicList" or (None),
    }

    /// GET_BROKER_CONSUME_STATS (317).
    pub struct GetConsumeStatsInBroker: "GetConsumeStatsInBrokerHeader" {
        /// Ordered groups only.
        is_order: bool = "isOrder" or (false),
    }

    /// QUERY_TOPICS_BY_CONSUMER (343).
    pub struct QueryTopicsByConsumer<'a>: "QueryTopicsByConsumerRequestHeader" {
        /// Group.
        group: &'a str = "group" required,
    }

    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    pub struct QuerySubscriptionByConsumer<'a>: "QuerySubscriptionByConsumerRequestHeader" {
        /// Group.
        group: &'a str = "group" required,
        /// Topic.
        topic: Option<&'a str> = "topic" or (None),
    }
}
