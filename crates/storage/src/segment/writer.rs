//! The writer: one thread that turns all queued writes into a round, syncs the round, and completes the writes.
//!
//! Order within a round. Readers and recovery rely on it:
//! 1. Frames are written and synced.
//! 2. The tail file gets the new end of the log.
//! 3. Groups learn the locations of their entries.
//! 4. Completions are called, in queue order.
//! 5. Entries beyond the cache's limit are evicted.
//! 6. If a segment was sealed, or too many entries have no row, a checkpoint brings the index up to date. If a caller
//!    waits for a checkpoint, it comes before step 4 instead.
//!
//! A completion is never called with `Ok` before its round is synced. The next round is never written before this one
//! is synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anabranch_types::GroupId;
use tracing::{error, warn};

use crate::{
    Completion, Error,
    cache::Evictor,
    core::Core,
    group::OpenGroup,
    index::Checkpoint,
    segment::{
        file::SegmentFile,
        frame::{HEADER_BYTES, Header, Kind, MOVED_PREFIX_BYTES},
        queue::{End, Next, Op, Work},
        round::{LogEnd, Place, Round, Written},
    },
    space::is_short_of_space,
    tail::Tail,
};

/// Number of entries without a row in the index after which a checkpoint is made although no segment is full.
const UNINDEXED_LIMIT: usize = 1 << 18;
/// Wait between two attempts to write a round without disk space.
const RETRY: Duration = Duration::from_millis(100);

pub(crate) struct Writer {
    pub(crate) core: Arc<Core>,
    pub(crate) tail: Tail,
    pub(crate) active: Arc<SegmentFile>,
    /// End of the log on the disk.
    pub(crate) end: LogEnd,
    /// Serial of the next round.
    pub(crate) next_round: u64,
    /// Groups that changed since the last checkpoint.
    pub(crate) dirty: BTreeMap<GroupId, Arc<OpenGroup>>,
    /// Groups removed since the last checkpoint.
    pub(crate) wiped: BTreeSet<GroupId>,
    /// Segments sealed since the last checkpoint, with their lengths.
    pub(crate) sealed: Vec<(u64, u64)>,
    pub(crate) unindexed: usize,
    pub(crate) evictor: Evictor,
    /// Buffers that are reused from round to round.
    pub(crate) heads: Vec<u8>,
    pub(crate) places: Vec<Place>,
}

/// A panic here or in a completion must not leave callers waiting.
impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::Failed { detail: "the writer thread panicked".to_owned() };
            let left = self.core.queue.fail(error.clone());
            fail_all(left, &error);
        }
    }
}

impl Writer {
    /// The writer thread.
    pub(crate) fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            let (mut ops, end) = match self.core.queue.next(std::mem::take(&mut spare)) {
                Next::Round(ops) => (ops, None),
                Next::End(end, ops) => (ops, Some(end)),
            };
            match &end {
                Some(End::Abort) => return,
                Some(End::Failed(error)) => return fail_all(ops, error),
                Some(End::Drain) | None => {}
            }
            let outcome = self.round(&mut ops).and_then(|()| match end {
                Some(_) => self.finish(),
                None => Ok(()),
            });
            if let Err(error) = outcome {
                return self.fail(ops, error);
            }
            if end.is_some() {
                return;
            }
            ops.clear();
            spare = ops;
        }
    }

    /// Writes one round and completes its writes.
    fn round(&mut self, ops: &mut [Op]) -> Result<(), Error> {
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        if ops.iter().any(|op| op.work.writes()) {
            let written = self.write(ops, &mut places)?;
            self.advance(written)?;
            self.core.metrics.round_entries.observe(places.len() as u64);
        }
        let mut places_left = places.iter();
        let mut checkpoint = !self.sealed.is_empty() || self.unindexed > UNINDEXED_LIMIT;
        let mut reclaim = checkpoint;
        for op in &*ops {
            self.publish(&op.work, &mut places_left)?;
            reclaim |= frees(&op.work);
            checkpoint |= matches!(op.work, Work::Checkpoint);
        }
        self.places = places;
        // If a caller waits for a checkpoint, the checkpoint comes before the completions. Otherwise it comes after
        // them, so that no write waits for RocksDB.
        let waited_for = ops.iter().any(|op| matches!(op.work, Work::Checkpoint));
        let checkpointed = if waited_for { self.try_checkpoint()? } else { Ok(()) };
        complete(ops, &checkpointed);
        self.evictor.evict(&self.core.cached_bytes);
        if checkpoint && !waited_for {
            let _later = self.try_checkpoint()?;
        }
        if reclaim {
            self.core.maintenance.want_reclaim();
        }
        Ok(())
    }

    fn write(&mut self, ops: &[Op], places: &mut Vec<Place>) -> Result<Written, Error> {
        let bytes = ops.iter().map(|op| frame_bytes(&op.work)).sum();
        let heads = std::mem::take(&mut self.heads);
        let active = Arc::clone(&self.active);
        let mut round = Round::begin(heads, active, self.end, self.next_round, bytes)?;
        let core = Arc::clone(&self.core);
        let space_wait = SpaceWait(&core);
        core.sync_times.begin_round();
        for op in ops {
            put_frames(&mut round, &op.work, places, &|| space_wait.segment())?;
        }
        #[cfg(test)]
        injected_faults(&core, &round, &space_wait)?;
        round.write(|| space_wait.wait())
    }

    /// Records a round that is on the disk.
    pub(crate) fn advance(&mut self, written: Written) -> Result<(), Error> {
        let metrics = &self.core.metrics;
        metrics.syncs.add(written.segments.len() as u64);
        metrics.written_bytes.add(written.bytes);
        metrics.device_bytes.add(written.device_bytes);
        metrics.round_bytes.observe(written.bytes);
        metrics.sync_duration.observe_duration(written.sync);
        self.core.sync_times.end_round(written.sync);
        self.core.pool.round_written(written.bytes);
        self.end = written.end;
        self.next_round = written.end.round + 1;
        self.sealed.extend(written.sealed);
        if let Some(last) = written.segments.last() {
            self.active = Arc::clone(last);
        }
        self.heads = written.heads;
        match self.tail.write(self.end, false) {
            // The tail file keeps an older position. It is only a lower bound, so that is safe.
            Err(error) if is_short_of_space(&error) => Ok(()),
            written => written.map_err(|error| tail_error(&error)),
        }
    }

    /// Applies a write that is now on the disk to the group's synced state.
    fn publish(
        &mut self,
        work: &Work,
        places: &mut std::slice::Iter<'_, Place>,
    ) -> Result<(), Error> {
        match work {
            Work::Append { group, entries, ticket } => {
                let mut inner = group.lock();
                let mut bytes = 0;
                for (entry, place) in entries.iter().zip(places.by_ref()) {
                    bytes += entry.payload.len() as u64;
                    inner.synced.append(entry.log_id, *place, payload_bytes(entry.payload.len()));
                }
                drop(inner);
                self.core.metrics.payload_bytes.add(bytes);
                self.unindexed += entries.len();
                self.evictor.add(group, *ticket);
                self.touch(group);
            }
            Work::Move { group, from, entries } => {
                let mut inner = group.lock();
                // The group may have been removed after these entries were read.
                let stale = inner.removed || self.wiped.contains(&group.id);
                for (entry, place) in entries.iter().zip(places.by_ref()) {
                    let bytes = payload_bytes(entry.payload.len() + MOVED_PREFIX_BYTES);
                    if !stale {
                        inner.synced.moved(*from, entry.log_id.index, *place, bytes);
                    }
                }
                drop(inner);
                if !stale {
                    self.touch(group);
                }
            }
            Work::Vote { group, vote } => {
                group.lock().synced.vote = Some(*vote);
                self.touch(group);
            }
            Work::Truncate { group, from } => {
                group.lock().synced.truncate(*from);
                self.touch(group);
            }
            Work::Purge { group, up_to } => {
                group.lock().synced.purge(*up_to);
                self.touch(group);
            }
            Work::State { group, rows, .. } => {
                group.lock().synced.put_rows(rows.clone());
                self.touch(group);
            }
            Work::Remove { group } => {
                self.dirty.remove(group);
                self.wiped.insert(*group);
                match self.core.verdicts.finish_clearing(*group) {
                    // Until the next attempt the file has a quarantine too many. That is safe.
                    Err(error) if is_short_of_space(&error) => {}
                    cleared => cleared.map_err(|error| Error::Failed {
                        detail: format!("store quarantine verdicts: {error}"),
                    })?,
                }
            }
            Work::Checkpoint | Work::Refused(_) => {}
        }
        Ok(())
    }

    fn touch(&mut self, group: &Arc<OpenGroup>) {
        self.dirty.entry(group.id).or_insert_with(|| Arc::clone(group));
    }

    /// As [`Writer::checkpoint`]. The inner result is [`Error::DiskFull`] if RocksDB has no disk space. That is not
    /// fatal: all changes are kept in memory, and the next attempt writes them.
    fn try_checkpoint(&mut self) -> Result<Result<(), Error>, Error> {
        let checkpointed = self.checkpoint();
        let is_full = checkpointed == Err(Error::DiskFull);
        self.core.space.set_index_waits(is_full);
        if is_full { Ok(checkpointed) } else { checkpointed.map(Ok) }
    }

    /// Brings RocksDB's rows up to the end of the log.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Error> {
        let core = Arc::clone(&self.core);
        let mut rows = core.rows();
        let mut next_rows = rows.clone();
        let mut checkpoint = Checkpoint::new(&core.index, &mut next_rows);
        for (serial, end) in &self.sealed {
            checkpoint.sealed(*serial, *end);
        }
        for group in &self.wiped {
            checkpoint.wipe(*group)?;
        }
        for (id, group) in &self.dirty {
            let changes = group.lock().synced.changes();
            checkpoint.group(*id, changes, self.wiped.contains(id))?;
        }
        // Only after the batch is written do the rows in memory change. So a failed checkpoint can be repeated.
        checkpoint.write(self.end)?;
        *rows = next_rows;
        for group in self.dirty.values() {
            group.lock().synced.indexed();
        }
        self.sealed.clear();
        self.dirty.clear();
        self.wiped.clear();
        self.unindexed = 0;
        Ok(())
    }

    /// Last step of a clean close.
    fn finish(&mut self) -> Result<(), Error> {
        match self.checkpoint().and_then(|()| self.core.index.flush()) {
            Err(Error::DiskFull) => {
                warn!("no disk space for the index, the next opening replays more")
            }
            flushed => flushed?,
        }
        self.tail.write_synced(self.end, true).map_err(|error| tail_error(&error))
    }

    fn fail(&self, ops: Vec<Op>, error: Error) {
        self.core.end_if_index_is_damaged();
        let error = if matches!(error, Error::Failed { .. } | Error::Closed) {
            error
        } else {
            Error::Failed { detail: error.to_string() }
        };
        error!(%error, "log store stopped, the outcome of its last writes is unknown");
        let later = self.core.queue.fail(error.clone());
        fail_all(ops, &error);
        fail_all(later, &error);
    }
}

/// Waits while the disk has no space for a round. No write of the round completes meanwhile.
struct SpaceWait<'a>(&'a Core);

impl SpaceWait<'_> {
    /// The next segment, once one is ready.
    fn segment(&self) -> Result<Arc<SegmentFile>, Error> {
        loop {
            match next_segment(self.0) {
                Err(Error::DiskFull) => self.wait()?,
                taken => return taken,
            }
        }
    }

    /// Waits a moment, so that other threads can free space. Fails if the store ends.
    fn wait(&self) -> Result<(), Error> {
        self.0.queue.set_waits_for_disk_space(true);
        self.0.space.set_round_waits(true);
        if self.0.space.pause(RETRY) { Err(Error::Closed) } else { Ok(()) }
    }
}

/// The round is written, or the store has ended.
impl Drop for SpaceWait<'_> {
    fn drop(&mut self) {
        if self.0.space.round_waits() {
            self.0.space.set_round_waits(false);
            self.0.queue.set_waits_for_disk_space(false);
        }
    }
}

/// Faults that tests inject.
#[cfg(test)]
fn injected_faults(
    core: &Core,
    round: &Round<'_>,
    space_wait: &SpaceWait<'_>,
) -> Result<(), Error> {
    use std::sync::{PoisonError, atomic::Ordering::Relaxed};
    drop(core.hold_rounds.lock().unwrap_or_else(PoisonError::into_inner));
    if core.fail_rounds.load(Relaxed) {
        return Err(Error::Failed { detail: "fdatasync: injected".to_owned() });
    }
    while core.short_of_space.load(Relaxed) {
        round.write_half();
        space_wait.wait()?;
    }
    Ok(())
}

/// Takes the next segment and makes it readable.
pub(crate) fn next_segment(core: &Core) -> Result<Arc<SegmentFile>, Error> {
    let segment = core.pool.take()?;
    core.add_segment(Arc::clone(&segment));
    Ok(segment)
}

fn put_frames<'a>(
    round: &mut Round<'a>,
    work: &'a Work,
    places: &mut Vec<Place>,
    next: &dyn Fn() -> Result<Arc<SegmentFile>, Error>,
) -> Result<(), Error> {
    let header = |kind, group: GroupId, term, index| Header { kind, group: group.0, term, index };
    match work {
        Work::Append { group, entries, .. } => {
            for entry in entries {
                let id = entry.log_id;
                let header = header(Kind::Entry, group.id, id.term, id.index);
                places.push(round.frame(header, &[], &entry.payload, next)?);
            }
        }
        Work::Move { group, from, entries } => {
            for entry in entries {
                let id = entry.log_id;
                let header = header(Kind::Moved, group.id, id.term, id.index);
                places.push(round.frame(header, &from.to_le_bytes(), &entry.payload, next)?);
            }
        }
        Work::Vote { group, vote } => {
            let committed: &[u8] = if vote.committed { &[1] } else { &[0] };
            let header = header(Kind::Vote, group.id, vote.term, vote.replica.0);
            round.frame(header, &[], committed, next)?;
        }
        Work::Truncate { group, from } => {
            round.frame(header(Kind::Truncate, group.id, 0, *from), &[], &[], next)?;
        }
        Work::Purge { group, up_to } => {
            let header = header(Kind::Purge, group.id, up_to.term, up_to.index);
            round.frame(header, &[], &[], next)?;
        }
        Work::State { group, encoded, .. } => {
            round.frame(header(Kind::State, group.id, 0, 0), &[], encoded, next)?;
        }
        Work::Remove { group } => {
            round.frame(header(Kind::Remove, *group, 0, 0), &[], &[], next)?;
        }
        Work::Checkpoint | Work::Refused(_) => {}
    }
    Ok(())
}

fn frame_bytes(work: &Work) -> u64 {
    let bytes = match work {
        Work::Append { entries, .. } => {
            entries.iter().map(|entry| HEADER_BYTES + entry.payload.len()).sum()
        }
        Work::Move { entries, .. } => entries
            .iter()
            .map(|entry| HEADER_BYTES + MOVED_PREFIX_BYTES + entry.payload.len())
            .sum(),
        Work::State { encoded, .. } => HEADER_BYTES + encoded.len(),
        Work::Vote { .. } => HEADER_BYTES + 1,
        Work::Truncate { .. } | Work::Purge { .. } | Work::Remove { .. } => HEADER_BYTES,
        Work::Checkpoint | Work::Refused(_) => 0,
    };
    bytes as u64
}

/// Whether a write may leave a segment without live entries.
fn frees(work: &Work) -> bool {
    matches!(work, Work::Truncate { .. } | Work::Purge { .. } | Work::Remove { .. })
}

fn payload_bytes(length: usize) -> u32 {
    u32::try_from(length).expect("a payload that was written has a length that fits its frame")
}

fn complete(ops: &mut [Op], checkpointed: &Result<(), Error>) {
    for op in ops {
        let result = match &op.work {
            Work::Refused(error) => Err(error.clone()),
            Work::Checkpoint => checkpointed.clone(),
            Work::Append { .. }
            | Work::Vote { .. }
            | Work::Truncate { .. }
            | Work::Purge { .. }
            | Work::State { .. }
            | Work::Remove { .. }
            | Work::Move { .. } => Ok(()),
        };
        call(op.done.take(), result);
    }
}

fn fail_all(ops: Vec<Op>, error: &Error) {
    for op in ops {
        call(op.done, Err(error.clone()));
    }
}

fn call(done: Option<Completion>, result: Result<(), Error>) {
    if let Some(done) = done {
        done(result);
    }
}

fn tail_error(error: &std::io::Error) -> Error {
    Error::Failed { detail: format!("write tail file: {error}") }
}
