//! One running process: what its servers share, in which order they start and stop, and what ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferromq_broker::server::{self as broker_server, BrokerError, RunningBroker};
use ferromq_config::address::host_text;
use ferromq_config::broker::BrokerConfig;
use ferromq_config::host::Host;
use ferromq_config::namesrv::NamesrvConfig;
use ferromq_config::server::{Demand, Listen, OutgoingTls, Tls, TlsMode};
use ferromq_namesrv::own_broker::OwnBroker;
use ferromq_namesrv::server::{self as namesrv_server, RunningNameServer, StartError};
use ferromq_net::limits::{Limiter, Limits, raise_open_files};
use ferromq_net::server::ListenError;
use ferromq_net::tls;
use ferromq_store::clock::SystemClock;
use ferromq_store::disk::{Disk, RealDisk, Space};
use ferromq_store::{DirectoryError, OpenError};

use crate::args::{Output, local_address};
use crate::configure::log_notices;
use crate::failure::{Failure, exit};
use crate::ready::{BrokerReady, DiskUse, NamesrvReady, Ready};
use crate::signals::StopSignals;
use crate::{logging, owner, print};

/// After a stop, work that nobody waits for gets this long.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);
/// One in so many of the descriptors that this process may have is for files of queues. Connections leave a quarter, and
/// the log needs some of it.
const QUEUE_FILES_SHARE: u64 = 8;

/// What runs in this process; at least one of the two.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) namesrv: Option<NamesrvConfig>,
    /// Its `-c` file, which Java's boot lines name.
    pub(crate) namesrv_file: Option<PathBuf>,
    pub(crate) broker: Option<BrokerConfig>,
}

/// Starts the servers, says so, and stops them at the first signal.
pub(crate) fn run(servers: Servers, host: &Host, output: &Output) -> Result<(), Failure> {
    logging::start(output)?;
    let workers = host.processors.max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("worker")
        .enable_all()
        .build()
        .map_err(|error| Failure::start(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(serve(servers, host, output));
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    ended
}

async fn serve(servers: Servers, host: &Host, output: &Output) -> Result<(), Failure> {
    let mut signals =
        StopSignals::new().map_err(|error| Failure::start(format!("cannot watch signals: {error}")))?;
    let running = tokio::select! {
        running = Running::start(servers, host) => running?,
        // Nothing was promised yet, and the next start recovers whatever this one began.
        (name, number) = signals.next() => {
            return Err(Failure::new(128 + number, format!("{name} during the start")));
        }
    };
    announce(&running.ready, output);
    let (name, _) = signals.next().await;
    tracing::info!(signal = name, "stopping; a second signal stops at once");
    let started = Instant::now();
    signals.end_process_at_the_next();
    running.stop().await?;
    tracing::info!(elapsed_ms = started.elapsed().as_millis(), "stopped");
    Ok(())
}

fn announce(ready: &Ready, output: &Output) {
    if output.ready_json {
        print(&format!("{}\n", ready.json()));
    } else {
        print(&ready.java_lines());
        print(&ready.banner());
    }
}

struct Running {
    namesrv: Option<RunningNameServer>,
    broker: Option<RunningBroker>,
    ready: Ready,
}

impl Running {
    /// The name server first, because the broker registers before its start is done.
    async fn start(servers: Servers, host: &Host) -> Result<Self, Failure> {
        let Servers { namesrv, namesrv_file, mut broker } = servers;
        let listen =
            broker.as_ref().map(|broker| &broker.listen).or(namesrv.as_ref().map(|namesrv| &namesrv.listen));
        let listen = listen.expect("invariant: a process has at least one server").clone();
        let open_files = raise_open_files();
        let limiter = Limiter::new(limits(&listen).within_open_files(open_files));

        let mut running = None;
        let mut namesrv_ready = None;
        if let Some(config) = namesrv {
            log_notices(&config.settings);
            let surroundings = namesrv_server::Surroundings {
                limiter: Arc::clone(&limiter),
                acceptor: acceptor(&config.tls)?,
                connector: connector(config.outgoing_tls.as_ref())?,
                own_broker: broker.as_ref().and_then(own_broker),
            };
            let started =
                namesrv_server::start(config, surroundings).map_err(|error| namesrv_failure(&error))?;
            let listening = started.address();
            let address = advertised(listening, host, broker.as_ref());
            namesrv_ready = Some(NamesrvReady { listening, address, file: namesrv_file });
            if let Some(broker) = &mut broker {
                broker.set_own_name_server(local_address(listening).to_string());
            }
            running = Some(started);
        }
        let mut ready = Ready { namesrv: namesrv_ready, broker: None, encoding: listen.own_encoding };
        let Some(mut config) = broker else { return Ok(Self { namesrv: running, broker: None, ready }) };
        let queue_files = &mut config.store.max_open_queue_files;
        *queue_files =
            (*queue_files).min(usize::try_from(open_files / QUEUE_FILES_SHARE).unwrap_or(usize::MAX));

        log_notices(&config.settings);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
        let surroundings = broker_server::Surroundings {
            limiter,
            acceptor: acceptor(&config.tls)?,
            connector: connector(config.outgoing_tls.as_ref())?,
            disk: Arc::clone(&disk),
            clock: Arc::new(SystemClock::default()),
        };
        let before = config.clone();
        let broker =
            broker_server::start(config, surroundings).await.map_err(|error| broker_failure(&error))?;
        ready.broker = Some(broker_ready(&before, &broker, host, &*disk));
        Ok(Self { namesrv: running, broker: Some(broker), ready })
    }

    async fn stop(self) -> Result<(), Failure> {
        let report = match self.broker {
            Some(broker) => Some(broker.stop().await),
            None => None,
        };
        if let Some(namesrv) = self.namesrv {
            namesrv.stop().await;
        }
        match report {
            Some(report) if !report.clean => {
                Err(Failure::start("the store did not stop cleanly; the next start recovers it"))
            }
            _ => Ok(()),
        }
    }
}

fn limits(listen: &Listen) -> Limits {
    Limits {
        connections: listen.max_connections,
        unread_bytes: listen.max_unread_bytes,
        unsent_bytes: listen.max_unsent_bytes,
        unsent_bytes_total: listen.max_unsent_bytes_total,
        idle: listen.idle,
        ..Limits::default()
    }
}

fn acceptor(section: &Tls) -> Result<Arc<tls::Acceptor>, Failure> {
    let pair = section.certificate.as_ref();
    let settings = tls::ServerTls {
        mode: match section.mode {
            TlsMode::Disabled => tls::TlsMode::Disabled,
            TlsMode::Permissive => tls::TlsMode::Permissive,
            TlsMode::Enforcing => tls::TlsMode::Enforcing,
        },
        test_mode: pair.is_none(),
        cert_path: pair.map(|pair| pair.chain.clone()),
        key_path: pair.map(|pair| pair.key.clone()),
        key_password: pair.and_then(|pair| pair.password.clone()),
        need_client_auth: match section.client_certificate {
            Demand::None => tls::ClientAuth::None,
            Demand::Optional => tls::ClientAuth::Optional,
            Demand::Require => tls::ClientAuth::Require,
        },
        auth_client: section.trust.is_some(),
        trust_cert_path: section.trust.clone(),
        ciphers: section.ciphers.clone(),
        protocols: section.protocols.clone(),
    };
    let acceptor = tls::Acceptor::new(settings).map_err(|error| Failure::new(exit::INITIALISATION, error))?;
    Ok(Arc::new(acceptor))
}

fn connector(section: Option<&OutgoingTls>) -> Result<Option<Arc<tls::Connector>>, Failure> {
    let Some(section) = section else { return Ok(None) };
    let pair = section.certificate.as_ref();
    let settings = tls::ClientTls {
        // Test mode would accept any certificate even where a trust file says otherwise.
        test_mode: section.trust.is_none(),
        cert_path: pair.map(|pair| pair.chain.clone()),
        key_path: pair.map(|pair| pair.key.clone()),
        key_password: pair.and_then(|pair| pair.password.clone()),
        auth_server: section.trust.is_some(),
        trust_cert_path: section.trust.clone(),
        ciphers: section.ciphers.clone(),
        protocols: section.protocols.clone(),
    };
    let connector =
        tls::Connector::new(settings).map_err(|error| Failure::new(exit::INITIALISATION, error))?;
    Ok(Some(Arc::new(connector)))
}

/// The broker of this process as its name server knows it, if clients are to get the address they came through.
fn own_broker(broker: &BrokerConfig) -> Option<OwnBroker> {
    let reachable_everywhere = broker.listen.address.is_unspecified() && !broker.identity.address.configured;
    reachable_everywhere.then(|| OwnBroker {
        name: broker.identity.broker_name.clone(),
        host: broker.identity.address.host.clone(),
    })
}

/// `host:port` of a name server for other machines.
fn advertised(listening: SocketAddr, host: &Host, broker: Option<&BrokerConfig>) -> String {
    match broker {
        Some(broker) if broker.identity.address.configured => {
            broker.identity.address.with_port(listening.port())
        }
        _ if listening.ip().is_unspecified() => format!("{}:{}", host_text(host.address), listening.port()),
        _ => listening.to_string(),
    }
}

fn broker_ready(config: &BrokerConfig, broker: &RunningBroker, host: &Host, disk: &dyn Disk) -> BrokerReady {
    let mut addresses = broker.addresses();
    let listening = addresses.next().expect("invariant: a running broker listens");
    let address = &config.identity.address;
    let retention = &config.live.retention;
    let used_percent = disk.space(&config.store.commit_log).ok().map(Space::used_percent);
    BrokerReady {
        name: config.identity.broker_name.clone(),
        cluster: config.identity.cluster_name.clone(),
        listening,
        fast: addresses.next(),
        address: address.with_port(listening.port()),
        name_servers: config.live.name_servers.join(";"),
        data: std::path::absolute(&config.store.root).unwrap_or_else(|_| config.store.root.clone()),
        disk: used_percent.map(|used_percent| DiskUse {
            used_percent,
            deletes_from_percent: retention.start_percent,
            refuses_from_percent: retention.full_percent,
        }),
        unreachable_because: address.unreachable_because(host),
    }
}

fn namesrv_failure(error: &StartError) -> Failure {
    match error {
        StartError::Listen(error) => port_failure(error, "--namesrv-port"),
        StartError::Settings(error) => Failure::new(exit::INITIALISATION, error),
    }
}

fn broker_failure(error: &BrokerError) -> Failure {
    match error {
        BrokerError::Listen(error) => port_failure(error, "--broker-port"),
        BrokerError::Open(OpenError::Directory(DirectoryError::Locked { path })) => {
            let owner = owner::of_file(path).map_or_else(String::new, |owner| format!(": {owner}"));
            Failure::start(format!(
                "{} is locked: another broker, ours or Java's, runs on this store{owner}. Stop it, or choose another \
                 directory with --data-dir or storePathRootDir.",
                path.display()
            ))
        }
        BrokerError::Open(_) | BrokerError::Metadata(_) => Failure::new(exit::INITIALISATION, error),
        BrokerError::Store(_) | BrokerError::Thread(_) => Failure::start(error),
    }
}

/// Names who has the port, if that can be found out.
fn port_failure(error: &ListenError, option: &str) -> Failure {
    if !error.is_taken() {
        return Failure::start(error);
    }
    let owner = owner::of_port(error.address.port())
        .map_or_else(|| "another process".to_owned(), |owner| owner.to_string());
    Failure::start(format!(
        "{} is taken by {owner}. Stop it, or choose another port with {option}.",
        error.address
    ))
}
