//! The shipped binary: a node (`server`), a cluster in one process for trying it out (`dev`), and the commands of the
//! crate `cli` that ask a running cluster (`ctl`, `stream`).
//!
//! `main.rs` makes the binary `anabranch` of it. `bin/anabranch-planted.rs` makes the same program with planted bugs,
//! for the chaos harness. Cargo builds that one only with the feature `planted-bugs`.

mod clock_offset;
mod config;
mod dev;
mod job_member;
mod local_node;
mod logging;
mod metrics_server;
mod pid_file;
mod privacy;
mod running;
mod server;

use std::process::ExitCode;

use anabranch_cli::{ctl, stream};
use clap::{Parser, Subcommand};

/// Every thread allocates and frees bodies and batches of hundreds of kilobytes all the time. glibc's allocator
/// returns such memory to the system and takes it again, and the kernel clears every page anew. mimalloc keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A replicated log that speaks the Amazon Kinesis API
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process, nothing to configure: for a laptop or CI
    Dev(dev::DevArgs),
    /// A cluster node, started with its configuration file
    Server(server::ServerArgs),
    /// Shows and changes a cluster: nodes, shards, moves
    Ctl(ctl::CtlArgs),
    /// Prints the records of a stream as they arrive, or puts lines into it
    Stream(stream::StreamArgs),
}

/// Runs the command that the arguments of this process name. `program` is the name of the binary.
pub async fn run(program: &str) -> ExitCode {
    if let Err(error) = anabranch_planted::check_start(program) {
        eprintln!("{program}: {error}");
        return ExitCode::FAILURE;
    }
    let done = match Cli::parse().command {
        Command::Dev(args) => dev::run(args).await,
        Command::Server(args) => server::run(args).await,
        Command::Ctl(args) => ctl::run(args).await,
        Command::Stream(args) => stream::run(args).await,
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("{program}: {error:#}");
    ExitCode::FAILURE
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
