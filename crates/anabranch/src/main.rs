//! The shipped binary: a node (`server`), a cluster in one process for trying it out (`dev`), and the commands of the
//! crate `cli` that ask a running cluster (`ctl`, `stream`).

mod clock_offset;
mod config;
mod dev;
mod local_node;
mod pid_file;
mod privacy;
mod running;
mod server;

use std::io::IsTerminal;
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

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Dev(args) => dev::run(args).await,
        Command::Server(args) => server::run(args).await,
        Command::Ctl(args) => ctl::run(args).await,
        Command::Stream(args) => stream::run(args).await,
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("anabranch: {error:#}");
    ExitCode::FAILURE
}

/// The default filter: warnings, and only errors of openraft, h2 and hyper. Two modules of openraft log as an error
/// that a group was stopped, which also happens when a stream is deleted or a node stops. They are silent: if a group
/// stops by itself, openraft's core and the node that replaces the replica log it.
const DEFAULT_LOG: &str =
    "warn,openraft=error,openraft::raft=off,openraft::core::heartbeat=off,h2=error,hyper=error";

/// Logs to stderr, filtered by `ANABRANCH_LOG` or else by [`DEFAULT_LOG`].
fn init_logging() {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_env("ANABRANCH_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let _was_set_already = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
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
