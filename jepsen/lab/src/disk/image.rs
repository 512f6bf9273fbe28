//! A disk that is an ext4 file system in a file, which can lose power, hang, fill up, fail and go back in time.
//!
//! The file is in a file system in memory of its own. So a disk can be made too small for what ext4 writes back, which
//! is a real write error: ext4 reports it at an fsync.
//!
//! A power loss is the ext4 call that shuts the file system down without writing its journal. Everything that was
//! synced is there after the next mount, and everything else is gone. `commit=300` keeps the journal's own timer from
//! saving what was never synced.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{run, sh};
use crate::ioctl::shut_down_file_system;

/// Bytes of a disk.
const DISK_BYTES: u64 = 1 << 30;
/// Bytes of the file system in memory that holds the disk and one older copy of it.
const MEMORY_BYTES: u64 = 3 << 30;
const BALLAST: &str = "ballast";

/// A disk with an ext4 file system. It is removed when the value is dropped.
#[derive(Debug)]
pub struct DiskImage {
    memory: PathBuf,
    mount: PathBuf,
    frozen: bool,
}

impl DiskImage {
    /// Makes and mounts a disk in `directory`.
    ///
    /// # Errors
    /// If this machine can't mount file systems in files.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        let disk =
            Self { memory: directory.join("memory"), mount: directory.join("disk"), frozen: false };
        fs::create_dir_all(&disk.memory)?;
        fs::create_dir_all(&disk.mount)?;
        run([
            "mount",
            "-t",
            "tmpfs",
            "-o",
            &format!("size={MEMORY_BYTES}"),
            "none",
            &disk.memory.to_string_lossy(),
        ])?;
        disk.format()?;
        disk.attach()?;
        Ok(disk)
    }

    /// Folder at which the disk is mounted.
    pub(crate) fn root(&self) -> &Path {
        &self.mount
    }

    fn image(&self) -> PathBuf {
        self.memory.join("disk.img")
    }

    fn copy(&self) -> PathBuf {
        self.memory.join("older.img")
    }

    fn format(&self) -> Result<()> {
        File::create(self.image())?.set_len(DISK_BYTES)?;
        run(["mkfs.ext4", "-q", "-F", &self.image().to_string_lossy()]).map(drop)
    }

    fn attach(&self) -> Result<()> {
        let (image, mount) = (self.image(), self.mount.clone());
        let words =
            ["mount", "-o", "loop,commit=300", &image.to_string_lossy(), &mount.to_string_lossy()];
        run(words).map(drop)
    }

    fn detach(&mut self) -> Result<()> {
        self.thaw()?;
        run(["umount", &self.mount.to_string_lossy()]).map(drop)
    }

    /// Drops everything that was not synced. Until [`Self::remount`] every access fails with EIO. Stop the node's
    /// process before (SIGSTOP), so that it answers nothing after this moment; without that, this is a disk that dies.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn lose_power(&mut self) -> Result<()> {
        self.thaw()?;
        shut_down_file_system(&self.mount)
    }

    /// Mounts the disk again, which replays its journal. No process may use it.
    ///
    /// # Errors
    /// If the file system can't be mounted.
    pub fn remount(&mut self) -> Result<()> {
        self.detach()?;
        self.attach()
    }

    /// Makes every write and sync wait until [`Self::thaw`].
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn freeze(&mut self) -> Result<()> {
        run(["fsfreeze", "-f", &self.mount.to_string_lossy()])?;
        self.frozen = true;
        Ok(())
    }

    /// Ends a freeze.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn thaw(&mut self) -> Result<()> {
        if std::mem::take(&mut self.frozen) {
            run(["fsfreeze", "-u", &self.mount.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Fills the disk until only `left` bytes are free.
    ///
    /// # Errors
    /// If the disk has less than that.
    pub fn fill(&self, left: u64) -> Result<()> {
        let free = self.free_bytes()?;
        let Some(bytes) = free.checked_sub(left).filter(|bytes| *bytes > 0) else {
            bail!("only {free} bytes are free");
        };
        let ballast = self.mount.join(BALLAST);
        let file = OpenOptions::new().create(true).append(true).open(ballast)?;
        let length = file.metadata()?.len();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, bytes)
            .context("filling the disk")
    }

    /// Frees what [`Self::fill`] took.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn drain(&self) -> Result<()> {
        let ballast = self.mount.join(BALLAST);
        if ballast.exists() { fs::remove_file(ballast).context("freeing the disk") } else { Ok(()) }
    }

    /// Bytes that a program without privileges can still write.
    ///
    /// # Errors
    /// If the file system does not answer.
    pub fn free_bytes(&self) -> Result<u64> {
        let stats = rustix::fs::statvfs(&self.mount)?;
        Ok(stats.f_bavail * stats.f_frsize)
    }

    /// Bytes that files on the disk take.
    ///
    /// # Errors
    /// If the file system does not answer.
    pub(crate) fn used_bytes(&self) -> Result<u64> {
        let stats = rustix::fs::statvfs(&self.mount)?;
        Ok((stats.f_blocks - stats.f_bfree) * stats.f_frsize)
    }

    /// Makes the storage behind the disk too small for every block that was never written: writing such a block back
    /// fails, and the next fsync reports EIO. [`Self::grow`] ends it.
    ///
    /// # Errors
    /// If the file system in memory refuses.
    pub fn shrink(&self) -> Result<()> {
        let stats = rustix::fs::statvfs(&self.memory)?;
        let used = (stats.f_blocks - stats.f_bfree) * stats.f_frsize;
        self.resize(used)
    }

    /// Gives blocks that no file uses back to the storage behind the disk, so that they count as never written.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn trim(&self) -> Result<()> {
        run(["fstrim", &self.mount.to_string_lossy()]).map(drop)
    }

    /// Ends [`Self::shrink`].
    ///
    /// # Errors
    /// If the file system in memory refuses.
    pub fn grow(&self) -> Result<()> {
        self.resize(MEMORY_BYTES)
    }

    fn resize(&self, bytes: u64) -> Result<()> {
        let memory = self.memory.to_string_lossy();
        run(["mount", "-o", &format!("remount,size={bytes}"), &memory]).map(drop)
    }

    /// Keeps a copy of the disk as it is on stable storage now, as a snapshot of a volume does.
    ///
    /// # Errors
    /// If the file system refuses to be frozen or the copy fails.
    pub(crate) fn keep_copy(&mut self) -> Result<()> {
        self.freeze()?;
        let copied = run([
            "cp",
            "--sparse=always",
            &*self.image().to_string_lossy(),
            &*self.copy().to_string_lossy(),
        ]);
        self.thaw()?;
        copied.map(drop)
    }

    /// Replaces the disk by the copy. No process may use the disk.
    ///
    /// # Errors
    /// If there is no copy.
    pub(crate) fn restore_copy(&mut self) -> Result<()> {
        if !self.copy().exists() {
            bail!("no copy of the disk was kept");
        }
        self.detach()?;
        fs::rename(self.copy(), self.image())?;
        self.attach()
    }

    /// Replaces the disk by an empty one. No process may use the disk.
    ///
    /// # Errors
    /// If the new disk can't be made.
    pub(crate) fn wipe(&mut self) -> Result<()> {
        self.detach()?;
        self.format()?;
        self.attach()
    }

    /// Ends a freeze, a full disk, and a lack of storage behind the disk.
    pub(crate) fn heal(&mut self) -> Result<()> {
        self.thaw()?;
        self.drain()?;
        self.grow()
    }

    /// The loop device of the disk as `major:minor`, as control groups name it.
    ///
    /// # Errors
    /// If the disk is not mounted.
    pub fn device(&self) -> Result<String> {
        let line = run(["findmnt", "-n", "-o", "MAJ:MIN", &self.mount.to_string_lossy()])?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for DiskImage {
    fn drop(&mut self) {
        let _thawed = self.thaw();
        for path in [&self.mount, &self.memory] {
            if let Err(error) = sh(&format!("umount -l {}", path.display())) {
                eprintln!("lab: {error:#}");
            }
        }
    }
}
