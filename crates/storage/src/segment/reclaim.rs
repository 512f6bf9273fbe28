//! The maintenance thread. It recycles dead segments, copies the live entries of nearly dead segments forward, and
//! scrubs sealed segments.
//!
//! Order that makes a crash harmless: the state rows are copied to `index.copy`, the index forgets the segment,
//! RocksDB is flushed, and only then is the file recycled or deleted. After a crash in between, the file is in
//! neither the index nor the log, and the next opening deletes it.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use anabranch_types::GroupId;
use tracing::{info, warn};

use crate::{
    DiskState, Error,
    core::{Core, Wake},
    damage::Damage,
    dir::FIRST_SEGMENT,
    group::{OpenGroup, ReadFailure, Wanted, read_wanted},
    index::copy,
    keys::{Run, SegmentRow},
    segment::{
        file::SegmentFile,
        queue::{Op, Work},
        schedule::{Item, Schedule},
        scrub::{self, LiveEntries},
    },
};

/// Bytes of entries that are copied forward at a time.
const MOVE_BYTES: u64 = 1 << 20;
/// Dead segments are reclaimed once they have at least this many times the bytes of the copy that must be made first.
const COPY_SHARE: u64 = 4;
/// Shortest wait between two checks whether a reader has released a dead segment.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// Wait after a pass that failed because RocksDB had no disk space.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Maintainer {
    core: Arc<Core>,
    /// Dead segments that a reader still uses.
    pinned: Vec<Arc<SegmentFile>>,
    /// Segments that could not be emptied, with the number of runs that stayed in them.
    stuck: BTreeMap<u64, u64>,
    /// Number of repaired entries when these segments were recorded.
    mended: u64,
    /// Sparse segments, with their number of runs and the time since when that number has not changed.
    sparse: BTreeMap<u64, (u64, Instant)>,
    /// Whether the last pass ended with an error.
    failed: bool,
    /// Bytes of the last copy of the index's state rows.
    copy_bytes: u64,
}

impl Maintainer {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            pinned: Vec::new(),
            stuck: BTreeMap::new(),
            mended: 0,
            sparse: BTreeMap::new(),
            failed: false,
            copy_bytes: 0,
        }
    }

    /// The maintenance thread.
    pub(crate) fn run(mut self) {
        loop {
            let until_scrub = self.scrubs().wait(Instant::now());
            let idle = self.idle_time().map_or(until_scrub, |idle| idle.min(until_scrub));
            let stop = match self.core.maintenance.wait(Some(idle)) {
                Wake::Stop => true,
                Wake::Idle if idle == until_scrub => self.scrub_one(),
                Wake::Idle => self.reclaim_logged(),
                Wake::Reclaim => {
                    self.reclaim_logged()
                        || self.core.maintenance.pause(self.core.settings.reclaim_interval)
                        || self.scrub_one()
                }
            };
            if stop {
                return;
            }
        }
    }

    /// How long to wait for a wake-up before the next pass. `None` if there is nothing to check again.
    fn idle_time(&self) -> Option<Duration> {
        let settings = &self.core.settings;
        if !self.pinned.is_empty() || self.core.pool.has_surplus() {
            Some(settings.reclaim_interval.max(SHORTEST_WAIT))
        } else if self.failed {
            Some(RETRY)
        } else if !self.sparse.is_empty() {
            Some(settings.copy_forward_after.max(SHORTEST_WAIT))
        } else {
            None
        }
    }

    /// Makes one pass and logs its error. Returns whether the store has ended.
    fn reclaim_logged(&mut self) -> bool {
        let reclaimed = self.reclaim();
        self.failed = reclaimed.is_err();
        match reclaimed {
            Ok(()) => false,
            Err(Error::Closed | Error::Failed { .. }) => true,
            Err(error) => {
                warn!(%error, "space could not be reclaimed");
                false
            }
        }
    }

    fn reclaim(&mut self) -> Result<(), Error> {
        self.core.pool.begin_pass();
        let mended = self.core.metrics.repaired_entries.get();
        // Segments with unreadable entries got stuck. After a repair they can be emptied.
        if std::mem::replace(&mut self.mended, mended) != mended {
            self.stuck.clear();
        }
        self.checkpoint()?;
        self.copy_index_once()?;
        self.free_dead()?;
        while let Some((serial, row)) = self.sparse_segment() {
            let stopped = self.copy_forward(serial)?;
            self.checkpoint()?;
            let left = self.core.rows().get(&serial).map_or(0, |row| row.runs);
            if left > 0 {
                self.stuck.insert(serial, left);
            }
            info!(segment = serial, bytes = row.live_bytes, left, "segment copied forward");
            self.free_dead()?;
            if stopped {
                return Err(Error::Closed);
            }
        }
        Ok(())
    }

    /// Makes the writer bring the index up to date.
    fn checkpoint(&self) -> Result<(), Error> {
        self.run_on_writer(Work::Checkpoint, 0)
    }

    /// Queues work for the writer and waits until it is done.
    fn run_on_writer(&self, work: Work, bytes: usize) -> Result<(), Error> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = Box::new(move |result| drop(sender.send(result)));
        self.core.queue.wait_for_capacity();
        let pushed = self.core.queue.push(Op { work, done: Some(done) }, bytes, true);
        pushed.map_err(|(_, error)| error)?;
        receiver.recv().unwrap_or(Err(Error::Closed))
    }

    /// Recycles or deletes every segment without live entries.
    fn free_dead(&mut self) -> Result<(), Error> {
        let dead: Vec<u64> = {
            let held = self.quarantine_lasts();
            let dead = |row: &SegmentRow| row.end > 0 && row.runs == 0 && !(row.held && held);
            self.core
                .rows()
                .iter()
                .filter(|(_, row)| dead(row))
                .map(|(serial, _)| *serial)
                .collect()
        };
        self.release_unpinned();
        if dead.is_empty() || !self.copy_index_before(&dead)? {
            return Ok(());
        }
        self.forget(&dead)?;
        for serial in dead {
            self.core.rows().remove(&serial);
            self.stuck.remove(&serial);
            match self.core.take_segment(serial) {
                Some(segment) => self.pinned.push(segment),
                None => self.core.pool.discard(serial),
            }
        }
        self.release_unpinned();
        Ok(())
    }

    /// Copies the index's state rows. After the segments in `dead` are gone, their votes, rows and bounds are only in
    /// the index.
    ///
    /// Returns false, without a copy, to wait for more dead segments. That is while the dead segments are small
    /// compared with the copy and the disk has enough space.
    fn copy_index_before(&mut self, dead: &[u64]) -> Result<bool, Error> {
        let bytes: u64 = {
            let rows = self.core.rows();
            dead.iter().filter_map(|serial| rows.get(serial)).map(|row| row.end).sum()
        };
        let has_room = self.core.space.state() == DiskState::Normal;
        if bytes < COPY_SHARE * self.copy_bytes && has_room {
            return Ok(false);
        }
        self.copy_index()?;
        Ok(true)
    }

    /// Makes the first copy if it is missing. A directory of version 1 may have reclaimed segments without a copy.
    fn copy_index_once(&mut self) -> Result<(), Error> {
        let first = self.core.rows().keys().next().copied();
        let is_due = first > Some(FIRST_SEGMENT) && !copy::exists(self.core.dir.root());
        if is_due { self.copy_index() } else { Ok(()) }
    }

    fn copy_index(&mut self) -> Result<(), Error> {
        self.copy_bytes = copy::write(&self.core.index, self.core.dir.root())?;
        Ok(())
    }

    fn forget(&self, dead: &[u64]) -> Result<(), Error> {
        // Flushed before a file is recycled. Otherwise a crash would bring back rows of segments that no longer exist.
        self.core.index.forget_segments(dead)?;
        self.core.index.flush()
    }

    /// Whether evidence of damage must be kept.
    fn quarantine_lasts(&self) -> bool {
        self.core.all_groups().iter().any(|group| group.is_quarantined())
    }

    fn release_unpinned(&mut self) {
        for segment in std::mem::take(&mut self.pinned) {
            match Arc::try_unwrap(segment) {
                Ok(segment) => self.core.pool.recycle(segment.path, segment.bytes),
                Err(pinned) => self.pinned.push(pinned),
            }
        }
    }

    /// The oldest sealed segment whose live share has been too small for long enough.
    fn sparse_segment(&mut self) -> Option<(u64, SegmentRow)> {
        // Copying forward frees more space than it takes, but it takes the space first.
        if self.core.space.is_waited_for() || self.core.pool.ready_count() == 0 {
            return None;
        }
        let percent = u64::from(self.core.settings.copy_forward_below_percent);
        let is_sparse = |serial: &u64, row: &SegmentRow| {
            row.end > 0
                && row.runs > 0
                && !row.held
                && row.live_bytes * 100 < row.end * percent
                && self.stuck.get(serial) != Some(&row.runs)
        };
        let rows = self.core.rows();
        let sparse: Vec<(u64, SegmentRow)> = rows
            .iter()
            .filter(|(serial, row)| is_sparse(serial, row))
            .map(|(serial, row)| (*serial, *row))
            .collect();
        drop(rows);
        let seen = std::mem::take(&mut self.sparse);
        for (serial, row) in &sparse {
            let unchanged = seen.get(serial).filter(|(runs, _)| *runs == row.runs);
            let since = unchanged.map_or_else(Instant::now, |(_, since)| *since);
            self.sparse.insert(*serial, (row.runs, since));
        }
        let settled = |serial: &u64| {
            let since = self.sparse.get(serial).map(|(_, since)| since.elapsed());
            since.is_some_and(|time| time >= self.core.settings.copy_forward_after)
        };
        sparse.into_iter().find(|(serial, _)| settled(serial))
    }

    /// Copies the live entries of a segment to the end of the log. Returns whether the thread must stop.
    fn copy_forward(&self, serial: u64) -> Result<bool, Error> {
        let Some(segment) = self.core.segment(serial) else { return Ok(false) };
        for (id, first) in self.core.index.placed(serial)? {
            let group = self.core.open_group(id).filter(|group| !group.is_quarantined());
            let run = self.core.index.find_run(id, first)?;
            let run = run.filter(|run| run.segment == serial && run.first == first);
            let (Some(group), Some(run)) = (group, run) else { continue };
            if self.move_run(&segment, &group, &run)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn move_run(
        &self,
        segment: &SegmentFile,
        group: &Arc<OpenGroup>,
        run: &Run,
    ) -> Result<bool, Error> {
        let mut rest = &*live_entries(group, run);
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |wanted: &&Wanted| {
                let first = bytes == 0;
                bytes += wanted.loc.frame_bytes();
                first || bytes <= MOVE_BYTES
            };
            let count = rest.iter().take_while(fits).count();
            let (now, later) = rest.split_at(count);
            let entries = match read_wanted(segment, group.id, now) {
                Ok(entries) => entries,
                Err(ReadFailure::System(error)) => return Err(error),
                Err(ReadFailure::Damage(_, damage)) => {
                    self.report_damage(segment.serial, group.id, &damage);
                    return Ok(false);
                }
            };
            let bytes = now.iter().map(|wanted| wanted.loc.frame_bytes()).sum();
            let work = Work::Move { group: Arc::clone(group), from: segment.serial, entries };
            self.run_on_writer(work, usize::try_from(bytes).unwrap_or(usize::MAX))?;
            self.core.metrics.copied_forward_bytes.add(bytes);
            let rate = self.core.settings.copy_forward_bytes_per_second;
            if self.core.maintenance.pace(bytes, rate) {
                return Ok(true);
            }
            rest = later;
        }
        Ok(false)
    }

    fn scrubs(&self) -> MutexGuard<'_, Schedule> {
        self.core.scrubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies the next item if one is due. Returns whether the thread must stop.
    fn scrub_one(&self) -> bool {
        let now = Instant::now();
        if !self.scrubs().wait(now).is_zero() {
            return false;
        }
        // The rows are read before the schedule is locked. The lock of the rows may be held during disk work, and
        // callers that ask the schedule for its progress must not wait for that.
        let rows = self.core.rows();
        let sealed = rows.iter().filter(|(_, row)| row.end > 0 && !row.held);
        let sealed = sealed.map(|(serial, row)| (*serial, row.end)).collect();
        drop(rows);
        let due = self.scrubs().next(now, || sealed);
        match due {
            Some(Item::Segment(serial)) => self.scrub_segment(serial),
            Some(Item::Index) => self.scrub_index(),
            None => false,
        }
    }

    /// Verifies the index. If it is damaged, the watcher thread of the disk space ends the store.
    fn scrub_index(&self) -> bool {
        let mut stopped = false;
        let rate = self.core.settings.scrub_bytes_per_second;
        let verified = self.core.index.verify(|bytes| {
            stopped |= self.core.maintenance.pace(bytes, rate);
            stopped
        });
        match verified {
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => warn!(%error, "index could not be verified"),
        }
        stopped
    }

    fn scrub_segment(&self, serial: u64) -> bool {
        let end = self.core.rows().get(&serial).map_or(0, |row| row.end);
        let Some(segment) = self.core.segment(serial).filter(|_| end > 0) else { return false };
        let mut stopped = false;
        let rate = self.core.settings.scrub_bytes_per_second;
        let whole = scrub::frames_are_whole(&segment, end, |bytes| {
            stopped |= self.core.maintenance.pace(bytes, rate);
            stopped
        });
        match whole {
            Ok(true) => {}
            Ok(false) => self.report_hit_groups(serial, &segment),
            Err(error) => warn!(segment = serial, %error, "segment could not be verified"),
        }
        stopped
    }

    fn report_hit_groups(&self, serial: u64, segment: &Arc<SegmentFile>) {
        match scrub::hit_groups(&self.core.index, Ok(segment), serial, &OpenGroups(&self.core)) {
            Ok(hit) => {
                warn!(segment = serial, groups = hit.len(), "segment is damaged");
                for (group, hit) in hit {
                    self.core.report_hit(group, &hit);
                }
            }
            Err(error) => warn!(segment = serial, %error, "damage could not be examined"),
        }
    }

    /// Finds everything that the damage of a segment affects.
    fn report_damage(&self, serial: u64, group: GroupId, damage: &Damage) {
        warn!(segment = serial, group = %group, %damage, "entry could not be copied forward");
        if let Some(segment) = self.core.segment(serial) {
            self.report_hit_groups(serial, &segment);
        }
    }
}

/// The live entries of a run, with their expected terms.
fn live_entries(group: &OpenGroup, run: &Run) -> Vec<Wanted> {
    group.live(run)
}

struct OpenGroups<'a>(&'a Core);

impl LiveEntries for OpenGroups<'_> {
    fn wanted(&self, group: GroupId, run: &Run) -> Vec<Wanted> {
        let group = self.0.open_group(group).filter(|group| !group.is_quarantined());
        group.map(|group| live_entries(&group, run)).unwrap_or_default()
    }
}
