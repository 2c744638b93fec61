//! Which name servers there are, and which one is asked.
//!
//! Addresses come from the configuration, else from `NAMESRV_ADDR`, else from an HTTP server that gives
//! the list. Host names are kept as they are and resolved at every connection. One address is used
//! until it fails, then the next.

use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

/// Environment variable with the list.
pub(crate) const ENVIRONMENT: &str = "NAMESRV_ADDR";
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// A list longer than this is no list.
const LIST_LEN_MAX: u64 = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameServerError {
    #[error("No name server address, please set it.")]
    NotSet,
    #[error("the name server list at {url} cannot be read: {reason}")]
    AddressServer { url: String, reason: String },
}

/// Where the list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `host:port`, separated by `;`.
    Listed(String),
    /// An HTTP server whose answer is the list.
    AddressServer { url: String },
}

impl Source {
    /// What is configured, else the environment, else the address server.
    pub(crate) fn choose(
        configured: Option<&str>,
        environment: Option<&str>,
        address_server: Option<&AddressServer>,
    ) -> Result<Self, NameServerError> {
        let given = configured.or(environment).map(str::trim).filter(|list| !list.is_empty());
        match (given, address_server) {
            (Some(list), _) => Ok(Self::Listed(list.to_owned())),
            (None, Some(server)) => Ok(Self::AddressServer { url: server.url() }),
            (None, None) => Err(NameServerError::NotSet),
        }
    }

    /// The addresses now. For an address server this asks it, on a thread for blocking work.
    pub(crate) async fn addresses(&self) -> Result<Vec<String>, NameServerError> {
        let list = match self {
            Self::Listed(list) => list.clone(),
            Self::AddressServer { url } => {
                let failed = |reason: String| NameServerError::AddressServer { url: url.clone(), reason };
                let asked = url.clone();
                let fetched = tokio::task::spawn_blocking(move || fetch(&asked)).await;
                fetched.map_err(|error| failed(error.to_string()))?.map_err(failed)?
            }
        };
        let addresses = parse(&list);
        if addresses.is_empty() { Err(NameServerError::NotSet) } else { Ok(addresses) }
    }
}

/// The HTTP server that knows the name servers (`rocketmq.namesrv.domain`,
/// `rocketmq.namesrv.domain.subgroup`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressServer {
    /// Host, or host and port; the port is 8080 if none is given.
    pub domain: String,
    pub subgroup: String,
    pub unit_name: Option<String>,
}

impl AddressServer {
    pub fn new(domain: impl Into<String>) -> Self {
        Self { domain: domain.into(), subgroup: "nsaddr".to_owned(), unit_name: None }
    }

    fn url(&self) -> String {
        let port = if self.domain.contains(':') { "" } else { ":8080" };
        let unit = self.unit_name.as_deref().map_or_else(String::new, |unit| format!("-{unit}?nofix=1"));
        format!("http://{}{port}/rocketmq/{}{unit}", self.domain, self.subgroup)
    }
}

/// The first line of what the server answers with status 200.
fn fetch(url: &str) -> Result<String, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("status {}", response.status()));
    }
    let body = response.body_mut().with_config().limit(LIST_LEN_MAX).read_to_string();
    let body = body.map_err(|error| error.to_string())?;
    Ok(body.trim().split(['\r', '\n']).next().unwrap_or_default().to_owned())
}

/// Splits a list. `http://host:port` means `host:port`, as Java reads it.
fn parse(list: &str) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    let list = match list.strip_prefix("http://") {
        Some(rest) => rest.rsplit('/').next().unwrap_or_default(),
        None => list,
    };
    for address in list.split(';').map(str::trim).filter(|address| !address.is_empty()) {
        if !addresses.iter().any(|known| known == address) {
            addresses.push(address.to_owned());
        }
    }
    addresses
}

/// The list in use and the one of it that is asked.
#[derive(Debug, Default)]
pub(crate) struct NameServers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    addresses: Vec<String>,
    chosen: usize,
}

impl NameServers {
    /// Takes a new list; the chosen address stays chosen if it is still in it. `start` spreads clients
    /// over the servers.
    pub(crate) fn replace(&self, addresses: Vec<String>, start: usize) {
        let mut state = self.state.lock();
        let chosen = state.addresses.get(state.chosen);
        let kept = chosen.and_then(|chosen| addresses.iter().position(|address| address == chosen));
        state.chosen = kept.unwrap_or(start % addresses.len().max(1));
        state.addresses = addresses;
    }

    /// All addresses, the chosen one first.
    pub(crate) fn in_turn(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut addresses = state.addresses.clone();
        // The chosen index is in the list, except in an empty one.
        let turn = state.chosen.min(addresses.len());
        addresses.rotate_left(turn);
        addresses
    }

    /// This one answered: ask it first from now on.
    pub(crate) fn choose(&self, address: &str) {
        let mut state = self.state.lock();
        if let Some(found) = state.addresses.iter().position(|known| known == address) {
            state.chosen = found;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn configuration_goes_before_environment_and_that_before_the_address_server() {
        let server = AddressServer::new("ns.example");
        let listed = |list: &str| Ok(Source::Listed(list.to_owned()));
        assert_eq!(Source::choose(Some("a:1"), Some("b:1"), Some(&server)), listed("a:1"));
        assert_eq!(Source::choose(None, Some("b:1"), Some(&server)), listed("b:1"));
        let url = "http://ns.example:8080/rocketmq/nsaddr".to_owned();
        assert_eq!(Source::choose(None, Some(" "), Some(&server)), Ok(Source::AddressServer { url }));
        assert_eq!(Source::choose(None, None, None), Err(NameServerError::NotSet));
    }

    #[test]
    fn the_url_is_javas() {
        let mut server = AddressServer::new("ns.example:80");
        server.subgroup = "group".to_owned();
        server.unit_name = Some("unit".to_owned());
        assert_eq!(server.url(), "http://ns.example:80/rocketmq/group-unit?nofix=1");
    }

    #[test]
    fn lists_are_read_as_java_reads_them() {
        assert_eq!(parse(" a:1 ;b:2;;a:1"), ["a:1", "b:2"]);
        assert_eq!(parse("http://h:9876"), ["h:9876"]);
        assert_eq!(parse("http://x/y/h:9876"), ["h:9876"]);
        assert!(parse(" ; ").is_empty());
    }

    #[test]
    fn one_server_is_kept_until_another_answers() {
        let servers = NameServers::default();
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        servers.replace(list("a b c"), 4);
        assert_eq!(servers.in_turn(), ["b", "c", "a"]);
        servers.choose("c");
        assert_eq!(servers.in_turn(), ["c", "a", "b"]);
        servers.replace(list("x c y"), 0);
        assert_eq!(servers.in_turn(), ["c", "y", "x"], "still in the list, so still the first");
        servers.replace(list("x y"), 1);
        assert_eq!(servers.in_turn(), ["y", "x"]);
        servers.replace(Vec::new(), 1);
        assert!(servers.in_turn().is_empty());
    }

    /// An HTTP server for one request, which it returns.
    fn http_server(response: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let domain = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let len = stream.read(&mut chunk).unwrap();
                request.extend_from_slice(&chunk[..len]);
            }
            stream.write_all(response.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (domain, server)
    }

    #[tokio::test]
    async fn the_address_server_is_asked_and_its_first_line_counts() {
        let (domain, server) = http_server(
            "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nConnection: close\r\n\r\n a:1;b:2 \r\nsomething x",
        );
        let source = Source::choose(None, None, Some(&AddressServer::new(domain))).unwrap();
        assert_eq!(source.addresses().await.unwrap(), ["a:1", "b:2"]);
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /rocketmq/nsaddr HTTP/1.1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn another_status_is_an_error_that_names_the_url() {
        let (domain, server) =
            http_server("HTTP/1.1 503 Busy\r\nContent-Length: 3\r\nConnection: close\r\n\r\na:1");
        let source = Source::choose(None, None, Some(&AddressServer::new(domain.clone()))).unwrap();
        let error = source.addresses().await.unwrap_err().to_string();
        assert!(error.contains(&domain) && error.contains("503"), "{error}");
        server.join().unwrap();
    }
}
