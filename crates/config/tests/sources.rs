//! Which source wins, and what is said about values nobody can use.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{ConfigFile, broker, namesrv, notices, problems, set, sources};
use ferromq_config::broker::{BrokerConfig, BrokerSources};
use ferromq_config::host::Host;
use ferromq_config::namesrv::{NamesrvConfig, NamesrvSources};
use ferromq_config::settings::{Level, Strictness};
use ferromq_config::source::Source;
use ferromq_config::store::FlushMode;

/// For every set of sources that name a key, the strongest of them gives the value.
#[test]
fn later_sources_win() {
    for named in 0..16u32 {
        let (up, environment, file, command_line) =
            (named & 1 > 0, named & 2 > 0, named & 4 > 0, named & 8 > 0);
        let text = if file { "brokerName=of-file\nnamesrvAddr=file:4" } else { "" };
        let config_file = ConfigFile::new(text);
        let mut sources =
            BrokerSources::new(|name| (environment && name == "NAMESRV_ADDR").then(|| "env:2".to_owned()));
        sources.file = file.then(|| config_file.path());
        sources.up = up;
        if command_line {
            sources.command_line = vec![set("brokerName", "of-line"), set("namesrvAddr", "line:8")];
        }
        let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
        let name = match (command_line, file, up) {
            (true, _, _) => "of-line",
            (false, true, _) => "of-file",
            (false, false, true) => "broker-a",
            (false, false, false) => "vm",
        };
        assert_eq!(config.identity.broker_name, name, "{named:04b}");
        let name_servers: &[&str] = match (command_line, file, environment) {
            (true, _, _) => &["line:8"],
            (false, true, _) => &["file:4"],
            (false, false, true) => &["env:2"],
            (false, false, false) => &[],
        };
        assert_eq!(config.live.name_servers, name_servers, "{named:04b}");
    }
}

#[test]
fn the_last_line_of_a_file_and_the_last_option_win() {
    assert_eq!(broker("regionId=a\nregionId=b").unwrap().identity.region_id, "b");
    let options = vec![set("regionId", "a"), set("regionId", "b")];
    let sources = BrokerSources { command_line: options, ..sources(None) };
    assert_eq!(BrokerConfig::load(&Host::fictitious(), &sources).unwrap().identity.region_id, "b");
}

#[test]
fn up_has_defaults_of_its_own_only_without_a_file() {
    let up = BrokerSources { up: true, ..sources(None) };
    let config = BrokerConfig::load(&Host::fictitious(), &up).unwrap();
    assert_eq!(config.identity.broker_name, "broker-a");
    assert_eq!(config.store.root.to_str(), Some("./ferromq-data"));
    assert_eq!(config.settings.value("enablePropertyFilter"), Some("true"));
    assert_eq!(config.settings.notices(), [], "defaults are nobody's mistake");

    let file = ConfigFile::new("");
    let up = BrokerSources { up: true, ..sources(Some(&file)) };
    let config = BrokerConfig::load(&Host::fictitious(), &up).unwrap();
    assert_eq!(config.identity.broker_name, "vm");
    assert_eq!(config.store.root.to_str(), Some("/home/u/store"));
}

#[test]
fn values_are_trimmed_where_java_would_lose_them() {
    let config =
        broker("listenPort = 10911 \nautoCreateTopicEnable=false \nflushDiskType=SYNC_FLUSH\t\n").unwrap();
    assert_eq!(config.listen.port, 10_911);
    assert!(!config.live.create_topics);
    assert_eq!(config.store.flush, FlushMode::Sync);
}

#[test]
fn a_value_that_does_not_parse_names_key_value_line_and_remedy() {
    let text = problems(
        "# a comment\nfileReservedTime=3d\nautoCreateTopicEnable=yes\nflushDiskType=SYNC\nlistenPort=70000",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for (line, key, number, remedy) in [
        (lines[0], "fileReservedTime=\"3d\"", "broker.conf:2)", "digits only"),
        (lines[1], "autoCreateTopicEnable=\"yes\"", "broker.conf:3)", "write true or false"),
        (lines[2], "flushDiskType=\"SYNC\"", "broker.conf:4)", "write ASYNC_FLUSH or SYNC_FLUSH"),
        (lines[3], "listenPort=\"70000\"", "broker.conf:5)", "from 0 to 65535"),
    ] {
        assert!(line.contains(key) && line.contains(number) && line.contains(remedy), "{line}");
    }
}

#[test]
fn the_lenient_mode_takes_values_as_java_does() {
    let file = ConfigFile::new(
        "fileReservedTime=3d\nlistenPort=10921 \ntraceOn=yes\nbrokerName= b \nslaveReadEnable=TRUE",
    );
    let sources = BrokerSources { strictness: Strictness::Lenient, ..sources(Some(&file)) };
    let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
    assert_eq!(config.live.retention.keep.as_secs(), 72 * 3_600, "ignored: does not parse");
    assert_eq!(config.listen.port, 10_911, "ignored: blank at the end");
    assert!(!config.live.trace, "what is not true is false");
    assert_eq!(config.identity.broker_name, "b", "texts are trimmed");
    let warnings = notices(&config, Level::Warn);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("fileReservedTime=\"3d\"") && warnings[0].contains("broker.conf:1"),
        "{warnings:?}"
    );
}

#[test]
fn the_lenient_mode_does_not_open_a_broker_that_should_be_closed() {
    let file = ConfigFile::new("aclEnable=true");
    let sources = BrokerSources { strictness: Strictness::Lenient, ..sources(Some(&file)) };
    assert!(BrokerConfig::load(&Host::fictitious(), &sources).is_err());
}

#[test]
fn unknown_keys_give_one_warning_with_the_nearest_known_key() {
    let config = broker("brokerNmae=a\nsomethingElse=b\nbrokerName=c").unwrap();
    let warnings = notices(&config, Level::Warn);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("brokerNmae ("), "{warnings:?}");
    assert!(warnings[0].contains("broker.conf:1; did you mean brokerName?)"), "{warnings:?}");
    assert!(
        warnings[0].contains("somethingElse (") && warnings[0].contains("broker.conf:2)"),
        "{warnings:?}"
    );
    assert_eq!(config.settings.value("somethingElse"), Some("b"), "Java reports it as well");
}

#[test]
fn a_file_that_begins_with_an_xml_comment_still_loads() {
    // As conf/controller/cluster-3n-namesrv-plugin of the release does.
    let licence: String = (0..16).map(|line| format!("  word{line} of a licence\n")).collect();
    let config = namesrv(&format!("<!--\n{licence}-->\nlistenPort=9886\n")).unwrap();
    assert_eq!(config.listen.port, 9_886);
    assert_eq!(config.settings.notices().len(), 1);
    assert!(
        config.settings.notices()[0].text.ends_with("and 8 more"),
        "{}",
        config.settings.notices()[0].text
    );
}

#[test]
fn an_unknown_key_on_the_command_line_is_a_mistake() {
    let sources = BrokerSources { command_line: vec![set("brokerNmae", "a")], ..sources(None) };
    let problems = BrokerConfig::load(&Host::fictitious(), &sources).unwrap_err().to_string();
    assert_eq!(problems, "--set brokerNmae: there is no such key; did you mean brokerName?");
}

#[test]
fn a_missing_file_and_a_broken_escape_are_named() {
    let missing = BrokerSources { file: Some("/nowhere/broker.conf".into()), ..sources(None) };
    let text = BrokerConfig::load(&Host::fictitious(), &missing).unwrap_err().to_string();
    assert!(text.starts_with("cannot read /nowhere/broker.conf: "), "{text}");
    let text = problems("a=1\nstorePathRootDir=C:\\users");
    assert!(text.contains("broker.conf:2: \\u must be followed"), "{text}");
}

#[test]
fn the_environment_may_be_empty() {
    let sources = BrokerSources::new(|_| Some(" ".to_owned()));
    assert_eq!(sources.environment, [], "an empty variable is as good as none");
}

#[test]
fn properties_for_the_virtual_machine_count_as_in_java() {
    let options = "-server -Xms8g -Dtls.server.mode=disabled -Drocketmq.namesrv.addr=\"p:1\" -DbrokerName=x -Dother.one=1";
    let variable = |name: &str| match name {
        "JAVA_OPT_EXT" => Some(options.to_owned()),
        "NAMESRV_ADDR" => Some("v:1".to_owned()),
        _ => None,
    };
    let mut sources = BrokerSources::new(variable);
    let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
    assert_eq!(config.settings.value("tls.server.mode"), Some("disabled"));
    assert_eq!(config.live.name_servers, ["p:1"], "a property is stronger than the variable");
    assert_eq!(config.identity.broker_name, "vm", "keys of the file are no properties");
    assert_eq!(config.settings.notices(), []);
    sources.command_line = vec![set("tls.server.mode", "permissive")];
    let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
    assert_eq!(config.settings.value("tls.server.mode"), Some("permissive"));

    let enforcing =
        BrokerSources::new(|name| (name == "JAVA_OPT_EXT").then(|| "-Dtls.server.mode=enforcing".to_owned()));
    assert!(
        BrokerConfig::load(&Host::fictitious(), &enforcing).is_err(),
        "not open although the file says nothing"
    );
}

#[test]
fn the_tls_file_stands_between_environment_and_file() {
    let tls = ConfigFile::new(
        "tls.server.certPath=/tls/chain.pem\ntls.server.keyPath=/tls/key.pem\ntls.server.mode=enforcing\nbrokerName=x",
    );
    let path = tls.path();
    let named = format!("tls.config.file={}\ntls.server.keyPath=/other/key.pem", path.display());
    let config = broker(&named).unwrap();
    assert_eq!(config.settings.value("tls.server.certPath"), Some("/tls/chain.pem"));
    assert_eq!(config.settings.value("tls.server.keyPath"), Some("/other/key.pem"));
    assert_eq!(config.settings.value("tls.server.mode"), Some("permissive"), "the file may not set the mode");
    assert_eq!(config.identity.broker_name, "vm", "the file sets nothing but TLS");
    let source = config.settings.source("tls.server.certPath");
    assert!(matches!(source, Some(Source::File { line: 1, .. })), "{source:?}");

    let text = problems("tls.config.file=/nowhere/tls.properties");
    assert!(text.starts_with("cannot read /nowhere/tls.properties"), "{text}");
}

#[test]
fn a_name_server_beside_a_broker_takes_what_every_server_has() {
    let file = ConfigFile::new(
        "listenPort=10999\nbindAddress=127.0.0.1\nbrokerName=b\nserverChannelMaxIdleTimeSeconds=7",
    );
    let sources = NamesrvSources { broker_file: Some(file.path()), ..NamesrvSources::new(|_| None) };
    let config = NamesrvConfig::load(&Host::fictitious(), &sources).unwrap();
    assert_eq!(config.listen.port, 9_876);
    assert!(config.listen.address.is_loopback());
    assert_eq!(config.listen.idle.as_secs(), 7);
    assert_eq!(config.settings.notices(), []);
}

#[test]
fn the_printed_configuration_names_the_source_of_every_value() {
    let file = ConfigFile::new("fileReservedTime=48\nmyKey=x\nbrokerId=7\n");
    let mut sources = BrokerSources::new(|name| (name == "NAMESRV_ADDR").then(|| "ns:9876".to_owned()));
    sources.file = Some(file.path());
    sources.command_line = vec![set("flushDiskType", "SYNC_FLUSH")];
    let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
    let printed =
        config.settings.report_with_sources().replace(&*file.path().to_string_lossy(), "broker.conf");
    let (built_in, said): (Vec<&str>, Vec<&str>) =
        printed.lines().partition(|line| line.starts_with("built-in "));
    let said: Vec<String> = said
        .iter()
        .map(|line| {
            line.split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>().join(" | ")
        })
        .collect();
    assert_eq!(
        said,
        [
            "broker.conf:3 | brokerId=0",
            "broker.conf:1 | fileReservedTime=48",
            "command line --set | flushDiskType=SYNC_FLUSH",
            "unknown key | myKey=x",
            "environment NAMESRV_ADDR | namesrvAddr=ns:9876",
        ]
    );
    let columns: Vec<Option<usize>> = built_in.iter().map(|line| line.find('=')).collect();
    assert!(columns.iter().all(Option::is_some) && built_in.len() > 480, "every key with a value is there");
    assert!(built_in.iter().any(|line| line.ends_with("  haListenPort=10912")), "{printed}");
}
