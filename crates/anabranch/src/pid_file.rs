//! `node.pid`, in which each node says its process id.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;

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
