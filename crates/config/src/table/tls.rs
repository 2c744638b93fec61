//! TLS keys: process properties in Java, which a file of their own (`tls.config.file`) may set as well.

use crate::key::{Feature, Key};

pub(crate) const KEYS: &[Key] = &[
    // Not from the file: which connections are encrypted.
    Key::choice("tls.server.mode", &["permissive", "disabled", "enforcing"])
        .env("ROCKETMQ_TLS_SERVER_MODE")
        .honoured("permissive serves both, disabled refuses TLS, enforcing refuses everything else."),
    Key::bool("tls.enable", false)
        .env("ROCKETMQ_TLS_ENABLE")
        .unsupported("connections to name servers are encrypted"),
    Key::text("tls.config.file", "/etc/rocketmq/tls.properties")
        .env("ROCKETMQ_TLS_CONFIG_FILE")
        .honoured("File with further TLS keys; it need not exist."),
    // Server side.
    Key::bool("tls.test.mode.enable", true)
        .honoured("A self-signed certificate is made when none is configured; not for production."),
    Key::unset("tls.server.certPath").honoured("Certificate chain of this server, PEM."),
    Key::unset("tls.server.keyPath").honoured("Private key of this server, PEM."),
    Key::unset("tls.server.keyPassword")
        .secret()
        .unsupported("the private key is encrypted with this password"),
    Key::choice("tls.server.need.client.auth", &["none", "optional", "require"])
        .honoured("Whether clients must show a certificate."),
    Key::bool("tls.server.authClient", false)
        .honoured("Certificates of clients are verified against tls.server.trustCertPath."),
    Key::unset("tls.server.trustCertPath").honoured("Certificates that sign those of clients, PEM."),
    Key::unset("tls.ciphers").unsupported("only these cipher suites are used"),
    Key::unset("tls.protocols").unsupported("only these versions of TLS are used"),
    // Outgoing connections.
    Key::unset("tls.client.keyPath").tunes(Feature::OutgoingTls),
    Key::unset("tls.client.keyPassword").secret().tunes(Feature::OutgoingTls),
    Key::unset("tls.client.certPath").tunes(Feature::OutgoingTls),
    Key::bool("tls.client.authServer", false).tunes(Feature::OutgoingTls),
    Key::unset("tls.client.trustCertPath").tunes(Feature::OutgoingTls),
];

/// Keys that the TLS file may not set: Java reads them from the process only.
pub(crate) const NOT_IN_FILE: &[&str] = &["tls.server.mode", "tls.enable", "tls.config.file"];
