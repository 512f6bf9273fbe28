//! Repair of damaged entries (ADR-0022): a copy from another replica is written in place.
//!
//! A copy is the same entry if it has the same term, index and length, because Raft gives a term and an index to one
//! entry only. If the old frame's header is intact, the copy must also match the old checksum. The frame is written
//! to the place of the old one. So the segment is again as it was written, for the index, for a replay and for the
//! scrub.
//!
//! Order: a read, the scrub or the opening calls [`OpenGroup::note_damage`]. The node fetches a copy and calls
//! [`OpenGroup::mend`]. The frame is written and synced, then read again, and only then the entry counts as repaired.

use std::sync::Arc;

use anabranch_types::LogId;
use tracing::warn;

use super::{Inner, OpenGroup, ReadFailure, Wanted, read_wanted};
use crate::{
    Entry, Error,
    model::Budget,
    segment::{
        file::SegmentFile,
        frame::{self, HEADER_BYTES, Header, Kind, MOVED_PREFIX_BYTES, RawHeader},
    },
};

/// Most damaged entries in one group. With more, the replica is quarantined, because rebuilding it from its peers is
/// faster.
const MOST_DAMAGED: usize = 1024;

impl OpenGroup {
    /// Records that an entry cannot be read. Ignores entries that are not live.
    pub(crate) fn note_damage(&self, id: LogId, reason: &str) {
        let mut inner = self.lock();
        if self.check(&inner).is_err() || !is_live(&inner, id) {
            return;
        }
        if inner.damaged.insert(id.index, (id, reason.to_owned())).is_none() {
            self.core.metrics.damaged_entries.increment();
            warn!(group = %self.id, entry = %id, reason, "entry is damaged");
        }
        let count = inner.damaged.len();
        self.damage.send_replace(count);
        drop(inner);
        if count > MOST_DAMAGED {
            let reason = format!("{count} entries are damaged, the last one found: {reason}");
            return self.core.quarantine(self.id, &reason);
        }
        self.core.damage_found.notify_one();
    }

    /// Whether any entry is known to be unreadable. Some of these may have been purged or truncated meanwhile.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damage_count() > 0
    }

    /// Number of entries that are known to be damaged. Some may have been purged or truncated since.
    pub(crate) fn damage_count(&self) -> usize {
        *self.damage.borrow()
    }

    /// Live entries that cannot be read.
    pub(crate) fn damaged(&self) -> Vec<LogId> {
        let mut inner = self.lock();
        let mut damaged = std::mem::take(&mut inner.damaged);
        damaged.retain(|_, (id, _)| is_live(&inner, *id));
        inner.damaged = damaged;
        self.damage.send_replace(inner.damaged.len());
        inner.damaged.values().map(|(id, _)| *id).collect()
    }

    pub(crate) async fn until_repaired(&self) {
        let mut damage = self.damage.subscribe();
        // `wait_for` does not fail, because the sender lives as long as the group.
        let _is_open = damage.wait_for(|count| *count == 0).await;
    }

    /// As [`crate::GroupLog::mend`]. Blocks the thread.
    pub(crate) fn repair(&self, entry: &Entry) -> Result<(), Error> {
        let frame = |segment: &SegmentFile, wanted| self.frame_of(segment, wanted, entry).map(Some);
        self.repair_with(entry.log_id, frame).map(drop)
    }

    /// As [`crate::GroupLog::repair_by_checksum`]. Blocks the thread.
    pub(crate) fn repair_by_checksum(&self, id: LogId) -> Result<bool, Error> {
        self.repair_with(id, |segment, wanted| Ok(self.corrected(segment, wanted)))
    }

    /// Repairs an entry with the frame that `frame` makes. Writes nothing if the entry can be read or is no longer
    /// live. Returns whether the entry can be read now: `false` if `frame` makes none.
    fn repair_with(
        &self,
        id: LogId,
        frame: impl FnOnce(&SegmentFile, Wanted) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<bool, Error> {
        self.check(&self.lock())?;
        if let Some((segment, wanted)) = self.locate(id)?
            && !self.is_readable(&segment, wanted)?
        {
            let Some(frame) = frame(&segment, wanted)? else { return Ok(false) };
            let offset = u64::from(wanted.loc.offset);
            let write = segment.repair(&frame, offset);
            write.map_err(|error| self.repair_failed(&segment, &error.to_string()))?;
            if !self.is_readable(&segment, wanted)? {
                return Err(self.repair_failed(&segment, "the repaired entry cannot be read"));
            }
            warn!(group = %self.id, entry = %id, file = %segment.path.display(), offset, "entry is mended");
        }
        self.repaired(id);
        Ok(true)
    }

    /// The frame at `wanted` with its one wrong bit corrected. `None` if no single bit explains the checksum, or if
    /// the corrected frame is not the frame of this entry.
    fn corrected(&self, segment: &SegmentFile, wanted: Wanted) -> Option<Vec<u8>> {
        let mut frame = vec![0; HEADER_BYTES + wanted.loc.payload_bytes as usize];
        segment.read_exact_at(&mut frame, u64::from(wanted.loc.offset)).ok()?;
        let bit = frame::wrong_bit(segment.seed, &frame)?;
        frame[bit / 8] ^= 1 << (bit % 8);
        let header = RawHeader::read(&frame)?.validate(segment.seed, &frame[HEADER_BYTES..])?;
        let found = (header.group, header.term, header.index);
        (found == (self.id.0, wanted.id.term, wanted.id.index)).then_some(frame)
    }

    /// As [`crate::GroupLog::copy_of`]. Blocks the thread.
    pub(crate) fn copy_of(&self, id: LogId) -> Result<Option<Entry>, Error> {
        {
            let inner = self.lock();
            if inner.removed {
                return Err(Error::Removed { group: self.id });
            }
            let is_cached = inner.cache.first().is_some_and(|first| first <= id.index);
            if is_live(&inner, id) && is_cached {
                let mut cached = Vec::new();
                let mut budget = Budget::new(usize::MAX);
                inner.cache.read(id.index, id.index + 1, &mut budget, &mut cached);
                return Ok(cached.pop());
            }
        }
        let Some((segment, wanted)) = self.locate(id)? else { return Ok(None) };
        match read_wanted(&segment, self.id, &[wanted]) {
            Ok(mut entries) => Ok(entries.pop()),
            Err(ReadFailure::System(error)) => Err(error),
            Err(ReadFailure::Damage(_, damage)) => {
                let reason = damage.to_string();
                self.note_damage(id, &reason);
                Err(Error::Damaged { group: self.id, log_id: id, reason: reason.into() })
            }
        }
    }

    fn repaired(&self, id: LogId) {
        let mut inner = self.lock();
        inner.damaged.remove(&id.index);
        self.damage.send_replace(inner.damaged.len());
        self.core.metrics.repaired_entries.increment();
    }

    fn repair_failed(&self, segment: &SegmentFile, why: &str) -> Error {
        let detail = format!("mend {} of group {}: {why}", segment.path.display(), self.id);
        Error::Read { detail }
    }

    /// Segment and location of an entry. `None` if the entry was purged or truncated.
    fn locate(&self, id: LogId) -> Result<Option<(Arc<SegmentFile>, Wanted)>, Error> {
        let placed = {
            let inner = self.lock();
            if !is_live(&inner, id) {
                return Ok(None);
            }
            let run = inner.synced.find_run(id.index);
            run.and_then(|run| Some((run.segment, run.get(id.index)?)))
        };
        let placed = match placed {
            Some(placed) => Some(placed),
            None => {
                let run = self.core.index.find_run(self.id, id.index)?;
                run.and_then(|run| Some((run.segment, run.get(id.index)?)))
            }
        };
        let found = placed.and_then(|(segment, loc)| Some((self.core.segment(segment)?, loc)));
        let Some((segment, loc)) = found else {
            let detail = format!("entry {id} of group {} has no location", self.id);
            return Err(Error::Read { detail });
        };
        Ok(Some((segment, Wanted { id, loc })))
    }

    fn is_readable(&self, segment: &SegmentFile, wanted: Wanted) -> Result<bool, Error> {
        match read_wanted(segment, self.id, &[wanted]) {
            Ok(_) => Ok(true),
            Err(ReadFailure::Damage(..)) => Ok(false),
            Err(ReadFailure::System(error)) => Err(error),
        }
    }

    /// Builds the frame that was at `wanted` from a copy of the entry.
    fn frame_of(
        &self,
        segment: &SegmentFile,
        wanted: Wanted,
        entry: &Entry,
    ) -> Result<Vec<u8>, Error> {
        let payload_bytes = wanted.loc.payload_bytes as usize;
        let prefix_bytes = match payload_bytes.checked_sub(entry.payload.len()) {
            Some(0) => 0,
            Some(MOVED_PREFIX_BYTES) => MOVED_PREFIX_BYTES,
            _ => {
                let expected = format!("a frame of {payload_bytes} bytes");
                let reason = format!("{expected}, the copy has {}", entry.payload.len());
                let reason = reason.into();
                return Err(Error::Damaged { group: self.id, log_id: wanted.id, reason });
            }
        };
        // Read the header and the prefix of the old frame. With the copy as payload, the checksum tells whether they
        // are right, or which one bit of them is wrong.
        let mut old = vec![0; HEADER_BYTES + prefix_bytes];
        let _unreadable = segment.read_exact_at(&mut old, u64::from(wanted.loc.offset));
        let mut whole = old;
        whole.extend_from_slice(&entry.payload);
        if let Some(bit) = frame::wrong_bit(segment.seed, &whole)
            && bit < (HEADER_BYTES + prefix_bytes) * 8
        {
            whole[bit / 8] ^= 1 << (bit % 8);
        }
        let raw = RawHeader::read(&whole);
        let header = raw.and_then(|raw| raw.validate(segment.seed, &whole[HEADER_BYTES..]));
        let kind = if prefix_bytes == 0 { Kind::Entry } else { Kind::Moved };
        let LogId { term, index } = wanted.id;
        let right = Header { kind, group: self.id.0, term, index };
        if header == Some(right) {
            return Ok(whole);
        }
        let claimed = raw.and_then(|raw| raw.claimed());
        let mut found = vec![0; entry.payload.len()];
        let at = u64::from(wanted.loc.offset) + (HEADER_BYTES + prefix_bytes) as u64;
        let _unreadable = segment.read_exact_at(&mut found, at);
        let is_payload_right = found == entry.payload;
        if !is_payload_right
            && claimed == Some(right)
            && raw.is_some_and(|raw| raw.payload_bytes as usize == payload_bytes)
        {
            // The header is intact, so its checksum is valid, and the copy does not match it.
            let reason = "the copy does not match the checksum of what was written".into();
            return Err(Error::Damaged { group: self.id, log_id: wanted.id, reason });
        }
        let prefix = &whole[HEADER_BYTES..HEADER_BYTES + prefix_bytes];
        let mut frame = Vec::with_capacity(whole.len());
        let encoded = frame::encode_header(&mut frame, segment.seed, right, prefix, &entry.payload);
        encoded.ok_or_else(|| self.repair_failed(segment, "the copy is too long"))?;
        frame.extend_from_slice(prefix);
        frame.extend_from_slice(&entry.payload);
        Ok(frame)
    }
}

fn is_live(inner: &Inner, id: LogId) -> bool {
    inner.bounds.term_of(id.index) == Some(id.term)
}
