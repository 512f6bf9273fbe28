//! The kinds of keys in RocksDB. One file for each kind describes its bytes, its value, its writer and its lifetime.
//!
//! Keys are a tag and big-endian words, so rows of one kind sort by group and index. Values are varints. A tag is
//! never reused.

mod group_row;
mod placed;
mod position;
mod run;
mod segment_row;
mod state_row;
mod varint;

use anabranch_types::GroupId;

pub(crate) use group_row::GroupRow;
pub(crate) use position::Position;
pub(crate) use run::{Loc, Run, RunHead};
pub(crate) use segment_row::SegmentRow;

use crate::StateKey;

/// A key in RocksDB. Stored: append variants, never reuse a tag. The writer thread writes all rows in a checkpoint,
/// one batch with the [`Key::Position`] that they reflect. The opening writes rows in the same way when it rebuilds
/// the index. The maintenance thread deletes the [`Key::Segment`] rows of dead segments.
///
/// | tag | family | key after the tag (big-endian) | value | lifetime |
/// | --- | --- | --- | --- | --- |
/// | 1 | index | group u64, first log index u64 | [`Run`]: locations of its entries | until its entries are gone |
/// | 2 | index | segment u64, group u64, first log index u64 | empty | as its run |
/// | 3 | state | | [`Position`]: rows reflect the log up to here | overwritten |
/// | 4 | state | segment u64 | [`SegmentRow`]: length and live share | as long as the segment |
/// | 5 | state | group u64 | [`GroupRow`]: purged, first, next, terms, vote | as long as the group |
/// | 6 | state | group u64, [`StateKey`] | the row's bytes | until deleted, or the group is removed |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Run { group: GroupId, first: u64 },
    Placed { segment: u64, group: GroupId, first: u64 },
    Position,
    Segment { serial: u64 },
    Group { group: GroupId },
    State { group: GroupId, key: StateKey },
}

pub(crate) const RUN_TAG: u8 = 1;
pub(crate) const PLACED_TAG: u8 = 2;
pub(crate) const POSITION_TAG: u8 = 3;
pub(crate) const SEGMENT_TAG: u8 = 4;
pub(crate) const GROUP_TAG: u8 = 5;
pub(crate) const STATE_TAG: u8 = 6;

impl Key {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Run { group, first } => run::key(group, first),
            Self::Placed { segment, group, first } => placed::key(segment, group, first),
            Self::Position => position::key(),
            Self::Segment { serial } => segment_row::key(serial),
            Self::Group { group } => group_row::key(group),
            Self::State { group, key } => state_row::key(group, key),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match *tag {
            RUN_TAG => run::decode_key(rest),
            PLACED_TAG => placed::decode_key(rest),
            POSITION_TAG => rest.is_empty().then_some(Self::Position),
            SEGMENT_TAG => segment_row::decode_key(rest),
            GROUP_TAG => group_row::decode_key(rest),
            STATE_TAG => state_row::decode_key(rest),
            _ => None,
        }
    }
}

/// Common prefix of all keys with this tag and these first words.
pub(crate) fn prefix(tag: u8, words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    bytes
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    if bytes.len() != N * 8 {
        return None;
    }
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_be_bytes(chunk.try_into().ok()?);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_decode_only_if_they_are_the_encoding_of_a_key(bytes: Vec<u8>) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }
}
