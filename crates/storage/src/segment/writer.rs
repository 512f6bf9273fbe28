//! The writer: one thread that turns whatever is queued into a round, syncs it, and tells everybody.
//!
//! Order within a round, which readers and recovery rely on:
//! 1. frames are written and synced;
//! 2. the tail file says so;
//! 3. groups learn where their entries lie;
//! 4. completions are called;
//! 5. entries over the cache's limit leave it;
//! 6. if a segment was sealed, the index is brought up to date.

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
    group::Group,
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

/// Entries without an index row before rows are written though no segment is full.
const UNINDEXED_LIMIT: usize = 1 << 18;
/// Between two attempts of a round that finds no room.
const RETRY: Duration = Duration::from_millis(100);

pub(crate) struct Writer {
    pub(crate) core: Arc<Core>,
    pub(crate) tail: Tail,
    pub(crate) active: Arc<SegmentFile>,
    /// The end of the log on the disk.
    pub(crate) end: LogEnd,
    /// Serial of the next round.
    pub(crate) next_round: u64,
    /// Groups that changed since the last checkpoint.
    pub(crate) dirty: BTreeMap<GroupId, Arc<Group>>,
    /// Groups removed since then.
    pub(crate) wiped: BTreeSet<GroupId>,
    /// Segments sealed since then.
    pub(crate) sealed: Vec<(u64, u64)>,
    pub(crate) unindexed: usize,
    pub(crate) evictor: Evictor,
    /// Buffers that rounds use in turn.
    pub(crate) heads: Vec<u8>,
    pub(crate) places: Vec<Place>,
}

/// A panic, here or in a completion, must not leave others waiting.
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

    /// Writes one round, and completes it.
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
        // A checkpoint that somebody waits for comes before its completion, any other one after.
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
        let stall = Stall(&core);
        core.sync_times.begin_round();
        for op in ops {
            put_frames(&mut round, &op.work, places, &|| stall.segment())?;
        }
        #[cfg(test)]
        injected_faults(&core, &round, &stall)?;
        round.write(|| stall.wait())
    }

    /// Takes note of a round that is on the disk.
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
            // It says less than it could: a lower bound all the same.
            Err(error) if is_short_of_space(&error) => Ok(()),
            written => written.map_err(|error| tail_error(&error)),
        }
    }

    /// Brings a group's synced state up to a write that is on the disk now.
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
                    // The file says more than is so, until the next attempt.
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

    fn touch(&mut self, group: &Arc<Group>) {
        self.dirty.entry(group.id).or_insert_with(|| Arc::clone(group));
    }

    /// As [`Writer::checkpoint`]. The inner result tells whether RocksDB had room; if it hasn't, that is no failure:
    /// everything stays as it is, and the next attempt writes it.
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

    /// The last thing before a clean end.
    fn finish(&mut self) -> Result<(), Error> {
        match self.checkpoint().and_then(|()| self.core.index.flush()) {
            Err(Error::DiskFull) => warn!("no room for the index, the next opening replays more"),
            flushed => flushed?,
        }
        self.tail.write_synced(self.end, true).map_err(|error| tail_error(&error))
    }

    fn fail(&self, ops: Vec<Op>, error: Error) {
        self.core.give_up_damaged_index();
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

/// What the writer does where the disk has no room: it waits, and nobody is told that anything was written.
struct Stall<'a>(&'a Core);

impl Stall<'_> {
    /// The next segment, as soon as there is one.
    fn segment(&self) -> Result<Arc<SegmentFile>, Error> {
        loop {
            match next_segment(self.0) {
                Err(Error::DiskFull) => self.wait()?,
                taken => return taken,
            }
        }
    }

    /// Lets a moment pass in which whoever gives space back does so. Fails if the store is to end.
    fn wait(&self) -> Result<(), Error> {
        self.0.queue.set_stalled(true);
        self.0.space.set_round_waits(true);
        if self.0.space.pause(RETRY) { Err(Error::Closed) } else { Ok(()) }
    }
}

/// The round has what it waited for, or never will.
impl Drop for Stall<'_> {
    fn drop(&mut self) {
        if self.0.space.round_waits() {
            self.0.space.set_round_waits(false);
            self.0.queue.set_stalled(false);
        }
    }
}

/// The faults that tests ask for.
#[cfg(test)]
fn injected_faults(core: &Core, round: &Round<'_>, stall: &Stall<'_>) -> Result<(), Error> {
    use std::sync::{PoisonError, atomic::Ordering::Relaxed};
    drop(core.hold_rounds.lock().unwrap_or_else(PoisonError::into_inner));
    if core.fail_rounds.load(Relaxed) {
        return Err(Error::Failed { detail: "fdatasync: injected".to_owned() });
    }
    while core.short_of_space.load(Relaxed) {
        round.write_half();
        stall.wait()?;
    }
    Ok(())
}

/// The next segment, readable from now on.
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
