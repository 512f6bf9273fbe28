//! Reads: first the cache of newest entries, then the index, then the segments.
//!
//! ```text
//! plan() ── in the cache ───────────────> done
//!    ├───── in a run without a row ─────> fetch() from the segment
//!    └───── older ──> index ──> pick() ─> fetch() from the segment
//! ```
//! A reader keeps its segment open, so a location that it looked up stays readable. But entries may be moved or
//! truncated between two steps. So a frame that does not match is looked up again, and only the fourth failure in a
//! row counts as damage.

use std::{io, ops::Range};

use anabranch_types::{GroupId, LogId};
use bytes::Bytes;

use super::{Inner, OpenGroup};
use crate::{
    Entry, Error,
    damage::Damage,
    keys::{Loc, Run},
    model::Budget,
    segment::{
        file::{SegmentFile, is_unreadable},
        frame::{HEADER_BYTES, Kind, MOVED_PREFIX_BYTES, RawHeader},
    },
};

/// Longest part of a segment that is read at once. One longer entry is read at once too.
const READ_BYTES: u64 = 1 << 20;
/// Longest gap between two entries that is read along with them. It is cheaper than a second read.
const GAP_BYTES: u64 = 16 << 10;
/// Number of failures in a row after which an entry counts as damaged.
const ATTEMPTS: usize = 4;

/// An entry that a read needs, and its location in the segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) id: LogId,
    pub(crate) loc: Loc,
}

/// Why entries could not be read.
pub(crate) enum ReadFailure {
    System(Error),
    /// The damaged entry. `None` if the damage concerns more than single entries.
    Damage(Option<LogId>, Damage),
}

enum Step {
    Done,
    /// Read these entries from this segment.
    Fetch(u64, Vec<Wanted>),
    /// Look up the run in RocksDB.
    Lookup {
        end: u64,
        truncations: u64,
    },
}

impl OpenGroup {
    /// The result of a read, if memory is enough for it.
    pub(crate) fn read_in_memory(
        &self,
        range: &Range<u64>,
        max_bytes: usize,
    ) -> Option<Result<Vec<Entry>, Error>> {
        let inner = self.lock();
        let (start, end) = match self.clip(&inner, range) {
            Ok(clipped) => clipped,
            Err(error) => return Some(Err(error)),
        };
        let mut entries = Vec::new();
        if start < end {
            inner.cache.first().filter(|first| *first <= start)?;
            inner.cache.read(start, end, &mut Budget::new(max_bytes), &mut entries);
        }
        Some(Ok(entries))
    }

    /// As [`crate::GroupLog::read`]. Blocks the thread.
    pub(crate) fn read_blocking(
        &self,
        range: &Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut budget = Budget::new(max_bytes);
        let mut failures = 0;
        while !budget.is_spent() {
            let next = entries.last().map_or(range.start, |entry| entry.log_id.index + 1);
            let step = match self.plan(&(next..range.end), &mut budget, &mut entries) {
                Err(Error::Purged { .. }) if !entries.is_empty() => return Ok(entries),
                step => step?,
            };
            let fetched = match step {
                Step::Done => return Ok(entries),
                Step::Fetch(segment, wanted) => self.fetch(segment, &wanted),
                Step::Lookup { end, truncations } => {
                    self.fetch_indexed(next, end, truncations, &mut budget)
                }
            };
            match fetched {
                Ok(fetched) => {
                    failures = 0;
                    let admitted = |entry: &Entry| budget.admits(entry.payload.len());
                    entries.extend(fetched.into_iter().take_while(admitted));
                }
                Err(ReadFailure::System(error)) => return Err(error),
                Err(ReadFailure::Damage(entry, damage)) => {
                    // After the last attempt, the entries before the damaged one are the result.
                    failures += 1;
                    if failures == ATTEMPTS {
                        let error = self.give_up(entry, &damage);
                        let is_answer =
                            !entries.is_empty() && matches!(error, Error::Damaged { .. });
                        return if is_answer { Ok(entries) } else { Err(error) };
                    }
                }
            }
        }
        Ok(entries)
    }

    /// The live entries of a run that has a row in the index, with their expected terms.
    pub(crate) fn live(&self, run: &Run) -> Vec<Wanted> {
        let inner = self.lock();
        inner.synced.live(run, inner.bounds.first())
    }

    /// First index and end of a read, limited to the live entries.
    fn clip(&self, inner: &Inner, range: &Range<u64>) -> Result<(u64, u64), Error> {
        self.check(inner)?;
        let first = inner.bounds.first();
        let end = range.end.min(inner.bounds.next());
        match inner.bounds.purged() {
            Some(purged) if range.start <= purged.index && range.start < range.end => {
                Err(Error::Purged { first })
            }
            _ => Ok((range.start.max(first), end)),
        }
    }

    /// Takes entries from the cache if it holds the start of `range`. Otherwise returns where to look.
    fn plan(
        &self,
        range: &Range<u64>,
        budget: &mut Budget,
        entries: &mut Vec<Entry>,
    ) -> Result<Step, Error> {
        let inner = self.lock();
        let (start, end) = self.clip(&inner, range)?;
        if start >= end {
            return Ok(Step::Done);
        }
        let cached_from = inner.cache.first().unwrap_or(u64::MAX);
        if cached_from <= start {
            inner.cache.read(start, end, budget, entries);
            return Ok(Step::Done);
        }
        let end = end.min(cached_from);
        match inner.synced.find_run(start) {
            None => {
                let (indexed_below, truncations) = inner.synced.indexed_below();
                Ok(Step::Lookup { end: end.min(indexed_below), truncations })
            }
            Some(run) => Ok(match pick(run, start, end, &inner, budget) {
                wanted if wanted.is_empty() => Step::Done,
                wanted => Step::Fetch(run.segment, wanted),
            }),
        }
    }

    fn fetch_indexed(
        &self,
        start: u64,
        end: u64,
        truncations: u64,
        budget: &mut Budget,
    ) -> Result<Vec<Entry>, ReadFailure> {
        let start = start.max(self.lock().bounds.first());
        let found = self.core.index.find_run(self.id, start).map_err(ReadFailure::System)?;
        let Some(run) = found else {
            let expected = format!("a run of group {} with index {start}", self.id);
            let damage = Damage::new(&self.core.dir.index(), 0, expected, "none");
            return Err(ReadFailure::Damage(None, damage));
        };
        let wanted = {
            let inner = self.lock();
            if inner.synced.indexed_below().1 != truncations {
                // The entries were truncated after the lookup began, so this run may be older than the truncation.
                // Look it up again.
                return Ok(Vec::new());
            }
            pick(&run, start, end.min(inner.bounds.next()), &inner, budget)
        };
        if wanted.is_empty() {
            // Either the log became shorter meanwhile, or the budget is used up. The next call of `plan` finds out.
            return Ok(Vec::new());
        }
        self.fetch(run.segment, &wanted)
    }

    fn fetch(&self, segment: u64, wanted: &[Wanted]) -> Result<Vec<Entry>, ReadFailure> {
        match self.core.segment(segment) {
            Some(segment) => read_wanted(&segment, self.id, wanted),
            None => {
                let path = self.core.dir.segments().join(SegmentFile::file_name(segment));
                let found = "no usable file";
                let damage = Damage::new(&path, 0, "a segment with entries", found);
                Err(ReadFailure::Damage(None, damage))
            }
        }
    }

    /// Records a damaged entry. If the damage concerns more than single entries, quarantines the group. Returns the
    /// error of the read.
    fn give_up(&self, entry: Option<LogId>, damage: &Damage) -> Error {
        if let Err(error) = self.check(&self.lock()) {
            return error;
        }
        let reason = damage.to_string();
        if let Some(log_id) = entry {
            self.note_damage(log_id, &reason);
            return Error::Damaged { group: self.id, log_id, reason: reason.into() };
        }
        self.core.quarantine(self.id, &reason);
        Error::Quarantined { group: self.id, reason }
    }
}

/// The entries of `run` from `start` to `end` that the budget may admit. The caller checks the budget again after the
/// read, because a frame that was copied forward has a prefix before its payload, which this function can only
/// estimate.
fn pick(run: &Run, start: u64, end: u64, inner: &Inner, budget: &mut Budget) -> Vec<Wanted> {
    let mut left = budget.clone();
    let mut wanted = Vec::new();
    for index in start..end.min(run.end()) {
        let (Some(loc), Some(term)) = (run.get(index), inner.bounds.term_of(index)) else { break };
        let least = (loc.payload_bytes as usize).saturating_sub(MOVED_PREFIX_BYTES);
        if !left.admits(least) {
            if wanted.is_empty() {
                budget.spend();
            }
            break;
        }
        wanted.push(Wanted { id: LogId { term, index }, loc });
    }
    wanted
}

/// Reads entries of one group from one segment. Neighbours are read together.
pub(crate) fn read_wanted(
    segment: &SegmentFile,
    group: GroupId,
    wanted: &[Wanted],
) -> Result<Vec<Entry>, ReadFailure> {
    let mut entries = Vec::with_capacity(wanted.len());
    let mut rest = wanted;
    while let Some(first) = rest.first() {
        let count = neighbours(rest);
        let (now, later) = rest.split_at(count);
        let start = u64::from(first.loc.offset);
        let end = now.last().map_or(start, |last| last.loc.end());
        let chunk = match read_chunk(segment, start, end) {
            // Perhaps only one of these entries is damaged, so each is read by itself.
            Err(ReadFailure::Damage(..)) if count > 1 => {
                for one in now {
                    entries.extend(read_wanted(segment, group, std::slice::from_ref(one))?);
                }
                rest = later;
                continue;
            }
            Err(ReadFailure::Damage(_, damage)) => {
                return Err(ReadFailure::Damage(Some(first.id), damage));
            }
            chunk => chunk?,
        };
        for one in now {
            entries.push(entry_in(&chunk, start, segment, group, one)?);
        }
        rest = later;
    }
    Ok(entries)
}

/// How many of the first entries are read together.
fn neighbours(wanted: &[Wanted]) -> usize {
    let mut count = 0;
    let mut span: Option<(u64, u64)> = None;
    for one in wanted {
        let offset = u64::from(one.loc.offset);
        let (start, end) = span.unwrap_or((offset, offset));
        let near = offset >= end && offset - end <= GAP_BYTES;
        if count > 0 && !(near && one.loc.end() - start <= READ_BYTES) {
            break;
        }
        span = Some((start, one.loc.end()));
        count += 1;
    }
    count
}

fn read_chunk(segment: &SegmentFile, start: u64, end: u64) -> Result<Bytes, ReadFailure> {
    if end > segment.bytes {
        let expected = format!("a frame up to offset {end}");
        let found = format!("a file of {} bytes", segment.bytes);
        let damage = Damage::new(&segment.path, start, expected, found);
        return Err(ReadFailure::Damage(None, damage));
    }
    let length = usize::try_from(end - start).unwrap_or(usize::MAX);
    let mut chunk = vec![0; length];
    match segment.read_exact_at(&mut chunk, start) {
        Ok(()) => Ok(Bytes::from(chunk)),
        // A block that the device cannot read, or a file that became shorter, is damage. Every other error is a
        // problem of the system.
        Err(error) if is_damage(&error) => {
            let damage = Damage::new(&segment.path, start, "a frame", error.to_string());
            Err(ReadFailure::Damage(None, damage))
        }
        Err(error) => {
            let detail = format!("{} at offset {start}: {error}", segment.path.display());
            Err(ReadFailure::System(Error::Read { detail }))
        }
    }
}

fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || is_unreadable(error)
}

fn entry_in(
    chunk: &Bytes,
    chunk_start: u64,
    segment: &SegmentFile,
    group: GroupId,
    wanted: &Wanted,
) -> Result<Entry, ReadFailure> {
    let at = usize::try_from(u64::from(wanted.loc.offset) - chunk_start).unwrap_or(usize::MAX);
    let length = wanted.loc.payload_bytes as usize;
    let frame = chunk.slice(at..at + HEADER_BYTES + length);
    let payload = frame.slice(HEADER_BYTES..);
    let header = RawHeader::read(&frame)
        .filter(|raw| raw.payload_bytes as usize == length)
        .and_then(|raw| raw.validate(segment.seed, &payload));
    let payload = match header {
        Some(header)
            if header.group == group.0
                && header.term == wanted.id.term
                && header.index == wanted.id.index =>
        {
            match header.kind {
                Kind::Entry => Some(payload),
                Kind::Moved if length >= MOVED_PREFIX_BYTES => {
                    Some(payload.slice(MOVED_PREFIX_BYTES..))
                }
                Kind::Moved
                | Kind::Round
                | Kind::Vote
                | Kind::Truncate
                | Kind::Purge
                | Kind::State
                | Kind::Remove
                | Kind::Seal => None,
            }
        }
        _ => None,
    };
    // A slice keeps its whole chunk in memory. So a small part of a large chunk is copied.
    let own = |payload: Bytes| {
        if payload.len() * 4 < chunk.len() { Bytes::copy_from_slice(&payload) } else { payload }
    };
    match payload {
        Some(payload) => Ok(Entry { log_id: wanted.id, payload: own(payload) }),
        None => {
            let expected = format!("entry {} of group {group}, {length} bytes", wanted.id);
            let found = header.map_or_else(
                || "a frame whose checksum does not match".to_owned(),
                |header| format!("{header:?}"),
            );
            let offset = u64::from(wanted.loc.offset);
            let damage = Damage::new(&segment.path, offset, expected, found);
            Err(ReadFailure::Damage(Some(wanted.id), damage))
        }
    }
}
