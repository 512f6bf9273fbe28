//! Watches the room that the disk has, and keeps the ballast.
//!
//! The room is looked at whenever a segment is taken or comes back, and every second, because others use the disk
//! too; never per record. The ballast is two files of blocks that nobody reads: the large one is given back when next
//! to nothing is free, so that RocksDB can compact and forget segments, which is how space comes back at all; the small
//! one only for an opening that would have no room otherwise. Both are made again when there is room.

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
    disk::{Room, Thresholds},
};

/// Between two looks at the disk.
const LOOK: Duration = Duration::from_secs(1);
/// The large part of the ballast, and the part that is left for an opening.
const BALLAST_FILES: [&str; 2] = ["ballast", "ballast.open"];

/// Bytes that a process may still take from the file system of a directory.
pub(crate) type Source = Box<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// The room of a store.
pub(crate) struct Space {
    root: PathBuf,
    thresholds: Thresholds,
    /// Bytes that all segment files may take.
    limit: u64,
    source: Source,
    /// Bytes that segment files take.
    allocated: AtomicU64,
    /// Segments that only need a header.
    ready: AtomicU64,
    /// Bytes of ballast.
    ballast: AtomicU64,
    available: AtomicU64,
    /// Segments that can be made of what is free.
    allocatable: AtomicU64,
    state: AtomicU8,
    /// A round has no place to be written, and is tried again.
    round_waits: AtomicBool,
    /// RocksDB had no room for the last checkpoint.
    index_waits: AtomicBool,
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    look: bool,
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
        space.weigh_ballast();
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

    /// Whether another segment may be made.
    pub(crate) fn has_room_for_segment(&self) -> bool {
        self.look();
        self.allocatable.load(Relaxed) > 0
    }

    /// Whether appends have to be refused: what is left is for what gives space back.
    pub(crate) fn refuses_appends(&self) -> bool {
        self.state() == DiskState::Full
    }

    /// Whether the log or the index found no room for what it had to write.
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

    /// The writer found no room for a round, or did now.
    pub(crate) fn set_round_waits(&self, waits: bool) {
        if self.round_waits.swap(waits, Relaxed) != waits {
            self.look();
        }
    }

    /// RocksDB found no room for a checkpoint, or did now.
    pub(crate) fn set_index_waits(&self, waits: bool) {
        if self.index_waits.swap(waits, Relaxed) != waits {
            self.look();
        }
    }

    /// Finds out what state the disk is in. The watcher acts on it.
    pub(crate) fn look(&self) {
        let Some(room) = self.room() else { return };
        // One look at a time, so that an older one doesn't overwrite a newer one's state.
        let mut flags = self.lock();
        let before = self.state();
        let state = if self.is_waited_for() {
            DiskState::Full
        } else {
            self.thresholds.state(&room, before)
        };
        self.allocatable.store(self.thresholds.allocatable(&room), Relaxed);
        self.available.store(room.available, Relaxed);
        if state == before {
            return;
        }
        self.state.store(state.into(), Relaxed);
        flags.look = true;
        self.changed.notify_all();
        drop(flags);
        let (available, ready) = (room.available, room.ready);
        if state > before {
            warn!(%state, available, ready, "disk has less room");
        } else {
            info!(%state, available, ready, "disk has more room");
        }
    }

    /// Gives all of the ballast back if an opening might find no room otherwise.
    pub(crate) fn prepare_for_opening(&self) {
        let Some(room) = self.room() else { return };
        if self.thresholds.is_too_little_to_open(&room) {
            self.give_back(&BALLAST_FILES);
        }
    }

    /// Waits for the next look; whether the store ends.
    pub(crate) fn wait(&self) -> bool {
        let waiting = |flags: &mut Flags| !flags.look && !flags.stop;
        let waited = self.changed.wait_timeout_while(self.lock(), LOOK, waiting);
        let mut flags = waited.unwrap_or_else(PoisonError::into_inner).0;
        flags.look = false;
        flags.stop
    }

    /// Lets a moment pass; whether the store ends.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |flags| !flags.stop);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Whoever waits for room waits no longer.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Gives the ballast back or makes it, as the room of the disk wants it.
    pub(crate) fn tend_ballast(&self) {
        let Some(room) = self.room() else { return };
        if self.is_waited_for() || self.thresholds.needs_ballast(&room) {
            self.give_back(&BALLAST_FILES[..1]);
        } else if self.thresholds.has_room_for_ballast(&room)
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
        self.weigh_ballast();
        self.look();
        Ok(())
    }

    /// The sizes of the ballast's files.
    fn parts(&self) -> [u64; 2] {
        let small = self.thresholds.ballast_bytes / 8;
        [self.thresholds.ballast_bytes - small, small]
    }

    fn give_back(&self, names: &[&str]) {
        for name in names {
            let path = self.root.join(name);
            match fs::remove_file(&path) {
                Ok(()) => info!(file = %path.display(), "ballast given back"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => warn!(%error, "ballast could not be given back"),
            }
        }
        self.weigh_ballast();
    }

    fn weigh_ballast(&self) {
        let bytes = |name| fs::metadata(self.root.join(name)).map_or(0, |file| file.len());
        self.ballast.store(BALLAST_FILES.into_iter().map(bytes).sum(), Relaxed);
    }

    fn room(&self) -> Option<Room> {
        let available = (self.source)(&self.root).inspect_err(|error| {
            warn!(%error, "free space could not be found out");
        });
        Some(Room {
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

/// Whether the system had no room for a write. Nothing that was not synced before is durable then, and nothing that
/// was is lost.
pub(crate) fn is_short_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const BALLAST: u64 = 1 << 20;

    /// A store's space over a disk of which a test says how much is free besides the ballast.
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
        // What the files really take comes from the same disk.
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
            self.space.look();
            self.space.tend_ballast();
            (self.space.state(), self.space.ballast())
        }
    }

    #[test]
    fn the_ballast_is_given_back_when_nothing_else_is_free_and_made_again_when_something_is() {
        let disk = fake();
        assert_eq!(disk.with_free(1 << 30), (DiskState::Normal, BALLAST));
        let part = BALLAST / 8;
        assert_eq!(disk.with_free(0), (DiskState::AlmostFull, part), "a part is left to open with");
        assert_eq!(disk.with_free(BALLAST / 4), (DiskState::AlmostFull, part));
        assert_eq!(disk.with_free(BALLAST / 2), (DiskState::AlmostFull, BALLAST));
        assert_eq!(disk.with_free(1 << 30), (DiskState::Normal, BALLAST));
    }

    #[test]
    fn an_opening_on_a_full_disk_has_all_of_the_ballast() {
        let disk = fake();
        disk.with_free(1 << 30);
        disk.space.prepare_for_opening();
        assert_eq!(disk.space.ballast(), BALLAST, "there is room");
        disk.free.store(0, Relaxed);
        disk.space.prepare_for_opening();
        assert_eq!(fs::read_dir(disk.dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_finds_no_room_makes_the_disk_full_until_there_was_room() {
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
