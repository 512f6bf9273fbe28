//! `anabranch stream`: prints the records of a stream on a terminal or into a pipe, and puts lines into a stream.
//!
//! It uses the native API through `anabranch-client`, as any program may. `tail` prints what a
//! [`StreamReader`](anabranch_client::StreamReader) reads, `line` formats a record as text or JSON, `put` reads lines.

use std::sync::Arc;

use anabranch_client::{Client, View};
use anabranch_types::StreamName;
use anyhow::{Context, Result};

use crate::{TlsArgs, reach};

mod line;
mod put;
mod tail;

/// Arguments of `anabranch stream`.
#[derive(Debug, clap::Args)]
pub struct StreamArgs {
    /// gRPC ports of nodes, `HOST:PORT`; the other nodes are found through them. Default: those of ./anabranch-data
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST:PORT")]
    node: Vec<String>,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints records as they arrive; aggregated records are taken apart
    Tail(tail::Args),
    /// Puts each line of the standard input as a record
    Put(put::Args),
}

/// Runs the command of `args`.
///
/// # Errors
/// When no node answers, the stream does not exist, or a call fails for good.
pub async fn run(args: StreamArgs) -> Result<()> {
    let (nodes, tls) = reach::nodes(args.node, args.tls)?;
    let connector = tls.connector("client")?;
    let node = reach::first(&connector, &nodes).await?;
    let client = tokio::select! {
        client = Client::connect(nodes.clone(), connector) => client,
        mistake = reach::wrong_port_at_last(&node) => return Err(mistake),
    };
    let client = client.with_context(|| format!("connecting to {}", nodes.join(", ")))?;
    match args.command {
        Command::Tail(args) => tail::run(client, args).await,
        Command::Put(args) => put::run(client, args).await,
    }
}

/// The newest version of the catalog; an error if the stream is not in it.
async fn view_with(client: &Client, name: &StreamName) -> Result<Arc<View>> {
    let view = client.newest_view().await.context("asking for the newest catalog")?;
    view.stream(name).with_context(|| format!("there is no stream {name}"))?;
    Ok(view)
}
