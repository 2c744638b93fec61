//! `ferromq up`: ready on free ports, one process per directory, a clean stop, a quick one.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Server, ferromq, run, stderr, stdout};

#[test]
fn one_line_of_json_has_all_addresses_and_they_answer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::up(directory.path(), &[]);
    assert_eq!(server.ready["ready"], true);
    assert_eq!(server.ready["pid"], server.pid());
    assert_eq!(server.ready["broker"]["name"], "broker-a");
    for name in ["namesrv", "broker"] {
        assert!(server.address(name, "listening").ip().is_unspecified());
        TcpStream::connect(server.address(name, "local")).unwrap();
    }
    let data = directory.path().join("data");
    assert_eq!(server.ready["broker"]["data"], data.to_str().unwrap());
    assert!(data.join("commitlog").is_dir() && data.join("abort").exists());
    server.stop();
}

#[test]
fn the_fast_port_is_two_below() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_pair();
    let server = Server::up(directory.path(), &["--broker-port", &port.to_string()]);
    assert_eq!(server.address("broker", "listening").port(), port);
    assert_eq!(server.address("broker", "fast").port(), port - 2);
    TcpStream::connect(("127.0.0.1", port - 2)).unwrap();
}

/// A free port whose second lower neighbour is free too.
fn free_pair() -> u16 {
    loop {
        let port = TcpListener::bind(("0.0.0.0", 0)).unwrap().local_addr().unwrap().port();
        if TcpListener::bind(("0.0.0.0", port - 2)).is_ok() {
            return port;
        }
    }
}

#[test]
fn people_get_a_banner_and_scripts_the_lines_of_java() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("output");
    let mut command = ferromq(directory.path());
    command.args([
        "up",
        "--namesrv-port",
        "0",
        "--broker-port",
        "0",
        "--set",
        "sendMessageThreadPoolNums=99",
    ]);
    command.stdout(std::fs::File::create(&file).unwrap()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + common::PATIENCE;
    let text = loop {
        let text = std::fs::read_to_string(&file).unwrap();
        if text.contains("Ctrl-C stops it.") {
            break text;
        }
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "{text}");
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("The Name Server boot success. serializeType=JSON, address 0.0.0.0:"), "{text}");
    assert!(text.contains("The broker[broker-a, "), "{text}");
    assert!(text.contains("boot success. serializeType=JSON and name server is 127.0.0.1:"), "{text}");
    assert!(text.contains("sendMessageThreadPoolNums=99 (command line --set) has no effect"), "{text}");
    assert!(text.contains("\nTry it:\n  ferromq bench send --namesrv 127.0.0.1:"), "{text}");
    assert!(text.contains("ferromq-data\n") && text.contains("old messages are deleted from 75 %"), "{text}");
}

#[test]
fn a_stop_leaves_nothing_to_recover_and_the_next_start_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for signal in ["TERM", "INT", "HUP"] {
        let server = Server::up(directory.path(), &[]);
        let started = Instant::now();
        server.signal(signal);
        let (status, log) = server.wait();
        assert!(status.success(), "{signal}: {status}");
        assert!(started.elapsed() < Duration::from_secs(10), "{signal}: {:?}", started.elapsed());
        assert!(!directory.path().join("data/abort").exists(), "{signal}");
        assert!(log.iter().any(|line| line.contains("stopping; a second signal stops at once")), "{log:?}");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let directory = tempfile::tempdir().unwrap();
    // A stop that takes its time: clients are told to go away for as long as they stay.
    let server = Server::up(
        directory.path(),
        &["--set", "enableShutdownGracefully=true", "--set", "shutdownWaitTimeSeconds=600"],
    );
    let client = TcpStream::connect(server.address("broker", "local")).unwrap();
    server.signal("TERM");
    server.wait_for("stopping; a second signal stops at once");
    server.signal("TERM");
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(128 + 15));
    assert!(directory.path().join("data/abort").exists(), "the next start must know");
    drop(client);
}

#[test]
fn a_second_process_on_the_directory_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::up(directory.path(), &[]);
    let second = run(
        directory.path(),
        &[
            "up",
            "--namesrv-port",
            "0",
            "--broker-port",
            "0",
            "--data-dir",
            directory.path().join("data").to_str().unwrap(),
        ],
    );
    let text = stderr(&second);
    assert_eq!(second.status.code(), Some(255), "{text}");
    assert!(text.contains("lock is locked: another broker, ours or Java's, runs on this store"), "{text}");
    assert!(text.contains(&format!("process {} (", first.pid())), "{text}");
    assert!(!stdout(&second).contains("The broker["), "it never was ready");
    first.stop();
}

#[test]
fn a_taken_port_names_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::up(directory.path(), &[]);
    let other = directory.path().join("other");
    for (option, server, free) in
        [("--broker-port", "broker", "--namesrv-port"), ("--namesrv-port", "namesrv", "--broker-port")]
    {
        let port = first.address(server, "listening").port().to_string();
        let arguments = ["up", option, &port, free, "0", "--data-dir", other.to_str().unwrap()];
        let output = run(directory.path(), &arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(255), "{text}");
        assert!(text.contains(&format!("0.0.0.0:{port} is taken by process {} (", first.pid())), "{text}");
        assert!(text.contains(&format!("choose another port with {option}")), "{text}");
    }
    first.stop();
}

#[test]
fn a_taken_fast_port_is_only_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_pair();
    let _taken = TcpListener::bind(("0.0.0.0", port - 2)).unwrap();
    let server = Server::up(directory.path(), &["--broker-port", &port.to_string()]);
    assert!(server.ready["broker"]["fast"].is_null(), "{}", server.ready);
    let log = server.stop();
    assert_eq!(log.iter().filter(|line| line.contains(" WARN ")).count(), 1, "{log:?}");
}

#[test]
fn the_name_server_and_the_broker_run_alone_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = ferromq(directory.path());
    command.args(["namesrv", "--namesrv-port", "0"]);
    let namesrv = Server::start(command);
    let address = namesrv.address("namesrv", "local").to_string();
    assert!(namesrv.ready["broker"].is_null());

    let mut command = ferromq(directory.path());
    command.args(["broker", "--broker-port", "0", "-n", &address]);
    let broker = Server::start(command);
    assert!(broker.ready["namesrv"].is_null());
    assert!(directory.path().join("store/commitlog").is_dir(), "Java's default: below the home directory");
    broker.stop();
    namesrv.stop();
}

#[test]
fn the_level_of_the_log_is_set_by_the_environment_or_by_an_option_which_wins() {
    for (environment, options, says_much) in [
        (None, &[][..], true),
        (Some("warn"), &[], false),
        (Some("warn"), &["--log-level", "info"], true),
        (Some("info"), &["--log-level", "error"], false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Server::command(directory.path(), options);
        command.envs(environment.map(|level| ("FERROMQ_LOG", level)));
        let log = Server::start(command).stop();
        let found = log.iter().any(|line| line.contains(" INFO "));
        assert_eq!(found, says_much, "{environment:?} {options:?}: {log:?}");
    }
}

#[test]
fn log_lines_can_be_json() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::up(directory.path(), &["--log-format", "json", "--log-level", "info"]);
    let log = server.stop();
    assert!(!log.is_empty());
    for line in log {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(value["level"].is_string() && value["message"].is_string(), "{line}");
    }
    let output = run(directory.path(), &["up", "--log-level", "loud=very"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
