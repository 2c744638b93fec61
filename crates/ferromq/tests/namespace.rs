//! Clients on another network reach `ferromq up` although nobody configured an address.
//!
//! The server runs in a network namespace with two networks: an interface that leads nowhere with a public address, which
//! is the one that is chosen and registered, and a cable to the namespace of the client. The client can reach only the cable's
//! end. It must be told that address for the broker.
//!
//! This may only be skipped where the system does not allow namespaces; then it says so.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::process::{Command, Stdio};

/// Runs as root of a new user and network namespace. $1 is the binary, $2 a directory.
const SERVER_SIDE: &str = r#"
set -eu
binary=$1 directory=$2
fail() { echo "$1" >&2; cat "$directory/log" >&2; exit 1; }
ip link set lo up
ip link add public type veth peer name nowhere
ip addr add 203.0.113.9/32 dev public
ip link set nowhere up
ip link set public up
# The client's namespace lives as long as this process reads from the pipe.
mkfifo "$directory/hold"
unshare --net sh -c 'echo in > "$0/entered"; cat "$0/hold"' "$directory" &
client=$!
exec 9> "$directory/hold"
while [ ! -e "$directory/entered" ]; do sleep 0.01; done
ip link add cable type veth peer name cable netns "$client"
ip addr add 10.77.0.1/24 dev cable
ip link set cable up
nsenter --net --target "$client" ip addr add 10.77.0.2/24 dev cable
nsenter --net --target "$client" ip link set cable up

"$binary" up --data-dir "$directory/data" --ready-json > "$directory/ready" 2> "$directory/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
waited=0
while [ ! -s "$directory/ready" ]; do
  kill -0 "$server" || fail "the server ended"
  [ $waited -lt 3000 ] || fail "the server is not ready"
  waited=$((waited + 1)); sleep 0.02
done
cat "$directory/ready"
status=0
nsenter --net --target "$client" "$binary" bench send --namesrv 10.77.0.1:9876 --topic across --queues 1 \
  --connections 1 --in-flight 1 --size 10 --warmup 0 --seconds 0.2 --output json || status=$?
kill -TERM "$server"
wait "$server" || fail "the server did not stop cleanly"
exec 9>&-
wait "$client"
exit $status
"#;

#[test]
fn clients_in_another_namespace_need_no_configured_address() {
    if let Some(reason) = namespaces_are_impossible() {
        common::skip("clients_in_another_namespace_need_no_configured_address", &reason);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", SERVER_SIDE, "sh"])
        .arg(common::binary())
        .arg(directory.path())
        .env("HOME", directory.path())
        .env_remove("NAMESRV_ADDR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}\n{}", common::stdout(&output), common::stderr(&output));
    assert!(output.status.success(), "{said}");
    let ready = common::stdout(&output).lines().next().map(str::to_owned).unwrap_or_default();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    // Otherwise this proves nothing: the registered address must be one that the client cannot reach.
    assert_eq!(ready["broker"]["address"], "203.0.113.9:10911", "{said}");
}

fn namespaces_are_impossible() -> Option<String> {
    let attempt = "ip link add one type veth peer name two";
    let output =
        Command::new("unshare").args(["--user", "--map-root-user", "--net", "sh", "-c", attempt]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("no network namespaces here: {}", common::stderr(&output).trim())),
        Err(error) => Some(format!("no network namespaces here: unshare: {error}")),
    }
}
