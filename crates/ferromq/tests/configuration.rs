//! What the binary says about its configuration, and how it ends when it cannot use it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{ferromq, run, stderr, stdout};

fn directory_with(file: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("server.conf"), file).unwrap();
    directory
}

#[test]
fn the_effective_configuration_is_printed_with_sources() {
    let directory = directory_with("brokerName=of-file\n");
    let output = ferromq(directory.path())
        .args(["broker", "-c", "server.conf", "-n", "a:1", "--print-config"])
        .env("ROCKETMQ_HOME", "/opt/rocketmq")
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(output.status.success());
    let line = |key: &str| text.lines().find(|line| line.contains(&format!(" {key}="))).unwrap();
    assert!(line("brokerName").starts_with("server.conf:1 "), "{text}");
    assert!(line("namesrvAddr").starts_with("command line -n "), "{text}");
    assert!(line("rocketmqHome").starts_with("environment ROCKETMQ_HOME "), "{text}");
    assert!(line("storePathRootDir").starts_with("built-in "), "{text}");
    let home = directory.path().join("store");
    assert!(
        line("storePathRootDir").ends_with(&format!("={}", home.display())),
        "Java's default below the home"
    );
}

#[test]
fn items_are_printed_as_mqbroker_and_mqnamesrv_do() {
    let directory = directory_with("listenPort=20911\n");
    let all = stdout(&run(directory.path(), &["broker", "-c", "server.conf", "-p"]));
    assert!(all.lines().any(|line| line == "listenPort=20911") && all.lines().count() > 480, "{all}");
    let important = stdout(&run(directory.path(), &["broker", "-c", "server.conf", "-m"]));
    assert!(important.lines().any(|line| line == "flushDiskType=ASYNC_FLUSH"), "{important}");
    assert!(important.lines().count() < 80 && !important.contains("slaveReadEnable"), "{important}");
    let namesrv = stdout(&run(directory.path(), &["namesrv", "-c", "server.conf", "-p"]));
    assert!(namesrv.lines().any(|line| line == "listenPort=20911"), "{namesrv}");
    assert!(namesrv.lines().any(|line| line == "configStorePath=server.conf"), "{namesrv}");
}

#[test]
fn up_prints_both_configurations() {
    let directory = tempfile::tempdir().unwrap();
    let text = stdout(&run(directory.path(), &["up", "--namesrv-port", "1234", "--print-config"]));
    let (broker, namesrv) = text.split_once("# Name server").unwrap();
    assert!(broker.contains("default of up") && broker.contains("brokerName=broker-a"), "{broker}");
    assert!(namesrv.contains("command line --namesrv-port  listenPort=1234"), "{namesrv}");
}

#[test]
fn printing_starts_nothing_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    assert!(run(directory.path(), &["up", "--print-config"]).status.success());
    assert_eq!(common::files(directory.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn exit_codes_are_those_of_java() {
    for (arguments, file, code, words) in [
        (&["broker", "--no-such-option"][..], "", 1, "unexpected argument"),
        (&["broker", "--set", "brokerName"], "", 1, "write key=value"),
        (
            &["broker", "-c", "server.conf"],
            "brokerRole=SLAVE\nbrokerId=0",
            253,
            "Slave's brokerId must be > 0",
        ),
        (
            &["broker", "-c", "server.conf"],
            "enableControllerMode=true\nenableDLegerCommitLog=true",
            252,
            "cannot both",
        ),
        (
            &["broker", "-n", "nowhere"],
            "",
            253,
            "The Name Server Address[nowhere] illegal, please set it as follows",
        ),
        (
            &["broker", "-c", "server.conf"],
            "aclEnable=true",
            253,
            "aclEnable=true (server.conf:1) is not supported yet",
        ),
        (
            &["up", "-c", "server.conf"],
            "authenticationEnabled=true",
            253,
            "every request must carry a valid signature",
        ),
        (&["namesrv", "-c", "server.conf"], "listenPort=x", 253, "listenPort=\"x\" (server.conf:1)"),
        (&["broker", "-c", "missing.conf"], "", 253, "cannot read missing.conf"),
    ] {
        let directory = directory_with(file);
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {file}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

#[test]
fn help_teaches_by_examples() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["up", "--help"], &["broker", "--help"], &["namesrv", "--help"]] {
        let output = run(directory.path(), arguments);
        assert!(output.status.success());
        assert!(stdout(&output).contains("Examples:\n  ferromq "), "{arguments:?}");
    }
}
