//! What the name server is asked and told.

use crate::header::declare::headers;
use crate::types::{BrokerId, PhysicalOffset};

headers! {
    /// GET_ROUTEINFO_BY_TOPIC (105).
    pub struct GetRouteInfo<'a>: "GetRouteInfoRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// The client reads only proper JSON.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly" or (None),
    }

    /// REGISTER_BROKER (103).
    pub struct RegisterBroker<'a>: "RegisterBrokerRequestHeader" {
        /// Name of the replica group.
        broker_name: &'a str = "brokerName" required,
        /// `ip:port`.
        broker_addr: &'a str = "brokerAddr" required,
        /// Cluster.
        cluster_name: &'a str = "clusterName" required,
        /// Where followers connect, `ip:port`.
        ha_server_addr: &'a str = "haServerAddr" or (""),
        /// 0 leads.
        broker_id: BrokerId = "brokerId" required,
        /// When the broker counts as gone.
        heartbeat_timeout_ms: Option<i64> = "heartbeatTimeoutMillis" or (None),
        /// A follower may stand in.
        enable_acting_master: Option<bool> = "enableActingMaster" or (None),
        /// Said of the body, not always truly.
        compressed: bool = "compressed" or (false),
        /// CRC-32 of the body, 31 bits; 0: unchecked.
        body_crc32: i32 = "bodyCrc32" or (0),
    }

    /// UNREGISTER_BROKER (104).
    pub struct UnregisterBroker<'a>: "UnRegisterBrokerRequestHeader" {
        /// Name of the replica group.
        broker_name: &'a str = "brokerName" required,
        /// `ip:port`.
        broker_addr: &'a str = "brokerAddr" required,
        /// Cluster.
        cluster_name: &'a str = "clusterName" required,
        /// 0 leads.
        broker_id: BrokerId = "brokerId" required,
    }

    /// QUERY_DATA_VERSION (322).
    pub struct QueryDataVersion<'a>: "QueryDataVersionRequestHeader" {
        /// Name of the replica group.
        broker_name: &'a str = "brokerName" required,
        /// `ip:port`.
        broker_addr: &'a str = "brokerAddr" required,
        /// Cluster.
        cluster_name: &'a str = "clusterName" required,
        /// 0 leads.
        broker_id: BrokerId = "brokerId" required,
    }

    /// BROKER_HEARTBEAT (904). All but the names concerns controllers.
    pub struct BrokerHeartbeat<'a>: "BrokerHeartbeatRequestHeader" {
        /// Cluster.
        cluster_name: &'a str = "clusterName" required,
        /// `ip:port`.
        broker_addr: &'a str = "brokerAddr" required,
        /// Name of the replica group.
        broker_name: &'a str = "brokerName" required,
        /// Id in the group.
        broker_id: Option<BrokerId> = "brokerId" or (None),
        /// Leadership epoch.
        epoch: Option<i32> = "epoch" or (None),
        /// End of the log.
        max_offset: Option<PhysicalOffset> = "maxOffset" or (None),
        /// Confirmed position.
        confirm_offset: Option<PhysicalOffset> = "confirmOffset" or (None),
        /// Misspelt on the wire.
        heartbeat_timeout_ms: Option<i64> = "heartbeatTimeoutMills" or (None),
        /// Priority in an election.
        election_priority: Option<i32> = "electionPriority" or (None),
    }

    /// GET_BROKER_MEMBER_GROUP (901).
    pub struct GetBrokerMemberGroup<'a>: "GetBrokerMemberGroupRequestHeader" {
        /// Cluster.
        cluster_name: &'a str = "clusterName" required,
        /// Name of the replica group.
        broker_name: &'a str = "brokerName" required,
    }

    /// NOTIFY_MIN_BROKER_ID_CHANGE (905), from name server to broker.
    pub struct NotifyMinBrokerIdChange<'a>: "NotifyMinBrokerIdChangeRequestHeader" {
        /// Lowest id left.
        min_broker_id: Option<BrokerId> = "minBrokerId" or (None),
        /// Name of the replica group.
        broker_name: Option<&'a str> = "brokerName" or (None),
        /// Its address.
        min_broker_addr: Option<&'a str> = "minBrokerAddr" or (None),
        /// Who went.
        offline_broker_addr: Option<&'a str> = "offlineBrokerAddr" or (None),
        /// Where followers connect.
        ha_broker_addr: Option<&'a str> = "haBrokerAddr" or (None),
    }

    /// PUT_KV_CONFIG (100). Java answers a missing part with a remark of its own.
    pub struct PutKvConfig<'a>: "PutKVConfigRequestHeader" {
        /// Namespace.
        namespace: Option<&'a str> = "namespace" or (None),
        /// Key.
        key: Option<&'a str> = "key" or (None),
        /// Value.
        value: Option<&'a str> = "value" or (None),
    }

    /// GET_KV_CONFIG (101).
    pub struct GetKvConfig<'a>: "GetKVConfigRequestHeader" {
        /// Namespace.
        namespace: &'a str = "namespace" required,
        /// Key.
        key: &'a str = "key" required,
    }

    /// DELETE_KV_CONFIG (102). Java answers a missing part with a remark of its own.
    pub struct DeleteKvConfig<'a>: "DeleteKVConfigRequestHeader" {
        /// Namespace.
        namespace: Option<&'a str> = "namespace" or (None),
        /// Key.
        key: Option<&'a str> = "key" or (None),
    }

    /// GET_KVLIST_BY_NAMESPACE (219).
    pub struct GetKvListByNamespace<'a>: "GetKVListByNamespaceRequestHeader" {
        /// Namespace.
        namespace: &'a str = "namespace" required,
    }

    /// WIPE_WRITE_PERM_OF_BROKER (205).
    pub struct WipeWritePermOfBroker<'a>: "WipeWritePermOfBrokerRequestHeader" {
        /// Name of the replica group.
        broker_name: &'a str = "brokerName" required,
    }

    /// ADD_WRITE_PERM_OF_BROKER (327).
    pub struct AddWritePermOfBroker<'a>: "AddWritePermOfBrokerRequestHeader" {
        /// Name of the replica group.
        broker_name: &'a str = "brokerName" required,
    }
}
