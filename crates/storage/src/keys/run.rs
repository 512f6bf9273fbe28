//! The row of a run: the locations of consecutive entries of one group in one segment.
//!
//! A checkpoint writes it. A reader finds the run of an entry by the greatest first index that is not above the
//! entry's index. The row is deleted when all its entries are purged, truncated or moved, or when the group is
//! removed.

use anabranch_types::GroupId;

use super::{Key, RUN_TAG, prefix, varint, words};
use crate::segment::frame::HEADER_BYTES;

pub(super) fn key(group: GroupId, first: u64) -> Vec<u8> {
    prefix(RUN_TAG, &[group.0, first])
}

pub(super) fn decode_key(rest: &[u8]) -> Option<Key> {
    let [group, first] = words(rest)?;
    Some(Key::Run { group: GroupId(group), first })
}

/// Location of one entry's frame in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loc {
    pub(crate) offset: u32,
    /// Bytes after the frame's header.
    pub(crate) payload_bytes: u32,
}

impl Loc {
    pub(crate) fn frame_bytes(self) -> u64 {
        u64::from(self.payload_bytes) + HEADER_BYTES as u64
    }

    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + self.frame_bytes()
    }
}

/// Entries of one group with consecutive indexes in one segment. Written by the checkpoint after the entries.
///
/// Value: segment, count, total frame bytes; then for each entry the distance of its frame from the end of the frame
/// before, and its payload bytes. All are varints. The distance is zigzag-encoded, because it may be negative:
/// entries that were copied forward may be in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) segment: u64,
    pub(crate) first: u64,
    pub(crate) locs: Vec<Loc>,
}

/// A run without the locations of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunHead {
    pub(crate) segment: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) frame_bytes: u64,
}

impl RunHead {
    /// Index after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }

    pub(crate) fn decode(first: u64, mut value: &[u8]) -> Option<Self> {
        Self::take(first, &mut value)
    }

    fn take(first: u64, value: &mut &[u8]) -> Option<Self> {
        let segment = varint::take(value)?;
        let count = varint::take(value)?;
        let frame_bytes = varint::take(value)?;
        (count > 0).then_some(Self { segment, first, count, frame_bytes })
    }
}

impl Run {
    /// Index after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.locs.len() as u64
    }

    pub(crate) fn get(&self, index: u64) -> Option<Loc> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.locs.get(at).copied()
    }

    pub(crate) fn head(&self) -> RunHead {
        RunHead {
            segment: self.segment,
            first: self.first,
            count: self.locs.len() as u64,
            frame_bytes: self.locs.iter().map(|loc| loc.frame_bytes()).sum(),
        }
    }

    /// The entries of this run that are in `from..to`. `None` if there are no such entries.
    pub(crate) fn slice(&self, from: u64, to: u64) -> Option<Self> {
        let from = from.max(self.first);
        let to = to.min(self.end());
        if from >= to {
            return None;
        }
        let at = |index: u64| usize::try_from(index - self.first).ok();
        let locs = self.locs.get(at(from)?..at(to)?)?.to_vec();
        Some(Self { segment: self.segment, first: from, locs })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = self.head();
        let mut out = Vec::with_capacity(16 + self.locs.len() * 4);
        varint::put(&mut out, head.segment);
        varint::put(&mut out, head.count);
        varint::put(&mut out, head.frame_bytes);
        let mut end = 0_i64;
        for loc in &self.locs {
            let distance = i64::from(loc.offset) - end;
            varint::put(&mut out, ((distance << 1) ^ (distance >> 63)).cast_unsigned());
            varint::put(&mut out, u64::from(loc.payload_bytes));
            end = loc.end().cast_signed();
        }
        out
    }

    pub(crate) fn decode(first: u64, mut value: &[u8]) -> Option<Self> {
        let head = RunHead::take(first, &mut value)?;
        first.checked_add(head.count)?;
        let mut end = 0_i64;
        let mut locs = Vec::new();
        for _ in 0..head.count {
            let zigzag = varint::take(&mut value)?;
            let distance = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
            let offset = u32::try_from(end.checked_add(distance)?).ok()?;
            let loc = Loc { offset, payload_bytes: varint::take_u32(&mut value)? };
            end = loc.end().cast_signed();
            locs.push(loc);
        }
        value.is_empty().then_some(Self { segment: head.segment, first, locs })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_read_back_and_sort(a: (u64, u64), b: (u64, u64)) {
            let key = |(group, first)| Key::Run { group: GroupId(group), first };
            prop_assert_eq!(Key::decode(&key(a).encode()), Some(key(a)));
            prop_assert_eq!(key(a).encode().cmp(&key(b).encode()), a.cmp(&b));
        }

        #[test]
        fn values_read_back(
            segment: u64, first in 0..u64::MAX / 2, locs in prop::collection::vec(any::<(u32, u32)>(), 1..50)
        ) {
            let locs = locs.into_iter().map(|(offset, payload_bytes)| Loc { offset, payload_bytes });
            let run = Run { segment, first, locs: locs.collect() };
            let value = run.encode();
            prop_assert_eq!(RunHead::decode(first, &value), Some(run.head()));
            prop_assert_eq!(Run::decode(first, &value), Some(run));
        }

        #[test]
        fn garbage_does_not_panic(first: u64, value: Vec<u8>) {
            let _ = (Run::decode(first, &value), RunHead::decode(first, &value));
        }
    }

    #[test]
    fn stored_bytes_of_version_1() {
        let locs =
            vec![Loc { offset: 4137, payload_bytes: 5 }, Loc { offset: 4175, payload_bytes: 300 }];
        let run = Run { segment: 7, first: 9, locs };
        assert_eq!(run.encode(), [7, 2, 0xf3, 2, 0xd2, 0x40, 5, 0, 0xac, 2]);
    }
}
