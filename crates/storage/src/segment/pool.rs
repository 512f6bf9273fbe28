//! Ready segments: prepared ahead by a thread of their own, so that the writer never waits for an allocation.
//!
//! What always holds: ready segments have consecutive serials, and each has its header and its name on the disk. All of
//! its blocks have been written once, so that no later sync has to commit extent conversions; but for those that were
//! still unwritten when a heavy load came, whose rounds are so large that the conversions cost less than writing every
//! block twice.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anabranch_metrics::Counter;
use anabranch_types::Incarnation;
use tracing::warn;

use crate::{
    Error,
    metrics::Metrics,
    segment::file::{SegmentFile, sync_dir},
    space::{Space, is_short_of_space},
};

/// Zeroes between two syncs: so few that no sync of the writer waits for long.
const ZEROES_BYTES: usize = 1 << 20;
/// Zeroes are written this fast: twice what a light load takes, and a small part of a core.
const ZEROES_BYTES_PER_SECOND: u64 = 32 << 20;
/// Zeroes between two looks at how heavy the load is.
const ZEROES_PER_LOOK: u64 = 8 << 20;
/// How long a full disk is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How long a returning file is waited for before a fresh one is zeroed, which costs the device a segment of writes.
const PATIENCE: Duration = Duration::from_secs(1);
/// A load of more than this many bytes a second is heavy.
const HEAVY_BYTES_PER_SECOND: u64 = 16 << 20;
const TEMPORARY_NAME: &str = "preparing";

/// The ready segments, and what the preparer thread needs to make more.
pub(crate) struct Pool {
    dir: PathBuf,
    incarnation: Incarnation,
    segment_bytes: u64,
    /// How many to keep ready.
    target: usize,
    space: Arc<Space>,
    /// Whether the last attempt to make a segment found no room.
    full: AtomicBool,
    zeroed_bytes: Counter,
    reclaimed_segments: Counter,
    /// Bytes that rounds have written.
    rounds_written: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: VecDeque<Arc<SegmentFile>>,
    /// Files without live data that may get a new life.
    recycled: Vec<PathBuf>,
    next_serial: u64,
    /// Segments taken since the last look for dead ones, and between the two looks before it.
    taken: usize,
    demand: usize,
    /// Segments taken since a file came back.
    taken_since_return: usize,
    last_taken: Option<Instant>,
    /// Whether the last segment was filled under a heavy load.
    heavy: bool,
    /// Whether the writer waits for a segment.
    awaited: bool,
    failure: Option<String>,
    stop: bool,
}

enum Task {
    Recycle(PathBuf, u64),
    Allocate(u64),
    Stop,
}

impl Pool {
    /// A pool that continues after `ready`, or from serial `next_serial` on.
    pub(crate) fn new(
        dir: &Path,
        incarnation: Incarnation,
        settings: &crate::StorageSettings,
        space: Arc<Space>,
        ready: VecDeque<Arc<SegmentFile>>,
        next_serial: u64,
        metrics: &Metrics,
    ) -> Self {
        space.set_ready(ready.len());
        Self {
            dir: dir.to_owned(),
            incarnation,
            segment_bytes: settings.segment_bytes,
            target: settings.free_segments,
            space,
            full: AtomicBool::new(false),
            zeroed_bytes: metrics.zeroed_bytes.clone(),
            reclaimed_segments: metrics.reclaimed_segments.clone(),
            rounds_written: AtomicU64::new(0),
            state: Mutex::new(State {
                ready,
                recycled: Vec::new(),
                next_serial,
                taken: 0,
                demand: 0,
                taken_since_return: usize::MAX / 2,
                last_taken: None,
                heavy: false,
                awaited: false,
                failure: None,
                stop: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// The next segment. Waits for the preparer, unless the disk is full.
    pub(crate) fn take(&self) -> Result<Arc<SegmentFile>, Error> {
        let mut state = self.lock();
        loop {
            if let Some(segment) = state.ready.pop_front() {
                state.awaited = false;
                state.taken += 1;
                state.taken_since_return += 1;
                let last = state.last_taken.replace(Instant::now());
                state.heavy = last.is_some_and(|last| is_heavy(self.segment_bytes, last.elapsed()));
                self.announce(&state);
                drop(state);
                self.space.look();
                return Ok(segment);
            }
            if let Some(detail) = &state.failure {
                return Err(Error::Failed { detail: detail.clone() });
            }
            if state.stop {
                return Err(Error::Closed);
            }
            if self.full.load(Relaxed) {
                return Err(Error::DiskFull);
            }
            state.awaited = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes note of a round: zeroes give way to a heavy load.
    pub(crate) fn round_written(&self, bytes: u64) {
        self.rounds_written.fetch_add(bytes, Relaxed);
    }

    /// Deletes what is left of a segment that cannot be used.
    pub(crate) fn discard(&self, serial: u64) {
        let path = self.dir.join(SegmentFile::file_name(serial));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%error, "dead segment file could not be deleted");
            }
            Ok(()) | Err(_) => {}
        }
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.lock().ready.len()
    }

    /// A look for dead segments begins. As many files as were taken since the last look are kept besides the
    /// target, because as many may be taken until the next; what was kept and not taken is deleted.
    pub(crate) fn begin_look(&self) {
        let surplus = {
            let mut state = self.lock();
            state.demand = std::mem::take(&mut state.taken);
            let kept = (self.target + state.demand).saturating_sub(state.ready.len());
            let kept = kept.min(state.recycled.len());
            let surplus = state.recycled.split_off(kept);
            self.announce(&state);
            surplus
        };
        surplus.iter().for_each(|path| self.delete(path, self.segment_bytes));
        self.space.look();
    }

    /// Whether files are kept that only a load like the last one will need.
    pub(crate) fn has_surplus(&self) -> bool {
        let state = self.lock();
        state.ready.len() + state.recycled.len() > self.target
    }

    /// Takes back a file whose segment is dead. It gets a new life if one is wanted, else it is deleted.
    pub(crate) fn recycle(&self, path: PathBuf, bytes: u64) {
        self.reclaimed_segments.increment();
        let mut state = self.lock();
        state.taken_since_return = 0;
        let wanted = state.ready.len() + state.recycled.len() < self.target + state.demand;
        if wanted && bytes == self.segment_bytes {
            state.recycled.push(path);
            self.full.store(false, Relaxed);
            self.announce(&state);
            drop(state);
        } else {
            drop(state);
            self.delete(&path, bytes);
        }
        self.space.look();
    }

    fn delete(&self, path: &Path, bytes: u64) {
        if let Err(error) = fs::remove_file(path) {
            warn!(%error, "dead segment file could not be deleted");
            return;
        }
        self.space.segment_deleted(bytes);
        self.full.store(false, Relaxed);
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// The preparer thread.
    pub(crate) fn run(&self) {
        loop {
            let (result, recycled, serial) = match self.next_task() {
                Task::Stop => return,
                Task::Recycle(path, serial) => (self.revive(&path, serial), Some(path), serial),
                Task::Allocate(serial) => (self.allocate(serial), None, serial),
            };
            match result {
                Ok(segment) => self.add(segment, serial),
                Err(error) if is_short_of_space(&error) => self.wait_for_space(recycled),
                Err(error) => {
                    let detail =
                        format!("prepare segment {serial} in {}: {error}", self.dir.display());
                    self.lock().failure = Some(detail);
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    fn next_task(&self) -> Task {
        let mut state = self.lock();
        let mut patient = true;
        loop {
            if state.stop {
                return Task::Stop;
            }
            let serial = state.next_serial;
            if state.ready.len() < self.target {
                if let Some(path) = state.recycled.pop() {
                    return Task::Recycle(path, serial);
                }
                if !(patient && state.expects_return(self.target)) {
                    return Task::Allocate(serial);
                }
                let waited = self.changed.wait_timeout(state, PATIENCE);
                let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = after;
                patient = !timeout.timed_out();
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn add(&self, segment: SegmentFile, serial: u64) {
        let mut state = self.lock();
        state.ready.push_back(Arc::new(segment));
        state.next_serial = serial + 1;
        self.full.store(false, Relaxed);
        self.announce(&state);
        drop(state);
        self.space.look();
    }

    /// Waits until a file comes back or a while has passed. `recycled` is a file that did and for whose new name
    /// there was no room.
    fn wait_for_space(&self, recycled: Option<PathBuf>) {
        let mut state = self.lock();
        self.full.store(true, Relaxed);
        state.recycled.extend(recycled);
        self.announce(&state);
        let known = state.recycled.len();
        let waiting = |state: &mut State| !state.stop && state.recycled.len() <= known;
        drop(self.changed.wait_timeout_while(state, RETRY, waiting));
    }

    fn revive(&self, path: &Path, serial: u64) -> io::Result<SegmentFile> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        self.begin(file, path, serial)
    }

    fn allocate(&self, serial: u64) -> io::Result<SegmentFile> {
        if !self.space.has_room_for_segment() {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let path = self.dir.join(TEMPORARY_NAME);
        let made = self.fresh_file(&path).and_then(|file| self.begin(file, &path, serial));
        match made {
            Ok(_) => self.space.segment_made(),
            Err(_) => drop(fs::remove_file(&path)),
        }
        made
    }

    fn fresh_file(&self, path: &Path) -> io::Result<File> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.segment_bytes)?;
        self.zero(&file)?;
        Ok(file)
    }

    /// Writes every block of a fresh file, until the load gets heavy.
    fn zero(&self, file: &File) -> io::Result<()> {
        let zeroes = vec![0; ZEROES_BYTES];
        let (mut looked, mut seen) = (Instant::now(), self.rounds_written.load(Relaxed));
        let mut offset = 0;
        let goes_on = |state: &State| !state.stop && !state.heavy;
        while offset < self.segment_bytes && goes_on(&self.lock()) {
            let began = Instant::now();
            let bytes = (self.segment_bytes - offset).min(ZEROES_BYTES as u64);
            file.write_all_at(&zeroes[..usize::try_from(bytes).unwrap_or(ZEROES_BYTES)], offset)?;
            file.sync_data()?;
            offset += bytes;
            self.zeroed_bytes.add(bytes);
            self.pause_until(began + duration_of(bytes, ZEROES_BYTES_PER_SECOND));
            if offset.is_multiple_of(ZEROES_PER_LOOK) {
                let written = self.rounds_written.load(Relaxed);
                if is_heavy(written - seen, looked.elapsed()) {
                    return Ok(());
                }
                (looked, seen) = (Instant::now(), written);
            }
        }
        Ok(())
    }

    /// Unless the writer waits for a segment.
    fn pause_until(&self, end: Instant) {
        let paused = |state: &mut State| !state.stop && !state.awaited;
        let left = end.saturating_duration_since(Instant::now());
        drop(self.changed.wait_timeout_while(self.lock(), left, paused));
    }

    fn begin(&self, file: File, path: &Path, serial: u64) -> io::Result<SegmentFile> {
        let segment =
            SegmentFile::begin(file, &self.dir, serial, self.segment_bytes, self.incarnation)?;
        fs::rename(path, &segment.path)?;
        sync_dir(&self.dir)?;
        Ok(segment)
    }

    /// Tells everybody that files came or went.
    fn announce(&self, state: &State) {
        self.space.set_ready(state.ready.len() + state.recycled.len());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a file may come back before it is needed: files did lately, and only one segment is missing.
    fn expects_return(&self, target: usize) -> bool {
        self.taken_since_return <= target && self.ready.len() + 1 == target
    }
}

fn duration_of(bytes: u64, bytes_per_second: u64) -> Duration {
    Duration::from_millis(1000 * bytes / bytes_per_second)
}

fn is_heavy(bytes: u64, within: Duration) -> bool {
    within < duration_of(bytes, HEAVY_BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use anabranch_metrics::Registry;

    use super::*;
    use crate::StorageSettings;

    const SEGMENT_BYTES: u64 = 16 << 20;

    /// Zeroes that a pool writes for two segments, while rounds write `bytes` again and again.
    fn zeroes_written(bytes: u64) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            StorageSettings { segment_bytes: SEGMENT_BYTES, ..StorageSettings::default() };
        let incarnation = Incarnation(1);
        let space = Arc::new(Space::new(dir.path(), &settings, 0));
        let (ready, metrics) = (VecDeque::new(), Metrics::new(&Registry::default()));
        let pool = Pool::new(dir.path(), incarnation, &settings, space, ready, 1, &metrics);
        let deadline = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            scope.spawn(|| pool.run());
            while pool.ready_count() < 2 && Instant::now() < deadline {
                pool.round_written(bytes);
                std::thread::yield_now();
            }
            pool.stop();
        });
        assert_eq!(pool.ready_count(), 2);
        pool.zeroed_bytes.get()
    }

    #[test]
    fn zeroes_give_way_to_a_heavy_load_as_soon_as_it_comes() {
        assert_eq!(zeroes_written(0), 2 * SEGMENT_BYTES);
        assert_eq!(zeroes_written(1 << 30), 2 * ZEROES_PER_LOOK);
    }
}
