//! Every key of RocketMQ is known here under its name, with its default, and says what becomes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

use std::collections::BTreeMap;

use ferromq_config::broker::{BrokerConfig, BrokerSources};
use ferromq_config::host::Host;
use ferromq_config::key::Kind;
use ferromq_config::namesrv::{NamesrvConfig, NamesrvSources};
use ferromq_config::table::Table;

/// `key=default` lines; keys without `=` are null in Java.
fn fixture(text: &str) -> BTreeMap<&str, Option<&str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value)))).collect()
}

fn java_broker_keys() -> BTreeMap<&'static str, Option<&'static str>> {
    fixture(include_str!("fixtures/broker-keys-5.5.0.txt"))
}

fn java_namesrv_keys() -> BTreeMap<&'static str, Option<&'static str>> {
    fixture(include_str!("fixtures/namesrv-keys-5.5.0.txt"))
}

fn broker_defaults() -> BrokerConfig {
    BrokerConfig::load(&Host::fictitious(), &BrokerSources::new(|_| None)).unwrap()
}

#[test]
fn broker_defaults_are_those_of_java() {
    let expected = java_broker_keys();
    assert_eq!(expected.len(), 488);
    let settings = broker_defaults().settings;
    for (key, default) in expected {
        assert!(Table::broker().find(key).is_some(), "{key} is not in the table");
        assert_eq!(settings.value(key), default, "{key}");
    }
}

#[test]
fn namesrv_defaults_are_those_of_java() {
    let expected = java_namesrv_keys();
    assert_eq!(expected.len(), 40);
    let config = NamesrvConfig::load(&Host::fictitious(), &NamesrvSources::new(|_| None)).unwrap();
    for (key, default) in expected {
        assert!(Table::namesrv().find(key).is_some(), "{key} is not in the table");
        assert_eq!(config.settings.value(key), default, "{key}");
    }
}

#[test]
fn keys_that_java_reports_only_when_set_are_known() {
    let reported: BTreeMap<_, _> =
        broker_defaults().settings.report().lines().map(|line| (line.to_owned(), ())).collect();
    for (key, _) in fixture(include_str!("fixtures/broker-keys-further.txt")) {
        let known = Table::broker().find(key).unwrap_or_else(|| panic!("{key} is not in the table"));
        if known.default_text(&Host::fictitious()).is_none() {
            assert!(
                !reported.keys().any(|line| line.starts_with(&format!("{key}="))),
                "{key} is null but reported"
            );
        }
    }
}

#[test]
fn the_report_has_the_keys_of_java_sorted() {
    let report = broker_defaults().settings.report();
    let keys: Vec<&str> = report.lines().map(|line| line.split_once('=').unwrap().0).collect();
    assert!(keys.is_sorted(), "Java sorts by key");
    for (key, default) in java_broker_keys() {
        // Java reports authenticationEnabled only when a file sets it, as that of the capture did.
        if default.is_some() && key != "authenticationEnabled" {
            assert!(keys.contains(&key), "{key} is not reported");
        }
    }
    assert!(!report.contains("authenticationEnabled"), "AuthConfig is reported only where it is set");
}

#[test]
fn every_key_says_what_becomes_of_it() {
    for key in Table::broker().keys().chain(Table::namesrv().keys()) {
        match key.kind {
            Kind::Tunes(_) => {}
            Kind::Honoured => assert!(key.about.ends_with('.'), "{} needs a sentence", key.name),
            Kind::Irrelevant | Kind::Unsupported => {
                assert!(!key.about.is_empty(), "{} needs a reason", key.name);
            }
        }
        assert!(
            !key.reloadable || key.kind == Kind::Honoured,
            "{} acts on nothing, so it cannot act at once",
            key.name
        );
    }
}
