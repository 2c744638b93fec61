//! The `ferromq` binary: arguments, signals, logging. It decides nothing about messages.

fn main() -> anyhow::Result<()> {
    anyhow::bail!("nothing to run yet")
}
