//! Fixtures of the storage tests: small settings, and stores that can be crashed and opened again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anabranch_storage::{
    LogStore, SegmentStore, SimSettings, SimStore, StorageSettings, contract::Fixture,
};
use anabranch_types::GroupId;
use tempfile::TempDir;

/// Settings with which a few hundred entries fill several segments.
pub(crate) fn small() -> StorageSettings {
    StorageSettings {
        segment_bytes: 128 << 10,
        reclaim_interval: Duration::from_millis(1),
        copy_forward_after: Duration::ZERO,
        copy_forward_bytes_per_second: 1 << 30,
        scrub_bytes_per_second: 1 << 30,
        ballast_bytes: 256 << 10,
        ..StorageSettings::default()
    }
}

/// As [`small`], but without a cache, so that reads go to the disk.
pub(crate) fn uncached() -> StorageSettings {
    StorageSettings { cache_bytes: 0, ..small() }
}

/// Seeds of a random test: `count` of them from `first` on. The variable `ANABRANCH_TEST_SEEDS` overrides `count`.
pub(crate) fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let wished = std::env::var("ANABRANCH_TEST_SEEDS").ok().and_then(|count| count.parse().ok());
    first..first + wished.unwrap_or(count)
}

/// A segment store in a directory of its own.
pub(crate) struct Disk {
    pub(crate) settings: StorageSettings,
    dir: TempDir,
    open: Option<Arc<SegmentStore>>,
}

impl Disk {
    pub(crate) fn new(settings: StorageSettings) -> Self {
        Self { settings, dir: directory(), open: None }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn open_store(&mut self) -> Arc<SegmentStore> {
        self.crash();
        let store = SegmentStore::open(self.path(), self.settings.clone()).unwrap();
        self.open = Some(Arc::clone(&store));
        store
    }

    /// The segment files, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        segments_in(self.path())
    }
}

/// A directory in memory if the system has one. These tests are about order and not about the device.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_dir(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

pub(crate) fn segments_in(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("segments")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    paths
}

impl Fixture for Disk {
    fn open(&mut self) -> Arc<dyn LogStore> {
        self.open_store()
    }

    fn crash(&mut self) {
        if let Some(store) = self.open.take() {
            store.abort();
        }
    }

    fn fail(&mut self) {
        // A directory takes the place of a file that the store writes for a quarantine. A store that cannot write it
        // ends.
        fs::create_dir(self.path().join("quarantine.new")).unwrap();
        let store = self.open.as_ref().unwrap();
        store.group(GroupId(50)).unwrap().condemn("the test ends the store");
    }
}

/// A simulated store. Opening it again gives what its crash left.
pub(crate) struct Memory {
    store: SimStore,
    seed: u64,
}

impl Memory {
    pub(crate) fn new(settings: SimSettings, seed: u64) -> Self {
        Self { store: SimStore::new(settings), seed }
    }
}

impl Fixture for Memory {
    fn open(&mut self) -> Arc<dyn LogStore> {
        self.crash();
        Arc::new(self.store.clone())
    }

    fn crash(&mut self) {
        self.seed += 1;
        self.store = self.store.crash(self.seed);
    }

    fn fail(&mut self) {
        self.store.fail("the test ends the store");
    }
}
