//! State that the threads and handles of a [`crate::SegmentStore`] share.
//!
//! [`Core`] holds the queue, the index, the segments and the groups. It also reports damage: [`Core::quarantine`] for
//! a group, [`Core::end_if_index_is_damaged`] for the index. [`Counters`] holds the figures of [`crate::Stats`], and
//! [`Maintenance`] wakes the maintenance thread.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anabranch_types::GroupId;
use tracing::error;

use crate::{
    Error, ScrubProgress, Stats, StorageSettings,
    dir::DataDir,
    group::OpenGroup,
    index::Index,
    keys::SegmentRow,
    metrics::Metrics,
    segment::{file::SegmentFile, pool::Pool, queue::Queue, schedule::Schedule, scrub::Hit},
    space::{Space, is_short_of_space},
    store::index_loading,
    verdict::Verdicts,
};

/// Most disk reads that run at the same time.
const READS_AT_ONCE: usize = 64;

pub(crate) struct Core {
    pub(crate) dir: DataDir,
    pub(crate) settings: StorageSettings,
    pub(crate) queue: Queue,
    pub(crate) pool: Pool,
    pub(crate) space: Arc<Space>,
    pub(crate) index: Index,
    pub(crate) verdicts: Verdicts,
    pub(crate) groups: RwLock<HashMap<GroupId, Arc<OpenGroup>>>,
    /// Segments that can be read. A reader holds the `Arc` of its segment. While it does, the file is not recycled.
    segments: RwLock<BTreeMap<u64, Arc<SegmentFile>>>,
    /// The index's row of each segment. Checkpoints change rows. The maintenance thread removes the rows of dead
    /// segments.
    pub(crate) segment_rows: Mutex<BTreeMap<u64, SegmentRow>>,
    /// Sum of the live bytes in `segment_rows` when they were last read. See [`Core::live_bytes`].
    live_bytes: AtomicU64,
    pub(crate) cached_bytes: AtomicUsize,
    /// One permit for each disk read. If the disk hangs, at most this many blocking threads hang with it.
    pub(crate) reads: tokio::sync::Semaphore,
    pub(crate) metrics: Metrics,
    pub(crate) sync_times: SyncTimes,
    pub(crate) maintenance: Maintenance,
    /// Notified when a damaged entry is found.
    pub(crate) damage_found: tokio::sync::Notify,
    /// Tells the maintenance thread what to verify and when.
    pub(crate) scrubs: Mutex<Schedule>,
    /// Makes every later round fail as a failed sync does.
    #[cfg(test)]
    pub(crate) fail_rounds: std::sync::atomic::AtomicBool,
    /// Makes rounds run out of disk space when they are half written.
    #[cfg(test)]
    pub(crate) short_of_space: std::sync::atomic::AtomicBool,
    /// Makes rounds hang while a test holds the lock.
    #[cfg(test)]
    pub(crate) hold_rounds: Mutex<()>,
}

/// Durations of syncs in microseconds.
pub(crate) struct SyncTimes {
    /// Time zero of `writing_since`.
    origin: Instant,
    total: AtomicU64,
    average: AtomicU64,
    longest: AtomicU64,
    /// When the current round began. 0 if no round is being written.
    writing_since: AtomicU64,
}

/// Divisor of the moving average: each sync has a weight of 1/16.
const AVERAGE_OF: u64 = 16;

impl Default for SyncTimes {
    fn default() -> Self {
        let [total, average, longest, writing_since] = [const { AtomicU64::new(0) }; 4];
        Self { origin: Instant::now(), total, average, longest, writing_since }
    }
}

impl SyncTimes {
    pub(crate) fn begin_round(&self) {
        self.writing_since.store(micros(self.origin.elapsed()).max(1), Relaxed);
    }

    /// Records the end of a round whose syncs took `sync`.
    pub(crate) fn end_round(&self, sync: Duration) {
        let sync = micros(sync);
        self.total.fetch_add(sync, Relaxed);
        let average = self.average.load(Relaxed);
        let next =
            if average == 0 { sync } else { average - average / AVERAGE_OF + sync / AVERAGE_OF };
        self.average.store(next, Relaxed);
        self.longest.fetch_max(sync, Relaxed);
        self.writing_since.store(0, Relaxed);
    }

    fn total_micros(&self) -> u64 {
        self.total.load(Relaxed)
    }

    pub(crate) fn average(&self) -> Duration {
        Duration::from_micros(self.average.load(Relaxed))
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Relaxed))
    }

    pub(crate) fn writing_for(&self) -> Duration {
        match self.writing_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => self.origin.elapsed().saturating_sub(Duration::from_micros(since)),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The components of a new core.
pub(crate) struct Parts {
    pub(crate) dir: DataDir,
    pub(crate) settings: StorageSettings,
    pub(crate) metrics: Metrics,
    pub(crate) pool: Pool,
    pub(crate) space: Arc<Space>,
    pub(crate) index: Index,
    pub(crate) verdicts: Verdicts,
    pub(crate) segments: BTreeMap<u64, Arc<SegmentFile>>,
    pub(crate) segment_rows: BTreeMap<u64, SegmentRow>,
    /// Sealed segments that the opening did not verify, with their bytes. The scrub verifies them first.
    pub(crate) unverified: Vec<(u64, u64)>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let scrubs = Schedule::new(
            parts.settings.scrub_period,
            parts.dir.incarnation.0,
            parts.unverified,
            Instant::now(),
        );
        let quarter = usize::try_from(parts.settings.segment_bytes / 4).unwrap_or(usize::MAX);
        let queue_wait = parts.metrics.queue_wait.clone();
        Arc::new(Self {
            queue: Queue::new(parts.settings.queue_bytes.min(quarter), queue_wait),
            dir: parts.dir,
            settings: parts.settings,
            pool: parts.pool,
            space: parts.space,
            index: parts.index,
            verdicts: parts.verdicts,
            groups: RwLock::default(),
            segments: RwLock::new(parts.segments),
            segment_rows: Mutex::new(parts.segment_rows),
            live_bytes: AtomicU64::new(0),
            cached_bytes: AtomicUsize::new(0),
            reads: tokio::sync::Semaphore::new(READS_AT_ONCE),
            metrics: parts.metrics,
            sync_times: SyncTimes::default(),
            maintenance: Maintenance::default(),
            damage_found: tokio::sync::Notify::new(),
            scrubs: Mutex::new(scrubs),
            #[cfg(test)]
            fail_rounds: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            short_of_space: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            hold_rounds: Mutex::new(()),
        })
    }

    pub(crate) fn segment(&self, serial: u64) -> Option<Arc<SegmentFile>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.get(&serial).map(Arc::clone)
    }

    pub(crate) fn add_segment(&self, segment: Arc<SegmentFile>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.insert(segment.serial, segment);
    }

    pub(crate) fn take_segment(&self, serial: u64) -> Option<Arc<SegmentFile>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&serial)
    }

    pub(crate) fn segment_count(&self) -> usize {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, BTreeMap<u64, SegmentRow>> {
        self.segment_rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn scrub_progress(&self) -> ScrubProgress {
        let scrubs = self.scrubs.lock().unwrap_or_else(PoisonError::into_inner);
        scrubs.progress(Instant::now())
    }

    /// Frame bytes of live entries in sealed segments. Never waits: another thread may hold the rows while it waits
    /// for the disk. Then this returns the sum of the last successful call.
    pub(crate) fn live_bytes(&self) -> u64 {
        if let Ok(rows) = self.segment_rows.try_lock() {
            let sum = rows.values().map(|row| row.live_bytes).sum();
            self.live_bytes.store(sum, Relaxed);
        }
        self.live_bytes.load(Relaxed)
    }

    pub(crate) fn open_group(&self, id: GroupId) -> Option<Arc<OpenGroup>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&id).map(Arc::clone)
    }

    pub(crate) fn all_groups(&self) -> Vec<Arc<OpenGroup>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().map(Arc::clone).collect()
    }

    /// Quarantines a group, durably. If the file cannot be written, the store ends, except when the disk is full.
    pub(crate) fn quarantine(&self, id: GroupId, reason: &str) {
        error!(group = %id, reason, "replica quarantined");
        if let Err(error) = self.verdicts.add(id, reason) {
            error!(%error, "quarantine verdict could not be stored");
            // A restart would forget a quarantine that is not stored. So nobody may rely on it, and the store ends.
            // If only disk space is missing, the watcher thread stores it later.
            if !is_short_of_space(&error) {
                self.fail(Error::Failed { detail: format!("store quarantine verdicts: {error}") });
            }
        }
        if let Some(group) = self.open_group(id) {
            group.quarantine(reason);
        }
    }

    /// Acts on what the damage of a segment did to a group: quarantines the group, or marks its damaged entries.
    pub(crate) fn report_hit(&self, id: GroupId, hit: &Hit) {
        match hit {
            Hit::Lost(damage) => self.quarantine(id, &damage.to_string()),
            Hit::Entries(entries) => {
                let Some(group) = self.open_group(id) else { return };
                for (entry, damage) in entries {
                    group.note_damage(*entry, &damage.to_string());
                }
            }
        }
    }

    /// Ends the store if its index is damaged. The next opening rebuilds the index.
    pub(crate) fn end_if_index_is_damaged(&self) {
        if let Some(damage) = self.index.damage()
            && self.queue.refusal().is_none()
        {
            index_loading::note_damage(&self.dir, damage);
            let detail = format!("the index is damaged, the next start rebuilds it: {damage}");
            self.fail(Error::Failed { detail });
        }
    }

    /// Ends the store for good. Every queued write fails with `error`.
    pub(crate) fn fail(&self, error: Error) {
        error!(%error, "log store stopped");
        for op in self.queue.fail(error.clone()) {
            if let Some(done) = op.done {
                done(Err(error.clone()));
            }
        }
    }

    /// Counters and sizes. Never waits for the disk.
    pub(crate) fn stats(&self) -> Stats {
        let metrics = &self.metrics;
        let quarantined = self.all_groups().iter().filter(|group| group.is_quarantined()).count();
        Stats {
            payload_bytes: metrics.payload_bytes.get(),
            written_bytes: metrics.written_bytes.get(),
            device_bytes: metrics.device_bytes.get() + metrics.zeroed_bytes.get(),
            rounds: metrics.sync_duration.count(),
            syncs: metrics.syncs.get(),
            sync_micros: self.sync_times.total_micros(),
            segments_live: self.segment_count() as u64,
            segments_free: self.pool.ready_count() as u64,
            segments_reclaimed: metrics.reclaimed_segments.get(),
            copied_forward_bytes: metrics.copied_forward_bytes.get(),
            cache_bytes: self.cached_bytes.load(Relaxed) as u64,
            live_bytes: self.live_bytes(),
            queued_bytes: self.queue.bytes() as u64,
            quarantined_groups: quarantined as u64,
            disk: self.space.state(),
            available_bytes: self.space.available(),
            ballast_bytes: self.space.ballast(),
            sync_time: self.sync_times.average(),
            longest_sync: self.sync_times.longest(),
            writing_for: self.sync_times.writing_for(),
            scrub: self.scrub_progress(),
        }
    }

    /// Number of entries that are known to be damaged. Some may have been purged or truncated since.
    pub(crate) fn unrepaired_entries(&self) -> u64 {
        self.all_groups().iter().map(|group| group.damage_count() as u64).sum()
    }
}

/// Wakes the maintenance thread.
#[derive(Default)]
pub(crate) struct Maintenance {
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    reclaim: bool,
    stop: bool,
}

/// Why the maintenance thread woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Reclaim,
    Idle,
    Stop,
}

impl Maintenance {
    /// Tells the maintenance thread that there may be dead segments.
    pub(crate) fn want_reclaim(&self) {
        let mut flags = self.lock();
        if !flags.reclaim {
            flags.reclaim = true;
            self.changed.notify_all();
        }
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits until there is something to do, but at most for `idle`.
    pub(crate) fn wait(&self, idle: Option<Duration>) -> Wake {
        let waiting = |flags: &mut Flags| !flags.stop && !flags.reclaim;
        let flags = self.lock();
        let mut flags = match idle {
            Some(idle) => {
                let waited = self.changed.wait_timeout_while(flags, idle, waiting);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.changed.wait_while(flags, waiting);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        if flags.stop {
            Wake::Stop
        } else if std::mem::take(&mut flags.reclaim) {
            Wake::Reclaim
        } else {
            Wake::Idle
        }
    }

    /// Waits for `time`. Returns whether the thread must stop.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |flags| !flags.stop);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Waits as long as `bytes` take at this rate. Returns whether the thread must stop.
    pub(crate) fn pace(&self, bytes: u64, bytes_per_second: u64) -> bool {
        let micros = bytes.saturating_mul(1_000_000) / bytes_per_second.max(1);
        self.pause(Duration::from_micros(micros))
    }

    fn lock(&self) -> MutexGuard<'_, Flags> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
