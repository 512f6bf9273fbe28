//! `cluster.json`: where the nodes of `anabranch dev` are, and how each is started again.
//!
//! `anabranch dev` writes the file once all its nodes serve. `anabranch ctl` and `anabranch stream` read it when they
//! are given no `--node`. Tests read it too, so members are added and never changed.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::replace_file;

/// The content of `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterFile {
    /// Directory with the certificates; `None` if the ports are plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_dir: Option<PathBuf>,
    /// Every node, ordered by id.
    pub nodes: Vec<NodeEntry>,
}

/// One node of `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Number of the node; from 1.
    pub id: u64,
    /// Process id at the time of writing.
    pub pid: u32,
    /// `host:port` of the Kinesis API.
    pub api: String,
    /// `host:port` of the gRPC API.
    pub grpc: String,
    /// Absolute path of the node's data directory.
    pub data_dir: PathBuf,
    /// Program and arguments that start the node again after it was killed.
    pub command: Vec<String>,
}

impl ClusterFile {
    const NAME: &str = "cluster.json";

    /// Path of the file in the folder of a cluster.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(Self::NAME)
    }

    /// Parses the text of the file.
    ///
    /// # Errors
    /// When the text is not JSON of this form.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// Writes the file into the folder of a cluster, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        replace_file(&Self::path(dir), &serde_json::to_string_pretty(self)?, 0o600)
    }
}
