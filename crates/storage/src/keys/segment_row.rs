//! The row of a segment: where it ends, and how much of it is live.
//!
//! Checkpoints keep the counters up to date. The maintenance thread deletes the row of a dead segment.

use super::{Key, SEGMENT_TAG, prefix, varint, words};

pub(super) fn key(serial: u64) -> Vec<u8> {
    prefix(SEGMENT_TAG, &[serial])
}

pub(super) fn decode_key(rest: &[u8]) -> Option<Key> {
    let [serial] = words(rest)?;
    Some(Key::Segment { serial })
}

/// State of a segment in the index. Before the file is recycled, the row is deleted and the deletion is flushed.
///
/// Value: end, runs, live bytes, held (0 or 1); varints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    /// Offset after the seal. 0 while the segment is not sealed.
    pub(crate) end: u64,
    /// Number of runs in the segment that have a row.
    pub(crate) runs: u64,
    /// Total frame bytes of these runs.
    pub(crate) live_bytes: u64,
    /// The segment is evidence of damage. It is kept until no group is quarantined.
    pub(crate) held: bool,
}

impl SegmentRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [self.end, self.runs, self.live_bytes, u64::from(self.held)] {
            varint::put(&mut out, word);
        }
        out
    }

    pub(crate) fn decode(mut value: &[u8]) -> Option<Self> {
        let end = varint::take(&mut value)?;
        let runs = varint::take(&mut value)?;
        let live_bytes = varint::take(&mut value)?;
        let held = varint::take(&mut value)?;
        let row = Self { end, runs, live_bytes, held: held == 1 };
        (value.is_empty() && held <= 1).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_read_back(serial: u64, end: u64, runs: u64, live_bytes: u64, held: bool) {
            let row = SegmentRow { end, runs, live_bytes, held };
            prop_assert_eq!(SegmentRow::decode(&row.encode()), Some(row));
            prop_assert_eq!(Key::decode(&Key::Segment { serial }.encode()), Some(Key::Segment { serial }));
        }

        #[test]
        fn garbage_does_not_panic(value: Vec<u8>) {
            let _ = SegmentRow::decode(&value);
        }
    }
}
