//! The one binary: a node, everything in one process for trying out, and the tools around them.

mod bench;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A replicated log that speaks the Amazon Kinesis API
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures a Kinesis endpoint: put, get, put to receipt
    Bench(bench::BenchArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Bench(args) => bench::run(args).await,
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("anabranch: {error:#}");
    ExitCode::FAILURE
}
