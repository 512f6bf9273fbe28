//! This node as the jobs see it.

use anabranch_types::{GroupId, NodeId};

/// This node, and the other nodes as it sees them.
pub trait Member: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;

    /// Whether this node's copy of the catalog is as new as the start of this process.
    fn is_current(&self) -> bool;

    /// Whether this node leads the group and hears a majority of it.
    fn leads(&self, group: GroupId) -> bool;

    /// The node that leads the group, if this node knows it.
    fn leader(&self, group: GroupId) -> Option<NodeId>;

    /// Whether nothing was heard of another node for a second.
    fn is_silent(&self, node: NodeId) -> bool;
}
