//! `anabranch-bench`: measures a Kinesis endpoint, this one's or another's, with its own cheap HTTP client, or the
//! native API with its client; puts into [`peers`] too, which speak something else.
//!
//! Every subcommand prints one JSON line. Latencies of an open loop (`--rate`) count from the moment a call
//! should have been sent, so a server that stalls can't hide what waited behind it.
//! [`floor`] and [`mod@log`] measure what lies below: the machine, and the segment log alone.
//! Start at [`put`]; [`schedule`] decides when, [`connection`] sends, [`report`] adds up.

mod connection;
mod e2e;
mod floor;
mod get;
mod kinesis;
mod log;
mod native;
mod options;
mod payload;
mod peers;
mod processes;
mod push;
mod put;
mod report;
mod reshard;
mod schedule;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::task::block_in_place;

/// The allocator of the binary `anabranch`: the store that `log` measures runs on it there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures a Kinesis endpoint: put, get, put to receipt
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes records: PutRecord, or PutRecords with more than one record per call
    Put(put::Args),
    /// Reads every shard from its oldest record on, and checks the order
    Get(get::Args),
    /// Measures from an acknowledged put to its receipt by a tailing reader
    E2e(e2e::Args),
    /// Measures how long a split or a merge makes writers wait
    Reshard(reshard::Args),
    /// Measures this machine: what a sync costs, and a round trip over loopback
    Floor(floor::Args),
    /// Measures the segment log alone, against a bare file that takes the same batches
    Log(log::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run(Cli::parse().command).await else { return ExitCode::SUCCESS };
    eprintln!("anabranch-bench: {error:#}");
    ExitCode::FAILURE
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Put(args) => put::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::E2e(args) => e2e::run(args).await,
        Command::Reshard(args) => reshard::run(args).await,
        // These two block on the disk: they are told to the runtime as what they are.
        Command::Floor(args) => block_in_place(|| floor::run(args)),
        Command::Log(args) => block_in_place(|| log::run(args)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_of_all_commands_are_unambiguous() {
        Cli::command().debug_assert();
    }
}
