//! State of replication: answer 907.

use serde::{Deserialize, Serialize};

/// Answer to GET_BROKER_HA_STATUS (`HARuntimeInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaRuntimeInfo {
    /// Of a follower.
    pub ha_client_runtime_info: HaClientRuntimeInfo,
    /// Of a leader: its followers.
    pub ha_connection_info: Vec<HaConnectionRuntimeInfo>,
    /// Followers in sync.
    pub in_sync_slave_nums: i32,
    /// This broker leads.
    pub master: bool,
    /// End of the leader's log.
    pub master_commit_log_max_offset: i64,
}

/// A follower's view (`HAClientRuntimeInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaClientRuntimeInfo {
    /// Last read from the leader, milliseconds since the epoch.
    pub last_read_timestamp: i64,
    /// Last write to the leader.
    pub last_write_timestamp: i64,
    /// Address of the leader.
    pub master_addr: Option<String>,
    /// The leader's durable position.
    pub master_flush_offset: i64,
    /// End of the follower's log.
    pub max_offset: i64,
    /// Bytes per second.
    pub transferred_byte_in_second: i64,
}

/// A leader's view of one follower (`HAConnectionRuntimeInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaConnectionRuntimeInfo {
    /// Address of the follower.
    pub addr: String,
    /// Bytes it is behind.
    pub diff: i64,
    /// Whether it counts as in sync.
    pub in_sync: bool,
    /// Position it acknowledged.
    pub slave_ack_offset: i64,
    /// Position it began at.
    pub transfer_from_where: i64,
    /// Bytes per second.
    pub transferred_byte_in_second: i64,
}
