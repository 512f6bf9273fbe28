//! A disk that is an ordinary folder, for a machine on which the harness can't mount file systems. It can be wiped, and
//! it can go back in time. It never loses power, hangs or fills up.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::run;

/// A folder in place of a disk.
#[derive(Debug)]
pub struct DiskFolder {
    root: PathBuf,
    /// An older copy of the folder, if it exists.
    copy: PathBuf,
}

impl DiskFolder {
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        let folder = Self { root: directory.join("disk"), copy: directory.join("older") };
        fs::create_dir_all(&folder.root)?;
        Ok(folder)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn used_bytes(&self) -> Result<u64> {
        used_bytes(&self.root)
    }

    /// Copies all files. No process may write to them meanwhile.
    pub(crate) fn keep_copy(&self) -> Result<()> {
        if self.copy.exists() {
            fs::remove_dir_all(&self.copy)?;
        }
        let (root, copy) = (self.root.to_string_lossy(), self.copy.to_string_lossy());
        run(["cp", "-a", "--sparse=always", &*root, &*copy]).map(drop)
    }

    pub(crate) fn restore_copy(&self) -> Result<()> {
        ensure!(self.copy.exists(), "no copy of the disk was kept");
        fs::remove_dir_all(&self.root)?;
        fs::rename(&self.copy, &self.root).context("the copy of a disk")
    }

    pub(crate) fn wipe(&self) -> Result<()> {
        fs::remove_dir_all(&self.root)?;
        fs::create_dir(&self.root).context("an empty disk")
    }
}

/// Bytes that the files under a folder take. A file that is removed meanwhile counts nothing.
fn used_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        // The kernel counts blocks of 512 bytes here, whatever the file system uses.
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += used_bytes(&entry.path()).unwrap_or_default();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_back_to_its_copy_and_becomes_empty() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskFolder::create(dir.path()).unwrap();
        let file = disk.root().join("data/file");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "older").unwrap();
        disk.keep_copy().unwrap();
        fs::write(&file, "newer").unwrap();
        disk.restore_copy().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "older");
        assert!(disk.used_bytes().unwrap() > 0);
        assert!(disk.restore_copy().is_err(), "a copy comes back once");
        disk.wipe().unwrap();
        assert_eq!(disk.used_bytes().unwrap(), 0);
    }
}
