//! `cargo xtask java`: the reference servers, for trying things by hand.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ferromq_interop::process;
use ferromq_interop::server::{BrokerSetup, Jvm, Make, Server};
use ferromq_interop::toolchain::{JavaClient, Toolchain};
use serde_json::{Value, json};

pub(crate) fn task(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let tools = Toolchain::new(&crate::root()?, None)?;
    match words.as_slice() {
        ["fetch"] => tools.fetch(),
        ["start", dir, ..] => start(&tools, Path::new(dir), arguments[2..].to_vec()),
        ["stop", dir] => stop(Path::new(dir)),
        _ => bail!("{}", crate::USAGE),
    }
}

fn start(tools: &Toolchain, dir: &Path, mut rest: Vec<String>) -> Result<()> {
    tools.fetch_java(JavaClient::V5)?;
    let heap = crate::option(&mut rest, "--heap")?;
    let jvm = match heap {
        Some(text) => Jvm::Measured { heap_mib: text.parse().context("--heap")? },
        None => Jvm::Small,
    };
    let mut namesrv = Server::namesrv(Make::Java, &dir.join("namesrv"))?;
    namesrv.start(tools)?;
    let mut setup = BrokerSetup::new(&[namesrv.address()]);
    for pair in rest {
        let (key, value) = pair.split_once('=').with_context(|| format!("{pair} is not KEY=VALUE"))?;
        setup = setup.with(key, value);
    }
    let mut broker = Server::broker(Make::Java, &dir.join("broker"), setup)?;
    broker.set_jvm(jvm);
    broker.start(tools)?;
    let (namesrv_address, broker_address, store) = (namesrv.address(), broker.address(), broker.store());
    let state = json!({
        "namesrv": namesrv_address, "broker": broker_address, "store": store,
        "pids": [broker.detach(), namesrv.detach()],
    });
    fs::write(dir.join("java.json"), serde_json::to_vec_pretty(&state)?)?;
    println!("{state}");
    Ok(())
}

fn stop(dir: &Path) -> Result<()> {
    let path = dir.join("java.json");
    let state: Value = serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?;
    for pid in state["pids"].as_array().into_iter().flatten() {
        let pid = pid.as_u64().and_then(|pid| u32::try_from(pid).ok()).context("a process id")?;
        if !process::is_java(pid) {
            continue;
        }
        process::terminate(pid)?;
        let end = Instant::now() + Duration::from_secs(60);
        while process::is_java(pid) {
            if Instant::now() > end {
                bail!("process {pid} does not end");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    fs::remove_file(path)?;
    Ok(())
}
