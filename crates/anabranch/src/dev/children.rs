//! The nodes of a cluster as child processes: each runs `anabranch server` with the configuration that `dev` wrote.
//!
//! A node ends with this process, however this process ends (`kill_on_drop`). Others may kill a node and start it again
//! with the command in `cluster.json`; the new process is not a child, but it is stopped with the cluster.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anabranch_cli::cluster_file::NodeEntry;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::config::NodeConfig;
use crate::pid_file::PidFile;

/// How long a node may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long all nodes together may take to stop before they are killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The child processes.
pub(super) struct Children {
    /// The configuration file of each node, in the folder of its data.
    configs: Vec<PathBuf>,
    children: Vec<Child>,
}

impl Children {
    /// No process yet.
    pub(super) fn new(configs: Vec<PathBuf>) -> Self {
        Self { configs, children: Vec::new() }
    }

    /// Starts every node, and returns when all of them serve.
    pub(super) async fn start(&mut self) -> anyhow::Result<Vec<NodeEntry>> {
        let exe = std::env::current_exe()?.display().to_string();
        let mut entries = Vec::new();
        for config_file in &self.configs {
            let command = vec![
                exe.clone(),
                "server".into(),
                "--config".into(),
                config_file.display().to_string(),
            ];
            let child = Command::new(&command[0])
                .args(&command[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("start a node")?;
            let config = NodeConfig::read(config_file, Vec::new())?;
            entries.push(NodeEntry {
                id: config.node.0,
                pid: child.id().unwrap_or_default(),
                api: config.listen_api,
                grpc: config.listen_grpc,
                data_dir: config.data_dir,
                command,
            });
            self.children.push(child);
        }
        for child in &mut self.children {
            wait_ready(child).await?;
        }
        Ok(entries)
    }

    /// Sends SIGTERM to every node, also to a node that was started again by others, and waits until all have ended.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let own = self.children.iter().filter_map(Child::id);
        let own = own.filter_map(|pid| i32::try_from(pid).ok());
        let mut told: Vec<i32> = own.chain(self.running()).collect();
        told.sort_unstable();
        told.dedup();
        for pid in told {
            if let Some(pid) = Pid::from_raw(pid) {
                let _is_gone = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP_LIMIT;
        let mut failed = Vec::new();
        for child in &mut self.children {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, child.wait()).await {
                Ok(Ok(status)) if status.success() || status.code().is_none() => {}
                Ok(Ok(status)) => failed.push(format!("a node ended with {status}")),
                Ok(Err(error)) => failed.push(error.to_string()),
                Err(_) => {
                    child.kill().await?;
                    failed.push("a node had to be killed".to_owned());
                }
            }
        }
        while !self.running().is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        if failed.is_empty() { Ok(()) } else { bail!(failed.join("; ")) }
    }

    /// Process ids of the nodes that run, as their pid files say.
    fn running(&self) -> Vec<i32> {
        let running =
            |config: &PathBuf| PidFile::running(config.parent()?, &config.display().to_string());
        self.configs.iter().filter_map(running).collect()
    }
}

/// Waits for the line in which a node says that it serves. Goes on reading its output afterwards: a full pipe would
/// stop the node.
async fn wait_ready(child: &mut Child) -> anyhow::Result<()> {
    let output = child.stdout.take().context("a node's output was taken")?;
    let mut lines = BufReader::new(output).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("ready") {
                return Ok(());
            }
        }
        bail!("a node ended before it was ready")
    };
    timeout(START_LIMIT, ready).await.context("a node was not ready within a minute")??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(())
}
