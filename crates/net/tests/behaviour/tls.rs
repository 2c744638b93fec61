//! TLS beside plain connections on one port, under the `tls.*` properties, with real handshakes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ferromq_net::caller::{self, Caller, ConnectFailure, NoRequests, RequestError};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::tls::{
    Acceptor, ClientAuth, ClientTls, Connector, RELOAD_CHECK, ServerTls, TlsError, TlsMode,
};
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::Head;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PATIENCE, TestServer, ask, eventually};

/// An authority, a server and a client certified by it, and a stranger, as PEM files.
struct Certificates {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    fn make() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("authority.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
        let this = Self { issuer: Issuer::new(authority, key), dir };
        this.certify("server");
        this.certify("client");
        let stranger = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).unwrap();
        this.write("stranger.pem", &stranger.cert.pem());
        this.write("stranger.key", &stranger.signing_key.serialize_pem());
        this
    }

    fn certify(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        self.write(&format!("{name}.pem"), &params.signed_by(&key, &self.issuer).unwrap().pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self) -> ServerTls {
        ServerTls {
            test_mode: false,
            cert_path: Some(self.path("server.pem")),
            key_path: Some(self.path("server.key")),
            ..ServerTls::default()
        }
    }

    /// A client that trusts the authority and presents the certificate `name`, if any.
    fn client(&self, name: Option<&str>) -> ClientTls {
        ClientTls {
            test_mode: false,
            auth_server: true,
            trust_cert_path: Some(self.path("authority.pem")),
            cert_path: name.map(|name| self.path(&format!("{name}.pem"))),
            key_path: name.map(|name| self.path(&format!("{name}.key"))),
            ..ClientTls::default()
        }
    }
}

fn caller(tls: Option<ClientTls>) -> Caller {
    let settings = caller::Settings {
        limiter: Limiter::new(Limits::default()),
        connect_timeout: Duration::from_secs(3),
        tls: tls.map(|tls| Arc::new(Connector::new(tls).unwrap())),
        encoding: Encoding::Json,
    };
    Caller::new(settings, Arc::new(NoRequests))
}

/// Whether a client of this kind gets its answer. A new connection each time.
async fn is_served(server: &TestServer, tls: Option<ClientTls>) -> bool {
    let body = vec![b'b'; 300_000];
    let caller = caller(tls);
    let write = |out: &mut Vec<u8>, encoding, opaque| {
        encode::begin(out, encoding, Head::request(ask::ECHO, opaque), None).finish_with(&body).unwrap();
    };
    let reply = caller.call(&server.address().to_string(), PATIENCE, write).await;
    caller.stop().await;
    reply.is_ok_and(|reply| reply.body == body)
}

fn serve(tls: ServerTls) -> TestServer {
    TestServer::with(Limits::default(), tls)
}

#[tokio::test]
async fn by_default_plain_and_trusting_tls_clients_share_the_port() {
    let server = serve(ServerTls::default());
    assert!(is_served(&server, None).await);
    assert!(is_served(&server, Some(ClientTls::default())).await, "as a Java client with tls.enable=true");
    assert_eq!(server.limiter.counters.tls_refused(), 0);
}

#[tokio::test]
async fn modes_refuse_the_other_kind() {
    let enforcing = serve(ServerTls { mode: TlsMode::Enforcing, ..ServerTls::default() });
    assert!(is_served(&enforcing, Some(ClientTls::default())).await);
    assert!(!is_served(&enforcing, None).await);
    assert_eq!(enforcing.limiter.counters.tls_refused(), 1);

    let disabled = serve(ServerTls { mode: TlsMode::Disabled, ..ServerTls::default() });
    assert!(is_served(&disabled, None).await);
    assert!(!is_served(&disabled, Some(ClientTls::default())).await);
    assert_eq!(disabled.limiter.counters.tls_refused(), 1);
}

#[tokio::test]
async fn clients_verify_the_server_when_they_are_told_to() {
    let certificates = Certificates::make();
    let certified = serve(certificates.server());
    assert!(is_served(&certified, Some(certificates.client(None))).await);
    let self_signed = serve(ServerTls::default());
    assert!(!is_served(&self_signed, Some(certificates.client(None))).await);
    let trusting = ClientTls { test_mode: false, ..ClientTls::default() };
    assert!(is_served(&self_signed, Some(trusting)).await, "authServer is false");
}

#[tokio::test]
async fn a_self_signed_certificate_in_the_trust_file_is_trusted() {
    let certificates = Certificates::make();
    let server = serve(ServerTls {
        cert_path: Some(certificates.path("stranger.pem")),
        key_path: Some(certificates.path("stranger.key")),
        ..certificates.server()
    });
    let pinned =
        ClientTls { trust_cert_path: Some(certificates.path("stranger.pem")), ..certificates.client(None) };
    assert!(is_served(&server, Some(pinned)).await);
    assert!(!is_served(&server, Some(certificates.client(None))).await);
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_verified() {
    let certificates = Certificates::make();
    let outcomes = |need_client_auth, auth_client: bool| {
        let trust_cert_path = auth_client.then(|| certificates.path("authority.pem"));
        let server =
            serve(ServerTls { need_client_auth, auth_client, trust_cert_path, ..certificates.server() });
        let clients = [None, Some("client"), Some("stranger")].map(|name| certificates.client(name));
        async move {
            let mut served = Vec::new();
            for client in clients {
                served.push(is_served(&server, Some(client)).await);
            }
            served
        }
    };
    //                                                        anonymous, certified, stranger
    assert_eq!(outcomes(ClientAuth::None, true).await, [true, true, true]);
    assert_eq!(outcomes(ClientAuth::Optional, true).await, [true, true, false]);
    assert_eq!(outcomes(ClientAuth::Require, true).await, [false, true, false]);
    assert_eq!(outcomes(ClientAuth::Require, false).await, [false, true, true]);
}

#[tokio::test]
async fn changed_files_hold_for_new_connections() {
    let certificates = Certificates::make();
    let server = serve(certificates.server());
    assert!(is_served(&server, Some(certificates.client(None))).await);

    // Half of the change makes no pair: the old one stays.
    let old_key = std::fs::read_to_string(certificates.path("server.key")).unwrap();
    std::fs::copy(certificates.path("stranger.pem"), certificates.path("server.pem")).unwrap();
    tokio::time::sleep(RELOAD_CHECK).await;
    assert!(is_served(&server, Some(certificates.client(None))).await);

    std::fs::copy(certificates.path("stranger.key"), certificates.path("server.key")).unwrap();
    tokio::time::sleep(RELOAD_CHECK).await;
    assert!(
        !is_served(&server, Some(certificates.client(None))).await,
        "the stranger's certificate is served now"
    );
    assert_ne!(old_key, std::fs::read_to_string(certificates.path("server.key")).unwrap());

    certificates.certify("server");
    tokio::time::sleep(RELOAD_CHECK).await;
    assert!(is_served(&server, Some(certificates.client(None))).await);
}

#[tokio::test]
async fn a_proxy_preamble_may_come_before_tls() {
    let server = serve(ServerTls::default());
    // A proxy in miniature: says who the client is, then passes bytes on.
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (from, to) = (proxy.local_addr().unwrap(), server.address());
    let passing = tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut upstream = tokio::net::TcpStream::connect(to).await.unwrap();
        upstream.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 51234 10911\r\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
    });
    let caller = caller(Some(ClientTls::default()));
    let write = |out: &mut Vec<u8>, encoding, opaque| {
        encode::begin(out, encoding, Head::request(ask::ECHO, opaque), None).finish().unwrap();
    };
    caller.call(&from.to_string(), PATIENCE, write).await.unwrap();
    assert_eq!(server.shared.peer().client(), "192.0.2.7:51234".parse().unwrap());
    caller.stop().await;
    passing.await.unwrap();
}

#[tokio::test]
async fn a_handshake_that_breaks_or_stalls_costs_only_itself() {
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let server = TestServer::with(limits, ServerTls::default());
    let mut stalled = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    stalled.write_all(&[0x16, 3, 1]).await.unwrap();
    let mut broken = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    broken.write_all(&[0x16; 512]).await.unwrap();
    for stream in [&mut stalled, &mut broken] {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed");
    }
    let counters = &server.limiter.counters;
    eventually("both are counted", || counters.too_slow_closed() == 1 && counters.tls_refused() == 1).await;
    assert!(is_served(&server, Some(ClientTls::default())).await);
    assert!(is_served(&server, None).await);
}

#[tokio::test]
async fn a_server_without_tls_is_an_error_for_a_tls_client() {
    let disabled = serve(ServerTls { mode: TlsMode::Disabled, ..ServerTls::default() });
    let caller = caller(Some(ClientTls::default()));
    let write = |_: &mut Vec<u8>, _: Encoding, _: i32| {};
    let error = caller.call(&disabled.address().to_string(), PATIENCE, write).await.unwrap_err();
    assert!(
        matches!(&error, RequestError::Connect(error) if matches!(error.reason, ConnectFailure::Tls(_))),
        "{error}"
    );
}

#[test]
fn names_of_ciphers_and_protocols_are_checked() {
    let with = |ciphers: &str, protocols: &str| {
        Acceptor::new(ServerTls {
            ciphers: Some(ciphers.to_owned()),
            protocols: Some(protocols.to_owned()),
            ..ServerTls::default()
        })
    };
    assert!(with("", "").is_ok());
    assert!(with("TLS_AES_128_GCM_SHA256, ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2,TLSv1.3").is_ok());
    assert!(
        with(
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,ECDHE-ECDSA-CHACHA20-POLY1305",
            "TLSv1.1,TLSv1.2"
        )
        .is_ok()
    );
    let unknown = with("TLS_RSA_WITH_RC4_128_MD5", "").unwrap_err().to_string();
    assert!(
        unknown.contains("RC4") && unknown.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        "{unknown}"
    );
    assert!(matches!(with("", "TLSv1,TLSv1.1"), Err(TlsError::OldProtocols { .. })));
    assert!(matches!(with("", "TLSv9"), Err(TlsError::UnknownProtocol { .. })));
}

#[test]
fn mistakes_in_files_and_properties_stop_the_start() {
    let certificates = Certificates::make();
    let error = |change: &dyn Fn(&mut ServerTls)| {
        let mut settings = certificates.server();
        change(&mut settings);
        Acceptor::new(settings).unwrap_err()
    };
    let at = |path: &Path, found: &Path| assert_eq!(path, found);

    assert!(matches!(
        error(&|tls| tls.cert_path = None),
        TlsError::NotSet { property: "tls.server.certPath", .. }
    ));
    assert!(matches!(
        error(&|tls| tls.key_path = None),
        TlsError::NotSet { property: "tls.server.keyPath", .. }
    ));
    let missing = certificates.path("missing.pem");
    match error(&|tls| tls.cert_path = Some(missing.clone())) {
        TlsError::Unreadable { path, .. } => at(&missing, &path),
        other => panic!("{other}"),
    }
    let key = certificates.path("server.key");
    assert!(matches!(error(&|tls| tls.cert_path = Some(key.clone())), TlsError::NoCertificate { .. }));
    let other_key = certificates.path("client.key");
    assert!(matches!(error(&|tls| tls.key_path = Some(other_key.clone())), TlsError::Rustls(_)), "no pair");
    let cert = certificates.path("server.pem");
    assert!(matches!(error(&|tls| tls.key_path = Some(cert.clone())), TlsError::NoKey { .. }));

    certificates.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let locked = certificates.path("locked.key");
    let encrypted = error(&|tls| tls.key_path = Some(locked.clone())).to_string();
    assert!(encrypted.contains("encrypted") && encrypted.contains("locked.key"), "{encrypted}");

    let untrusted = error(&|tls| {
        tls.need_client_auth = ClientAuth::Require;
        tls.auth_client = true;
    });
    assert!(matches!(untrusted, TlsError::NotSet { property: "tls.server.trustCertPath", .. }));
}

#[test]
fn words_of_modes_are_javas() {
    assert_eq!("enforcing".parse(), Ok(TlsMode::Enforcing));
    assert_eq!("REQUIRE".parse(), Ok(ClientAuth::Require));
    assert!("on".parse::<TlsMode>().unwrap_err().to_string().contains("permissive"));
}
