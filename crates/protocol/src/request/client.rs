//! Clients and consumer groups as the broker knows them; requests that it sends or relays to clients.

use crate::header::declare::headers;

headers! {
    /// UNREGISTER_CLIENT (35).
    pub struct UnregisterClient<'a>: "UnregisterClientRequestHeader" {
        /// Client id.
        client_id: &'a str = "clientID" required,
        /// Group to leave.
        producer_group: Option<&'a str> = "producerGroup" or (None),
        /// Group to leave.
        consumer_group: Option<&'a str> = "consumerGroup" or (None),
    }

    /// GET_CONSUMER_LIST_BY_GROUP (38).
    pub struct GetConsumerListByGroup<'a>: "GetConsumerListByGroupRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
    }

    /// NOTIFY_CONSUMER_IDS_CHANGED (40), from broker to consumer.
    pub struct NotifyConsumerIdsChanged<'a>: "NotifyConsumerIdsChangedRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
    }

    /// GET_CONSUMER_CONNECTION_LIST (203).
    pub struct GetConsumerConnectionList<'a>: "GetConsumerConnectionListRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
    }

    /// GET_PRODUCER_CONNECTION_LIST (204).
    pub struct GetProducerConnectionList<'a>: "GetProducerConnectionListRequestHeader" {
        /// Group of the producers.
        producer_group: &'a str = "producerGroup" required,
    }

    /// GET_CONSUMER_RUNNING_INFO (307).
    pub struct GetConsumerRunningInfo<'a>: "GetConsumerRunningInfoRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Client asked.
        client_id: &'a str = "clientId" required,
        /// With a thread dump.
        jstack_enable: bool = "jstackEnable" or (false),
    }

    /// CONSUME_MESSAGE_DIRECTLY (309).
    pub struct ConsumeMessageDirectly<'a>: "ConsumeMessageDirectlyResultRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Client that is to consume.
        client_id: Option<&'a str> = "clientId" or (None),
        /// offsetMsgId of the message.
        msg_id: Option<&'a str> = "msgId" or (None),
        /// Broker that holds it.
        broker_name: Option<&'a str> = "brokerName" or (None),
        /// Topic.
        topic: Option<&'a str> = "topic" or (None),
        /// The topic's system flag.
        topic_sys_flag: Option<i32> = "topicSysFlag" or (None),
        /// The group's system flag.
        group_sys_flag: Option<i32> = "groupSysFlag" or (None),
    }

    /// GET_CONSUMER_STATUS_FROM_CLIENT (221), INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
    pub struct GetConsumerStatus<'a>: "GetConsumerStatusRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Consumer group.
        group: &'a str = "group" required,
        /// A client id, in spite of its name.
        client_addr: Option<&'a str> = "clientAddr" or (None),
    }
}
