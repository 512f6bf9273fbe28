//! What replicas acknowledged to the leaders on this node, and which of them lost it again.
//!
//! A replica acknowledges an entry once its disk has it, and within one term nobody but that term's leader changes its
//! log. So a replica that says "I don't have entry 7" to a leader to whom it had said in the same term "I have entry 7"
//! has lost what it had promised: its disk went back in time. openraft's leader would count on those entries all the
//! same (ADR-0003), so it never hears of that answer.
//!
//! Only requests that were sent after the acknowledgement had come count: an answer to an earlier one may come late.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_types::{GroupId, ReplicaId};

/// The highest entry that one replica acknowledged, and the term of the leader that it did so to.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(Mutex<Option<Last>>);

#[derive(Clone, Copy, Debug)]
struct Last {
    term: u64,
    index: u64,
}

impl Acknowledged {
    /// The replica has every entry up to `index`, as it told the leader of `term`.
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

/// Replicas that lost what they had acknowledged. Nothing is sent to them any more. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reverted(Arc<Mutex<BTreeSet<(GroupId, ReplicaId)>>>);

impl Reverted {
    /// Says so in the log, the first time.
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
    fn what_was_acknowledged_counts_in_its_term_only() {
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
            "an old leader's is late"
        );
    }
}
