//! The disk of one node: a file system in a file, or a folder on a machine that mounts no file systems.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use self::folder::DiskFolder;
use self::image::DiskImage;

mod folder;
mod image;

/// A disk.
#[derive(Debug)]
pub enum Disk {
    /// A file system of its own. It has every fault.
    Image(DiskImage),
    /// A folder. It can only be damaged, wiped, and replaced by an older copy.
    Folder(DiskFolder),
}

impl Disk {
    /// Makes and mounts a disk in `directory`.
    pub(crate) fn image_in(directory: &Path) -> Result<Self> {
        DiskImage::create(directory).map(Self::Image)
    }

    /// Makes a folder in `directory`.
    pub(crate) fn folder_in(directory: &Path) -> Result<Self> {
        DiskFolder::create(directory).map(Self::Folder)
    }

    /// Folder of the node's data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        let root = match self {
            Self::Image(image) => image.root(),
            Self::Folder(folder) => folder.root(),
        };
        root.join("data")
    }

    /// The file system, for faults that a folder can't have.
    ///
    /// # Errors
    /// If the disk is a folder.
    pub fn image(&mut self) -> Result<&mut DiskImage> {
        match self {
            Self::Image(image) => Ok(image),
            Self::Folder(_) => bail!("the disk is a folder: this fault needs root"),
        }
    }

    /// Bytes that files on the disk take.
    ///
    /// # Errors
    /// If the file system does not answer.
    pub fn used_bytes(&self) -> Result<u64> {
        match self {
            Self::Image(image) => image.used_bytes(),
            Self::Folder(folder) => folder.used_bytes(),
        }
    }

    /// Keeps a copy of the disk as it is now. A process that uses a folder must be stopped meanwhile.
    pub(crate) fn keep_copy(&mut self) -> Result<()> {
        match self {
            Self::Image(image) => image.keep_copy(),
            Self::Folder(folder) => folder.keep_copy(),
        }
    }

    /// Replaces the disk by the copy. No process may use the disk.
    ///
    /// # Errors
    /// If there is no copy.
    pub fn restore_copy(&mut self) -> Result<()> {
        match self {
            Self::Image(image) => image.restore_copy(),
            Self::Folder(folder) => folder.restore_copy(),
        }
    }

    /// Replaces the disk by an empty one. No process may use the disk.
    ///
    /// # Errors
    /// If the new disk can't be made.
    pub fn wipe(&mut self) -> Result<()> {
        match self {
            Self::Image(image) => image.wipe(),
            Self::Folder(folder) => folder.wipe(),
        }
    }

    /// Ends every fault of the disk from which a running process can go on.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn heal(&mut self) -> Result<()> {
        match self {
            Self::Image(image) => image.heal(),
            Self::Folder(_) => Ok(()),
        }
    }
}
