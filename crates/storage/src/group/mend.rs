//! Entries that can't be read, and how they come back: another replica's copy is written where the entry lies.
//!
//! A copy is the entry if it has the same term, index and length: Raft gives a term and an index to one entry only. Where
//! the frame's checksum is whole it must agree too. The frame is written in place, so the segment is again what it was,
//! for the index, for a replay and for the scrub.

use std::sync::Arc;

use anabranch_types::LogId;
use tracing::warn;

use super::{Group, Inner, ReadFailure, Wanted, read_wanted};
use crate::{
    Entry, Error,
    model::Budget,
    segment::{
        file::SegmentFile,
        frame::{self, HEADER_BYTES, Header, Kind, MOVED_PREFIX_BYTES, RawHeader},
    },
};

/// Damaged entries of one group beyond which it is given up: it is rebuilt from its peers faster.
const MOST_DAMAGED: usize = 1024;

impl Group {
    /// Takes note that an entry can't be read.
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

    /// Whether entries are known that can't be read. Some of them may have been purged or truncated.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damage_count() > 0
    }

    /// How many entries are known that can't be read.
    pub(crate) fn damage_count(&self) -> usize {
        *self.damage.borrow()
    }

    /// The live entries that can't be read.
    pub(crate) fn damaged(&self) -> Vec<LogId> {
        let mut inner = self.lock();
        let mut damaged = std::mem::take(&mut inner.damaged);
        damaged.retain(|_, (id, _)| is_live(&inner, *id));
        inner.damaged = damaged;
        self.damage.send_replace(inner.damaged.len());
        inner.damaged.values().map(|(id, _)| *id).collect()
    }

    pub(crate) async fn until_mended(&self) {
        let mut damage = self.damage.subscribe();
        // The sender lives as long as the group.
        let _is_open = damage.wait_for(|count| *count == 0).await;
    }

    /// As [`crate::GroupLog::mend`], on a thread that may block.
    pub(crate) fn mend(&self, entry: &Entry) -> Result<(), Error> {
        let frame = |segment: &SegmentFile, wanted| self.frame_of(segment, wanted, entry).map(Some);
        self.put_right(entry.log_id, frame).map(drop)
    }

    /// As [`crate::GroupLog::mend_by_checksum`], on a thread that may block.
    pub(crate) fn mend_by_checksum(&self, id: LogId) -> Result<bool, Error> {
        self.put_right(id, |segment, wanted| Ok(self.corrected(segment, wanted)))
    }

    /// Writes the frame that `frame` makes where the entry lies, unless the entry can be read or is live no more. Returns
    /// whether the entry can be read now; no if `frame` makes none.
    fn put_right(
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
            let write = segment.mend(&frame, offset);
            write.map_err(|error| self.refused(&segment, &error.to_string()))?;
            if !self.is_readable(&segment, wanted)? {
                return Err(self.refused(&segment, "what was written can't be read"));
            }
            warn!(group = %self.id, entry = %id, file = %segment.path.display(), offset, "entry is mended");
        }
        self.mended(id);
        Ok(true)
    }

    /// The frame at `wanted` with its one wrong bit corrected, if it is then that of the entry.
    fn corrected(&self, segment: &SegmentFile, wanted: Wanted) -> Option<Vec<u8>> {
        let mut frame = vec![0; HEADER_BYTES + wanted.loc.payload_bytes as usize];
        segment.read_exact_at(&mut frame, u64::from(wanted.loc.offset)).ok()?;
        let bit = frame::wrong_bit(segment.seed, &frame)?;
        frame[bit / 8] ^= 1 << (bit % 8);
        let header = RawHeader::read(&frame)?.validate(segment.seed, &frame[HEADER_BYTES..])?;
        let found = (header.group, header.term, header.index);
        (found == (self.id.0, wanted.id.term, wanted.id.index)).then_some(frame)
    }

    /// As [`crate::GroupLog::copy_of`], on a thread that may block.
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

    fn mended(&self, id: LogId) {
        let mut inner = self.lock();
        inner.damaged.remove(&id.index);
        self.damage.send_replace(inner.damaged.len());
        self.core.metrics.repaired_entries.increment();
    }

    fn refused(&self, segment: &SegmentFile, why: &str) -> Error {
        let detail = format!("mend {} of group {}: {why}", segment.path.display(), self.id);
        Error::Read { detail }
    }

    /// Segment and place of an entry; `None` if the entry was purged or truncated.
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
            let detail = format!("entry {id} of group {} lies nowhere", self.id);
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

    /// The frame that lay at `wanted`, made from a copy of the entry.
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
        // What can be read of the old one: its checksum tells whether the rest of the header and the prefix are right.
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
            // The header is whole, so its checksum counts.
            let reason = "the copy does not match the checksum of what was written".into();
            return Err(Error::Damaged { group: self.id, log_id: wanted.id, reason });
        }
        let prefix = &whole[HEADER_BYTES..HEADER_BYTES + prefix_bytes];
        let mut frame = Vec::with_capacity(whole.len());
        let encoded = frame::encode_header(&mut frame, segment.seed, right, prefix, &entry.payload);
        encoded.ok_or_else(|| self.refused(segment, "the copy is too long"))?;
        frame.extend_from_slice(prefix);
        frame.extend_from_slice(&entry.payload);
        Ok(frame)
    }
}

fn is_live(inner: &Inner, id: LogId) -> bool {
    inner.bounds.term_of(id.index) == Some(id.term)
}
