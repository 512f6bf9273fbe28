//! `anabranch stream`: the records of a stream on a terminal or in a pipe, out of it and into it.
//!
//! Speaks the native API through `anabranch-client`, as any program may. [`tail`] prints what
//! `StreamReader` reads, [`mod@line`] writes a record as text or JSON, [`put`] reads lines.

use std::sync::Arc;

use anabranch_client::{Client, View};
use anabranch_types::StreamName;
use anyhow::{Context, Result};

use crate::ctl::of_data_dir;
use crate::reach;
use crate::tls_args::TlsArgs;

mod line;
mod put;
mod tail;

/// Arguments of `anabranch stream`.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamArgs {
    /// gRPC ports of nodes, `HOST:PORT`; the others are found through them. Default: those of ./anabranch-data
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST:PORT")]
    node: Vec<String>,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Prints records as they come, aggregated ones taken apart
    Tail(tail::Args),
    /// Puts each line of the standard input as a record
    Put(put::Args),
}

/// Does what `args` say.
///
/// # Errors
/// When no node answers, there is no such stream, or a call fails for good.
pub(crate) async fn run(args: StreamArgs) -> Result<()> {
    let (nodes, tls) = match args.node {
        node if node.is_empty() => of_data_dir(args.tls)?,
        node => (node, args.tls),
    };
    let connector = tls.connector("client")?;
    let node = reach::first(&connector, &nodes).await?;
    let client = tokio::select! {
        client = Client::connect(nodes.clone(), connector) => client,
        mistake = reach::wrong_port_at_last(&node) => return Err(mistake),
    };
    let client = client.with_context(|| format!("connecting to {}", nodes.join(", ")))?;
    match args.what {
        What::Tail(args) => tail::run(client, args).await,
        What::Put(args) => put::run(client, args).await,
    }
}

/// The newest version of the catalog, which must have the stream.
async fn view_with(client: &Client, name: &StreamName) -> Result<Arc<View>> {
    let view = client.newest_view().await.context("asking for the newest catalog")?;
    view.stream(name).with_context(|| format!("there is no stream {name}"))?;
    Ok(view)
}
