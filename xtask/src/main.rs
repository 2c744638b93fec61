//! Project tasks: `cargo xtask test`.

fn main() -> anyhow::Result<()> {
    anyhow::bail!("usage: cargo xtask test")
}
