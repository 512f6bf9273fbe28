//! The one binary: a node, everything in one process for trying out, and the tools around them.

mod bench;
mod clock_offset;
mod cluster_file;
mod config;
mod ctl;
mod dev;
mod local_node;
mod metrics_server;
mod privacy;
mod reach;
mod running;
mod server;
mod stream;
mod tls_args;
mod tls_config;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Bodies and batches come and go by the hundred kilobytes on every thread: glibc's allocator gives such
/// memory back to the system and takes it anew, and every page of it is cleared again.
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
    /// A cluster node, as its configuration file says
    Server(server::ServerArgs),
    /// Looks after a cluster: nodes, shards, moves
    Ctl(ctl::CtlArgs),
    /// Prints the records of a stream as they come, or puts lines into it
    Stream(stream::StreamArgs),
    /// Measures a Kinesis endpoint: put, get, put to receipt
    Bench(bench::BenchArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Dev(args) => dev::run(args).await,
        Command::Server(args) => server::run(args).await,
        Command::Ctl(args) => ctl::run(args).await,
        Command::Stream(args) => stream::run(args).await,
        Command::Bench(args) => bench::run(args).await,
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("anabranch: {error:#}");
    ExitCode::FAILURE
}

/// What is logged by default: warnings, of openraft, h2 and hyper errors. Two modules of openraft log as an error that a
/// group has been stopped, which is what happens when a stream is deleted or a node stops. A group that stops by itself is
/// logged by its core, and by the node that replaces it.
const DEFAULT_LOG: &str =
    "warn,openraft=error,openraft::raft=off,openraft::core::heartbeat=off,h2=error,hyper=error";

/// Logs to stderr what `ANABRANCH_LOG` asks for; by default [`DEFAULT_LOG`].
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
