//! Sections that every server has: where it listens, its limits, TLS.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::{Problem, Settings};

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
    pub max_connections: usize,
    /// Unanswered request bytes of one connection before nothing more is read from it.
    pub max_in_flight_bytes: usize,
    /// Bytes that wait for a peer that does not read before it is disconnected.
    pub max_write_buffer_bytes: usize,
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
    /// What the server shows.
    pub certificate: Certificate,
    /// Whether clients must show a certificate.
    pub client_certificate: Demand,
    /// Certificates that must have signed those of clients; `None` accepts any.
    pub client_trust: Option<PathBuf>,
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

/// What the server shows to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Made when the first client asks; clients cannot know it.
    SelfSigned,
    /// PEM files; a change of both is picked up while running.
    Files {
        /// Certificate chain.
        chain: PathBuf,
        /// Private key.
        key: PathBuf,
    },
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
            max_in_flight_bytes: settings.bounded("maxConnectionInFlightSize"),
            max_write_buffer_bytes: settings.bounded("maxConnectionWriteBufferSize"),
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
        let asked_for_test_mode = settings.source("tls.test.mode.enable").is_some_and(|by| by.is_explicit());
        let files = (settings.path_if_set("tls.server.certPath"), settings.path_if_set("tls.server.keyPath"));
        let certificate = match files {
            // In Java the test mode, which is on by default, hides configured certificates.
            (Some(chain), Some(key)) if !(test_mode && asked_for_test_mode) => {
                Certificate::Files { chain, key }
            }
            (None, None) | (Some(_), Some(_)) => Certificate::SelfSigned,
            (Some(_), None) => {
                problems.push(settings.rule("tls.server.certPath", "set tls.server.keyPath as well"));
                Certificate::SelfSigned
            }
            (None, Some(_)) => {
                problems.push(settings.rule("tls.server.keyPath", "set tls.server.certPath as well"));
                Certificate::SelfSigned
            }
        };
        let without_files = certificate == Certificate::SelfSigned;
        if mode == TlsMode::Enforcing && without_files && !(test_mode && asked_for_test_mode) {
            problems.push(settings.rule(
                "tls.server.mode",
                "set tls.server.certPath and tls.server.keyPath, or tls.test.mode.enable=true for a self-signed \
                 certificate that no client can verify",
            ));
        }
        // Without a certificate and without the test mode there is nothing to encrypt with.
        let mode = if without_files && !test_mode { TlsMode::Disabled } else { mode };
        let client_trust = settings
            .path_if_set("tls.server.trustCertPath")
            .filter(|_| settings.flag("tls.server.authClient"));
        if settings.flag("tls.server.authClient") && client_trust.is_none() {
            problems.push(settings.rule("tls.server.authClient", "set tls.server.trustCertPath as well"));
        }
        Self {
            mode,
            certificate,
            client_certificate: match settings.text("tls.server.need.client.auth") {
                "optional" => Demand::Optional,
                "require" => Demand::Require,
                _ => Demand::None,
            },
            client_trust,
        }
    }
}

/// An address as it is, or the first one a host name stands for.
pub(crate) fn resolve(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Some(ip);
    }
    Some((bare, 0).to_socket_addrs().ok()?.next()?.ip())
}
