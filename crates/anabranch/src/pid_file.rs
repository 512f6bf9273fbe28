//! `node.pid`: the process id of a running node, in its data directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The file `DIR/node.pid`. It exists as long as the node runs: it is removed when this value is dropped.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    const NAME: &str = "node.pid";

    /// Writes the id of this process. On a full disk the node starts without the file.
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

    /// Id of the process that runs on `dir`, if `mark` is an argument of its command line. A process id may have been
    /// used again by another program; the mark excludes that.
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
