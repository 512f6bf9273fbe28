//! Watches the free space of the disk, and keeps the ballast.
//!
//! Space is measured whenever a segment is taken or returned, and every second, because other programs use the disk
//! too. It is never measured per record.
//!
//! The ballast is two files of blocks without data. The large file is deleted when almost no space is free. Then
//! RocksDB can compact and forget segments, and only that frees more space. The small file is deleted only for an
//! opening that would have no space otherwise. Both are made again when there is enough free space. The rules are in
//! `disk.rs`.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    DiskState, StorageSettings,
    disk::{FreeSpace, Thresholds},
};

/// Time between two measurements.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// The large file of the ballast, and the small one that is kept for an opening.
const BALLAST_FILES: [&str; 2] = ["ballast", "ballast.open"];

/// Function that returns the bytes that this process can still use in the file system of a directory.
pub(crate) type Source = Box<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Free space of a store's disk.
pub(crate) struct Space {
    root: PathBuf,
    thresholds: Thresholds,
    /// Bytes that all segment files may take.
    limit: u64,
    source: Source,
    /// Bytes that segment files take now.
    allocated: AtomicU64,
    /// Segments that only need a header.
    ready: AtomicU64,
    /// Bytes of the ballast files.
    ballast: AtomicU64,
    available: AtomicU64,
    /// Number of segments that fit into the free space.
    allocatable: AtomicU64,
    state: AtomicU8,
    /// A round has no disk space and is tried again.
    round_waits: AtomicBool,
    /// RocksDB had no disk space for the last checkpoint.
    index_waits: AtomicBool,
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    state_changed: bool,
    stop: bool,
}

impl Space {
    pub(crate) fn new(root: &Path, settings: &StorageSettings, allocated: u64) -> Self {
        Self::with_source(root, settings, allocated, Box::new(available_bytes))
    }

    pub(crate) fn with_source(
        root: &Path,
        settings: &StorageSettings,
        allocated: u64,
        source: Source,
    ) -> Self {
        let thresholds = Thresholds {
            segment_bytes: settings.segment_bytes,
            reserve_segments: settings.reserve_segments as u64,
            ballast_bytes: settings.ballast_bytes,
        };
        let space = Self {
            root: root.to_owned(),
            thresholds,
            limit: settings.max_segment_bytes_total.unwrap_or(u64::MAX),
            source,
            allocated: AtomicU64::new(allocated),
            ready: AtomicU64::new(0),
            ballast: AtomicU64::new(0),
            available: AtomicU64::new(0),
            allocatable: AtomicU64::new(0),
            state: AtomicU8::new(DiskState::Normal.into()),
            round_waits: AtomicBool::new(false),
            index_waits: AtomicBool::new(false),
            flags: Mutex::default(),
            changed: Condvar::new(),
        };
        space.measure_ballast();
        space
    }

    pub(crate) fn state(&self) -> DiskState {
        DiskState::from_number(self.state.load(Relaxed))
    }

    pub(crate) fn available(&self) -> u64 {
        self.available.load(Relaxed)
    }

    pub(crate) fn ballast(&self) -> u64 {
        self.ballast.load(Relaxed)
    }

    /// Whether there is space for another segment. Measures the disk first.
    pub(crate) fn has_space_for_segment(&self) -> bool {
        self.update();
        self.allocatable.load(Relaxed) > 0
    }

    /// Whether appends must be refused, because the remaining space is for writes that free space.
    pub(crate) fn refuses_appends(&self) -> bool {
        self.state() == DiskState::Full
    }

    /// Whether the log or the index waits for disk space.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.round_waits.load(Relaxed) || self.index_waits.load(Relaxed)
    }

    pub(crate) fn round_waits(&self) -> bool {
        self.round_waits.load(Relaxed)
    }

    pub(crate) fn index_waits(&self) -> bool {
        self.index_waits.load(Relaxed)
    }

    pub(crate) fn set_ready(&self, segments: usize) {
        self.ready.store(segments as u64, Relaxed);
    }

    pub(crate) fn segment_made(&self) {
        self.allocated.fetch_add(self.thresholds.segment_bytes, Relaxed);
    }

    pub(crate) fn segment_deleted(&self, bytes: u64) {
        self.allocated.fetch_sub(bytes, Relaxed);
    }

    /// Called when the writer begins or stops to wait for disk space.
    pub(crate) fn set_round_waits(&self, waits: bool) {
        if self.round_waits.swap(waits, Relaxed) != waits {
            self.update();
        }
    }

    /// Called when RocksDB had no disk space for a checkpoint, and when it has again.
    pub(crate) fn set_index_waits(&self, waits: bool) {
        if self.index_waits.swap(waits, Relaxed) != waits {
            self.update();
        }
    }

    /// Measures the disk and updates the state. The watcher thread acts on a new state.
    pub(crate) fn update(&self) {
        let Some(space) = self.measure() else { return };
        // One thread at a time updates the state, so that an older measurement does not overwrite a newer state.
        let mut flags = self.lock();
        let before = self.state();
        // A write that found no space is better evidence than any measurement.
        let state = if self.is_waited_for() {
            DiskState::Full
        } else {
            self.thresholds.state(&space, before)
        };
        self.allocatable.store(self.thresholds.allocatable(&space), Relaxed);
        self.available.store(space.available, Relaxed);
        if state == before {
            return;
        }
        self.state.store(state.into(), Relaxed);
        flags.state_changed = true;
        self.changed.notify_all();
        drop(flags);
        let (available, ready) = (space.available, space.ready);
        if state > before {
            warn!(%state, available, ready, "disk has less free space");
        } else {
            info!(%state, available, ready, "disk has more free space");
        }
    }

    /// Deletes both ballast files if an opening might have too little space otherwise.
    pub(crate) fn prepare_for_opening(&self) {
        let Some(space) = self.measure() else { return };
        if self.thresholds.is_too_little_to_open(&space) {
            self.delete_ballast(&BALLAST_FILES);
        }
    }

    /// Waits until the state has changed, but at most for [`MEASURE_INTERVAL`]. Returns whether the store ends.
    pub(crate) fn wait(&self) -> bool {
        let waiting = |flags: &mut Flags| !flags.state_changed && !flags.stop;
        let waited = self.changed.wait_timeout_while(self.lock(), MEASURE_INTERVAL, waiting);
        let mut flags = waited.unwrap_or_else(PoisonError::into_inner).0;
        flags.state_changed = false;
        flags.stop
    }

    /// Waits for `time`. Returns whether the store ends.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |flags| !flags.stop);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Wakes all threads that wait here, because the store ends.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Deletes the large ballast file, or makes the ballast, as the free space requires.
    pub(crate) fn adjust_ballast(&self) {
        let Some(space) = self.measure() else { return };
        if self.is_waited_for() || self.thresholds.needs_ballast(&space) {
            self.delete_ballast(&BALLAST_FILES[..1]);
        } else if self.thresholds.has_space_for_ballast(&space)
            && let Err(error) = self.make_ballast()
        {
            warn!(%error, "ballast could not be made");
        }
    }

    fn make_ballast(&self) -> io::Result<()> {
        for (name, bytes) in BALLAST_FILES.iter().zip(self.parts()) {
            let path = self.root.join(name);
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            if bytes > 0 && file.metadata()?.len() < bytes {
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
            }
        }
        self.measure_ballast();
        self.update();
        Ok(())
    }

    /// Sizes of the ballast files.
    fn parts(&self) -> [u64; 2] {
        let small = self.thresholds.ballast_bytes / 8;
        [self.thresholds.ballast_bytes - small, small]
    }

    fn delete_ballast(&self, names: &[&str]) {
        for name in names {
            let path = self.root.join(name);
            match fs::remove_file(&path) {
                Ok(()) => info!(file = %path.display(), "ballast deleted"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => warn!(%error, "ballast could not be deleted"),
            }
        }
        self.measure_ballast();
    }

    fn measure_ballast(&self) {
        let bytes = |name| fs::metadata(self.root.join(name)).map_or(0, |file| file.len());
        self.ballast.store(BALLAST_FILES.into_iter().map(bytes).sum(), Relaxed);
    }

    fn measure(&self) -> Option<FreeSpace> {
        let available = (self.source)(&self.root).inspect_err(|error| {
            warn!(%error, "free space could not be measured");
        });
        Some(FreeSpace {
            available: available.ok()?,
            ballast: self.ballast(),
            ready: self.ready.load(Relaxed),
            allowed: self.limit.saturating_sub(self.allocated.load(Relaxed)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Flags> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn available_bytes(root: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(root)?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

/// Whether a write failed for lack of disk space. Such an error loses nothing that was synced before, and makes
/// nothing durable.
pub(crate) fn is_short_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const BALLAST: u64 = 1 << 20;

    /// A store's free space on a simulated disk. The test sets the free bytes besides the ballast.
    struct Fake {
        dir: tempfile::TempDir,
        free: Arc<AtomicU64>,
        space: Space,
    }

    fn fake() -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(1 << 30));
        let settings = StorageSettings { ballast_bytes: BALLAST, ..StorageSettings::default() };
        let source = Arc::clone(&free);
        // The ballast files take their real size from the simulated disk.
        let taken = |root: &Path| -> u64 {
            let bytes = |name| fs::metadata(root.join(name)).map_or(0, |file| file.len());
            BALLAST_FILES.into_iter().map(bytes).sum()
        };
        let source: Source =
            Box::new(move |root| Ok((source.load(Relaxed) + BALLAST).saturating_sub(taken(root))));
        let space = Space::with_source(dir.path(), &settings, 0, source);
        space.set_ready(4);
        Fake { dir, free, space }
    }

    impl Fake {
        fn with_free(&self, bytes: u64) -> (DiskState, u64) {
            self.free.store(bytes, Relaxed);
            self.space.update();
            self.space.adjust_ballast();
            (self.space.state(), self.space.ballast())
        }
    }

    #[test]
    fn the_ballast_is_deleted_when_the_disk_is_full_and_made_again_when_space_is_free() {
        let disk = fake();
        assert_eq!(disk.with_free(1 << 30), (DiskState::Normal, BALLAST));
        let part = BALLAST / 8;
        assert_eq!(
            disk.with_free(0),
            (DiskState::AlmostFull, part),
            "the small file is left for an opening"
        );
        assert_eq!(disk.with_free(BALLAST / 4), (DiskState::AlmostFull, part));
        assert_eq!(disk.with_free(BALLAST / 2), (DiskState::AlmostFull, BALLAST));
        assert_eq!(disk.with_free(1 << 30), (DiskState::Normal, BALLAST));
    }

    #[test]
    fn an_opening_on_a_full_disk_deletes_both_ballast_files() {
        let disk = fake();
        disk.with_free(1 << 30);
        disk.space.prepare_for_opening();
        assert_eq!(disk.space.ballast(), BALLAST, "there is enough free space");
        disk.free.store(0, Relaxed);
        disk.space.prepare_for_opening();
        assert_eq!(fs::read_dir(disk.dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_write_without_disk_space_makes_the_disk_full_until_it_succeeds() {
        let disk = fake();
        disk.with_free(1 << 30);
        assert!(!disk.space.refuses_appends());
        disk.space.set_index_waits(true);
        assert_eq!(disk.with_free(1 << 30), (DiskState::Full, BALLAST / 8));
        assert!(disk.space.refuses_appends());
        disk.space.set_index_waits(false);
        assert_eq!(disk.with_free(1 << 30), (DiskState::Normal, BALLAST));
        assert!(!disk.space.refuses_appends());
    }
}
