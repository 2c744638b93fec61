//! Topics.

use crate::header::declare::headers;

headers! {
    /// UPDATE_AND_CREATE_TOPIC (17), UPDATE_AND_CREATE_STATIC_TOPIC (513).
    pub struct CreateTopic<'a>: "CreateTopicRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// `TBW102`; not looked at.
        default_topic: &'a str = "defaultTopic" or (""),
        /// Queues to read from.
        read_queue_nums: i32 = "readQueueNums" required,
        /// Queues to send to.
        write_queue_nums: i32 = "writeQueueNums" required,
        /// 4 read, 2 write, 1 inherit.
        perm: i32 = "perm" required,
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: Option<&'a str> = "topicFilterType" or (None),
        /// System flag.
        topic_sys_flag: Option<i32> = "topicSysFlag" or (None),
        /// Ordered topic.
        order: bool = "order" or (false),
        /// `+key=value` and `-key`, separated by commas.
        attributes: Option<&'a str> = "attributes" or (None),
        /// Write even if nothing changes.
        force: bool = "force" or (false),
    }

    /// DELETE_TOPIC_IN_BROKER (215).
    pub struct DeleteTopic<'a>: "DeleteTopicRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
    }

    /// DELETE_TOPIC_IN_NAMESRV (216).
    pub struct DeleteTopicFromNamesrv<'a>: "DeleteTopicFromNamesrvRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Only in this cluster.
        cluster_name: Option<&'a str> = "clusterName" or (None),
    }

    /// REGISTER_TOPIC_IN_NAMESRV (217).
    pub struct RegisterTopic<'a>: "RegisterTopicRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
    }

    /// GET_TOPIC_CONFIG (351).
    pub struct GetTopicConfig<'a>: "GetTopicConfigRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Logical queue.
        logical: Option<bool> = "lo" or (None),
    }

    /// GET_ALL_TOPIC_CONFIG (21). Without any field everything is wanted at once.
    pub struct GetAllTopicConfig<'a>: "GetAllTopicConfigRequestHeader" {
        /// First topic of the page.
        topic_seq: Option<i32> = "topicSeq" or (None),
        /// Version the caller had at page 0, JSON.
        data_version: Option<&'a str> = "dataVersion" or (None),
        /// Topics per page.
        max_topic_num: Option<i32> = "maxTopicNum" or (None),
    }

    /// GET_TOPIC_STATS_INFO (202).
    pub struct GetTopicStatsInfo<'a>: "GetTopicStatsInfoRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
    }

    /// QUERY_TOPIC_CONSUME_BY_WHO (300).
    pub struct QueryTopicConsumeByWho<'a>: "QueryTopicConsumeByWhoRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
    }

    /// GET_TOPICS_BY_CLUSTER (224).
    pub struct GetTopicsByCluster<'a>: "GetTopicsByClusterRequestHeader" {
        /// Cluster.
        cluster: &'a str = "cluster" required,
    }
}
