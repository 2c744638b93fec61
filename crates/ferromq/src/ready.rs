//! What is said once everything is up: Java's lines for scripts, a banner for people, one line of JSON for programs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use ferromq_config::server::HeaderEncoding;
use serde_json::json;

/// Facts about the running process.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) namesrv: Option<NamesrvReady>,
    pub(crate) broker: Option<BrokerReady>,
    pub(crate) encoding: HeaderEncoding,
}

/// A name server that answers.
#[derive(Clone, Debug)]
pub(crate) struct NamesrvReady {
    pub(crate) listening: SocketAddr,
    /// `host:port` for clients on other machines.
    pub(crate) address: String,
    /// The `-c` file.
    pub(crate) file: Option<PathBuf>,
}

/// A broker that answers.
#[derive(Clone, Debug)]
pub(crate) struct BrokerReady {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) listening: SocketAddr,
    /// `None` if that port was taken.
    pub(crate) fast: Option<SocketAddr>,
    /// `host:port`, as it is registered.
    pub(crate) address: String,
    /// As Java prints it; empty if there are none.
    pub(crate) name_servers: String,
    pub(crate) data: PathBuf,
    pub(crate) disk: Option<DiskUse>,
    /// Why clients on other machines cannot use `address`.
    pub(crate) unreachable_because: Option<&'static str>,
}

/// How full the disk of the log is, and what happens at which percentage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskUse {
    pub(crate) used_percent: u8,
    pub(crate) deletes_from_percent: u8,
    pub(crate) refuses_from_percent: u8,
}

impl Ready {
    /// The lines that Java's programs print; scripts and test suites wait for them.
    pub(crate) fn java_lines(&self) -> String {
        let mut text = String::new();
        let encoding = self.encoding.name();
        if let Some(namesrv) = &self.namesrv {
            if let Some(file) = &namesrv.file {
                line(&mut text, format_args!("load config properties file OK, {}", file.display()));
            }
            let listening = namesrv.listening;
            line(
                &mut text,
                format_args!("The Name Server boot success. serializeType={encoding}, address {listening}"),
            );
        }
        if let Some(broker) = &self.broker {
            let BrokerReady { name, address, .. } = broker;
            let tail = match broker.name_servers.as_str() {
                "" => String::new(),
                servers => format!(" and name server is {servers}"),
            };
            line(
                &mut text,
                format_args!("The broker[{name}, {address}] boot success. serializeType={encoding}{tail}"),
            );
        }
        text
    }

    /// For the person who started it.
    pub(crate) fn banner(&self) -> String {
        let mut text = String::new();
        line(&mut text, format_args!("\nFerroMQ {} is ready.\n", env!("CARGO_PKG_VERSION")));
        if let Some(namesrv) = &self.namesrv {
            let NamesrvReady { address, listening, .. } = namesrv;
            line(&mut text, format_args!("  name server  {address}  (listening on {listening})"));
        }
        if let Some(broker) = &self.broker {
            let BrokerReady { name, cluster, address, listening, .. } = broker;
            let fast =
                broker.fast.map_or("no fast port".to_owned(), |fast| format!("fast port {}", fast.port()));
            line(&mut text, format_args!("  broker       {address}  (listening on {listening}, {fast})"));
            line(&mut text, format_args!("               {name} in {cluster}"));
            line(&mut text, format_args!("  data         {}", broker.data.display()));
            if let Some(disk) = broker.disk {
                let DiskUse { used_percent, deletes_from_percent, refuses_from_percent } = disk;
                line(
                    &mut text,
                    format_args!(
                        "               disk {used_percent} % full; old messages are deleted from \
                         {deletes_from_percent} %, sends refused from {refuses_from_percent} %"
                    ),
                );
            }
        }
        if let (Some(namesrv), Some(_)) = (&self.namesrv, &self.broker) {
            let local = crate::args::local_address(namesrv.listening);
            line(&mut text, format_args!("\nTry it:"));
            line(&mut text, format_args!("  ferromq bench send --namesrv {local}"));
            line(
                &mut text,
                format_args!("  or any RocketMQ client with the name server address {}", namesrv.address),
            );
        }
        if let Some((broker, reason)) =
            self.broker.as_ref().and_then(|b| b.unreachable_because.map(|r| (b, r)))
        {
            line(
                &mut text,
                format_args!(
                    "\nClients on other machines may not reach {}: {reason}.\nIf they should, start with \
                     --set brokerIP1=ADDRESS, an address of this machine that they can reach.",
                    broker.address
                ),
            );
        }
        line(&mut text, format_args!("\nCtrl-C stops it."));
        text
    }

    /// One line for programs.
    pub(crate) fn json(&self) -> String {
        let namesrv = self.namesrv.as_ref().map(|namesrv| {
            json!({
                "address": namesrv.address,
                "listening": namesrv.listening,
                "local": crate::args::local_address(namesrv.listening),
            })
        });
        let broker = self.broker.as_ref().map(|broker| {
            json!({
                "name": broker.name,
                "cluster": broker.cluster,
                "address": broker.address,
                "listening": broker.listening,
                "local": crate::args::local_address(broker.listening),
                "fast": broker.fast,
                "data": broker.data,
            })
        });
        json!({ "ready": true, "pid": std::process::id(), "namesrv": namesrv, "broker": broker }).to_string()
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("invariant: writing to a String succeeds");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Ready {
        Ready {
            namesrv: Some(NamesrvReady {
                listening: "0.0.0.0:9876".parse().unwrap(),
                address: "192.0.2.2:9876".to_owned(),
                file: None,
            }),
            broker: Some(BrokerReady {
                name: "broker-a".to_owned(),
                cluster: "DefaultCluster".to_owned(),
                listening: "0.0.0.0:10911".parse().unwrap(),
                fast: Some("0.0.0.0:10909".parse().unwrap()),
                address: "192.0.2.2:10911".to_owned(),
                name_servers: "127.0.0.1:9876".to_owned(),
                data: "/data".into(),
                disk: Some(DiskUse { used_percent: 41, deletes_from_percent: 75, refuses_from_percent: 90 }),
                unreachable_because: None,
            }),
            encoding: HeaderEncoding::Json,
        }
    }

    #[test]
    fn scripts_find_the_lines_of_java() {
        assert_eq!(
            ready().java_lines(),
            "The Name Server boot success. serializeType=JSON, address 0.0.0.0:9876\n\
             The broker[broker-a, 192.0.2.2:10911] boot success. serializeType=JSON and name server is 127.0.0.1:9876\n"
        );
    }

    #[test]
    fn a_broker_without_name_servers_says_nothing_of_them() {
        let mut ready = ready();
        ready.namesrv = None;
        ready.broker.as_mut().unwrap().name_servers.clear();
        let expected = "The broker[broker-a, 192.0.2.2:10911] boot success. serializeType=JSON\n";
        assert_eq!(ready.java_lines(), expected);
    }

    #[test]
    fn the_banner_warns_when_others_cannot_connect() {
        assert!(!ready().banner().contains("may not reach"));
        let mut ready = ready();
        ready.broker.as_mut().unwrap().unreachable_because = Some("it is a loopback address");
        let banner = ready.banner();
        assert!(banner.contains("may not reach 192.0.2.2:10911: it is a loopback address."), "{banner}");
        assert!(banner.contains("--set brokerIP1="), "{banner}");
    }

    #[test]
    fn programs_get_one_line_with_all_addresses() {
        let text = ready().json();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["namesrv"]["local"], "127.0.0.1:9876");
        assert_eq!(value["broker"]["fast"], "0.0.0.0:10909");
        assert_eq!(value["broker"]["address"], "192.0.2.2:10911");
    }
}
