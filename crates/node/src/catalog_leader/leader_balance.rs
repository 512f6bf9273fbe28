//! Spreads the leaders of groups over the nodes (ADR-0015).
//!
//! Order of events, once a second: asks every node for its health, has `plan.rs` decide which leaders move, and asks
//! the nodes that lead them to transfer the leadership. A rebalance that an operator asked for is finished when no
//! replica and no leader has to move any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, GroupCommand, GroupRef, NodeState, StreamStatus};
use anabranch_types::{GroupId, NodeId};
use futures::future::join_all;

use crate::catalog_leader::leader_balance::plan::{Balance, Move, NodeStatus, OperatorSettings};
use crate::catalog_leader::{Duty, PlacedRebalance};
use crate::catalog_requests::step;
use crate::health_reports::all_nodes;
use crate::leader_transfer::{TransferLeaders, accepts_records};
use crate::node::Node;
use crate::node_health::NodeHealth;

mod plan;

/// How often nodes are asked and leaders are moved.
const ROUND: Duration = Duration::from_secs(1);
/// How long a node has to be ready before it is given leaders. By then its pings prove something, and it is not a
/// node that starts again and again.
const SETTLES: Duration = Duration::from_secs(10);

/// The balance during one term as leader of the catalog.
pub(super) struct LeaderBalance {
    balance: Balance,
    placed: Arc<PlacedRebalance>,
}

impl LeaderBalance {
    pub(super) fn new(placed: Arc<PlacedRebalance>) -> Self {
        Self { balance: Balance::default(), placed }
    }
}

impl Duty for LeaderBalance {
    const IDLE: Duration = ROUND;
    const FOLLOWS_CATALOG: bool = false;

    async fn round(&mut self, node: &Node, catalog: &Catalog) -> Duration {
        round(node, catalog, &mut self.balance, &self.placed).await;
        ROUND
    }
}

async fn round(node: &Node, catalog: &Catalog, balance: &mut Balance, placed: &PlacedRebalance) {
    let nodes = all_nodes(node, catalog).await;
    let settles = nodes.values().any(settles);
    let clocks = node.peers().clocks();
    let status = |(id, health)| {
        let suits = accepts_records(node, id) && !clocks.is_far(id);
        (id, status(catalog, id, health, suits))
    };
    let statuses = nodes.into_iter().map(status).collect();
    let settings =
        OperatorSettings { paused: catalog.balancing_paused, rebalance: catalog.rebalance };
    let moves = balance.round(settings, &replicas(catalog), &statuses);
    if let Some(rebalance) = catalog.rebalance
        && moves.is_empty()
        && balance.has_observed_enough()
        && !settles
        && placed.is(rebalance)
    {
        step(node, Command::Group(GroupCommand::FinishRebalance { rebalance })).await;
    }
    let mut by_node: BTreeMap<NodeId, Vec<(GroupId, NodeId)>> = BTreeMap::new();
    for Move { group, from, to } in moves {
        tracing::info!(%group, %from, %to, "leader is to move");
        by_node.entry(from).or_default().push((group, to));
    }
    join_all(by_node.into_iter().map(|(from, transfers)| have_transferred(node, from, transfers)))
        .await;
}

/// Whether the node will accept leaders soon.
fn settles(node: &NodeHealth) -> bool {
    !node.ready.is_zero() && node.ready < SETTLES
}

/// A node as the balance sees it. A node whose replicas are moving away, or whose disk takes no records, accepts no
/// leaders.
fn status(catalog: &Catalog, id: NodeId, health: NodeHealth, accepts_records: bool) -> NodeStatus {
    let NodeHealth { groups: leads, ready, sync, round_trips, .. } = health;
    let stays = catalog.nodes.get(&id).is_some_and(|node| node.state == NodeState::Active);
    NodeStatus {
        leads,
        accepts_leaders: stays && accepts_records && ready >= SETTLES,
        sync,
        round_trips,
    }
}

/// For each group, the nodes of the replicas that can lead it and stay.
fn replicas(catalog: &Catalog) -> BTreeMap<GroupId, Vec<NodeId>> {
    let stays = |status| status != StreamStatus::Deleting;
    let groups =
        catalog.groups().filter(|g| g.shard().is_none_or(|found| stays(found.stream.status)));
    let nodes = |group: &GroupRef<'_>| {
        let leaving = group.moving.and_then(|moving| moving.from);
        let stay = group.replicas.iter().filter(|replica| Some(replica.id) != leaving);
        stay.map(|replica| replica.node).collect()
    };
    groups.map(|group| (group.group, nodes(&group))).collect()
}

async fn have_transferred(node: &Node, from: NodeId, transfers: Vec<(GroupId, NodeId)>) {
    if let Err(status) = node.ask(from, &TransferLeaders(transfers)).await {
        tracing::info!(node = %from, %status, "leaders not moved");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anabranch_catalog::{NodeCommand, Replica, samples};
    use anabranch_storage::ScrubProgress;
    use anabranch_types::ReplicaId;

    use super::*;

    /// Nodes 1 to 4. The first three hold the catalog.
    fn catalog() -> Catalog {
        let replica = |id| Replica { id: ReplicaId(id), node: NodeId(id) };
        let mut catalog = Catalog::bootstrap(&[1, 2, 3].map(replica));
        let register = |node| Command::Node(NodeCommand::Register(samples::registration(node)));
        for (index, node) in (1..).zip(1..=4) {
            catalog.apply(index, register(node));
        }
        catalog
    }

    #[test]
    fn a_node_that_drains_or_has_a_full_disk_accepts_no_leaders() {
        let mut catalog = catalog();
        let ready = || NodeHealth {
            groups: BTreeSet::new(),
            ready: SETTLES,
            sync: None,
            round_trips: BTreeMap::new(),
            stalled: None,
            scrub: ScrubProgress::default(),
        };
        let takes = |catalog: &Catalog| status(catalog, NodeId(1), ready(), true).accepts_leaders;
        assert!(takes(&catalog));
        assert!(
            !status(&catalog, NodeId(1), ready(), false).accepts_leaders,
            "its disk takes no records"
        );
        let drain =
            Command::Node(NodeCommand::SetState { node: NodeId(1), state: NodeState::Draining });
        catalog.apply(5, drain);
        assert!(!takes(&catalog));
    }

    #[test]
    fn a_replica_that_leaves_is_given_no_leadership() {
        let mut catalog = catalog();
        let (group, from) = (GroupId::CATALOG, Some(ReplicaId(1)));
        catalog.apply(5, Command::Group(GroupCommand::MoveReplica { group, from, to: NodeId(4) }));
        assert_eq!(replicas(&catalog)[&group], [2, 3].map(NodeId));
    }
}
