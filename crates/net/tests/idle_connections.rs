//! Ten thousand connected clients that say nothing cost little memory and no time. The clients are another process,
//! so that descriptors and memory are the server's own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use ferromq_net::connection::{Request, Service, Session};
use ferromq_net::limits::{Limiter, Limits, raise_open_files};
use ferromq_net::peer::Peer;
use ferromq_net::server::{Drain, Listener, Settings, serve};
use ferromq_net::tls;
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::Head;

const CONNECTIONS: usize = 10_000;
const BYTES_PER_CONNECTION: usize = 4 * 1024;
const ADDRESS: &str = "FERROMQ_TEST_IDLE_CLIENTS";

struct Echo(Arc<Peer>);
struct Open;

impl Service for Open {
    type Session = Echo;

    fn open(&self, peer: &Arc<Peer>) -> Echo {
        Echo(peer.clone())
    }
}

impl Session for Echo {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        let head = Head::response(0, request.header.opaque);
        encode::begin(out, request.header.encoding, head, None).finish_with(request.body).unwrap();
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {}

    fn poll(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) {}

    fn saturated(&self) -> bool {
        self.0.unsent_bytes() > 1024
    }

    fn closed(&mut self) {}
}

/// The other process: connects, asks once in two pieces, tells its parent, and stays until that closes the pipe.
fn be_the_clients(address: SocketAddr) {
    raise_open_files();
    let mut request = Vec::new();
    encode::begin(&mut request, Encoding::Json, Head::request(1, 1), None)
        .finish_with(&[b'b'; 1000])
        .unwrap();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&request[..100]).unwrap();
        client.write_all(&request[100..]).unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        clients.push(client);
    }
    println!("\nall connected");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    if let Ok(address) = std::env::var(ADDRESS) {
        return be_the_clients(address.parse().unwrap());
    }
    let open_files = raise_open_files();
    assert!(
        open_files > CONNECTIONS as u64 + 100,
        "this test needs {CONNECTIONS} descriptors, not {open_files}"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let limiter = Limiter::new(Limits { idle: Duration::from_secs(300), ..Limits::default() });
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
        let tls = Arc::new(tls::Acceptor::new(tls::ServerTls::default()).unwrap());
        let server = serve(listener, Settings { limiter: limiter.clone(), tls }, Arc::new(Open)).unwrap();

        let before = resident_bytes();
        let begin = Instant::now();
        let mut clients = Command::new(std::env::current_exe().unwrap())
            .arg("--nocapture")
            .env(ADDRESS, server.local_addr().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(clients.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = tokio::task::spawn_blocking(move || (lines.any(|line| line == "all connected"), lines));
        let (is_ready, rest_of_lines) = ready.await.unwrap();
        assert!(is_ready, "the clients failed");
        assert_eq!(limiter.connections.used(), CONNECTIONS as u64);
        assert_eq!(server.peers().len(), CONNECTIONS);
        assert_eq!((limiter.unread.used(), limiter.unsent.used()), (0, 0));

        let per_connection = resident_bytes().saturating_sub(before) / CONNECTIONS;
        println!("{per_connection} bytes per idle connection, all connected after {:?}", begin.elapsed());
        assert!(per_connection <= BYTES_PER_CONNECTION, "{per_connection} bytes per idle connection");

        drop(clients.stdin.take());
        assert_eq!(rest_of_lines.filter(|line| line.contains("FAILED")).count(), 0);
        assert!(clients.wait().unwrap().success());
        assert_eq!(server.stop(Drain { send_away: None, patience: Duration::from_secs(20) }).await, 0);
        assert_eq!(limiter.connections.used(), 0);
    });
}
