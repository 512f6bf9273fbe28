//! The lock of a cluster's folder: one `anabranch dev` at a time changes the files in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use anabranch_storage::SegmentStore;
use anyhow::{Context, bail};

/// The right to change the folder of a cluster. It ends with this process, however the process ends.
pub(super) struct FolderLock(#[expect(dead_code, reason = "dropping the file ends the lock")] File);

impl FolderLock {
    const NAME: &str = "dev.lock";

    /// Locks the folder. Fails if another `dev` has locked it, or if a node still runs on it that outlived its `dev`.
    pub(super) fn take(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(Self::NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("data-dir {}: in use by another `anabranch dev`", dir.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| path.display().to_string());
            }
        }
        for entry in std::fs::read_dir(dir)? {
            SegmentStore::check_free(entry?.path()).context("a node still runs: stop it first")?;
        }
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use anabranch_storage::StorageSettings;

    use super::*;

    fn refusal(dir: &Path) -> String {
        match FolderLock::take(dir) {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_folder_is_locked_once_and_not_while_a_node_runs_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let locked = FolderLock::take(dir.path()).unwrap();
        assert!(refusal(dir.path()).contains("in use by another `anabranch dev`"));
        drop(locked);
        assert_eq!(refusal(dir.path()), "");
        let node = dir.path().join("node-1");
        let store = SegmentStore::open(&node, StorageSettings::default()).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("a node still runs") && text.contains("node-1"), "{text}");
        drop(store);
        assert_eq!(refusal(dir.path()), "");
    }
}
