//! The log store on a disk: the segment log for the data, and RocksDB for lookups.
//!
//! ```text
//! callers ──> GroupHandle ──> queue ──> writer ──> segments, tail file ──> completions
//!                                         ├─────> index (checkpoints)
//! preparer ── ready segments ─────────────┘
//! maintainer: reclaims segments, copies forward, scrubs      watcher: disk space, ballast, damage of the index
//! ```
//! [`SegmentStore`] starts and ends these four threads. No call on it waits for the disk, except disk reads,
//! [`GroupLog::condemn`] and [`LogStore::bound_damage`].

pub(crate) mod index_loading;
mod index_rebuild;
mod opening;

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anabranch_metrics::Registry;
use anabranch_types::{GroupId, Incarnation};
use futures::{FutureExt, future::BoxFuture};

use crate::{
    Completion, DiskState, Error, GroupLog, LogStore, Stats, StorageSettings,
    core::Core,
    dir,
    group::{GroupHandle, OpenGroup, Synced},
    segment::queue::{End, Op, Work},
};

/// The log store on a disk.
///
/// Guarantee: every write that was completed with `Ok` is still there when the directory is opened again, or its
/// group is quarantined. Dropping the store without [`LogStore::close`] is a crash: queued writes are lost.
pub struct SegmentStore {
    core: Arc<Core>,
    starts: u64,
    shutdown: Arc<Shutdown>,
}

/// The parts that end with the store: its threads and the lock of its directory.
struct Shutdown {
    core: Arc<Core>,
    maintainer: Mutex<Option<JoinHandle<()>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    preparer: Mutex<Option<JoinHandle<()>>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<File>>,
}

impl SegmentStore {
    /// Opens the store in `dir`, or creates one there. Replays the log after a crash, and verifies stored data up to
    /// the limit in the settings.
    ///
    /// Damage is not an error. Groups that may have lost entries open quarantined.
    ///
    /// # Errors
    /// [`Error::Setting`]. [`Error::Directory`] if the directory is in use or has an unknown version.
    /// [`Error::Index`] if RocksDB cannot open. [`Error::Read`], [`Error::Failed`] or [`Error::DiskFull`] if the
    /// files cannot be read or written.
    pub fn open(dir: impl AsRef<Path>, settings: StorageSettings) -> Result<Arc<Self>, Error> {
        Self::open_measured(dir, settings, &Registry::default())
    }

    /// As [`Self::open`]. Registers the metrics of the store in `registry`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_measured(
        dir: impl AsRef<Path>,
        settings: StorageSettings,
        registry: &Registry,
    ) -> Result<Arc<Self>, Error> {
        settings.check()?;
        let (opened, starts) = opening::open(dir.as_ref(), settings, registry)?;
        Ok(Arc::new(Self { core: Arc::clone(&opened.core), starts, shutdown: Arc::new(opened) }))
    }

    /// Refuses a directory that another process or store has open. Keeps no lock. For callers that write files next
    /// to the store before they open it.
    ///
    /// # Errors
    /// [`Error::Directory`].
    pub fn check_free(dir: impl AsRef<Path>) -> Result<(), Error> {
        dir::check_free(dir.as_ref())
    }

    /// Ends the store at once, as a crash does. Queued writes are lost, and their completions are dropped without
    /// being called.
    ///
    /// Blocks until the round that is being written is done. For tests. A server uses [`LogStore::close`].
    pub fn abort(&self) {
        self.shutdown.run(End::Abort);
    }
}

impl Drop for SegmentStore {
    fn drop(&mut self) {
        self.shutdown.run(End::Abort);
    }
}

impl Shutdown {
    /// Ends all threads and closes all files. A second call has no effect.
    fn run(&self, end: End) {
        self.core.maintenance.stop();
        self.core.space.stop();
        // The maintainer may wait for the writer. On an abort the end of the queue wakes it. On a clean close the
        // writer serves it first, so the queue ends only after the maintainer.
        if matches!(end, End::Abort) {
            self.core.queue.end(End::Abort);
        }
        join(&self.maintainer);
        self.core.queue.end(end);
        join(&self.writer);
        // The writer may need one more segment for its last round, so the pool stops after it.
        self.core.pool.stop();
        join(&self.preparer);
        join(&self.watcher);
        self.core.index.close();
        self.core.groups.write().unwrap_or_else(PoisonError::into_inner).clear();
        // Unlock explicitly: a process that is being forked may hold the file open a little longer.
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = lock.map(|lock| lock.unlock()) {
            tracing::warn!(%error, "data directory could not be unlocked");
        }
    }
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let mut thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Err(_)) = thread.take().map(JoinHandle::join) {
        tracing::error!("a storage thread panicked");
    }
}

impl LogStore for SegmentStore {
    fn group(&self, id: GroupId) -> Result<Arc<dyn GroupLog>, Error> {
        self.check()?;
        if let Some(group) = self.core.open_group(id) {
            return Ok(Arc::new(GroupHandle(group)));
        }
        let mut groups = self.core.groups.write().unwrap_or_else(PoisonError::into_inner);
        let group = groups.entry(id).or_insert_with(|| {
            let reason = self.core.verdicts.reason(id);
            OpenGroup::new(
                id,
                Arc::clone(&self.core),
                Synced::default(),
                Default::default(),
                reason,
            )
        });
        Ok(Arc::new(GroupHandle(Arc::clone(group))))
    }

    fn check(&self) -> Result<(), Error> {
        self.core.queue.refusal().map_or(Ok(()), Err)
    }

    fn groups(&self) -> Vec<GroupId> {
        let groups = self.core.groups.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<GroupId> = groups.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    fn holds(&self, id: GroupId) -> bool {
        self.core.open_group(id).is_some()
    }

    fn damaged_groups(&self) -> Vec<GroupId> {
        let groups = self.core.all_groups();
        let mut damaged: Vec<_> =
            groups.iter().filter(|group| group.is_damaged()).map(|group| group.id).collect();
        damaged.sort_unstable();
        damaged
    }

    fn until_damaged(&self) -> BoxFuture<'_, ()> {
        self.core.damage_found.notified().boxed()
    }

    fn remove_group(&self, id: GroupId, done: Completion) {
        // Hold the lock of the map until the removal is queued. So the writes of a new group with this id are queued
        // after it.
        let mut groups = self.core.groups.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.remove(&id) {
            group.retire();
        }
        self.core.verdicts.begin_clearing(id);
        let op = Op { work: Work::Remove { group: id }, done: Some(done) };
        let pushed = self.core.queue.push(op, 0, true);
        drop(groups);
        if let Err((op, error)) = pushed
            && let Some(done) = op.done
        {
            done(Err(error));
        }
    }

    fn bound_damage(&self, existing: &BTreeSet<GroupId>) -> Result<(), Error> {
        let held = self.groups();
        let bounded = self.core.verdicts.bound(existing.iter().copied().chain(held));
        let failed =
            |error| Error::Failed { detail: format!("store quarantine verdicts: {error}") };
        bounded.map_err(failed)
    }

    fn stats(&self) -> Stats {
        self.core.stats()
    }

    fn disk(&self) -> DiskState {
        self.core.space.state()
    }

    fn stalled(&self) -> Option<Duration> {
        let busy = self.core.queue.busy_for();
        (busy >= self.core.settings.stall_limit).then_some(busy)
    }

    fn heals_by_restart(&self) -> bool {
        self.core.index.damage().is_some()
    }

    fn incarnation(&self) -> Incarnation {
        self.core.dir.incarnation
    }

    fn starts(&self) -> u64 {
        self.starts
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let shutdown = Arc::clone(&self.shutdown);
        async move {
            let closed = tokio::task::spawn_blocking(move || shutdown.run(End::Drain)).await;
            if closed.is_err() {
                tracing::error!("closing the log store panicked");
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::Ordering::Relaxed,
            mpsc::{self, RecvTimeoutError},
        },
        time::{Duration, Instant},
    };

    use anabranch_types::{LogId, ReplicaId};

    use super::*;
    use crate::{
        Vote,
        contract::{entries, open, read, wait},
    };

    fn small() -> StorageSettings {
        StorageSettings {
            segment_bytes: 128 << 10,
            ballast_bytes: 256 << 10,
            ..StorageSettings::default()
        }
    }

    /// Receives the result of a write.
    type Outcome = mpsc::Receiver<Result<(), Error>>;

    fn begin(write: impl FnOnce(Completion)) -> Outcome {
        let (sender, receiver) = mpsc::channel();
        write(Box::new(move |result| drop(sender.send(result))));
        receiver
    }

    fn is_pending(outcome: &Outcome) -> bool {
        outcome.recv_timeout(Duration::from_millis(300)) == Err(RecvTimeoutError::Timeout)
    }

    fn vote(term: u64) -> Vote {
        Vote { term, replica: ReplicaId(1), committed: true }
    }

    /// A store with entries 0 to 2 and a half-written round of entries 3 to 8. The disk has no space for the rest.
    fn half_a_round(dir: &std::path::Path) -> (Arc<SegmentStore>, Arc<dyn GroupLog>, Outcome) {
        let store = SegmentStore::open(dir, small()).unwrap();
        let log = open(&*store, 1);
        wait(|done| log.append(entries(1, 0..3, 1000), done)).unwrap();
        store.core.short_of_space.store(true, Relaxed);
        let appended = begin(|done| log.append(entries(1, 3..9, 1000), done));
        assert!(is_pending(&appended), "half of the round is written");
        (store, log, appended)
    }

    #[test]
    fn a_round_without_disk_space_waits_and_nothing_is_acknowledged_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let (store, log, appended) = half_a_round(dir.path());
        assert_eq!(store.disk(), DiskState::Full);
        assert!(store.stats().writing_for > Duration::from_millis(100));
        let voted = begin(|done| log.save_vote(vote(7), done));
        let refused = begin(|done| log.append(entries(1, 9..10, 1000), done));
        assert!(is_pending(&refused), "it is refused in the order of the queue");
        assert_eq!(log.log_state().last.map(|last| last.index), Some(8));
        store.core.short_of_space.store(false, Relaxed);
        assert_eq!(appended.recv(), Ok(Ok(())));
        assert_eq!(voted.recv(), Ok(Ok(())));
        assert_eq!(refused.recv(), Ok(Err(Error::DiskFull)));
        let deadline = Instant::now() + Duration::from_secs(10);
        while store.disk() != DiskState::Normal && Instant::now() < deadline {
            std::thread::yield_now();
        }
        wait(|done| log.append(entries(1, 9..12, 1000), done)).unwrap();
        drop((log, store));
        let store = SegmentStore::open(dir.path(), small()).unwrap();
        let log = open(&*store, 1);
        assert_eq!(read(&*log, 0..12), Ok(entries(1, 0..12, 1000)));
        assert_eq!(log.vote(), Some(vote(7)));
    }

    #[test]
    fn a_store_opens_after_a_crash_in_a_round_without_disk_space() {
        let dir = tempfile::tempdir().unwrap();
        let (store, log, appended) = half_a_round(dir.path());
        drop((log, store));
        assert!(matches!(appended.recv(), Err(_) | Ok(Err(Error::Closed))));
        let store = SegmentStore::open(dir.path(), small()).unwrap();
        let log = open(&*store, 1);
        let left = read(&*log, 0..9).unwrap();
        assert!((3..9).contains(&left.len()), "half of the round was written: {}", left.len());
        assert_eq!(left, entries(1, 0..left.len() as u64, 1000));
    }

    #[test]
    fn the_queue_stays_bounded_while_the_disk_hangs() {
        const AT_ONCE: usize = 4;
        let dir = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(dir.path(), small()).unwrap();
        let limit = small().segment_bytes / 4;
        let held = store.core.hold_rounds.lock().unwrap();
        let (written, outcomes) = mpsc::channel();
        std::thread::scope(|scope| {
            for group in 1..=AT_ONCE as u64 {
                let (log, written) = (open(&*store, group), written.clone());
                scope.spawn(move || {
                    for index in 0..100 {
                        if let Some(room) = log.room() {
                            crate::contract::block_on(room);
                        }
                        let written = written.clone();
                        let done = Box::new(move |result| drop(written.send(result)));
                        log.append(entries(1, index..index + 1, 1000), done);
                    }
                });
            }
            let deadline = Instant::now() + Duration::from_millis(500);
            let mut most = 0;
            while Instant::now() < deadline {
                most = most.max(store.stats().queued_bytes);
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(most >= limit, "the queue was never full: {most}");
            assert!(most < limit + AT_ONCE as u64 * 2000, "{most} bytes are queued");
            assert!(store.stats().writing_for > Duration::from_millis(100));
            drop(held);
        });
        drop(written);
        assert_eq!(outcomes.iter().filter(Result::is_ok).count(), AT_ONCE * 100);
        let stats = store.stats();
        assert_eq!((stats.queued_bytes, stats.writing_for), (0, Duration::ZERO));
        assert!(stats.longest_sync >= stats.sync_time && stats.sync_time > Duration::ZERO);
    }

    #[test]
    fn a_disk_that_hangs_blocks_no_caller_and_is_reported_as_stalled() {
        let dir = tempfile::tempdir().unwrap();
        let stall_limit = Duration::from_millis(100);
        let store = SegmentStore::open(dir.path(), StorageSettings { stall_limit, ..small() });
        let store = store.unwrap();
        let log = open(&*store, 1);
        wait(|done| log.append(entries(1, 0..3, 1000), done)).unwrap();
        let held = store.core.hold_rounds.lock().unwrap();
        let first = begin(|done| log.append(entries(1, 3..4, 1000), done));
        assert!(is_pending(&first));
        // More bytes than the queue limit. None of these calls may wait for the disk.
        let appended = begin(|done| log.append(entries(1, 4..100, 1000), done));
        assert!(log.room().is_some());
        let voted = begin(|done| log.save_vote(vote(7), done));
        let removed = begin(|done| store.remove_group(GroupId(2), done));
        assert!(store.group(GroupId(3)).is_ok() && store.check().is_ok());
        assert!(store.stalled().is_some_and(|time| time >= stall_limit));
        assert!(store.stats().queued_bytes > 0);
        drop(held);
        for outcome in [first, appended, voted, removed] {
            assert_eq!(outcome.recv(), Ok(Ok(())));
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while store.stalled().is_some() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(store.stalled(), None);
        assert!(log.room().is_none());
    }

    #[test]
    fn a_quarantine_that_cannot_be_stored_ends_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(dir.path(), small()).unwrap();
        let log = open(&*store, 1);
        // A directory takes the place of the file, so the file cannot be written.
        std::fs::create_dir(dir.path().join("quarantine.new")).unwrap();
        store.core.quarantine(GroupId(1), "rot");
        assert!(matches!(store.check(), Err(Error::Failed { .. })));
        let refused = wait(|done| log.save_vote(vote(7), done));
        assert!(matches!(refused, Err(Error::Quarantined { .. } | Error::Failed { .. })));
    }

    #[test]
    fn an_opening_rewrites_the_last_round_after_a_crash_but_not_after_a_clean_close() {
        const BYTES: usize = 50_000;
        let dir = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(dir.path(), small()).unwrap();
        let log = open(&*store, 1);
        // Both entries fit into one segment. A round that seals a segment would be followed by a checkpoint, and then
        // the opening would not replay it.
        for first in [0, 1] {
            wait(|done| log.append(entries(1, first..first + 1, BYTES), done)).unwrap();
        }
        drop((log, store));
        // Does not include the zeroes that prepare segments.
        let written = |store: &SegmentStore| store.core.metrics.device_bytes.get();
        let store = SegmentStore::open(dir.path(), small()).unwrap();
        assert!(written(&store) >= BYTES as u64, "{:?}", store.stats());
        assert_eq!(read(&*open(&*store, 1), 0..2), Ok(entries(1, 0..2, BYTES)));
        crate::contract::block_on(store.close());
        drop(store);
        let store = SegmentStore::open(dir.path(), small()).unwrap();
        assert!(written(&store) < BYTES as u64, "{:?}", store.stats());
    }

    #[test]
    fn after_a_failed_sync_every_write_fails_and_synced_entries_survive() {
        let dir = tempfile::tempdir().unwrap();
        let settings = StorageSettings { segment_bytes: 128 << 10, ..StorageSettings::default() };
        let store = SegmentStore::open(dir.path(), settings.clone()).unwrap();
        let log = open(&*store, 1);
        wait(|done| log.append(entries(1, 0..3, 100), done)).unwrap();
        store.core.fail_rounds.store(true, Relaxed);
        let failed = |result| matches!(result, Err(Error::Failed { .. }));
        assert!(failed(wait(|done| log.append(entries(1, 3..4, 100), done))));
        store.core.fail_rounds.store(false, Relaxed);
        assert!(
            failed(wait(|done| log.append(entries(1, 4..5, 100), done))),
            "the store never retries"
        );
        assert!(failed(wait(|done| log.purge(LogId { term: 1, index: 0 }, done))));
        assert!(failed(store.group(GroupId(2)).map(drop)));
        drop(log);
        drop(store);
        let store = SegmentStore::open(dir.path(), settings).unwrap();
        assert_eq!(read(&*open(&*store, 1), 0..3), Ok(entries(1, 0..3, 100)));
    }
}
