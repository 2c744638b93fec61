//! The broker itself: statistics and replication.

use crate::header::declare::headers;
use crate::types::PhysicalOffset;

headers! {
    /// VIEW_BROKER_STATS_DATA (315).
    pub struct ViewBrokerStatsData<'a>: "ViewBrokerStatsDataRequestHeader" {
        /// Which statistic.
        stats_name: &'a str = "statsName" required,
        /// Of what: a topic, or `topic@group`.
        stats_key: &'a str = "statsKey" required,
    }

    /// EXCHANGE_BROKER_HA_INFO (906). All absent: a question.
    pub struct ExchangeHaInfo<'a>: "ExchangeHAInfoRequestHeader" {
        /// Where followers connect.
        master_ha_address: Option<&'a str> = "masterHaAddress" or (None),
        /// The leader's durable position.
        master_flush_offset: Option<PhysicalOffset> = "masterFlushOffset" or (None),
        /// The leader's address.
        master_address: Option<&'a str> = "masterAddress" or (None),
    }
}
