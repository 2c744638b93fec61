//! Sections that every server has: where it listens, its limits, TLS.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::{Problem, Settings};
use crate::source::Source;

/// Where a server listens and what it lets one peer and all peers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address to bind; unspecified is every address.
    pub address: IpAddr,
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// A connection without traffic for so long is closed.
    pub idle: Duration,
    /// Connections served at the same time.
    pub max_connections: u64,
    /// Bytes of incomplete requests, all connections together.
    pub max_unread_bytes: u64,
    /// Bytes that wait for a peer that does not read before it is disconnected.
    pub max_unsent_bytes: usize,
    /// The same, all connections together.
    pub max_unsent_bytes_total: u64,
    /// How long clients are told to go away before the end; `None` ends without that.
    pub farewell: Option<Duration>,
    /// Encoding of the headers of requests that this process sends.
    pub own_encoding: HeaderEncoding,
}

/// How headers of own requests are written; answers follow the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Java's names")]
pub enum HeaderEncoding {
    Json,
    RocketMq,
}

impl HeaderEncoding {
    /// As boot lines name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::RocketMq => "ROCKETMQ",
        }
    }
}

/// TLS on listening ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Which connections are served.
    pub mode: TlsMode,
    /// What the server shows; `None` is a self-signed certificate, made when the first client asks.
    pub certificate: Option<KeyPair>,
    /// Whether clients must show a certificate.
    pub client_certificate: Demand,
    /// Certificates that must have signed those of clients; `None` accepts any.
    pub trust: Option<PathBuf>,
    /// Cipher suites, separated by commas; `None` is all that are safe.
    pub ciphers: Option<String>,
    /// Versions of TLS, separated by commas; `None` is all that are safe.
    pub protocols: Option<String>,
}

/// TLS on connections that this process opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingTls {
    /// What is shown to the other side.
    pub certificate: Option<KeyPair>,
    /// Certificates that must have signed that of the other side; `None` accepts any.
    pub trust: Option<PathBuf>,
    /// Cipher suites, separated by commas; `None` is all that are safe.
    pub ciphers: Option<String>,
    /// Versions of TLS, separated by commas; `None` is all that are safe.
    pub protocols: Option<String>,
}

/// PEM files; a change of both is picked up while running.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Certificate chain.
    pub chain: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Its password.
    pub password: Option<String>,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("chain", &self.chain).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Which connections a port serves; it tells TLS by the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain ones.
    Disabled,
    /// Both.
    Permissive,
    /// Encrypted ones.
    Enforcing,
}

/// Whether something must be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Java's names")]
pub enum Demand {
    None,
    Optional,
    Require,
}

impl Listen {
    pub(crate) fn read(settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let address = resolve(settings.text("bindAddress")).unwrap_or_else(|| {
            problems
                .push(settings.rule("bindAddress", "write an address of this machine, for example 0.0.0.0"));
            IpAddr::from([0, 0, 0, 0])
        });
        Self {
            address,
            port: settings.bounded("listenPort"),
            backlog: settings.bounded("serverSocketBacklog"),
            idle: settings.seconds("serverChannelMaxIdleTimeSeconds"),
            max_connections: settings.bounded("maxConnections"),
            max_unread_bytes: settings.bounded("maxReceivingSize"),
            max_unsent_bytes: settings.bounded("maxUnsentSize"),
            max_unsent_bytes_total: settings.bounded("maxUnsentSizeTotal"),
            farewell: Some(settings.seconds("shutdownWaitTimeSeconds"))
                .filter(|_| settings.flag("enableShutdownGracefully")),
            own_encoding: match settings.text("rocketmq.serialize.type") {
                "ROCKETMQ" => HeaderEncoding::RocketMq,
                _ => HeaderEncoding::Json,
            },
        }
    }
}

impl Tls {
    pub(crate) fn read(settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let mode = match settings.text("tls.server.mode") {
            "disabled" => TlsMode::Disabled,
            "enforcing" => TlsMode::Enforcing,
            _ => TlsMode::Permissive,
        };
        let test_mode = settings.flag("tls.test.mode.enable");
        let asked_for_test_mode =
            test_mode && settings.source("tls.test.mode.enable").is_some_and(Source::is_explicit);
        // In Java the test mode, which is on by default, hides configured certificates. Here it must be asked for.
        let certificate = KeyPair::read(settings, SERVER_KEY_PAIR, problems).filter(|_| !asked_for_test_mode);
        if mode == TlsMode::Enforcing && certificate.is_none() && !asked_for_test_mode {
            problems.push(settings.rule(
                "tls.server.mode",
                "set tls.server.certPath and tls.server.keyPath, or tls.test.mode.enable=true for a self-signed \
                 certificate that no client can verify",
            ));
        }
        // Without a certificate and without the test mode there is nothing to encrypt with.
        let mode = if certificate.is_none() && !test_mode { TlsMode::Disabled } else { mode };
        Self {
            mode,
            certificate,
            client_certificate: match settings.text("tls.server.need.client.auth") {
                "optional" => Demand::Optional,
                "require" => Demand::Require,
                _ => Demand::None,
            },
            trust: trust(settings, "tls.server.authClient", "tls.server.trustCertPath", problems),
            ciphers: settings.text_if_set("tls.ciphers").map(str::to_owned),
            protocols: settings.text_if_set("tls.protocols").map(str::to_owned),
        }
    }
}

impl OutgoingTls {
    /// `switch` is the key that turns it on.
    pub(crate) fn read(
        settings: &Settings,
        switch: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let outgoing = Self {
            certificate: KeyPair::read(settings, CLIENT_KEY_PAIR, problems),
            trust: trust(settings, "tls.client.authServer", "tls.client.trustCertPath", problems),
            ciphers: settings.text_if_set("tls.ciphers").map(str::to_owned),
            protocols: settings.text_if_set("tls.protocols").map(str::to_owned),
        };
        Some(outgoing).filter(|_| settings.flag(switch))
    }
}

const SERVER_KEY_PAIR: [&str; 3] = ["tls.server.certPath", "tls.server.keyPath", "tls.server.keyPassword"];
const CLIENT_KEY_PAIR: [&str; 3] = ["tls.client.certPath", "tls.client.keyPath", "tls.client.keyPassword"];

impl KeyPair {
    fn read(settings: &Settings, names: [&'static str; 3], problems: &mut Vec<Problem>) -> Option<Self> {
        let [chain_name, key_name, password_name] = names;
        let password = settings.text_if_set(password_name).map(str::to_owned);
        match (settings.path_if_set(chain_name), settings.path_if_set(key_name)) {
            (Some(chain), Some(key)) => Some(Self { chain, key, password }),
            (None, None) => None,
            (Some(_), None) => {
                problems.push(settings.rule(chain_name, format_args!("set {key_name} as well")));
                None
            }
            (None, Some(_)) => {
                problems.push(settings.rule(key_name, format_args!("set {chain_name} as well")));
                None
            }
        }
    }
}

/// Who must have signed the certificates of the other side, if they are verified at all.
fn trust(
    settings: &Settings,
    switch: &'static str,
    path: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<PathBuf> {
    let trusted = settings.path_if_set(path);
    if !settings.flag(switch) {
        return None;
    }
    if trusted.is_none() {
        problems.push(settings.rule(switch, format_args!("set {path} as well")));
    }
    trusted
}

/// An address as it is, or the first one a host name stands for.
pub(crate) fn resolve(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Some(ip);
    }
    Some((bare, 0).to_socket_addrs().ok()?.next()?.ip())
}
