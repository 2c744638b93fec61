//! The tables of keys: one per process, in one order, each key once.
//!
//! Whoever looks for what a key does, what it defaults to, or whether it is known at all, looks here.

mod auth;
mod broker;
mod namesrv;
mod net;
mod ours;
mod reasons;
mod store;
pub(crate) mod tls;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::host::Host;
use crate::key::Key;

/// All keys that one process knows.
#[derive(Debug)]
pub struct Table {
    keys: Vec<Row>,
    by_name: HashMap<&'static str, usize>,
}

/// A key and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) key: &'static Key,
    /// Java reports its value even if nobody set it.
    pub(crate) always_reported: bool,
}

impl Table {
    /// Keys of the broker: BrokerConfig, MessageStoreConfig, NettyServerConfig, NettyClientConfig, AuthConfig, TLS, ours.
    pub fn broker() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            Table::new(&[
                (broker::KEYS, true),
                (store::KEYS, true),
                (net::SERVER, true),
                (net::CLIENT, true),
                (auth::KEYS, false),
                (tls::KEYS, false),
                (ours::BROKER, true),
                (ours::SERVER, true),
            ])
        });
        &TABLE
    }

    /// Keys of the name server: NamesrvConfig, NettyServerConfig, TLS, ours.
    pub fn namesrv() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            Table::new(&[
                (namesrv::KEYS, true),
                (namesrv::CONTROLLER, false),
                (net::SERVER, true),
                (tls::KEYS, false),
                (tls::ENABLE, false),
                (ours::SERVER, true),
            ])
        });
        &TABLE
    }

    /// True for keys of listening and TLS, which mean the same in every server of one process.
    pub fn is_of_every_server(name: &str) -> bool {
        [net::SERVER, tls::KEYS, ours::SERVER].into_iter().flatten().any(|key| key.name == name)
    }

    fn new(parts: &[(&'static [Key], bool)]) -> Self {
        let mut table = Self { keys: Vec::new(), by_name: HashMap::new() };
        for &(keys, always_reported) in parts {
            for key in keys {
                let index = table.keys.len();
                table.keys.push(Row { key, always_reported });
                for name in std::iter::once(&key.name).chain(key.aliases) {
                    let before = table.by_name.insert(name, index);
                    assert!(before.is_none(), "key {name} stands twice in the table");
                }
            }
        }
        table
    }

    /// The key with this name or alias.
    pub fn find(&self, name: &str) -> Option<&'static Key> {
        self.index_of(name).map(|index| self.keys[index].key)
    }

    /// Every key, in the order of the tables.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + '_ {
        self.keys.iter().map(|row| row.key)
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.keys
    }

    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

// Defaults that depend on the machine. The thread counts mean nothing here, but Java reports them.

fn host_name(host: &Host) -> String {
    host.name.clone()
}

fn local_address(host: &Host) -> String {
    crate::address::host_text(host.address)
}

fn store_root(host: &Host) -> String {
    host.under_home("store")
}

fn kv_config_path(host: &Host) -> String {
    host.under_home("namesrv/kvConfig.json")
}

fn namesrv_config_path(host: &Host) -> String {
    host.under_home("namesrv/namesrv.properties")
}

fn processors(host: &Host) -> String {
    host.processors.to_string()
}

fn up_to_4(host: &Host) -> String {
    host.processors.min(4).to_string()
}

fn up_to_32(host: &Host) -> String {
    host.processors.min(32).to_string()
}

fn pull_threads(host: &Host) -> String {
    (16 + host.processors * 2).to_string()
}

fn query_threads(host: &Host) -> String {
    (8 + host.processors).to_string()
}

fn end_transaction_threads(host: &Host) -> String {
    (8 + host.processors * 2).max(host.processors.min(4) * 4).to_string()
}
