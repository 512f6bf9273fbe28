//! Transfers of leadership on this node: those that another node asks for, and those of everything before the node stops
//! (ADR-0015).

use std::time::Duration;

use anabranch_replica::HandOver;
use anabranch_types::{GroupId, NodeId};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::node::Node;
use crate::node_health::other_nodes;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;

/// Groups that a node moves side by side while it serves: each takes no append for some milliseconds.
const MOVE_AT_ONCE: usize = 4;
/// Groups that a node hands over side by side before it stops.
const LEAVE_AT_ONCE: usize = 32;
/// Until a node that stops looks again for who could take what is left.
const LEAVE_AGAIN: Duration = Duration::from_millis(50);

/// Whether the disk of `id`, which may be this node, takes records, as far as is known here.
pub(crate) fn has_room(node: &Node, id: NodeId) -> bool {
    if id == node.id() {
        node.store().disk().takes_records()
    } else {
        !node.peers().liveness().refuses_records(id)
    }
}

/// Has a node hand groups that it leads over, each to the node beside it. The response names the groups that the node leads
/// no more.
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

/// Hands groups that this node leads over to the nodes beside them, but to none whose disk takes no records: it would
/// only hand over again. Says which it leads no more.
async fn transfer(node: &Node, transfers: &[(GroupId, NodeId)]) -> Vec<GroupId> {
    let mut handing_over = Vec::with_capacity(transfers.len());
    for (group, to) in transfers.iter().copied() {
        let replicas = node.replicas();
        let suits = move |heir| heir == to && has_room(node, to);
        let came = async move { (group, replicas.hand_over(group, suits).await) };
        handing_over.push(came.boxed());
    }
    let came = stream::iter(handing_over).buffer_unordered(MOVE_AT_ONCE);
    let done =
        came.filter_map(|(group, came)| async move { (came == HandOver::Done).then_some(group) });
    done.collect().await
}

/// Hands over what this node leads, before it stops: to nodes that are ready and stay. It isn't ready itself
/// from now on, and serves until this returns, at the latest after the limit in the settings.
pub(crate) async fn leave(node: &Node) {
    node.readiness().leave();
    node.replicas().leave();
    let limit = node.settings().replicas.hand_over_limit;
    if limit.is_zero() {
        return;
    }
    if timeout(limit, hand_over_all(node)).await.is_err() {
        let groups = node.replicas().leading().len();
        tracing::warn!(groups, "not all leaders were handed over in time");
    }
}

async fn hand_over_all(node: &Node) {
    loop {
        let catalog = node.catalog_view().newest();
        let others = other_nodes(node, &catalog).await;
        let stays = |heir: NodeId| others.get(&heir).is_some_and(|heir| !heir.ready.is_zero());
        let mut handing_over = Vec::new();
        for group in node.replicas().leading() {
            handing_over.push(node.replicas().hand_over(group, stays).boxed());
        }
        let came: Vec<_> =
            stream::iter(handing_over).buffer_unordered(LEAVE_AT_ONCE).collect().await;
        if !came.contains(&HandOver::NotYet) {
            return;
        }
        sleep(LEAVE_AGAIN).await;
    }
}
