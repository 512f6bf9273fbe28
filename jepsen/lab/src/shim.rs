//! The library that a node's process preloads: it makes syncs fail or wait, and reads fail.
//!
//! The harness and the process share one page of memory, which is a file. So a fault begins and ends while the process
//! runs. `shim/faults.c` is the other side; both use the same layout.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::run;

const SOURCE: &str = include_str!("../shim/faults.c");
const PAGE_BYTES: u64 = 4096;
const SYNC_ERROR: u64 = 0;
const READ_ERROR: u64 = 4;
const READ_EVERY: u64 = 8;
const SYNC_DELAY: u64 = 12;
const SYNCS_HIT: u64 = 16;
const READS_HIT: u64 = 20;
const MATCH: u64 = 28;
const MATCH_BYTES: usize = 100;
const EIO: i32 = 5;

/// A fault of file accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShimFault {
    /// Every fsync and fdatasync fails with EIO.
    SyncFails,
    /// Every fsync and fdatasync waits for this time first.
    SyncWaits(Duration),
    /// One of `every` reads of segment files fails with EIO.
    ReadFails {
        /// 1 is every read.
        every: i32,
    },
}

/// The shared page of one node.
#[derive(Debug)]
pub struct Shim {
    page: File,
    path: PathBuf,
    library: PathBuf,
}

impl Shim {
    /// Compiles the library into `directory`, which takes a C compiler a moment.
    ///
    /// # Errors
    /// If there is no C compiler.
    pub(crate) fn compile(directory: &Path) -> Result<PathBuf> {
        let (source, library) = (directory.join("faults.c"), directory.join("faults.so"));
        fs::write(&source, SOURCE)?;
        let (source, output) = (source.to_string_lossy(), library.to_string_lossy());
        run(["cc", "-O2", "-shared", "-fPIC", "-o", &*output, &*source, "-ldl"])
            .context("cannot compile the library of disk faults")?;
        Ok(library)
    }

    /// Makes the page of one node.
    ///
    /// # Errors
    /// If the file can't be made.
    pub(crate) fn create(path: PathBuf, library: PathBuf) -> Result<Self> {
        let page =
            File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        page.set_len(PAGE_BYTES)?;
        Ok(Self { page, path, library })
    }

    /// The environment of a process that uses the library.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("CHAOS_SHIM", &self.path)]
    }

    /// Begins a fault.
    ///
    /// # Errors
    /// If the page can't be written.
    pub fn start(&self, fault: ShimFault) -> Result<()> {
        match fault {
            ShimFault::SyncFails => self.put(SYNC_ERROR, EIO),
            ShimFault::SyncWaits(time) => {
                self.put(SYNC_DELAY, i32::try_from(time.as_micros()).unwrap_or(i32::MAX))
            }
            ShimFault::ReadFails { every } => {
                let mut text = [0; MATCH_BYTES];
                text[..9].copy_from_slice(b"/segments");
                self.page.write_all_at(&text, MATCH)?;
                self.put(READ_EVERY, every)?;
                self.put(READ_ERROR, EIO)
            }
        }
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// If the page can't be written.
    pub fn stop(&self) -> Result<()> {
        [SYNC_ERROR, READ_ERROR, SYNC_DELAY].into_iter().try_for_each(|field| self.put(field, 0))
    }

    /// Accesses that failed or waited since the start of the lab.
    ///
    /// # Errors
    /// If the page can't be read.
    pub fn hits(&self) -> Result<u64> {
        let mut hits = 0;
        for field in [SYNCS_HIT, READS_HIT] {
            let mut bytes = [0; 4];
            self.page.read_exact_at(&mut bytes, field)?;
            hits += u64::from(u32::from_ne_bytes(bytes));
        }
        Ok(hits)
    }

    fn put(&self, field: u64, value: i32) -> Result<()> {
        self.page.write_all_at(&value.to_ne_bytes(), field).context("page of disk faults")
    }
}
