//! What our server costs when it does little, has much, or starts again.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferromq_interop::server::{Make, Server};
use ferromq_interop::wire::{self, Connection};

use super::workloads::median;
use super::{Bench, Contestant, disk_use};

/// Seconds over which an idle server is watched.
const IDLE: u32 = 20;

/// Pairs of runs with few and with many queues; which of them comes first changes.
const QUEUE_ROUNDS: u32 = 3;

/// Connections that create topics, each one after the other.
const CREATORS: u32 = 8;

/// A figure with its bar.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) value: String,
    pub(crate) bar: &'static str,
    pub(crate) met: bool,
}

type Part = fn(&Bench, &mut Vec<Figure>) -> Result<()>;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let parts: [(&str, Part); 4] = [
        ("an idle server", idle),
        ("10,000 queues", queues),
        ("10,000 topics", topics),
        ("100,000 queues", restart),
    ];
    for (what, part) in parts {
        let before = figures.len();
        part(bench, &mut figures).context(what)?;
        for Figure { what, value, .. } in &figures[before..] {
            println!("{what}: {value}");
        }
    }
    Ok(figures)
}

/// `ferromq up` with an empty store: how soon it answers, what it costs when nobody asks.
fn idle(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let mut up = Server::up(&bench.fresh("up")?)?;
    let start = Instant::now();
    up.start(&bench.tools)?;
    let ready = start.elapsed().as_secs_f64();
    let pid = up.pid().context("up has a process")?;
    let before = cpu_ticks(pid)?;
    std::thread::sleep(Duration::from_secs(IDLE.into()));
    let percent = (cpu_ticks(pid)? - before) / f64::from(IDLE);
    let rss = resident_mib(pid)?;
    figures.push(Figure {
        what: "`up`, idle: resident memory",
        value: format!("{rss:.1} MB"),
        bar: "≤ 32 MB",
        met: rss <= 32.0,
    });
    figures.push(Figure {
        what: "`up`, idle: CPU",
        value: format!("{percent:.2} % of a core"),
        bar: "≤ 0.5 %",
        met: percent <= 0.5,
    });
    figures.push(Figure {
        what: "`up`, start until it can be used",
        value: format!("{ready:.2} s"),
        bar: "≤ 0.5 s",
        met: ready <= 0.5,
    });
    up.stop()
}

/// The first load of the comparison over 8 queues and over 10,000, and what is resident afterwards.
fn queues(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let (mut few, mut many, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..QUEUE_ROUNDS {
        for has_many in [round % 2 == 1, round % 2 == 0] {
            let running = bench.start(Contestant::Ferromq, false)?;
            let queues = if has_many { "10000" } else { "8" };
            let load = ["send", "--connections", "1", "--in-flight", "64", "--queues", queues];
            let measured = bench.bench(&load, &running, super::WARMUP, bench.seconds)?;
            println!("{queues} queues: {:.0}/s", measured.per_second);
            if has_many {
                many.push(measured.per_second);
            } else {
                few.push(measured.per_second);
                resident.push(measured.rss_mib.unwrap_or(f64::NAN));
            }
            running.stop()?;
        }
    }
    let rss = median(resident);
    figures.push(Figure {
        what: "after the send load: resident memory",
        value: format!("{rss:.0} MB"),
        bar: "≤ 256 MB",
        met: rss <= 256.0,
    });
    let percent = 100.0 * median(many) / median(few);
    figures.push(Figure {
        what: "throughput at 10,000 queues against 8",
        value: format!("{percent:.0} %"),
        bar: "≥ 70 %",
        met: percent >= 70.0,
    });
    Ok(())
}

/// 10,000 topics, created as tools do it.
fn topics(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let running = bench.start(Contestant::Ferromq, false)?;
    let start = Instant::now();
    create_topics(&running.address, 10_000, 8)?;
    let seconds = start.elapsed().as_secs_f64();
    figures.push(Figure {
        what: "10,000 topics created through the wire",
        value: format!("{seconds:.1} s"),
        bar: "≤ 20 s",
        met: seconds <= 20.0,
    });
    running.stop()
}

/// So many topics of so many queues, by a few connections.
fn create_topics(broker: &str, topics: u32, queues: u32) -> Result<()> {
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CREATORS)
            .map(|creator| {
                scope.spawn(move || {
                    let mut connection = Connection::open(broker, Duration::from_secs(30))?;
                    for number in (creator..topics).step_by(CREATORS as usize) {
                        let (topic, queues) = (format!("many-{number}"), queues.to_string());
                        let answer =
                            connection.call(17, &wire::topic_fields(&topic, &queues, &queues), &[])?;
                        ensure!(answer.code == 0, "topic {topic}: {answer:?}");
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))))
            .collect()
    });
    results.into_iter().collect()
}

/// 100,000 queues with messages, killed, and started again.
fn restart(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let mut running = bench.start(Contestant::Ferromq, false)?;
    create_topics(&running.address, 12_500, 8)?;
    let mut connection = Connection::open(&running.address, Duration::from_secs(30))?;
    // One message in every queue, 2 KB each: about 240 MB of log.
    let body = vec![b'x'; 2000];
    for topic in 0..12_500 {
        for queue in 0..8 {
            let ext = send_fields(&format!("many-{topic}"), queue);
            let answer = connection.call(310, &ext, &body)?;
            ensure!(answer.code == 0, "send: {answer:?}");
        }
    }
    let broker = &mut running.servers[0];
    ensure!(broker.make == Make::Ferromq, "ours is measured");
    broker.kill()?;
    let log = disk_use(&broker.store().join("commitlog"))? >> 20;
    fs::metadata(broker.store().join("abort")).context("a killed broker leaves its abort file")?;
    let start = Instant::now();
    broker.start(&bench.tools)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{log} MiB of log with 100,000 queues");
    figures.push(Figure {
        what: "100,000 queues, killed, started again",
        value: format!("{seconds:.2} s"),
        bar: "≤ 5 s",
        met: seconds <= 5.0,
    });
    running.stop()
}

fn send_fields(topic: &str, queue: u32) -> BTreeMap<String, String> {
    let queue = queue.to_string();
    wire::fields([
        ("a", "bench"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", &queue),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", "WAIT\u{1}true\u{2}"),
    ])
}

/// User and system time of a process so far, in hundredths of a second.
fn cpu_ticks(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').context("/proc/pid/stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("/proc/pid/stat");
    Ok(ticks(11)? + ticks(12)?)
}

fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.split_whitespace().next().context("VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}
