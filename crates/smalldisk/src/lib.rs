//! A mounted file system of a few megabytes, for tests of full, hanging and failed disks.
//!
//! It is an ext4 in a file, mounted over a loop device. Only root can mount it, and only where loop devices exist.
//! Elsewhere [`SmallDisk::mount`] returns `None`, and the test is skipped.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system. Dropping it unmounts and deletes it.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts a file system of this size, its own tables included. If that is not possible, prints the reason and
    /// returns `None`. The test must then be skipped.
    pub fn mount(bytes: u64) -> Option<Self> {
        match Self::try_mount(bytes) {
            Ok(disk) => Some(disk),
            Err(reason) => {
                println!("skipped, no small file system can be mounted: {reason}");
                None
            }
        }
    }

    fn try_mount(bytes: u64) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("anabranch-disk-").tempdir();
        let dir = dir.map_err(|error| error.to_string())?;
        let image = dir.path().join("image");
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        let root = dir.path().join("root");
        fs::create_dir(&root).map_err(|error| error.to_string())?;
        // Reserve no blocks for root (`-m 0`): the tests run as root, and the disk must be full for them too.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&root))?;
        Ok(Self { dir })
    }

    /// Path at which it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Free bytes.
    pub fn available(&self) -> u64 {
        let stats = rustix::fs::statvfs(self.path()).expect("the file system is mounted");
        stats.f_bavail * stats.f_frsize
    }

    /// Fills the disk with a file until only `bytes` are free, as another program would.
    pub fn fill_but(&self, bytes: u64) {
        let filler = File::options().append(true).create(true).open(self.filler());
        let filler = filler.expect("a name costs nothing");
        loop {
            let length = filler.metadata().expect("the file is there").len();
            let mut more = self.available().saturating_sub(bytes);
            let flags = rustix::fs::FallocateFlags::empty();
            while more >= BLOCK && rustix::fs::fallocate(&filler, flags, length, more).is_err() {
                more /= 2;
            }
            if more < BLOCK {
                return;
            }
        }
    }

    /// Deletes the file of [`SmallDisk::fill_but`].
    pub fn clear(&self) {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                println!("the filler stays: {error}");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Makes every write wait until the returned value is dropped, like a disk that hangs.
    ///
    /// # Panics
    /// If the file system cannot be frozen.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let path = self.path();
        run(Command::new("fsfreeze").arg("-f").arg(&path)).expect("a mounted ext4 can be frozen");
        Frozen(path)
    }

    /// Makes every later access fail with EIO, like a disk that was removed. Unsynced data is lost.
    ///
    /// # Panics
    /// If the file system cannot be shut down.
    pub fn fail(&self) {
        // EXT4_IOC_SHUTDOWN without a flush of the journal.
        let script = "import fcntl, os, struct, sys\n\
                      fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                      fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))";
        let shut = run(Command::new("python3").args(["-c", script]).arg(self.path()));
        shut.expect("a mounted ext4 can be shut down");
    }

    /// Mounts the file system again after [`SmallDisk::fail`]. All of its files must be closed.
    ///
    /// # Panics
    /// If it cannot be mounted.
    pub fn mount_again(&self) {
        run(Command::new("umount").arg(self.path())).expect("nobody has a file open");
        let image = self.dir.path().join("image");
        let mounted = run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(self.path()));
        mounted.expect("its journal can be replayed");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

/// A file system on which writes hang. Dropping this value lets them continue.
#[derive(Debug)]
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(reason) = run(Command::new("fsfreeze").arg("-u").arg(&self.0)) {
            println!("stays frozen: {reason}");
        }
    }
}

const BLOCK: u64 = 4096;

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount: a process that a failed test left behind may still have a file open.
        if let Err(reason) = run(Command::new("umount").arg("-l").arg(self.path())) {
            println!("stays mounted: {reason}");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
