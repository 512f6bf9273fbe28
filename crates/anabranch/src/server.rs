//! `anabranch server`: runs one node of a cluster from its configuration file.
//!
//! Order: the file is read and checked, the data directory is made private, then the node runs until SIGTERM. A node
//! never starts with settings that it could not keep: an error names the key and the rule.

use std::path::PathBuf;

use anabranch_gateway::Authentication;
use anabranch_storage::SegmentStore;
use anabranch_types::limits::PUT_RECORDS_MAX_BYTES;
use clap::Args;

use crate::config::NodeConfig;
use crate::pid_file::PidFile;
use crate::{logging, privacy, running};

/// `anabranch server`
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Configuration of the node, a TOML file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Joins the cluster of the node with this gRPC port, instead of beginning a cluster. Several ports may be given
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    join: Vec<String>,
}

/// Runs a node until it is asked to stop.
pub(crate) async fn run(args: ServerArgs) -> anyhow::Result<()> {
    logging::init();
    privacy::keep();
    privacy::look_at(&args.config);
    let config = NodeConfig::read(&args.config, args.join)?;
    let node = config.node;
    if config.authentication == Authentication::Any {
        eprintln!(
            "warning: authentication = \"any\": any program that reaches {} may do everything",
            config.listen_api
        );
    }
    if config.plain_grpc {
        eprintln!(
            "warning: plain-grpc = true: any program that reaches {} is a node and an operator",
            config.listen_grpc
        );
    }
    privacy::make_dir(&config.data_dir)?;
    // A second server on the same folder must not replace the process id of the first.
    SegmentStore::check_free(&config.data_dir)?;
    let largest = config.storage.payload_limit();
    if largest < PUT_RECORDS_MAX_BYTES {
        eprintln!(
            "warning: segment-bytes: calls with more than {largest} bytes for a shard are refused"
        );
    }
    let pid_file = PidFile::write(&config.data_dir)?;
    let result = running::run(config, move |addresses| {
        let metrics = addresses.metrics.map(|at| format!(", metrics on {at}")).unwrap_or_default();
        println!(
            "ready node {node}: Kinesis API on {}, gRPC on {}{metrics}",
            addresses.api, addresses.grpc
        );
        Ok(())
    })
    .await;
    drop(pid_file);
    result
}
