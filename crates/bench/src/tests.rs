//! The loads against the null broker, and against servers that misbehave in one way each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::wire::{self, Scanned};
use crate::{Command, end_to_end, fsync, null, pull, send};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn command(line: &str) -> Command {
    Arguments::try_parse_from(std::iter::once("bench").chain(line.split_ascii_whitespace())).unwrap().command
}

/// A null broker that lives as long as the test process.
fn null_broker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime
            .block_on(async {
                null::accept_all(tokio::net::TcpListener::from_std(listener).unwrap(), None).await
            })
            .unwrap();
    });
    addr
}

/// A server that gives every request to `answer`, one connection after the other, each in its own thread.
fn server(answer: impl Fn(&Scanned<'_>, &mut TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut input = Vec::new();
                let mut chunk = [0; 65_536];
                while let Ok(len @ 1..) = stream.read(&mut chunk) {
                    input.extend_from_slice(&chunk[..len]);
                    while let Some((request, consumed)) = wire::take(&input).unwrap() {
                        answer(&request, &mut stream);
                        input.drain(..consumed);
                    }
                }
            });
        }
    });
    addr
}

fn respond(stream: &mut TcpStream, code: i32, opaque: i32) {
    let header = format!(
        r#"{{"code":{code},"flag":1,"language":"JAVA","opaque":{opaque},"remark":"because","version":513}}"#
    );
    let mut frame = vec![0; 8];
    frame.extend_from_slice(header.as_bytes());
    let len = frame.len();
    wire::patch_lengths(&mut frame, 0, len);
    let _ = stream.write_all(&frame);
}

fn measure_send(line: &str) -> anyhow::Result<crate::report::Summary> {
    let Command::Send(options) = command(line) else { panic!("{line}") };
    send::measure(&options)
}

#[test]
fn closed_loop_keeps_every_connection_busy() {
    let addr = null_broker();
    for shape in [
        "--connections 1 --in-flight 1",
        "--connections 1 --in-flight 64",
        "--connections 7 --in-flight 3 --threads 2",
    ] {
        let summary =
            measure_send(&format!("send --addr {addr} --seconds 0.2 --warmup 0.05 --size 100 {shape}"))
                .unwrap();
        assert!(summary.messages > 0, "{shape}");
        assert!(summary.errors.is_empty() && summary.missing == 0, "{shape}: {summary:?}");
        // Latencies count by the begin, messages by the end; the difference is what was in flight at
        // the edges.
        assert!(summary.latency_ns.samples.abs_diff(summary.messages) <= 64, "{shape}: {summary:?}");
        assert!(summary.latency_ns.min > 0 && summary.latency_ns.p50 <= summary.latency_ns.p99_9);
    }
}

#[test]
fn a_rate_is_kept_over_all_connections() {
    let addr = null_broker();
    let line =
        format!("send --addr {addr} --seconds 0.5 --warmup 0.1 --connections 3 --in-flight 8 --rate 2000");
    let summary = measure_send(&line).unwrap();
    // Every message that fell due in the window is in the histogram, even if the machine was too busy
    // to send it in time.
    assert!(summary.latency_ns.samples.abs_diff(1000) <= 1, "{summary:?}");
    assert_eq!(summary.missing, 0);
}

#[test]
fn a_stall_is_charged_to_every_message_that_was_due_meanwhile() {
    const STALL: Duration = Duration::from_millis(400);
    let began = Instant::now();
    let stalled = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let addr = server(move |request, stream| {
        let measuring = request.code == 310 && began.elapsed() > Duration::from_millis(300);
        if measuring && !stalled.swap(true, std::sync::atomic::Ordering::Relaxed) {
            thread::sleep(STALL);
        }
        respond(stream, 0, request.opaque);
    });
    let summary =
        measure_send(&format!("send --addr {addr} --seconds 1 --warmup 0.1 --in-flight 1 --rate 500"))
            .unwrap();
    assert!(summary.latency_ns.samples.abs_diff(500) <= 1, "{summary:?}");
    assert_eq!(summary.missing, 0, "what fell due during the stall is sent after it");
    // About 200 of 500 messages were due during the stall and waited 200 ms on average. One slow
    // request alone would leave p90 low.
    assert!(summary.latency_ns.p90 > 200_000_000, "{summary:?}");
}

#[test]
fn errors_are_counted_by_code_and_are_no_throughput() {
    let addr =
        server(|request, stream| respond(stream, if request.code == 310 { 2 } else { 0 }, request.opaque));
    let summary = measure_send(&format!("send --addr {addr} --seconds 0.1 --warmup 0")).unwrap();
    assert_eq!(summary.messages, 0);
    assert_eq!(summary.errors.len(), 1);
    assert_eq!((summary.errors[0].code, summary.errors[0].example.as_str()), (2, "because"));
    assert!(summary.errors[0].count > 0);
}

#[test]
fn a_refused_topic_ends_the_run_with_the_remark() {
    let addr = server(|request, stream| respond(stream, 29, request.opaque));
    let error = format!("{:#}", measure_send(&format!("send --addr {addr} --seconds 0.1")).unwrap_err());
    assert!(error.contains("code 29: because"), "{error}");
}

#[test]
fn a_closed_connection_ends_the_run() {
    let addr = server(|request, stream| match request.code {
        310 => stream.shutdown(std::net::Shutdown::Both).unwrap(),
        _ => respond(stream, 0, request.opaque),
    });
    for shape in ["--connections 1", "--connections 2"] {
        let error = format!(
            "{:#}",
            measure_send(&format!("send --addr {addr} --seconds 0.2 --warmup 0 {shape}")).unwrap_err()
        );
        assert!(error.contains("closed the connection") || error.contains("broker failed"), "{error}");
    }
}

#[test]
fn an_answer_to_nothing_ends_the_run() {
    let addr = server(|request, stream| {
        respond(stream, 0, if request.code == 310 { request.opaque ^ 1 << 20 } else { request.opaque })
    });
    let error =
        format!("{:#}", measure_send(&format!("send --addr {addr} --seconds 0.2 --warmup 0")).unwrap_err());
    assert!(error.contains("not outstanding"), "{error}");
}

#[test]
fn a_process_that_is_not_there_is_named() {
    let addr = null_broker();
    let error = format!("{:#}", measure_send(&format!("send --addr {addr} --pid 4294967295")).unwrap_err());
    assert!(error.contains("4294967295"), "{error}");
}

#[test]
fn pull_fills_the_topic_and_goes_round_all_queues() {
    let addr = null_broker();
    for shape in ["--connections 1", "--connections 3 --in-flight 4 --threads 2"] {
        let line =
            format!("pull --addr {addr} --seconds 0.2 --warmup 0 --fill 1000 --size 100 --queues 4 {shape}");
        let Command::Pull(options) = command(&line) else { panic!("{line}") };
        let summary = pull::measure(&options).unwrap();
        assert!(summary.messages > 1000, "more than there are, so it began again: {summary:?}");
        assert!(summary.errors.is_empty() && summary.missing == 0, "{summary:?}");
        assert!(summary.latency_ns.samples < summary.messages, "a latency is one pull of many messages");
    }
}

#[test]
fn everything_sent_end_to_end_is_received() {
    let addr = null_broker();
    let line = format!(
        "e2e --addr {addr} --seconds 0.5 --warmup 0.1 --queues 5 --consumers 2 --connections 2 --rate 100"
    );
    let Command::EndToEnd(options) = command(&line) else { panic!("{line}") };
    let summary = end_to_end::measure(&options).unwrap();
    // The null broker remembers one message: of two sends that follow closely the second may be
    // received twice, the first not at all. So the number is right, but not always the latencies.
    assert!(summary.messages > 0 && summary.latency_ns.samples > 0, "{summary:?}");
    assert!(summary.errors.is_empty() && summary.missing == 0, "{summary:?}");
}

#[test]
fn fsync_measures_a_disk_and_leaves_no_file() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    for prepare in ["empty", "preallocated", "zero-filled"] {
        let line = format!(
            "fsync --dir {} --seconds 0.1 --warmup 0 --file-mib 1 --size 300000 --prepare {prepare}",
            dir.path().display()
        );
        let Command::Fsync(options) = command(&line) else { panic!("{line}") };
        match fsync::measure(&options) {
            // Four appends and more: the file of 1 MiB was prepared anew on the way.
            Ok(summary) => assert!(summary.appends >= 1 && summary.latency_ns.min > 0, "{summary:?}"),
            Err(error) => assert!(error.to_string().contains("tmpfs"), "{error:#}"),
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}

#[test]
fn fsync_refuses_a_file_system_in_memory() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let Command::Fsync(options) = command(&format!("fsync --dir {}", dir.path().display())) else { panic!() };
    if rustix::fs::statfs(dir.path()).unwrap().f_type == 0x0102_1994 {
        assert!(fsync::measure(&options).unwrap_err().to_string().contains("tmpfs"));
    }
}

#[test]
fn help_tells_that_omission_is_not_hidden() {
    use clap::CommandFactory;
    for name in ["send", "e2e"] {
        let mut arguments = Arguments::command();
        let help = arguments.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        assert!(
            help.split_whitespace().collect::<Vec<_>>().join(" ").contains("no coordinated omission"),
            "{help}"
        );
    }
}

#[test]
fn without_an_address_both_ways_to_give_one_are_named() {
    let parse = |line: &str| Arguments::try_parse_from(line.split_ascii_whitespace());
    let error = parse("bench send --topic T").err().unwrap().to_string();
    assert!(error.contains("--addr") && error.contains("--namesrv"), "{error}");
    for given in ["--addr h:1", "--namesrv h:2", "--addr h:1 --namesrv h:2"] {
        assert!(parse(&format!("bench send {given}")).is_ok(), "{given}");
    }
}
