//! From the command line to a configuration: which options become which keys, for which server.

use std::path::Path;

use ferromq_config::broker::{BrokerConfig, BrokerSources};
use ferromq_config::host::Host;
use ferromq_config::namesrv::{NamesrvConfig, NamesrvSources};
use ferromq_config::server::TlsMode;
use ferromq_config::settings::{Level, Problem, Problems, Settings, Strictness};
use ferromq_config::source::Assignment;
use ferromq_config::table::Table;

use crate::args::{Broker, Configuration, Namesrv, Printing, Up};

/// Configurations of `ferromq up`.
#[derive(Debug)]
pub(crate) struct UpConfig {
    pub(crate) broker: BrokerConfig,
    /// `None` with --no-namesrv.
    pub(crate) namesrv: Option<NamesrvConfig>,
}

pub(crate) fn up(args: &Up, host: &Host) -> Result<UpConfig, Problems> {
    // A key of the name server alone is no mistake here.
    let of_namesrv_alone = |said: &Assignment| {
        Table::broker().find(&said.key).is_none() && Table::namesrv().find(&said.key).is_some()
    };
    let mut sources = broker_sources(&args.configuration, args.data_dir.as_deref(), args.broker_port);
    sources.up = true;
    sources.command_line.retain(|said| args.no_namesrv || !of_namesrv_alone(said));
    let broker = BrokerConfig::load(host, &sources)?;
    if args.no_namesrv {
        return Ok(UpConfig { broker, namesrv: None });
    }
    let kept = broker.store.own_directory().join("namesrv");
    let path = |name: &str| kept.join(name).to_string_lossy().into_owned();
    let mut command_line = vec![
        Assignment::up("kvConfigPath", &path("kvConfig.json")),
        Assignment::up("configStorePath", &path("namesrv.properties")),
        Assignment::command_line("--namesrv-port", "listenPort", args.namesrv_port.to_string()),
    ];
    let shared_or_its_own =
        |said: &&Assignment| Table::is_of_every_server(&said.key) || of_namesrv_alone(said);
    command_line.extend(args.configuration.set.iter().filter(shared_or_its_own).cloned());
    let namesrv = NamesrvConfig::load(
        host,
        &NamesrvSources {
            broker_file: args.configuration.file.clone(),
            command_line,
            strictness: strictness(&args.configuration),
            ..NamesrvSources::new(variable)
        },
    )?;
    if namesrv.tls.mode == TlsMode::Enforcing && broker.outgoing_tls.is_none() {
        return Err(Problems(vec![Problem::Rule(
            "tls.server.mode=enforcing: the broker must reach the name server of this process with TLS too; set \
             tls.enable=true as well"
                .to_owned(),
        )]));
    }
    Ok(UpConfig { broker, namesrv: Some(namesrv) })
}

pub(crate) fn broker(args: &Broker, host: &Host) -> Result<BrokerConfig, Problems> {
    BrokerConfig::load(host, &broker_sources(&args.configuration, args.data_dir.as_deref(), args.broker_port))
}

pub(crate) fn namesrv(args: &Namesrv, host: &Host) -> Result<NamesrvConfig, Problems> {
    // -n is accepted and unused, as in mqnamesrv.
    let mut command_line = args.configuration.set.clone();
    command_line.extend(
        args.namesrv_port
            .map(|port| Assignment::command_line("--namesrv-port", "listenPort", port.to_string())),
    );
    let sources = NamesrvSources {
        file: args.configuration.file.clone(),
        command_line,
        strictness: strictness(&args.configuration),
        ..NamesrvSources::new(variable)
    };
    NamesrvConfig::load(host, &sources)
}

fn broker_sources(
    options: &Configuration,
    data_directory: Option<&Path>,
    port: Option<u16>,
) -> BrokerSources {
    let mut command_line = options.set.clone();
    command_line
        .extend(options.name_servers.iter().map(|list| Assignment::command_line("-n", "namesrvAddr", list)));
    command_line
        .extend(port.map(|port| Assignment::command_line("--broker-port", "listenPort", port.to_string())));
    BrokerSources {
        file: options.file.clone(),
        data_directory: data_directory.map(Path::to_owned),
        command_line,
        strictness: strictness(options),
        ..BrokerSources::new(variable)
    }
}

fn strictness(options: &Configuration) -> Strictness {
    if options.lenient_config { Strictness::Lenient } else { Strictness::Strict }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What is printed instead of starting, if that was asked for.
pub(crate) fn printed(printing: &Printing, settings: &Settings) -> Option<String> {
    if printing.print_config {
        Some(settings.report_with_sources())
    } else if printing.print_items {
        Some(settings.report())
    } else if printing.print_important {
        Some(settings.report_important())
    } else {
        None
    }
}

/// Writes what a person may want to know about a configuration to the log.
pub(crate) fn log_notices(settings: &Settings) {
    for notice in settings.notices() {
        match notice.level {
            Level::Info => tracing::info!("{}", notice.text),
            Level::Warn => tracing::warn!("{}", notice.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn up_args(line: &[&str]) -> Up {
        match Cli::try_parse_from([&["ferromq", "up"], line].concat()).unwrap().command {
            Command::Up(up) => up,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn up_gives_every_server_what_it_understands() {
        let args = up_args(&[
            "--set",
            "orderMessageEnable=true",
            "--set",
            "bindAddress=127.0.0.1",
            "--set",
            "brokerName=b",
            "--namesrv-port",
            "0",
            "--broker-port",
            "20911",
            "--data-dir",
            "/data",
        ]);
        let config = up(&args, &Host::fictitious()).unwrap();
        let namesrv = config.namesrv.unwrap();
        assert_eq!(namesrv.listen.port, 0);
        assert!(namesrv.live.order_in_routes);
        assert!(namesrv.listen.address.is_loopback());
        assert_eq!(namesrv.kv_file.to_str(), Some("/data/ferromq/namesrv/kvConfig.json"));
        assert_eq!(config.broker.listen.port, 20_911);
        assert!(config.broker.listen.address.is_loopback());
        assert_eq!(config.broker.identity.broker_name, "b");
    }

    #[test]
    fn a_key_of_the_name_server_is_a_mistake_where_there_is_none() {
        let args = up_args(&["--no-namesrv", "--set", "orderMessageEnable=true"]);
        let problems = up(&args, &Host::fictitious()).unwrap_err().to_string();
        assert!(problems.starts_with("--set orderMessageEnable: there is no such key"), "{problems}");
        assert!(Cli::try_parse_from(["ferromq", "up", "--no-namesrv", "--namesrv-port", "1"]).is_err());
    }

    #[test]
    fn enforced_tls_reaches_the_own_name_server() {
        let mut line = vec!["--set", "tls.server.mode=enforcing", "--set", "tls.test.mode.enable=true"];
        let problems = up(&up_args(&line), &Host::fictitious()).unwrap_err().to_string();
        assert!(problems.contains("set tls.enable=true as well"), "{problems}");
        line.extend(["--set", "tls.enable=true"]);
        assert!(up(&up_args(&line), &Host::fictitious()).is_ok());
    }

    #[test]
    fn options_of_mqbroker_and_mqnamesrv_work() {
        for line in [
            vec!["broker", "-c", "f", "-n", "a:1", "-m"],
            vec!["broker", "--configFile", "f", "--namesrvAddr", "a:1", "--printConfigItem"],
            vec!["broker", "--printImportantConfig"],
            vec!["namesrv", "-c", "f", "-n", "a:1", "-p"],
        ] {
            let parsed = Cli::try_parse_from([vec!["ferromq"], line.clone()].concat());
            assert!(parsed.is_ok(), "{line:?}");
        }
        assert!(Cli::try_parse_from(["ferromq", "broker", "--set", "x"]).is_err(), "no value");
    }
}
