//! TLS keys: process properties in Java, which a file of their own (`tls.config.file`) may set as well.

use crate::key::Key;

/// Of every process.
pub(crate) const KEYS: &[Key] = &[
    // Not from the file: which connections are encrypted.
    Key::choice("tls.server.mode", &["permissive", "disabled", "enforcing"])
        .env("ROCKETMQ_TLS_SERVER_MODE")
        .honoured("permissive serves both, disabled refuses TLS, enforcing refuses everything else."),
    Key::text("tls.config.file", "/etc/rocketmq/tls.properties")
        .env("ROCKETMQ_TLS_CONFIG_FILE")
        .honoured("File with further TLS keys; it need not exist."),
    // Both directions.
    Key::bool("tls.test.mode.enable", true)
        .honoured("A self-signed certificate is made when none is configured; not for production."),
    Key::unset("tls.ciphers")
        .honoured("Cipher suites, separated by commas, in the spelling of OpenSSL or Java."),
    Key::unset("tls.protocols").honoured("Versions of TLS, separated by commas: TLSv1.2, TLSv1.3."),
    // Listening.
    Key::unset("tls.server.certPath").honoured("Certificate chain of this server, PEM."),
    Key::unset("tls.server.keyPath").honoured("Private key of this server, PEM."),
    Key::unset("tls.server.keyPassword")
        .secret()
        .honoured("Password of the private key; an encrypted key is refused, with the way to decrypt it."),
    Key::choice("tls.server.need.client.auth", &["none", "optional", "require"])
        .honoured("Whether clients must show a certificate."),
    Key::bool("tls.server.authClient", false)
        .honoured("Certificates of clients are verified against tls.server.trustCertPath."),
    Key::unset("tls.server.trustCertPath").honoured("Certificates that sign those of clients, PEM."),
    // Outgoing connections.
    Key::unset("tls.client.certPath").honoured("Certificate shown on outgoing connections, PEM."),
    Key::unset("tls.client.keyPath").honoured("Private key for outgoing connections, PEM."),
    Key::unset("tls.client.keyPassword")
        .secret()
        .honoured("Password of that key; an encrypted key is refused, with the way to decrypt it."),
    Key::bool("tls.client.authServer", false)
        .honoured("Certificates of the other side are verified against tls.client.trustCertPath."),
    Key::unset("tls.client.trustCertPath").honoured("Certificates that sign those of the other side, PEM."),
];

/// Of the name server; the broker knows it as another name of `useTLS`.
pub(crate) const ENABLE: &[Key] = &[Key::bool("tls.enable", false)
    .env("ROCKETMQ_TLS_ENABLE")
    .honoured("Outgoing connections are encrypted.")];

/// Keys that the TLS file may not set: Java reads them from the process only.
pub(crate) const NOT_IN_FILE: &[&str] = &["tls.server.mode", "tls.config.file"];
