//! The ring: which rows the newest transactions changed, for watchers.
//!
//! The ring holds keys and no values. A watcher gets the present value of a changed row. So a row that changed a
//! thousand times is sent once, and the ring keeps no old value in memory.
//!
//! ```text
//! versions    ... 4.0   5.0   5.1   6.0   8.0
//!                  |    [ the ring holds these transactions ]
//!                  floor: the newest version that is not in the ring
//! ```
//!
//! The ring is not part of a checkpoint. A replica that starts from a checkpoint has an empty ring, whose floor is the
//! version of the checkpoint. So two replicas may have different floors, but above both floors they hold the same.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use crate::limits::Limits;
use crate::row::{SpaceId, Version};

/// One row that a transaction changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) space: SpaceId,
    pub(crate) key: Bytes,
    /// Whether the transaction deleted the row. Otherwise it put the row.
    pub(crate) is_deleted: bool,
}

/// Bytes that a change counts for beside its key: [`Touched`] itself.
const CHANGE_OVERHEAD_BYTES: usize = 48;

impl Touched {
    const fn bytes(&self) -> usize {
        CHANGE_OVERHEAD_BYTES + self.key.len()
    }
}

/// The newest transactions by version, each with all rows that it changed.
///
/// Invariant: every transaction above `floor` is here. `changes` is the number of rows of all of them, and `bytes` is
/// the sum of their bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    transactions: RedBlackTreeMapSync<Version, Arc<[Touched]>>,
    changes: usize,
    bytes: usize,
    floor: Version,
}

impl Ring {
    /// An empty ring, which has forgotten everything up to `floor`.
    pub(crate) fn starting_at(floor: Version) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Adds the newest transaction. Forgets the oldest ones while the ring is above a limit.
    pub(crate) fn push(&mut self, version: Version, touched: Vec<Touched>, limits: &Limits) {
        self.changes += touched.len();
        self.bytes += bytes(&touched);
        self.transactions.insert_mut(version, touched.into());
        while self.changes > limits.watched_changes || self.bytes > limits.watched_bytes {
            let oldest = self.transactions.first();
            let oldest = oldest.map(|(version, rows)| (*version, rows.len(), bytes(rows)));
            let Some((oldest, changes, bytes)) = oldest else { return };
            self.transactions.remove_mut(&oldest);
            self.changes -= changes;
            self.bytes -= bytes;
            self.floor = oldest;
        }
    }

    /// The transactions after `since`, oldest first. `None` if some of them are forgotten.
    pub(crate) fn after(
        &self,
        since: Version,
    ) -> Option<impl Iterator<Item = (Version, &[Touched])>> {
        if since < self.floor {
            return None;
        }
        let newer = self.transactions.range((Bound::Excluded(since), Bound::Unbounded));
        Some(newer.map(|(version, touched)| (*version, &**touched)))
    }
}

fn bytes(touched: &[Touched]) -> usize {
    touched.iter().map(Touched::bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX: Limits = Limits { watched_changes: 6, ..Limits::DEFAULT };

    fn rows(count: u8) -> Vec<Touched> {
        let row = |n| Touched { space: SpaceId(1), key: vec![n].into(), is_deleted: false };
        (0..count).map(row).collect()
    }

    fn versions(ring: &Ring, since: Version) -> Option<Vec<u64>> {
        Some(ring.after(since)?.map(|(version, _)| version.log_index()).collect())
    }

    #[test]
    fn the_oldest_transactions_are_forgotten_as_a_whole() {
        let mut ring = Ring::default();
        let at = |index| Version::new(index, 0);
        for index in 1..=3 {
            ring.push(at(index), rows(2), &SIX);
        }
        assert_eq!(versions(&ring, Version::START), Some(vec![1, 2, 3]));
        ring.push(at(4), rows(1), &SIX);
        assert_eq!(versions(&ring, Version::START), None);
        assert_eq!(versions(&ring, at(1)), Some(vec![2, 3, 4]));
        assert_eq!(versions(&ring, at(3)), Some(vec![4]));
        assert_eq!(versions(&ring, at(4)), Some(vec![]));
        // A transaction with more changes than the ring holds is forgotten at once.
        ring.push(at(5), rows(7), &SIX);
        assert_eq!(versions(&ring, at(4)), None);
        assert_eq!(versions(&ring, at(5)), Some(vec![]));
        assert_eq!((ring.changes, ring.bytes), (0, 0));
    }

    #[test]
    fn the_ring_holds_a_limited_number_of_bytes() {
        let limits = Limits { watched_bytes: 4 * 148, ..Limits::DEFAULT };
        let mut ring = Ring::default();
        let long = || Touched { space: SpaceId(1), key: vec![b'k'; 100].into(), is_deleted: false };
        for index in 1..=3 {
            ring.push(Version::new(index, 0), vec![long(), long()], &limits);
        }
        assert_eq!(versions(&ring, Version::START), None);
        assert_eq!(versions(&ring, Version::new(1, 0)), Some(vec![2, 3]));
        assert_eq!((ring.changes, ring.bytes), (4, 4 * 148));
    }
}
