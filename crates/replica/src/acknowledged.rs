//! Which entries other replicas acknowledged to the leaders on this node, and which replicas lost such entries
//! again.
//!
//! A replica acknowledges an entry once its disk has the entry. Within one term only the leader of that term changes
//! the replica's log. Suppose a replica says "I don't have entry 7" to a leader to which it said "I have entry 7" in
//! the same term. Then the replica has lost what it had promised: its disk went back in time. openraft's leader
//! would still count on those entries (ADR-0003), so openraft never gets that response.
//!
//! Only requests that were sent after the acknowledgement had arrived count. The response to an earlier request may
//! be late.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_types::{GroupId, ReplicaId};

/// The highest entry that one replica acknowledged, and the term of the leader that got the acknowledgement.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(Mutex<Option<Last>>);

#[derive(Clone, Copy, Debug)]
struct Last {
    term: u64,
    index: u64,
}

impl Acknowledged {
    /// Notes that the replica told the leader of `term` that it has every entry up to `index`.
    pub(crate) fn note(&self, term: u64, index: u64) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some(known) if known.term == term => known.index = known.index.max(index),
            Some(known) if known.term > term => {}
            other => *other = Some(Last { term, index }),
        }
    }

    /// Whether the replica has told the leader of `term` that it has the entry at `index`.
    pub(crate) fn covers(&self, term: u64, index: u64) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.term == term && index <= last.index)
    }
}

/// Replicas that lost entries which they had acknowledged. Leaders send them nothing any more. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reverted(Arc<Mutex<BTreeSet<(GroupId, ReplicaId)>>>);

impl Reverted {
    /// Adds a replica. Logs an error the first time.
    pub(crate) fn note(&self, group: GroupId, replica: ReplicaId, index: u64) {
        let is_new = self.held().insert((group, replica));
        if is_new {
            tracing::error!(
                %group,
                %replica,
                index,
                "the replica lost an entry that it had acknowledged: its disk went back in time. It is to be replaced"
            );
        }
    }

    pub(crate) fn contains(&self, group: GroupId, replica: ReplicaId) -> bool {
        self.held().contains(&(group, replica))
    }

    pub(crate) fn all(&self) -> Vec<(GroupId, ReplicaId)> {
        self.held().iter().copied().collect()
    }

    pub(crate) fn forget(&self, group: GroupId, replica: ReplicaId) {
        self.held().remove(&(group, replica));
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<(GroupId, ReplicaId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_counts_only_in_its_own_term() {
        let acknowledged = Acknowledged::default();
        assert!(!acknowledged.covers(1, 0));
        acknowledged.note(3, 10);
        acknowledged.note(3, 8);
        assert!(acknowledged.covers(3, 10) && acknowledged.covers(3, 0));
        assert!(!acknowledged.covers(3, 11), "not acknowledged");
        assert!(!acknowledged.covers(4, 10), "another leader may have cut it off meanwhile");
        acknowledged.note(5, 2);
        assert!(acknowledged.covers(5, 2) && !acknowledged.covers(5, 3));
        acknowledged.note(3, 50);
        assert!(
            !acknowledged.covers(3, 50) && acknowledged.covers(5, 2),
            "a late response to an old leader"
        );
    }
}
