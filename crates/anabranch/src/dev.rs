//! `anabranch dev`: one node in this process, or several as child processes on loopback.
//!
//! Order of a start: the folder of the cluster is locked ([`FolderLock`]), then certificates and configurations are
//! written, then the nodes start. When all nodes serve, `cluster.json` is written and a line that begins with `ready`
//! is printed. So a second `dev` on a folder in use changes nothing that the running nodes need.
//!
//! With several nodes this process only starts and stops `anabranch server` processes.

mod args;
mod children;
mod configs;
mod folder_lock;
mod ports;

use std::path::{Path, PathBuf};

use anabranch_cli::cluster_file::{ClusterFile, NodeEntry};
use anabranch_cli::ctl::certs;
use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::NodeConfig;
pub(crate) use crate::dev::args::DevArgs;
use crate::dev::children::Children;
use crate::dev::folder_lock::FolderLock;
use crate::dev::ports::reserve;
use crate::pid_file::PidFile;
use crate::running::{self, Addresses};
use crate::{logging, privacy};

/// Runs the cluster until SIGTERM or SIGINT.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    logging::init();
    privacy::keep();
    privacy::make_dir(&args.data_dir)?;
    let data_dir = std::path::absolute(&args.data_dir)?;
    let _locked = FolderLock::take(&data_dir)?;
    println!("any credentials are accepted; data in {}", data_dir.display());
    let tls_dir = args.tls.then(|| data_dir.join("tls"));
    if let Some(dir) = &tls_dir {
        make_certificates(dir, &args)?;
        println!("clients are to trust {}", dir.join("ca.pem").display());
    }
    if args.nodes == 1 {
        one(args, &data_dir, tls_dir).await
    } else {
        several(args, &data_dir, tls_dir).await
    }
}

/// Runs the only node in this process.
async fn one(args: DevArgs, dir: &Path, tls_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let node_dir = dir.join("node-1");
    let nodes = [reserve(&args, 0)?];
    let config_file = configs::write(dir, &nodes, &args, tls_dir.as_deref())?.remove(0);
    let mut config = NodeConfig::read(&config_file, Vec::new())?;
    config.listen_api = args.listen.to_string();
    let pid_file = PidFile::write(&node_dir)?;
    let command = args.command(dir)?;
    let dir = dir.to_owned();
    let result = running::run(config, move |Addresses { api, grpc, .. }| {
        let command = [command, vec!["--listen".into(), api.to_string()]].concat();
        let (api, grpc) = (api.to_string(), grpc.to_string());
        let pid = std::process::id();
        let entry = NodeEntry { id: 1, pid, api: api.clone(), grpc, data_dir: node_dir, command };
        ClusterFile { tls_dir, nodes: vec![entry] }.write(&dir)?;
        println!("ready: Kinesis API on {}://{api}", scheme(args.tls));
        Ok(())
    })
    .await;
    drop(pid_file);
    result
}

/// Runs each node in a child process.
async fn several(args: DevArgs, dir: &Path, tls_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let reserved =
        (0..args.nodes).map(|i| reserve(&args, i)).collect::<anyhow::Result<Vec<_>>>()?;
    let configs = configs::write(dir, &reserved, &args, tls_dir.as_deref())?;
    let mut children = Children::new(configs);
    let started = async {
        let cluster = ClusterFile { tls_dir, nodes: children.start().await? };
        cluster.write(dir)?;
        anyhow::Ok(cluster.nodes)
    };
    let outcome = tokio::select! {
        started = started => started,
        _ = terminate.recv() => Err(anyhow!("stopped before it was ready")),
        _ = interrupt.recv() => Err(anyhow!("stopped before it was ready")),
    };
    if let Ok(nodes) = &outcome {
        let scheme = scheme(args.tls);
        let apis: Vec<_> = nodes.iter().map(|node| format!("{scheme}://{}", node.api)).collect();
        println!("ready: {} nodes, Kinesis API on {}", nodes.len(), apis.join(" "));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    children.stop().await?;
    tracing::info!(dir = %dir.display(), "stopped");
    outcome.map(drop)
}

const fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// Makes new certificates for all nodes, an operator and a client at each start. The authority stays, so clients that
/// trust it need no change.
fn make_certificates(dir: &Path, args: &DevArgs) -> anyhow::Result<()> {
    let listen = args.listen.ip().to_string();
    let certs = certs::Args {
        dir: dir.to_owned(),
        cluster: Some(configs::CLUSTER.into()),
        nodes: (1..=args.nodes.into()).collect(),
        hosts: ["localhost", "127.0.0.1", "::1", &listen].map(str::to_owned).to_vec(),
        operators: vec!["operator".into()],
        clients: vec!["client".into()],
        days: 365,
        renew: true,
    };
    certs::make(&certs).context("tls").map(drop)
}
