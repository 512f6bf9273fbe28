//! Which moves are planned for each reason, and that plans come to an end.

use anabranch_types::{GroupId, ReplicaId};
use proptest::prelude::*;

use super::*;
use crate::model::StreamMode;
use crate::nodes::NodeCommand;
use crate::outcome::{Outcome, Refusal};
use crate::script::Script;
use crate::tables::TableCommand;

const LIMITS: MoveLimits = MoveLimits { per_node: 2 };

#[test]
fn the_replica_of_an_unregistered_voter_stays_until_its_node_is_lost() {
    let mut script = Script::with_nodes(3, &["a", "b"]);
    script.register(4, 4, "d");
    let planned = |lost: &[u64]| {
        let lost = lost.iter().copied().map(NodeId).collect();
        plan_moves(&script.catalog, &lost, LIMITS)
    };
    assert_eq!(planned(&[]), []);
    let mut early = Script::with_nodes(3, &["a"]);
    early.register(4, 4, "b");
    let none = BTreeSet::new();
    assert_eq!(
        plan_moves(&early.catalog, &none, LIMITS),
        [],
        "the zones of two nodes are not known yet"
    );
    let (group, from) = (GroupId::CATALOG, Some(ReplicaId(3)));
    let to = NodeId(4);
    assert_eq!(planned(&[3]), [GroupCommand::MoveReplica { group, from, to }.into()]);
}

/// Nodes 1, 2, … in these zones, and a stream. Nodes 1 to 3 hold the catalog.
fn with_stream(zones: &[&str], shards: u32) -> Script {
    let mut script = Script::with_nodes(3, zones);
    script.create_active("s", shards, StreamMode::Provisioned);
    script
}

impl Script {
    fn join(&mut self, id: u64, zone: &str) {
        assert!(matches!(self.register(id, id, zone), Outcome::Done { .. }));
    }

    /// Carries out plans until there is nothing left to do. Returns the number of commands.
    pub(crate) fn settle(&mut self, lost: &BTreeSet<NodeId>) -> usize {
        let mut moves = 0;
        loop {
            let commands = plan_moves(&self.catalog, lost, LIMITS);
            let under_way: Vec<_> =
                self.catalog.groups().filter_map(|g| Some((g.group, g.moving?.to))).collect();
            if commands.is_empty() && under_way.is_empty() {
                return moves;
            }
            moves += commands.len();
            assert!(moves < 10_000, "plans never end");
            commands.into_iter().for_each(|command| self.done(command));
            let under_way: Vec<_> =
                self.catalog.groups().filter_map(|g| Some((g.group, g.moving?.to.id))).collect();
            for node in self.catalog.nodes.keys() {
                let touches = |g: &GroupRef<'_>| {
                    g.moving.is_some_and(|moving| {
                        let from = g.replicas.iter().find(|r| Some(r.id) == moving.from);
                        moving.to.node == *node || from.is_some_and(|r| r.node == *node)
                    })
                };
                assert!(self.catalog.groups().filter(touches).count() <= LIMITS.per_node);
            }
            for (group, replica) in under_way {
                self.done(GroupCommand::FinishMove { group, replica });
            }
        }
    }

    fn loads(&self) -> Vec<usize> {
        let nodes = self.catalog.nodes.keys();
        nodes.map(|node| self.held(*node)).collect()
    }

    fn held(&self, node: NodeId) -> usize {
        let groups = self.catalog.groups().filter(GroupRef::is_load);
        groups.filter(|group| group.replicas.iter().any(|r| r.node == node)).count()
    }
}

fn none() -> BTreeSet<NodeId> {
    BTreeSet::new()
}

#[test]
fn a_well_placed_cluster_moves_nothing() {
    assert_eq!(with_stream(&["a", "b", "c"], 8).settle(&none()), 0);
    assert_eq!(with_stream(&["", "", "", ""], 8).settle(&none()), 0);
}

#[test]
fn a_new_node_takes_its_share() {
    let mut script = with_stream(&["", "", ""], 8);
    script.join(4, "");
    assert!(script.settle(&none()) > 0);
    assert_eq!(script.loads(), [6, 6, 6, 6]);
}

#[test]
fn while_balancing_is_paused_only_urgent_replicas_move() {
    let mut script = with_stream(&["", "", ""], 8);
    script.done(GroupCommand::SetBalancing { paused: true });
    script.join(4, "");
    assert_eq!(script.settle(&none()), 0);
    assert_eq!(script.loads(), [8, 8, 8, 0]);
    // Replicas still move off lost and draining nodes, and into other zones.
    let mut lost = with_stream(&["", "", "", ""], 6);
    lost.done(GroupCommand::SetBalancing { paused: true });
    lost.settle(&[NodeId(2)].into());
    assert_eq!(lost.held(NodeId(2)), 0);
    let (node, state) = (NodeId(1), NodeState::Draining);
    script.done(NodeCommand::SetState { node, state });
    script.settle(&none());
    assert_eq!(script.loads(), [0, 8, 8, 8]);
    let mut zones = with_stream(&["a", "a", "b"], 4);
    zones.done(GroupCommand::SetBalancing { paused: true });
    zones.join(4, "c");
    zones.settle(&none());
    assert_eq!(zones.held(NodeId(4)), 4);
}

#[test]
fn a_rebalance_evens_out_while_balancing_is_paused() {
    let mut script = with_stream(&["", "", ""], 8);
    script.done(GroupCommand::SetBalancing { paused: true });
    script.join(4, "");
    script.done(GroupCommand::Rebalance);
    script.settle(&none());
    assert_eq!(script.loads(), [6, 6, 6, 6]);
}

#[test]
fn a_draining_node_can_be_removed_once_it_is_empty() {
    let mut script = with_stream(&["", "", "", ""], 8);
    let node = NodeId(1);
    script.done(NodeCommand::SetState { node, state: NodeState::Draining });
    let in_use = script.run(NodeCommand::Remove { node });
    assert!(matches!(in_use, Outcome::Refused(Refusal::NodeInUse { .. })));
    script.settle(&none());
    assert_eq!(script.loads(), [0, 8, 8, 8]);
    assert!(script.catalog.replicas.iter().all(|replica| replica.node != node));
    script.done(NodeCommand::Remove { node });
    let gone = script.run(NodeCommand::Remove { node });
    assert_eq!(gone, Outcome::Refused(Refusal::NodeNotFound { node }));
}

#[test]
fn replicas_move_off_a_lost_node_if_another_node_is_free() {
    let mut script = with_stream(&["", "", "", ""], 6);
    script.settle(&[NodeId(2)].into());
    assert_eq!(script.held(NodeId(2)), 0);
    let mut three = with_stream(&["", "", ""], 6);
    assert_eq!(three.settle(&[NodeId(2)].into()), 0);
    assert_eq!(three.held(NodeId(2)), 6);
}

#[test]
fn replicas_move_into_a_zone_that_comes_back() {
    let mut script = with_stream(&["a", "a", "b"], 4);
    script.join(4, "c");
    script.settle(&none());
    for group in script.catalog.groups() {
        let zones: BTreeSet<_> =
            group.replicas.iter().map(|r| script.catalog.nodes[&r.node].zone.as_str()).collect();
        assert_eq!(zones.len(), 3, "{group:?}");
    }
}

#[test]
fn one_node_grows_to_three() {
    let mut script = with_stream(&[""], 2);
    script.catalog.replicas.truncate(1);
    script.join(2, "");
    script.join(3, "");
    script.settle(&none());
    assert_eq!(script.loads(), [2, 2, 2]);
    assert_eq!(script.catalog.replicas.len(), 3);
    script.join(4, "");
    script.join(5, "");
    script.settle(&none());
    assert_eq!(script.catalog.replicas.len(), 5);
}

#[test]
fn a_move_to_a_lost_node_is_cancelled() {
    let mut script = with_stream(&["", "", "", ""], 1);
    let spare = (1..=4).map(NodeId).find(|node| script.held(*node) == 0).unwrap();
    let shard = script.catalog.groups().find(|group| group.shard().is_some()).unwrap();
    let (group, from) = (shard.group, Some(shard.replicas[0].id));
    script.done(GroupCommand::MoveReplica { group, from, to: spare });
    let again = script.run(GroupCommand::MoveReplica { group, from, to: spare });
    assert_eq!(again, Outcome::Refused(Refusal::CannotMove { group, to: spare }));
    let commands = plan_moves(&script.catalog, &[spare].into(), LIMITS);
    assert!(matches!(commands[..], [Command::Group(GroupCommand::CancelMove { .. })]));
    script.settle(&[spare].into());
    assert_eq!(script.held(spare), 0);
}

#[test]
fn a_move_whose_leaving_replica_got_a_new_id_can_finish() {
    let mut script = with_stream(&["", "", "", ""], 1);
    let spare = (1..=4).map(NodeId).find(|node| script.held(*node) == 0).unwrap();
    let shard = script.catalog.groups().find(|group| group.shard().is_some()).unwrap();
    let (group, leaving) = (shard.group, shard.replicas[0]);
    script.done(GroupCommand::MoveReplica { group, from: Some(leaving.id), to: spare });
    script.done(GroupCommand::ReplaceReplica { group, lost: leaving.id });
    script.register(leaving.node.0, 99, "");
    let to = script.catalog.groups().find_map(|group| group.moving).unwrap().to.id;
    script.done(GroupCommand::FinishMove { group, replica: to });
    assert_eq!(script.held(leaving.node), 0);
    assert_eq!(script.held(spare), 1);
}

#[test]
fn unknown_groups_and_nodes_are_refused() {
    let mut script = with_stream(&["", "", ""], 1);
    let node = NodeId(9);
    let drain = NodeCommand::SetState { node, state: NodeState::Draining };
    assert_eq!(script.run(drain), Outcome::Refused(Refusal::NodeNotFound { node }));
    let (group, from, to) = (GroupId(77), None, NodeId(1));
    let moved = script.run(GroupCommand::MoveReplica { group, from, to });
    assert_eq!(moved, Outcome::Refused(Refusal::CannotMove { group, to }));
}

proptest! {
    /// With any nodes joining, draining and lost: plans come to an end, all replicas are on usable nodes if there are
    /// at least three, and the loads of usable nodes then differ by at most one.
    #[test]
    fn plans_end_with_even_loads(
        nodes in 3u64..8,
        shards in 1u32..20,
        tables in 0u32..4,
        drained in proptest::collection::btree_set(1u64..8, 0..2),
        lost in proptest::collection::btree_set(1u64..8, 0..2),
    ) {
        let mut script = with_stream(&["", "", ""], shards);
        script.done(TableCommand::CreateGroups { replicas: 3, at_least: tables });
        for group in script.catalog.table_groups.keys().copied().collect::<Vec<_>>() {
            script.done(TableCommand::Activate { group });
        }
        (4..=nodes).for_each(|id| script.join(id, ""));
        for node in drained.iter().filter(|id| **id <= nodes) {
            let (node, state) = (NodeId(*node), NodeState::Draining);
            script.done(NodeCommand::SetState { node, state });
        }
        let lost: BTreeSet<_> = lost.into_iter().map(NodeId).collect();
        script.settle(&lost);
        let usable: Vec<_> = (1..=nodes)
            .filter(|id| !drained.contains(id) && !lost.contains(&NodeId(*id)))
            .map(|id| script.held(NodeId(id)))
            .collect();
        if usable.len() >= 3 {
            let (least, most) = (usable.iter().min().unwrap(), usable.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{usable:?}");
            prop_assert_eq!(usable.iter().sum::<usize>(), 3 * (shards + tables) as usize);
        }
    }
}
