//! Prepared segments. A thread of its own, the preparer, makes them in advance, so that the writer rarely waits for
//! an allocation.
//!
//! Order for each segment: recycle a dead file or allocate a new one, zero a new file, write and sync the header,
//! rename the file, sync the directory. Then the segment is ready.
//!
//! Guarantees: ready segments have consecutive serials, and header and name of each are on the disk. All blocks of a
//! ready segment have been written once, so no later sync has to convert extents. The exception is a file whose
//! zeroing was stopped by a heavy load. Rounds are large then, and the conversions cost less than writing every block
//! twice.

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

/// Bytes of zeroes between two syncs. Few, so that no sync of the writer waits for long.
const ZEROES_BYTES: usize = 1 << 20;
/// Speed of zeroing: twice the rate of a light load, and a small part of one core.
const ZEROES_BYTES_PER_SECOND: u64 = 32 << 20;
/// Bytes of zeroes between two checks of the load.
const ZEROES_PER_CHECK: u64 = 8 << 20;
/// How long the preparer waits after it found the disk full.
const RETRY: Duration = Duration::from_secs(1);
/// How long the preparer waits for a file to recycle before it zeroes a new one. Zeroing costs the device a whole
/// segment of writes.
const PATIENCE: Duration = Duration::from_secs(1);
/// A load is heavy above this rate.
const HEAVY_BYTES_PER_SECOND: u64 = 16 << 20;
const TEMPORARY_NAME: &str = "preparing";

/// The ready segments, and the work of the preparer thread.
pub(crate) struct Pool {
    dir: PathBuf,
    incarnation: Incarnation,
    segment_bytes: u64,
    /// Number of segments to keep ready.
    target: usize,
    space: Arc<Space>,
    /// Whether the last attempt to make a segment failed for lack of disk space.
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
    /// Files without live data that may be recycled.
    recycled: Vec<PathBuf>,
    next_serial: u64,
    /// Segments taken since the last search for dead segments, and between the two searches before it.
    taken: usize,
    demand: usize,
    /// Segments taken since a file was last returned for recycling.
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
    /// A pool that continues after the segments in `ready`. The next segment gets `next_serial`.
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

    /// Takes the next ready segment. Waits for the preparer, unless the disk is full.
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
                self.space.update();
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

    /// Records the bytes of a round. Zeroing stops under a heavy load.
    pub(crate) fn round_written(&self, bytes: u64) {
        self.rounds_written.fetch_add(bytes, Relaxed);
    }

    /// Deletes the file of a dead segment that could not be opened.
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

    /// Called when a search for dead segments begins. It keeps the target number of files, and in addition as many as
    /// were taken since the last search, because as many may be taken until the next search. Surplus files are
    /// deleted.
    pub(crate) fn begin_pass(&self) {
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
        self.space.update();
    }

    /// Whether more files are kept than the target. Only another load like the last one needs them.
    pub(crate) fn has_surplus(&self) -> bool {
        let state = self.lock();
        state.ready.len() + state.recycled.len() > self.target
    }

    /// Takes back the file of a dead segment. The file is recycled if it is needed, and deleted otherwise.
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
        self.space.update();
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
        self.space.update();
    }

    /// Waits until a file is returned, but at most for [`RETRY`]. `recycled` is a returned file for whose new name
    /// the disk had no space.
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
        if !self.space.has_space_for_segment() {
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

    /// Writes zeroes to every block of a new file. Stops when the load becomes heavy.
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
            if offset.is_multiple_of(ZEROES_PER_CHECK) {
                let written = self.rounds_written.load(Relaxed);
                if is_heavy(written - seen, looked.elapsed()) {
                    return Ok(());
                }
                (looked, seen) = (Instant::now(), written);
            }
        }
        Ok(())
    }

    /// Waits until `end`, but not while the writer waits for a segment.
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

    /// Tells other threads that files were added or taken.
    fn announce(&self, state: &State) {
        self.space.set_ready(state.ready.len() + state.recycled.len());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a file will probably be returned before it is needed: files were returned recently, and only one
    /// segment is missing.
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

    /// Bytes of zeroes that a pool writes for two segments, while rounds write `bytes` again and again.
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
    fn zeroing_stops_as_soon_as_the_load_is_heavy() {
        assert_eq!(zeroes_written(0), 2 * SEGMENT_BYTES);
        assert_eq!(zeroes_written(1 << 30), 2 * ZEROES_PER_CHECK);
    }
}
