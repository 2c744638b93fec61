//! A process without descriptors turns new clients away and goes on serving those it has. Alone in its process,
//! because it takes all descriptors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs::File;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use ferromq_net::connection::{Request, Service, Session};
use ferromq_net::limits::{Limiter, Limits, raise_open_files};
use ferromq_net::peer::Peer;
use ferromq_net::server::{Drain, Listener, Settings, serve};
use ferromq_net::tls;
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::Head;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

struct Echo;

impl Service for Echo {
    type Session = Echo;

    fn open(&self, _peer: &Arc<Peer>) -> Echo {
        Echo
    }
}

impl Session for Echo {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        let head = Head::response(0, request.header.opaque);
        encode::begin(out, request.header.encoding, head, None).finish().unwrap();
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {}

    fn poll(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) {}

    fn saturated(&self) -> bool {
        false
    }

    fn closed(&mut self) {}
}

async fn is_served(client: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    encode::begin(&mut bytes, Encoding::Json, Head::request(1, 1), None).finish().unwrap();
    let ask = async {
        client.write_all(&bytes).await?;
        client.read_u32().await
    };
    tokio::time::timeout(Duration::from_secs(20), ask).await.expect("neither answered nor closed").is_ok()
}

#[tokio::test]
async fn running_out_of_descriptors_turns_new_clients_away_and_keeps_the_others() {
    let limiter = Limiter::new(Limits::default().within_open_files(raise_open_files()));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
    let settings = Settings {
        limiter: limiter.clone(),
        tls: Arc::new(tls::Acceptor::new(tls::ServerTls::default()).unwrap()),
    };
    let server = serve(listener, settings, Arc::new(Echo)).unwrap();
    let address = server.local_addr();
    let mut old = TcpStream::connect(address).await.unwrap();
    assert!(is_served(&mut old).await);

    // The clients live in this process too, so their sockets are made before the descriptors run out.
    let sockets: Vec<_> = (0..20).map(|_| TcpSocket::new_v4().unwrap()).collect();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..before }).unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }

    for socket in sockets {
        let mut new = socket.connect(address).await.unwrap();
        assert!(!is_served(&mut new).await, "there was no descriptor for it");
        assert!(is_served(&mut old).await, "the old client is served all the time");
        // Its descriptor is free now, and must not help the next one.
        drop(new);
        files.extend(File::open("/dev/null"));
    }
    assert_eq!(limiter.counters.out_of_descriptors(), 20);

    files.clear();
    let mut late = TcpStream::connect(address).await.unwrap();
    assert!(is_served(&mut late).await);
    assert!(is_served(&mut old).await);
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(server.stop(Drain { send_away: None, patience: Duration::from_secs(20) }).await, 0);
}
