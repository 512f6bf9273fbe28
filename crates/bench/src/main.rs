//! The load generator `anabranch-bench`. It measures a Kinesis endpoint of any server with its own cheap HTTP client,
//! or the native API with its client. Puts also drive other logs ([`peers`]).
//!
//! Every subcommand prints one JSON line. With `--rate` the load is an open loop: the latency of a call counts from
//! the moment at which the call should have been sent. So a server that stalls cannot hide the calls that waited
//! behind the stall. [`floor`] and [`mod@log`] measure the machine and the segment log alone.
//!
//! Start at [`put`]; [`schedule`] decides when calls are sent, [`connection`] sends them, [`report`] adds up.

mod connection;
mod e2e;
mod floor;
mod get;
mod kinesis;
mod leases;
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
mod table;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::task::block_in_place;

/// The same allocator as in the binary `anabranch`, so that `log` measures the store as it runs there.
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
    /// Reads every shard from its oldest record, and checks the order
    Get(get::Args),
    /// Measures the time from an acknowledged put to its receipt by a tailing reader
    E2e(e2e::Args),
    /// Measures how long a split or a merge makes writers wait
    Reshard(reshard::Args),
    /// Writes rows of a table group on conditions
    Table(table::Args),
    /// Renews leases of the Kinesis Client Library
    Leases(leases::Args),
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
        Command::Table(args) => table::run(args).await,
        Command::Leases(args) => leases::run(args).await,
        // These two block on the disk; the runtime must know that.
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
