//! updateBrokerConfig and updateNamesrvConfig: what is refused, what acts, what is written.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{ConfigFile, broker, namesrv, sources};
use ferromq_config::broker::{BrokerConfig, BrokerSources};
use ferromq_config::host::Host;
use ferromq_config::settings::UpdateError;

#[test]
fn a_reloadable_key_acts_at_once_and_another_after_the_next_start() {
    let config = broker("").unwrap();
    let (config, changes) =
        config.updated(b"fileReservedTime=24\nflushIntervalCommitLog=100\ntraceOn=true\n").unwrap();
    assert_eq!(changes.acting, ["fileReservedTime"]);
    assert_eq!(changes.after_restart, ["flushIntervalCommitLog"]);
    assert_eq!(config.live.retention.keep.as_secs(), 24 * 3_600);
    assert_eq!(config.store.flush_interval.as_millis(), 500);
    assert_eq!(config.settings.value("fileReservedTime"), Some("24"));
    assert_eq!(
        config.settings.value("flushIntervalCommitLog"),
        Some("100"),
        "Java reports the new value at once"
    );
}

#[test]
fn keys_of_the_black_list_are_refused_as_in_java() {
    let config = broker("configBlackList=configBlackList;brokerConfigPath;listenPort").unwrap();
    for key in ["brokerConfigPath", "rocketmqHome", "configBlackList", "listenPort"] {
        let refused = config.updated(format!("traceOn=false\n{key}=1").as_bytes()).unwrap_err();
        assert!(matches!(refused, UpdateError::BlackListed), "{key}");
        assert_eq!(refused.to_string(), "Can not update config in black list.");
    }
    let config = namesrv("").unwrap();
    for key in ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"] {
        assert!(
            matches!(config.updated(format!("{key}=1").as_bytes()), Err(UpdateError::BlackListed)),
            "{key}"
        );
    }
}

#[test]
fn unknown_keys_are_ignored() {
    let (config, changes) = broker("").unwrap().updated(b"colour=red\ntraceOn=false").unwrap();
    assert_eq!(changes.unknown, ["colour"]);
    assert_eq!(changes.acting, ["traceOn"]);
    assert!(!config.live.trace);
    assert_eq!(config.settings.value("colour"), None);
}

#[test]
fn an_update_that_would_break_the_next_start_changes_nothing() {
    let config = broker("").unwrap();
    for body in
        ["traceOn=maybe", "aclEnable=true", "brokerRole=SLAVE", "deleteWhen=25", "namesrvAddr=nowhere"]
    {
        assert!(config.updated(body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(config.updated(b"a=\\u12").unwrap_err().to_string(), "string2Properties error");
}

#[test]
fn name_servers_can_be_changed_while_running() {
    let (config, changes) = broker("namesrvAddr=a:1").unwrap().updated(b"namesrvAddr=a:1;b:2").unwrap();
    assert_eq!(config.live.name_servers, ["a:1", "b:2"]);
    assert_eq!(changes.acting, ["namesrvAddr"]);
}

#[test]
fn the_file_is_rewritten_sorted_and_the_old_one_kept() {
    let text = "# comment\nregionId=a\\\\b\nmyOwnKey=x\nfileReservedTime=48\n";
    let file = ConfigFile::new(text);
    let config = BrokerConfig::load(&Host::fictitious(), &sources(Some(&file))).unwrap();
    let (config, _) = config.updated(b"fileReservedTime=24").unwrap();
    assert_eq!(config.file, file.path());
    config.settings.write_file(&config.file).unwrap();

    let written = std::fs::read_to_string(file.path()).unwrap();
    let keys: Vec<&str> = written.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert!(keys.is_sorted());
    for line in ["fileReservedTime=24", "myOwnKey=x", "regionId=a\\\\b", "mappedFileSizeCommitLog=1073741824"]
    {
        assert!(written.lines().any(|written| written == line), "{line}");
    }
    assert_eq!(std::fs::read_to_string(format!("{}.bak", file.path().display())).unwrap(), text);

    let again = BrokerConfig::load(&Host::fictitious(), &sources(Some(&file))).unwrap();
    assert_eq!(again.settings.report(), config.settings.report());
    assert_eq!(again.live, config.live);
}

#[test]
fn what_the_machine_or_the_command_line_said_does_not_get_into_the_file() {
    let mut sources = BrokerSources::new(|name| (name == "NAMESRV_ADDR").then(|| "env:1".to_owned()));
    sources.command_line = vec![common::set("listenPort", "20911")];
    let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
    let (config, _) = config.updated(b"traceOn=false").unwrap();
    let text = config.settings.file_text();
    assert!(text.contains("traceOn=false\n"));
    for key in [
        "namesrvAddr",
        "listenPort",
        "brokerIP1",
        "brokerName",
        "pullMessageThreadPoolNums",
        "brokerId",
        "haListenPort",
    ] {
        let written = text.lines().find(|line| line.starts_with(&format!("{key}=")));
        assert!(matches!(written, None | Some("brokerId=0" | "haListenPort=0")), "{written:?}");
    }
}

#[test]
fn a_file_appears_where_there_was_none() {
    let directory = tempfile::tempdir().unwrap();
    let sources = BrokerSources { data_directory: Some(directory.path().join("store")), ..sources(None) };
    let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
    config.settings.write_file(&config.file).unwrap();
    assert!(directory.path().join("store/config/broker.properties").exists());
    assert!(!directory.path().join("store/config/broker.properties.bak").exists());
}

#[test]
fn a_port_that_was_chosen_by_the_system_is_reported() {
    let mut config = broker("listenPort=0").unwrap();
    config.set_bound_port(40_000);
    assert_eq!(config.settings.value("listenPort"), Some("40000"));
    assert_eq!(config.settings.value("haListenPort"), Some("40001"));
    let (config, _) = config.updated(b"traceOn=false").unwrap();
    assert_eq!(config.settings.value("listenPort"), Some("40000"));
    assert!(config.settings.file_text().contains("listenPort=0\n"), "the next start chooses again");
}

#[test]
fn the_name_server_of_this_process_survives_updates_but_not_the_file() {
    let mut config = broker("namesrvAddr=a:1").unwrap();
    config.set_own_name_server("127.0.0.1:9876".to_owned());
    assert_eq!(config.live.name_servers, ["127.0.0.1:9876", "a:1"]);
    assert_eq!(config.settings.value("namesrvAddr"), Some("127.0.0.1:9876;a:1"));
    let (config, _) = config.updated(b"namesrvAddr=b:2").unwrap();
    assert_eq!(config.live.name_servers, ["127.0.0.1:9876", "b:2"]);
    assert!(config.settings.file_text().contains("\nnamesrvAddr=b:2\n"));
}
