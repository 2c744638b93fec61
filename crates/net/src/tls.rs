//! TLS for both directions, under RocketMQ's `tls.*` properties.
//!
//! Server and client configurations are built from small settings structs. Files are checked for changes when a new
//! connection needs them, at most every [`RELOAD_CHECK`]; a change that does not make a usable configuration is
//! reported and the previous one stays. The self-signed certificate of test mode is made when the first TLS byte
//! arrives, because most servers never see one.
//!
//! As in Java: test mode ignores the certificate files; trust is about the chain, never about the host name; and
//! without `authClient`/`authServer` any certificate is accepted, as long as the peer proves that it owns the key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};

/// How soon a changed file takes effect for new connections.
pub const RELOAD_CHECK: Duration = Duration::from_millis(500);

/// The first byte of a TLS connection: a handshake record. A frame begins with 0 or 1.
pub(crate) const HANDSHAKE_RECORD: u8 = 0x16;

/// `tls.server.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS connections are closed.
    Disabled,
    /// Plain and TLS connections are served.
    #[default]
    Permissive,
    /// Plain connections are closed.
    Enforcing,
}

/// `tls.server.need.client.auth`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    Optional,
    Require,
}

/// A word that is none of those a `tls.*` property knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not one of {expected}")]
pub struct UnknownWord {
    word: String,
    expected: &'static str,
}

impl FromStr for TlsMode {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word.to_ascii_lowercase().as_str() {
            "disabled" => Ok(Self::Disabled),
            "permissive" => Ok(Self::Permissive),
            "enforcing" => Ok(Self::Enforcing),
            _ => Err(UnknownWord { word: word.to_owned(), expected: "disabled, permissive, enforcing" }),
        }
    }
}

impl FromStr for ClientAuth {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "optional" => Ok(Self::Optional),
            "require" => Ok(Self::Require),
            _ => Err(UnknownWord { word: word.to_owned(), expected: "none, optional, require" }),
        }
    }
}

/// `tls.server.*` and what both directions share. The default is Java's: permissive, in test mode.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub mode: TlsMode,
    pub test_mode: bool,
    pub cert_path: Option<PathBuf>,
    pub key_path: Option<PathBuf>,
    pub key_password: Option<String>,
    pub need_client_auth: ClientAuth,
    /// Verify client certificates against `trust_cert_path` instead of accepting any.
    pub auth_client: bool,
    pub trust_cert_path: Option<PathBuf>,
    /// Comma-separated names, JSSE or OpenSSL spelling.
    pub ciphers: Option<String>,
    pub protocols: Option<String>,
}

impl Default for ServerTls {
    fn default() -> Self {
        Self {
            mode: TlsMode::default(),
            test_mode: true,
            cert_path: None,
            key_path: None,
            key_password: None,
            need_client_auth: ClientAuth::default(),
            auth_client: false,
            trust_cert_path: None,
            ciphers: None,
            protocols: None,
        }
    }
}

/// `tls.client.*` for outgoing connections that use TLS.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub test_mode: bool,
    pub cert_path: Option<PathBuf>,
    pub key_path: Option<PathBuf>,
    pub key_password: Option<String>,
    /// Verify the server's certificate against `trust_cert_path` instead of accepting any.
    pub auth_server: bool,
    pub trust_cert_path: Option<PathBuf>,
    pub ciphers: Option<String>,
    pub protocols: Option<String>,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            test_mode: true,
            cert_path: None,
            key_path: None,
            key_password: None,
            auth_server: false,
            trust_cert_path: None,
            ciphers: None,
            protocols: None,
        }
    }
}

/// Why a TLS configuration cannot be used. All of it is for whoever wrote the `tls.*` properties.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("tls: {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("tls: {path} holds no PEM certificate")]
    NoCertificate { path: PathBuf },
    #[error("tls: {path} holds no PEM private key (PKCS#8, or what openssl writes for RSA and EC keys)")]
    NoKey { path: PathBuf },
    #[error(
        "tls: the private key in {path} is encrypted, which is not supported; write it in clear with \
         `openssl pkcs8 -topk8 -nocrypt` and protect the file"
    )]
    EncryptedKey { path: PathBuf },
    #[error("tls: {property} is not set although {because}")]
    NotSet { property: &'static str, because: &'static str },
    #[error("tls.ciphers: {name:?} is not known; known are {known}")]
    UnknownCipher { name: String, known: String },
    #[error("tls.protocols: {name:?} is not known; known are TLSv1.2, TLSv1.3")]
    UnknownProtocol { name: String },
    #[error("tls.protocols: none of {names:?} is safe enough to be supported; use TLSv1.2, TLSv1.3")]
    OldProtocols { names: String },
    #[error("tls: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("tls: the trust file {path} cannot be used: {reason}")]
    Trust { path: PathBuf, reason: String },
    #[error("tls: no self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// Makes the server side of TLS connections.
#[derive(Debug)]
pub struct Acceptor {
    settings: ServerTls,
    current: Mutex<Option<Loaded<ServerConfig>>>,
}

/// Makes the client side of TLS connections.
#[derive(Debug)]
pub struct Connector {
    settings: ClientTls,
    current: Mutex<Option<Loaded<ClientConfig>>>,
}

impl Acceptor {
    /// Reads the files now, so that a mistake stops the start. In test mode nothing is made until it is needed.
    ///
    /// # Errors
    /// Files that cannot be read or used, and unknown cipher or protocol names.
    pub fn new(settings: ServerTls) -> Result<Self, TlsError> {
        let current = if settings.mode == TlsMode::Disabled {
            None
        } else if settings.test_mode {
            if settings.cert_path.is_some() || settings.key_path.is_some() {
                tracing::warn!("tls.test.mode.enable is true: tls.server.certPath and keyPath are ignored");
            }
            provider(settings.ciphers.as_deref())?;
            protocols(settings.protocols.as_deref())?;
            None
        } else {
            Some(Loaded::new(settings.files(), || settings.build())?)
        };
        Ok(Self { settings, current: Mutex::new(current) })
    }

    pub fn mode(&self) -> TlsMode {
        self.settings.mode
    }

    /// The configuration for a connection that begins now.
    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        Loaded::current(&self.current, || self.settings.files(), || self.settings.build())
    }
}

impl Connector {
    /// # Errors
    /// Files that cannot be read or used, and unknown cipher or protocol names.
    pub fn new(settings: ClientTls) -> Result<Self, TlsError> {
        let loaded = Loaded::new(settings.files(), || settings.build())?;
        Ok(Self { settings, current: Mutex::new(Some(loaded)) })
    }

    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        Loaded::current(&self.current, || self.settings.files(), || self.settings.build())
    }
}

/// A configuration, and the state of its files when it was read.
#[derive(Debug)]
struct Loaded<C> {
    config: Arc<C>,
    files: Vec<PathBuf>,
    stamps: Vec<Option<Stamp>>,
    checked: Instant,
}

/// Changes when a file is replaced or written.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

impl<C> Loaded<C> {
    fn new(files: Vec<PathBuf>, build: impl FnOnce() -> Result<C, TlsError>) -> Result<Self, TlsError> {
        // Stamps before contents: a file that changes in between is read again, not missed.
        let stamps = stamps(&files);
        Ok(Self { config: Arc::new(build()?), files, stamps, checked: Instant::now() })
    }

    fn current(
        slot: &Mutex<Option<Self>>,
        files: impl FnOnce() -> Vec<PathBuf>,
        build: impl FnOnce() -> Result<C, TlsError>,
    ) -> Result<Arc<C>, TlsError> {
        let mut slot = slot.lock();
        let Some(loaded) = slot.as_mut() else {
            return Ok(slot.insert(Self::new(files(), build)?).config.clone());
        };
        if !loaded.files.is_empty() && loaded.checked.elapsed() >= RELOAD_CHECK {
            loaded.checked = Instant::now();
            let stamps = stamps(&loaded.files);
            if stamps != loaded.stamps {
                loaded.stamps = stamps;
                match build() {
                    Ok(config) => {
                        loaded.config = Arc::new(config);
                        tracing::info!(files = ?loaded.files, "TLS files reloaded");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "changed TLS files cannot be used, the previous ones stay in force");
                    }
                }
            }
        }
        Ok(loaded.config.clone())
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp { modified: metadata.modified().ok(), len: metadata.len() })
    };
    files.iter().map(stamp).collect()
}

impl ServerTls {
    fn files(&self) -> Vec<PathBuf> {
        if self.test_mode {
            return Vec::new();
        }
        let trust = self.trust_cert_path.iter().filter(|_| self.auth_client);
        self.cert_path.iter().chain(&self.key_path).chain(trust).cloned().collect()
    }

    fn build(&self) -> Result<ServerConfig, TlsError> {
        let provider = provider(self.ciphers.as_deref())?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&protocols(self.protocols.as_deref())?)?;
        if self.test_mode {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
            return Ok(builder.with_no_client_auth().with_single_cert(vec![made.cert.into()], key)?);
        }
        let because = "tls.test.mode.enable is false";
        let cert_path = set(self.cert_path.as_ref(), "tls.server.certPath", because)?;
        let key_path = set(self.key_path.as_ref(), "tls.server.keyPath", because)?;
        let chain = read_certificates(cert_path)?;
        let key = read_key(key_path)?;
        let builder = match self.need_client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            auth => {
                let trusted = if self.auth_client {
                    let because = "tls.server.authClient is true";
                    Some(Anchors::read(set(
                        self.trust_cert_path.as_ref(),
                        "tls.server.trustCertPath",
                        because,
                    )?)?)
                } else {
                    None
                };
                let mandatory = auth == ClientAuth::Require;
                builder.with_client_cert_verifier(Arc::new(ClientCertificates::new(
                    trusted, mandatory, provider,
                )?))
            }
        };
        Ok(builder.with_single_cert(chain, key)?)
    }
}

impl ClientTls {
    fn files(&self) -> Vec<PathBuf> {
        if self.test_mode {
            return Vec::new();
        }
        let trust = self.trust_cert_path.iter().filter(|_| self.auth_server);
        self.cert_path.iter().chain(&self.key_path).chain(trust).cloned().collect()
    }

    fn build(&self) -> Result<ClientConfig, TlsError> {
        let provider = provider(self.ciphers.as_deref())?;
        let trusted = if self.auth_server && !self.test_mode {
            let because = "tls.client.authServer is true";
            Some(Anchors::read(set(self.trust_cert_path.as_ref(), "tls.client.trustCertPath", because)?)?)
        } else {
            None
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&protocols(self.protocols.as_deref())?)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerCertificate { trusted, provider }));
        match &self.cert_path {
            Some(cert_path) if !self.test_mode => {
                let because = "tls.client.certPath is set";
                let key_path = set(self.key_path.as_ref(), "tls.client.keyPath", because)?;
                Ok(builder.with_client_auth_cert(read_certificates(cert_path)?, read_key(key_path)?)?)
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

fn set<'a>(
    path: Option<&'a PathBuf>,
    property: &'static str,
    because: &'static str,
) -> Result<&'a Path, TlsError> {
    path.map(PathBuf::as_path).ok_or(TlsError::NotSet { property, because })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        // "BEGIN ENCRYPTED PRIVATE KEY", or the "Proc-Type: 4,ENCRYPTED" of older files.
        _ if memmem(&pem, b"ENCRYPTED") => Err(TlsError::EncryptedKey { path: path.to_owned() }),
        Ok(key) => Ok(key),
        Err(_) => Err(TlsError::NoKey { path: path.to_owned() }),
    }
}

fn memmem(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The ring provider, reduced to the named cipher suites.
fn provider(ciphers: Option<&str>) -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = ring::default_provider();
    let mut suites = Vec::new();
    for name in names(ciphers) {
        let known = ring::ALL_CIPHER_SUITES.iter().find(|suite| cipher_is_called(suite, name));
        let Some(suite) = known else {
            let known: Vec<_> = ring::ALL_CIPHER_SUITES.iter().map(iana_name).collect();
            return Err(TlsError::UnknownCipher { name: name.to_owned(), known: known.join(", ") });
        };
        suites.push(*suite);
    }
    if !suites.is_empty() {
        provider.cipher_suites = suites;
    }
    Ok(Arc::new(provider))
}

fn names(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// `TLS_AES_256_GCM_SHA384`: rustls prefixes the suites of TLS 1.3 with `TLS13_`.
fn iana_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

/// Knows the JSSE spelling (`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`) and OpenSSL's (`ECDHE-RSA-AES128-GCM-SHA256`).
fn cipher_is_called(suite: &SupportedCipherSuite, name: &str) -> bool {
    let iana = iana_name(suite);
    let openssl = iana
        .trim_start_matches("TLS_")
        .replace("_WITH_", "_")
        .replace("AES_", "AES")
        .replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305")
        .replace('_', "-");
    name.eq_ignore_ascii_case(&iana) || (iana.contains("_WITH_") && name.eq_ignore_ascii_case(&openssl))
}

fn protocols(list: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let (mut supported, mut old) = (Vec::new(), Vec::new());
    for name in names(list) {
        match name.to_ascii_lowercase().as_str() {
            "tlsv1.3" => supported.push(&rustls::version::TLS13),
            "tlsv1.2" => supported.push(&rustls::version::TLS12),
            "tlsv1.1" | "tlsv1" | "sslv3" | "sslv2hello" => old.push(name),
            _ => return Err(TlsError::UnknownProtocol { name: name.to_owned() }),
        }
    }
    if supported.is_empty() {
        return if old.is_empty() {
            Ok(rustls::ALL_VERSIONS.to_vec())
        } else {
            Err(TlsError::OldProtocols { names: old.join(",") })
        };
    }
    if !old.is_empty() {
        tracing::warn!(
            protocols = old.join(","),
            "tls.protocols names protocols that are not supported any more"
        );
    }
    Ok(supported)
}

/// The certificates of a trust file.
#[derive(Debug)]
struct Anchors {
    roots: Arc<RootCertStore>,
    /// A self-signed certificate that its owner presents as it stands. Path building refuses it because it is an
    /// authority, but it is the very certificate that the operator told us to trust.
    pinned: Vec<CertificateDer<'static>>,
    path: PathBuf,
}

impl Anchors {
    fn read(path: &Path) -> Result<Self, TlsError> {
        let pinned = read_certificates(path)?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(pinned.iter().cloned());
        if added == 0 {
            let reason = "no certificate in it can be parsed".to_owned();
            return Err(TlsError::Trust { path: path.to_owned(), reason });
        }
        Ok(Self { roots: Arc::new(roots), pinned, path: path.to_owned() })
    }

    fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.pinned.iter().any(|pinned| pinned == certificate)
    }
}

/// What we accept from clients that present a certificate.
#[derive(Debug)]
struct ClientCertificates {
    trusted: Option<(Anchors, Arc<dyn ClientCertVerifier>)>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertificates {
    fn new(
        trusted: Option<Anchors>,
        mandatory: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let trusted = match trusted {
            None => None,
            Some(anchors) => {
                let chains =
                    WebPkiClientVerifier::builder_with_provider(anchors.roots.clone(), provider.clone())
                        .build()
                        .map_err(|error| TlsError::Trust {
                            path: anchors.path.clone(),
                            reason: error.to_string(),
                        })?;
                Some((anchors, chains))
            }
        };
        Ok(Self { trusted, mandatory, provider })
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trusted.as_ref().map_or(&[], |(_, chains)| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match &self.trusted {
            Some((anchors, chains)) if !anchors.holds(end_entity) => {
                chains.verify_client_cert(end_entity, intermediates, now)
            }
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What we accept from servers.
#[derive(Debug)]
struct ServerCertificate {
    trusted: Option<Anchors>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ServerCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(anchors) = &self.trusted
            && !anchors.holds(end_entity)
        {
            let algorithms = self.provider.signature_verification_algorithms.all;
            let certificate = ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &anchors.roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
