//! `cluster.json`: where the nodes of `anabranch dev` are and how each is started again; and the file
//! in which each node says its process id.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// One node of `cluster.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeEntry {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    /// `host:port` of the Kinesis API.
    pub(crate) api: String,
    /// `host:port` of the gRPC API.
    pub(crate) grpc: String,
    pub(crate) data_dir: PathBuf,
    /// Starts the node again after it was killed.
    pub(crate) command: Vec<String>,
}

#[derive(Serialize)]
struct ClusterFile<'a> {
    /// Where the certificates are, if the ports speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_dir: Option<&'a Path>,
    nodes: &'a [NodeEntry],
}

/// Writes `DIR/cluster.json`, whole or not at all.
pub(crate) fn write(dir: &Path, tls_dir: Option<&Path>, nodes: &[NodeEntry]) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&ClusterFile { tls_dir, nodes })?;
    replace(&dir.join("cluster.json"), &text)
}

/// Writes a file, whole or not at all: a full disk must not cost what it said before.
pub(crate) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    std::fs::write(&fresh, text).with_context(|| format!("{}", fresh.display()))?;
    std::fs::rename(&fresh, path).with_context(|| format!("{}", path.display()))
}

/// `DIR/node.pid` for as long as a node runs.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    const NAME: &str = "node.pid";

    /// Writes this process's id. A node starts without it where the disk is full.
    pub(crate) fn write(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
        let path = dir.join(Self::NAME);
        match std::fs::write(&path, std::process::id().to_string()) {
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                tracing::warn!(%error, "pid file");
            }
            written => written.with_context(|| format!("{}", path.display()))?,
        }
        Ok(Self(path))
    }

    /// The process that runs on `dir`, if it is one that was started with `mark` on its command line.
    pub(crate) fn running(dir: &Path, mark: &str) -> Option<i32> {
        let text = std::fs::read_to_string(dir.join(Self::NAME)).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).into_owned();
        command.split('\0').any(|part| part == mark).then_some(pid)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::info!(%error, "pid file");
        }
    }
}
