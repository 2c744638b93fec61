//! The bench commands as a program of their own, for working on the generator without building the broker.

#[derive(clap::Parser)]
struct Arguments {
    #[command(subcommand)]
    command: ferromq_bench::Command,
}

fn main() -> anyhow::Result<()> {
    let arguments = <Arguments as clap::Parser>::parse();
    ferromq_bench::run(&arguments.command)
}
