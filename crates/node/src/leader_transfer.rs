//! Leadership transfers on this node (ADR-0015): transfers that another node asks for, and transfers of all groups
//! before the node stops.
//!
//! A transfer goes only to a node that accepts records, or the new leader would have to transfer the group again.

use std::time::Duration;

use anabranch_replica::LeadershipTransfer;
use anabranch_types::{GroupId, NodeId};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::health_reports::other_nodes;
use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;

/// Transfers at a time while the node serves. During a transfer the group takes no appends for some milliseconds.
const TRANSFERS_AT_ONCE: usize = 4;
/// Transfers at a time before the node stops.
const LEAVE_AT_ONCE: usize = 32;
/// How long a node that stops waits before it looks again for nodes that can take what is left.
const LEAVE_AGAIN: Duration = Duration::from_millis(50);

/// Whether the disk of `id`, which may be this node, takes records. This node knows that from the last pong.
pub(crate) fn accepts_records(node: &Node, id: NodeId) -> bool {
    if id == node.id() {
        node.store().disk().takes_records()
    } else {
        !node.peers().liveness().refuses_records(id)
    }
}

/// Has a node transfer groups that it leads, each to the node beside it. The response names the groups that the node
/// no longer leads.
pub(crate) struct TransferLeaders(pub(crate) Vec<(GroupId, NodeId)>);

impl NodeRequest for TransferLeaders {
    type Response = Vec<GroupId>;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<Vec<GroupId>, Status> {
        Ok(transfer(node, &self.0).await)
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<Vec<GroupId>, Status> {
        remotes.transfer_leaders(to, &self.0).await
    }
}

/// Transfers groups that this node leads to the nodes beside them. Returns the groups that this node no longer leads.
async fn transfer(node: &Node, transfers: &[(GroupId, NodeId)]) -> Vec<GroupId> {
    let mut transfers_under_way = Vec::with_capacity(transfers.len());
    for (group, to) in transfers.iter().copied() {
        let replicas = node.replicas();
        let suits = move |target| target == to && accepts_records(node, to);
        let result = async move { (group, replicas.transfer_leadership(group, suits).await) };
        transfers_under_way.push(result.boxed());
    }
    let results = stream::iter(transfers_under_way).buffer_unordered(TRANSFERS_AT_ONCE);
    let done = results.filter_map(|(group, result)| async move {
        (result == LeadershipTransfer::Done).then_some(group)
    });
    done.collect().await
}

impl Node {
    /// Transfers what the node leads to other nodes, before [`Self::stop`]. From now on the node is not ready, but it
    /// serves as before. Returns once it leads nothing that another node could lead, at the latest after the limit in
    /// the settings.
    pub async fn leave(&self) {
        self.readiness().leave();
        self.replicas().leave();
        let limit = self.settings().replicas.hand_over_limit;
        if limit.is_zero() {
            return;
        }
        if timeout(limit, transfer_all(self)).await.is_err() {
            let groups = self.replicas().leading().len();
            tracing::warn!(groups, "not all leaders were handed over in time");
        }
    }
}

async fn transfer_all(node: &Node) {
    loop {
        let catalog = node.catalog_view().newest();
        let others = other_nodes(node, &catalog).await;
        let stays =
            |target: NodeId| others.get(&target).is_some_and(|target| !target.ready.is_zero());
        let mut transfers_under_way = Vec::new();
        for group in node.replicas().leading() {
            transfers_under_way.push(node.replicas().transfer_leadership(group, stays).boxed());
        }
        let results: Vec<_> =
            stream::iter(transfers_under_way).buffer_unordered(LEAVE_AT_ONCE).collect().await;
        if !results.contains(&LeadershipTransfer::NotYet) {
            return;
        }
        sleep(LEAVE_AGAIN).await;
    }
}
