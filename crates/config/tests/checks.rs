//! Values that parse but cannot be, alone or together; and values that Java takes differently than they are written.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::Duration;

use common::{ConfigFile, broker, notices, problems, set, sources};
use ferromq_config::address::host_text;
use ferromq_config::broker::{BrokerConfig, BrokerSources, name_servers};
use ferromq_config::host::Host;
use ferromq_config::server::{Demand, KeyPair, TlsMode};
use ferromq_config::settings::Level;

#[test]
fn a_master_always_has_broker_id_0() {
    let config = broker("brokerId=7").unwrap();
    assert_eq!(config.identity.broker_id.0, 0);
    assert_eq!(config.settings.value("brokerId"), Some("0"));
    assert_eq!(notices(&config, Level::Info), ["brokerId=7 counts as 0, as in Java"]);
}

#[test]
fn a_slave_without_an_id_of_its_own_gets_javas_words_and_exit_code() {
    for id in ["", "brokerId=0", "brokerId=-1"] {
        let refused = broker(&format!("brokerRole=SLAVE\n{id}")).unwrap_err();
        assert_eq!(refused.to_string().lines().next(), Some("Slave's brokerId must be > 0"));
        assert_eq!(refused.exit_code(), 253);
    }
    let both = broker("enableControllerMode=true\nenableDLegerCommitLog=true").unwrap_err();
    assert_eq!(both.exit_code(), 252);
}

#[test]
fn name_servers_are_read_as_java_reads_them() {
    assert_eq!(name_servers("a:1; b:2;;").unwrap(), ["a:1", "b:2"]);
    assert_eq!(name_servers("http://h:9876").unwrap(), ["h:9876"]);
    assert_eq!(name_servers("[::1]:9876").unwrap(), ["[::1]:9876"]);
    for illegal in ["localhost", "a:1;b", ":9876", "a:port", "a:70000"] {
        let refused = broker(&format!("namesrvAddr={illegal}")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "The Name Server Address[{illegal}] illegal, please set it as follows, \
                 \"127.0.0.1:9876;192.168.0.1:9876\""
            )
        );
        assert_eq!(refused.exit_code(), 253);
    }
}

#[test]
fn an_address_server_needs_a_domain() {
    assert!(problems("fetchNamesrvAddrByAddressServer=true").contains("set rmqAddressServerDomain"));
    for (domain, url) in [
        ("rmqAddressServerDomain=ns.example", "http://ns.example:8080/rocketmq/nsaddr"),
        ("rocketmq.namesrv.domain=ns.example:80", "http://ns.example:80/rocketmq/nsaddr"),
    ] {
        let config = broker(&format!("fetchNamesrvAddrByAddressServer=true\n{domain}")).unwrap();
        assert_eq!(config.registration.address_server.unwrap().url, url);
    }
}

#[test]
fn the_advertised_address_is_the_configured_one_or_that_of_the_machine() {
    let chosen = broker("").unwrap().identity.address;
    assert_eq!((chosen.host.as_str(), chosen.configured), ("192.0.2.2", false));
    assert_eq!(chosen.with_port(10_911), "192.0.2.2:10911");
    assert_eq!(chosen.unreachable_because(&Host::fictitious()), None);

    let configured = broker("brokerIP1=203.0.113.9").unwrap().identity.address;
    assert_eq!((configured.host.as_str(), configured.configured), ("203.0.113.9", true));
    assert_eq!(broker("brokerIP1=::1").unwrap().identity.address.with_port(1), "[::1]:1");
    assert_eq!(broker("brokerIP1=localhost").unwrap().identity.address.host, "localhost");
    assert!(problems("brokerIP1=no.such.host.invalid").contains("a host name that resolves"));
}

#[test]
fn a_broker_bound_to_one_address_advertises_it() {
    let bound = broker("bindAddress=127.0.0.1").unwrap();
    assert_eq!(bound.identity.address.host, "127.0.0.1");
    assert_eq!(bound.settings.value("brokerIP1"), Some("127.0.0.1"));
    assert_eq!(bound.identity.replication_host, "127.0.0.1");
    let reason = bound.identity.address.unreachable_because(&Host::fictitious());
    assert_eq!(reason, Some("it is a loopback address"));
    assert!(problems("bindAddress=no.such.host.invalid").contains("write an address of this machine"));
}

#[test]
fn a_container_hides_the_chosen_address_but_not_a_configured_one() {
    let container = Host { in_container: true, ..Host::fictitious() };
    assert!(broker("").unwrap().identity.address.unreachable_because(&container).is_some());
    let configured = broker("brokerIP1=203.0.113.9").unwrap().identity.address;
    assert_eq!(configured.unreachable_because(&container), None);
    assert_eq!(host_text("2001:db8::1".parse().unwrap()), "[2001:db8::1]");
}

#[test]
fn the_replication_port_is_one_above_unless_it_is_set() {
    for (text, expected) in [
        ("", 10_912),
        ("listenPort=30911", 30_912),
        ("haListenPort=40912", 40_912),
        ("haListenPort=-1", 10_912),
    ] {
        let config = broker(text).unwrap();
        assert_eq!(config.replication_port(config.listen.port), expected, "{text}");
        assert_eq!(config.settings.value("haListenPort"), Some(&*expected.to_string()), "{text}");
    }
}

#[test]
fn the_fast_port_must_exist() {
    for port in [1, 2] {
        assert!(problems(&format!("listenPort={port}")).contains("at least 3"));
    }
    assert!(broker("listenPort=3").is_ok());
    assert!(broker("listenPort=0").is_ok());
}

#[test]
fn sizes_and_ratios_count_as_in_java() {
    let config = broker(
        "mappedFileSizeConsumeQueue=6001\ndiskMaxUsedSpaceRatio=5\ndiskSpaceCleanForciblyRatio=99\n\
         diskSpaceWarningLevelRatio=100\nregisterNameServerPeriod=5",
    )
    .unwrap();
    assert_eq!(config.store.queue_file_bytes, 6_020);
    let retention = &config.live.retention;
    assert_eq!((retention.start_percent, retention.force_percent, retention.full_percent), (10, 85, 90));
    assert_eq!(config.registration.interval, Duration::from_secs(10));
    assert_eq!(notices(&config, Level::Info).len(), 5, "each is said once");
}

#[test]
fn hours_of_deletion() {
    let hours = broker("deleteWhen=04;16").unwrap().live.retention.delete_hours;
    assert!((0..24).filter(|hour| hours.contains(*hour)).eq([4, 16]));
    for wrong in ["24", "4h", "-1"] {
        assert!(problems(&format!("deleteWhen={wrong}")).contains("hours from 00 to 23"), "{wrong}");
    }
}

#[test]
fn delay_levels() {
    assert!(broker("messageDelayLevel=1s  2m 3h 4d").is_ok());
    for wrong in ["1", "1s 2", "s", "1x", "-1s"] {
        assert!(
            problems(&format!("messageDelayLevel={wrong}")).contains("followed by s, m, h or d"),
            "{wrong}"
        );
    }
}

#[test]
fn the_data_directory_moves_the_whole_store() {
    let sources = BrokerSources { data_directory: Some("/data".into()), up: true, ..sources(None) };
    let config = BrokerConfig::load(&Host::fictitious(), &sources).unwrap();
    assert_eq!(config.store.root.to_str(), Some("/data"));
    assert_eq!(config.store.commit_log.to_str(), Some("/data/commitlog"));
    assert_eq!(config.file.to_str(), Some("/data/config/broker.properties"));
}

#[test]
fn a_data_directory_that_contradicts_the_file_names_both() {
    for (key, value) in [("storePathRootDir", "/mq"), ("storePathCommitLog", "/mq/log")] {
        let file = ConfigFile::new(&format!("{key}={value}"));
        let sources = BrokerSources { data_directory: Some("/data".into()), ..sources(Some(&file)) };
        let text = BrokerConfig::load(&Host::fictitious(), &sources).unwrap_err().to_string();
        assert!(text.starts_with(&format!("--data-dir /data contradicts {key}={value} (")), "{text}");
        assert!(text.contains("broker.conf:1"), "{text}");
    }
    let file = ConfigFile::new("storePathRootDir=/data");
    let same = BrokerSources { data_directory: Some("/data".into()), ..sources(Some(&file)) };
    assert!(BrokerConfig::load(&Host::fictitious(), &same).is_ok());
    let twice = BrokerSources {
        data_directory: Some("/data".into()),
        command_line: vec![set("storePathRootDir", "/mq")],
        ..common::sources(None)
    };
    assert!(BrokerConfig::load(&Host::fictitious(), &twice).is_err());
}

#[test]
fn a_commit_log_in_several_directories_is_refused() {
    assert!(problems("storePathCommitLog=/a,/b").contains("several directories is not supported yet"));
}

#[test]
fn enforced_tls_needs_certificates() {
    assert!(problems("tls.server.mode=enforcing").contains("set tls.server.certPath"));
    assert!(
        problems("tls.server.mode=enforcing\ntls.test.mode.enable=false").contains("set tls.server.certPath")
    );
    let test = broker("tls.server.mode=enforcing\ntls.test.mode.enable=true").unwrap().tls;
    assert_eq!((test.mode, test.certificate), (TlsMode::Enforcing, None));
    let files = "tls.server.certPath=/c.pem\ntls.server.keyPath=/k.pem";
    let real = broker(&format!("tls.server.mode=enforcing\n{files}")).unwrap().tls;
    assert_eq!(real.mode, TlsMode::Enforcing);
    assert_eq!(
        real.certificate,
        Some(KeyPair { chain: "/c.pem".into(), key: "/k.pem".into(), password: None })
    );
    for half in files.lines() {
        assert!(problems(half).contains("as well"), "{half}");
    }
}

#[test]
fn a_test_mode_that_is_asked_for_hides_certificates_as_in_java() {
    let files = "tls.server.certPath=/c.pem\ntls.server.keyPath=/k.pem";
    assert!(broker(files).unwrap().tls.certificate.is_some());
    assert_eq!(broker(&format!("{files}\ntls.test.mode.enable=true")).unwrap().tls.certificate, None);
}

#[test]
fn without_a_certificate_there_is_no_tls() {
    assert_eq!(broker("").unwrap().tls.mode, TlsMode::Permissive);
    assert_eq!(broker("tls.test.mode.enable=false").unwrap().tls.mode, TlsMode::Disabled);
}

#[test]
fn certificates_of_clients() {
    let tls = broker(
        "tls.server.need.client.auth=require\ntls.server.authClient=true\ntls.server.trustCertPath=/ca.pem",
    )
    .unwrap()
    .tls;
    assert_eq!(tls.client_certificate, Demand::Require);
    assert_eq!(tls.trust, Some("/ca.pem".into()));
    assert!(problems("tls.server.authClient=true").contains("set tls.server.trustCertPath as well"));
}

#[test]
fn outgoing_connections_are_encrypted_when_either_name_of_the_key_says_so() {
    assert_eq!(broker("tls.client.certPath=/c\ntls.client.keyPath=/k").unwrap().outgoing_tls, None);
    for switch in ["useTLS", "tls.enable"] {
        let outgoing =
            broker(&format!("{switch}=true\ntls.protocols=TLSv1.3")).unwrap().outgoing_tls.unwrap();
        assert_eq!(outgoing.protocols.as_deref(), Some("TLSv1.3"));
    }
    assert!(common::namesrv("tls.enable=true").unwrap().outgoing_tls.is_some());
    assert!(problems("tls.client.authServer=true").contains("set tls.client.trustCertPath as well"));
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = problems("aclEnable=true\nlistenPort=x\nbrokerRole=SYNC_MASTER");
    assert_eq!(text.lines().count(), 3, "{text}");
}
