//! This process's node as the jobs see it.

use anabranch_jobs::Member;
use anabranch_node::Node;
use anabranch_types::{GroupId, NodeId};

/// A [`Node`] for the jobs in the same process.
pub(crate) struct JobMember(pub(crate) Node);

impl Member for JobMember {
    fn node(&self) -> NodeId {
        self.0.id()
    }

    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    fn leads(&self, group: GroupId) -> bool {
        self.0.report(group).is_some_and(|report| report.leads && !report.is_transferring)
    }

    fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.0.shard(group)?.status().leader
    }

    fn is_silent(&self, node: NodeId) -> bool {
        self.0.is_silent(node)
    }
}
