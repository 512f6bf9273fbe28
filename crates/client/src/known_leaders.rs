//! The client's memory of leaders, from one call to the next. All of it is a guess that the next call corrects.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use anabranch_types::{GroupId, NodeId};
use tokio::time::Instant;

/// Least time between two probes of one group, by all calls together.
pub(crate) const PROBE_PAUSE: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(crate) struct KnownLeaders {
    /// The node that led each group when the group was called last.
    leaders: RwLock<HashMap<GroupId, NodeId>>,
    /// When the replicas of a group were last asked whether one of them leads.
    probed: Mutex<HashMap<GroupId, Instant>>,
}

impl KnownLeaders {
    pub(crate) fn get(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.read().unwrap_or_else(PoisonError::into_inner).get(&group).copied()
    }

    pub(crate) fn set(&self, group: GroupId, node: NodeId) {
        // Nearly every call finds the leader that is known already. It takes no exclusive lock.
        if self.get(group) != Some(node) {
            self.leaders.write().unwrap_or_else(PoisonError::into_inner).insert(group, node);
        }
    }

    /// Forgets that `node` led `group`, unless another node is known to lead by now.
    pub(crate) fn forget(&self, group: GroupId, node: NodeId) {
        let mut leaders = self.leaders.write().unwrap_or_else(PoisonError::into_inner);
        if leaders.get(&group) == Some(&node) {
            leaders.remove(&group);
        }
    }

    /// Whether the caller may ask the replicas of `group` now whether one of them leads. Of all the calls that wait
    /// for a response one gets a yes, at most every [`PROBE_PAUSE`].
    pub(crate) fn may_probe(&self, group: GroupId) -> bool {
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = probed.get(&group).is_none_or(|last| last.elapsed() >= PROBE_PAUSE);
        if is_due {
            probed.retain(|_, last| last.elapsed() < PROBE_PAUSE);
            probed.insert(group, Instant::now());
        }
        is_due
    }
}
