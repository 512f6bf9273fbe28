//! The row of a group: its bounds and its vote.
//!
//! A checkpoint writes it whenever the group changed. It is deleted when the group is removed. A value that breaks
//! the invariant of [`Bounds`] does not decode, so the index then counts as damaged.

use anabranch_types::{GroupId, LogId, ReplicaId};

use super::{GROUP_TAG, Key, prefix, varint, words};
use crate::{Vote, bounds::Bounds};

pub(super) fn key(group: GroupId) -> Vec<u8> {
    prefix(GROUP_TAG, &[group.0])
}

pub(super) fn decode_key(rest: &[u8]) -> Option<Key> {
    let [group] = words(rest)?;
    Some(Key::Group { group: GroupId(group) })
}

/// A group's bounds and vote.
///
/// Value, in varints: 0, or 1 and the purged term and index; first; next; number of terms, and for each its first
/// index and the term; 0, or 1 and the vote's term, replica, and committed (0 or 1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupRow {
    pub(crate) bounds: Bounds,
    pub(crate) vote: Option<Vote>,
}

impl GroupRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |words: &[u64]| words.iter().for_each(|word| varint::put(&mut out, *word));
        match self.bounds.purged() {
            Some(purged) => put(&[1, purged.term, purged.index]),
            None => put(&[0]),
        }
        put(&[self.bounds.first(), self.bounds.next(), self.bounds.terms().len() as u64]);
        self.bounds.terms().iter().for_each(|(first, term)| put(&[*first, *term]));
        match self.vote {
            Some(vote) => put(&[1, vote.term, vote.replica.0, u64::from(vote.committed)]),
            None => put(&[0]),
        }
        out
    }

    pub(crate) fn decode(mut value: &[u8]) -> Option<Self> {
        let mut take = || varint::take(&mut value);
        let purged = match take()? {
            0 => None,
            _ => Some(LogId { term: take()?, index: take()? }),
        };
        let (first, next, count) = (take()?, take()?, take()?);
        let mut terms = Vec::new();
        for _ in 0..count {
            terms.push((take()?, take()?));
        }
        let vote = match take()? {
            0 => None,
            _ => Some(Vote { term: take()?, replica: ReplicaId(take()?), committed: take()? == 1 }),
        };
        let bounds = Bounds::from_parts(purged, first, next, terms)?;
        value.is_empty().then_some(Self { bounds, vote })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_read_back(
            group: u64,
            purged: Option<(u64, u32)>,
            terms in prop::collection::vec(0_u64..3, 0..20),
            vote: Option<(u64, u64, bool)>,
        ) {
            let mut bounds = Bounds::default();
            if let Some((term, index)) = purged {
                bounds.purge(LogId { term, index: u64::from(index) });
            }
            let mut term = 0;
            for (index, step) in (bounds.next()..).zip(terms) {
                term += step;
                bounds.append(LogId { term, index });
            }
            let vote = vote.map(|(term, replica, committed)| Vote {
                term, replica: ReplicaId(replica), committed,
            });
            let row = GroupRow { bounds, vote };
            prop_assert_eq!(GroupRow::decode(&row.encode()), Some(row));
            let key = Key::Group { group: GroupId(group) };
            prop_assert_eq!(Key::decode(&key.encode()), Some(key));
        }

        #[test]
        fn garbage_does_not_panic(value: Vec<u8>) {
            let _ = GroupRow::decode(&value);
        }
    }
}
