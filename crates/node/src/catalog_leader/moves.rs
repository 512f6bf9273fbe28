//! Has replicas moved to where they ought to be (ADR-0016): begins moves, gives up moves that can't succeed, and ends
//! moves whose group has its new voters.
//!
//! Which replicas ought to move is decided by [`plan_moves`], from the catalog and the nodes that are
//! lost. The leader of each group does the move itself (`replica`): it adds the new replica as a learner and then
//! changes the voters. This file sees when the group has the voters that were wanted.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_catalog::{
    Catalog, Command, GroupCommand, GroupKind, GroupRef, MoveLimits, plan_moves,
};
use anabranch_types::{GroupId, NodeId, ReplicaId};
use futures::stream::{self, StreamExt};
use tokio::time::Instant;
use tonic::Status;

use crate::catalog_leader::PlacedRebalance;
use crate::catalog_requests::step;
use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;
use crate::status::status_of;

/// How many moves to or from one node are under way at a time. Their bytes are bounded by the lane for catching up.
const LIMITS: MoveLimits = MoveLimits { per_node: 4 };
/// Groups that are asked for their voters at a time.
const ASK_AT_ONCE: usize = 32;

/// Since when each silent node has been silent.
pub(super) type SilentSince = BTreeMap<NodeId, Instant>;

/// One round. Returns whether moves are under way.
pub(super) async fn round(
    node: &Node,
    catalog: &Catalog,
    silent_since: &mut SilentSince,
    placed: &PlacedRebalance,
) -> bool {
    let lost = lost_nodes(node, catalog, silent_since);
    let under_way: Vec<_> = catalog.groups().filter(|group| group.moving.is_some()).collect();
    let mut commands = finished(node, &under_way).await;
    if commands.is_empty() {
        commands = plan_moves(catalog, &lost, LIMITS);
    }
    let busy = !under_way.is_empty() || !commands.is_empty();
    if let Some(rebalance) = catalog.rebalance.filter(|_| !busy) {
        placed.set(rebalance);
    }
    for command in commands {
        tracing::info!(?command, "placement");
        step(node, command).await;
    }
    busy
}

/// Nodes that have been silent for longer than `replace_after`, also nodes that have never registered.
fn lost_nodes(node: &Node, catalog: &Catalog, silent_since: &mut SilentSince) -> BTreeSet<NodeId> {
    let liveness = node.peers().liveness();
    let now = Instant::now();
    let mut others: BTreeSet<_> = catalog.nodes.keys().copied().collect();
    for group in catalog.groups() {
        others.extend(group.holders().map(|replica| replica.node));
    }
    others.remove(&node.id());
    let is_silent = |id: &NodeId| liveness.is_silent(*id) || !liveness.watches(*id);
    let silent: BTreeSet<_> = others.into_iter().filter(is_silent).collect();
    silent_since.retain(|id, _| silent.contains(id));
    let replace_after = node.settings().replace_after;
    let is_lost = |id: &NodeId| now - *silent_since.entry(*id).or_insert(now) >= replace_after;
    silent.into_iter().filter(is_lost).collect()
}

/// The commands that end the moves whose groups have the voters that were wanted.
async fn finished(node: &Node, under_way: &[GroupRef<'_>]) -> Vec<Command> {
    let asked = under_way.iter().map(|group| async move {
        let moving = group.moving?;
        let wanted: BTreeSet<_> = group.voters().iter().map(|replica| replica.id).collect();
        let is_done = voters(node, group).await? == wanted;
        is_done.then_some(Command::Group(GroupCommand::FinishMove {
            group: group.group,
            replica: moving.to.id,
        }))
    });
    let asked: Vec<_> = asked.collect();
    let answers = stream::iter(asked).buffer_unordered(ASK_AT_ONCE);
    answers.filter_map(|command| async move { command }).collect().await
}

/// The voters of a group, if it has a leader and they are not changing.
async fn voters(node: &Node, group: &GroupRef<'_>) -> Option<BTreeSet<ReplicaId>> {
    match group.kind {
        GroupKind::Catalog => return node.catalog_replica()?.settled_voters(),
        GroupKind::Shard(_) | GroupKind::Table(_) => {}
    }
    let nodes: Vec<_> = group.holders().map(|replica| replica.node).collect();
    for holder in nodes {
        if let Ok(Some(voters)) = node.ask(holder, &Voters(group.group)).await {
            return Some(voters);
        }
    }
    None
}

/// Asks the leader of a group for its voters. The response is `None` while they change.
pub(crate) struct Voters(pub(crate) GroupId);

impl NodeRequest for Voters {
    type Response = Option<BTreeSet<ReplicaId>>;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<Option<BTreeSet<ReplicaId>>, Status> {
        node.replicas().settled_voters(self.0).map_err(|error| status_of(&error))
    }

    async fn there(
        &self,
        remotes: &Remotes,
        to: NodeId,
    ) -> Result<Option<BTreeSet<ReplicaId>>, Status> {
        remotes.voters(to, self.0).await
    }
}
