//! Which replicas ought to be elsewhere: those on nodes that are lost or being emptied, those that are
//! missing, two in one zone while another zone has none, and more on one node than on another.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::NodeId;

use crate::command::Command;
use crate::groups::{GroupCommand, GroupKind, GroupRef, Replica, ShardRef};
use crate::model::Catalog;
use crate::nodes::{Node, NodeState};

/// How much may move at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveLimits {
    /// Moves to or from one node.
    pub per_node: usize,
}

/// Nodes from which on the catalog has five voters and not three.
const NODES_FOR_FIVE_VOTERS: usize = 5;

/// The moves to begin, and to give up, now. `lost` are nodes that are away for good.
///
/// Each group moves one replica at a time. What can't be placed better stays. While balancing is paused, nothing
/// begins to move only because one node holds more than another.
pub fn repairs(catalog: &Catalog, lost: &BTreeSet<NodeId>, limits: MoveLimits) -> Vec<Command> {
    let mut plan = Plan::new(catalog, lost, limits);
    let groups: Vec<_> = catalog.groups().filter(|group| !group.is_new).collect();
    for group in &groups {
        plan.cancel_if_in_vain(group);
    }
    for group in &groups {
        plan.mend(group);
    }
    // Balance waits until everything is where it is safe.
    let is_safe = plan.commands.is_empty() && groups.iter().all(|group| group.moving.is_none());
    if is_safe && catalog.balances() {
        groups.iter().for_each(|group| plan.even_out(group));
    }
    plan.commands
}

struct Plan<'a> {
    catalog: &'a Catalog,
    usable: BTreeSet<NodeId>,
    lost: &'a BTreeSet<NodeId>,
    limits: MoveLimits,
    /// Replicas of shards on each usable node, as it will be after the moves.
    load: BTreeMap<NodeId, usize>,
    /// Moves to or from each node.
    busy: BTreeMap<NodeId, usize>,
    commands: Vec<Command>,
}

impl<'a> Plan<'a> {
    fn new(catalog: &'a Catalog, lost: &'a BTreeSet<NodeId>, limits: MoveLimits) -> Self {
        let is_usable = |id: &NodeId| {
            let active = catalog.nodes.get(id).is_some_and(|node| node.state == NodeState::Active);
            active && !lost.contains(id)
        };
        let usable: BTreeSet<_> = catalog.nodes.keys().copied().filter(is_usable).collect();
        let mut plan = Self {
            catalog,
            load: usable.iter().map(|node| (*node, 0)).collect(),
            usable,
            lost,
            limits,
            busy: BTreeMap::new(),
            commands: Vec::new(),
        };
        for group in catalog.groups() {
            if group.is_load() {
                for replica in group.voters() {
                    plan.load.entry(replica.node).and_modify(|load| *load += 1);
                }
            }
            if let Some(moving) = group.moving {
                let from = moving.from.and_then(|id| group.replicas.iter().find(|r| r.id == id));
                plan.occupy(from.map(|replica| replica.node), moving.to.node);
            }
        }
        plan
    }

    fn occupy(&mut self, from: Option<NodeId>, to: NodeId) {
        for node in from.into_iter().chain([to]) {
            *self.busy.entry(node).or_default() += 1;
        }
    }

    fn is_free(&self, node: NodeId) -> bool {
        self.busy.get(&node).is_none_or(|moves| *moves < self.limits.per_node)
    }

    fn zone(&self, node: NodeId) -> &'a str {
        self.catalog.nodes.get(&node).map_or("", |node| node.zone.as_str())
    }

    fn load_of(&self, node: NodeId) -> usize {
        self.load.get(&node).copied().unwrap_or_default()
    }

    /// Whether a node is drained or lost. One of the first nodes that has yet to register is neither.
    fn is_left(&self, node: NodeId) -> bool {
        let drains = |node: &Node| node.state == NodeState::Draining;
        self.lost.contains(&node) || self.catalog.nodes.get(&node).is_some_and(drains)
    }

    fn cancel_if_in_vain(&mut self, group: &GroupRef<'_>) {
        if let Some(moving) = group.moving
            && !self.usable.contains(&moving.to.node)
        {
            let (group, replica) = (group.group, moving.to.id);
            self.commands.push(Command::Group(GroupCommand::CancelMove { group, replica }));
        }
    }

    /// Moves a replica off a node that can't be used, adds one that is missing, or parts two that share
    /// a zone.
    fn mend(&mut self, group: &GroupRef<'_>) {
        if group.moving.is_some() {
            return;
        }
        let wanted = match group.kind {
            GroupKind::Shard(ShardRef { stream, .. }) => stream.replicas as usize,
            GroupKind::Catalog if self.usable.len() >= NODES_FOR_FIVE_VOTERS => 5,
            GroupKind::Catalog => 3,
        };
        let stranded = group.replicas.iter().find(|replica| self.is_left(replica.node));
        if let Some(leaving) = stranded {
            self.begin(group, Some(*leaving), |_| true);
        } else if group.replicas.len() < wanted {
            self.begin(group, None, |_| true);
        } else if let Some(crowded) = self.crowded(group) {
            let others = self.zones_without(group, Some(crowded));
            self.begin(group, Some(crowded), |zone| !others.contains(zone));
        }
    }

    /// A replica whose zone another one is in, on the fullest node.
    fn crowded(&self, group: &GroupRef<'_>) -> Option<Replica> {
        let shares = |replica: &&Replica| {
            if !self.catalog.nodes.contains_key(&replica.node) {
                return false; // nobody knows yet where it is
            }
            let zones = self.zones_without(group, Some(**replica));
            zones.contains(self.zone(replica.node))
        };
        group.replicas.iter().filter(shares).max_by_key(|r| self.load_of(r.node)).copied()
    }

    fn zones_without(&self, group: &GroupRef<'_>, leaving: Option<Replica>) -> BTreeSet<&'a str> {
        let is_known = |replica: &&Replica| self.catalog.nodes.contains_key(&replica.node);
        let stays = group.replicas.iter().filter(|replica| Some(**replica) != leaving);
        stays.filter(is_known).map(|replica| self.zone(replica.node)).collect()
    }

    /// Moves a replica of a shard from the fullest node that holds one to the emptiest, if that evens out.
    fn even_out(&mut self, group: &GroupRef<'_>) {
        if !group.is_load() {
            return;
        }
        let Some(leaving) = group.replicas.iter().max_by_key(|r| self.load_of(r.node)) else {
            return;
        };
        let (full, own_zone) = (self.load_of(leaving.node), self.zone(leaving.node));
        let Some(to) = self.best(group, Some(*leaving)) else { return };
        let zones = self.zones_without(group, Some(*leaving));
        let keeps_apart = self.zone(to) == own_zone || !zones.contains(self.zone(to));
        if keeps_apart && full >= self.load_of(to) + 2 && self.is_free(leaving.node) {
            self.command(group, Some(*leaving), to);
        }
    }

    fn begin(
        &mut self,
        group: &GroupRef<'_>,
        leaving: Option<Replica>,
        suits: impl Fn(&str) -> bool,
    ) {
        let source_is_free = leaving.is_none_or(|replica| self.is_free(replica.node));
        if let Some(to) = self.best(group, leaving).filter(|to| suits(self.zone(*to)))
            && source_is_free
        {
            self.command(group, leaving, to);
        }
    }

    /// The node for a new replica: another zone first, then the emptiest, then the lowest id.
    fn best(&self, group: &GroupRef<'_>, leaving: Option<Replica>) -> Option<NodeId> {
        let zones = self.zones_without(group, leaving);
        let holds = |node: &NodeId| group.holders().any(|replica| replica.node == *node);
        let free = self.usable.iter().filter(|node| !holds(node) && self.is_free(**node));
        let rank = |node: &NodeId| (zones.contains(self.zone(*node)), self.load_of(*node), *node);
        free.copied().min_by_key(rank)
    }

    fn command(&mut self, group: &GroupRef<'_>, leaving: Option<Replica>, to: NodeId) {
        let from = leaving.map(|replica| replica.id);
        self.occupy(leaving.map(|replica| replica.node), to);
        if group.is_load() {
            *self.load.entry(to).or_default() += 1;
            if let Some(load) = leaving.and_then(|replica| self.load.get_mut(&replica.node)) {
                *load = load.saturating_sub(1);
            }
        }
        self.commands.push(Command::Group(GroupCommand::MoveReplica {
            group: group.group,
            from,
            to,
        }));
    }
}

#[cfg(test)]
mod tests {
    use anabranch_types::{GroupId, ReplicaId};
    use proptest::prelude::*;

    use super::*;
    use crate::model::StreamMode;
    use crate::nodes::NodeCommand;
    use crate::outcome::{Outcome, Refusal};
    use crate::script::Script;

    const LIMITS: MoveLimits = MoveLimits { per_node: 2 };

    #[test]
    fn a_voter_that_has_yet_to_register_keeps_its_place_until_it_is_lost() {
        let mut script = Script::with_nodes(3, &["a", "b"]);
        script.register(4, 4, "d");
        let repairs = |lost: &[u64]| {
            let lost = lost.iter().copied().map(NodeId).collect();
            super::repairs(&script.catalog, &lost, LIMITS)
        };
        assert_eq!(repairs(&[]), []);
        let mut early = Script::with_nodes(3, &["a"]);
        early.register(4, 4, "b");
        let none = BTreeSet::new();
        assert_eq!(super::repairs(&early.catalog, &none, LIMITS), [], "two zones aren't known yet");
        let (group, from) = (GroupId::CATALOG, Some(ReplicaId(3)));
        let to = NodeId(4);
        assert_eq!(repairs(&[3]), [GroupCommand::MoveReplica { group, from, to }.into()]);
    }

    /// Nodes 1 on in these zones, the first three of them voters of the catalog, and a stream.
    fn with_stream(zones: &[&str], shards: u32) -> Script {
        let mut script = Script::with_nodes(3, zones);
        script.create_active("s", shards, StreamMode::Provisioned);
        script
    }

    impl Script {
        fn join(&mut self, id: u64, zone: &str) {
            assert!(matches!(self.register(id, id, zone), Outcome::Done { .. }));
        }

        /// Repairs until there is nothing left to do; says how many moves that took.
        fn settle(&mut self, lost: &BTreeSet<NodeId>) -> usize {
            let mut moves = 0;
            loop {
                let commands = repairs(&self.catalog, lost, LIMITS);
                let under_way: Vec<_> =
                    self.catalog.groups().filter_map(|g| Some((g.group, g.moving?.to))).collect();
                if commands.is_empty() && under_way.is_empty() {
                    return moves;
                }
                moves += commands.len();
                assert!(moves < 10_000, "repairs never end");
                commands.into_iter().for_each(|command| self.done(command));
                let under_way: Vec<_> = self
                    .catalog
                    .groups()
                    .filter_map(|g| Some((g.group, g.moving?.to.id)))
                    .collect();
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
            let shards = self.catalog.groups().filter(|group| group.shard().is_some());
            shards.filter(|group| group.replicas.iter().any(|r| r.node == node)).count()
        }
    }

    fn none() -> BTreeSet<NodeId> {
        BTreeSet::new()
    }

    #[test]
    fn a_cluster_as_it_should_be_stays_as_it_is() {
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
    fn while_balancing_is_paused_a_new_node_gets_nothing_but_what_must_move() {
        let mut script = with_stream(&["", "", ""], 8);
        script.done(GroupCommand::SetBalancing { paused: true });
        script.join(4, "");
        assert_eq!(script.settle(&none()), 0);
        assert_eq!(script.loads(), [8, 8, 8, 0]);
        // Lost nodes are replaced, drained ones emptied, zones kept apart, as ever.
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
    fn a_drained_node_is_emptied_and_only_then_removed() {
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
    fn a_lost_node_is_replaced_where_there_is_another() {
        let mut script = with_stream(&["", "", "", ""], 6);
        script.settle(&[NodeId(2)].into());
        assert_eq!(script.held(NodeId(2)), 0);
        let mut three = with_stream(&["", "", ""], 6);
        assert_eq!(three.settle(&[NodeId(2)].into()), 0);
        assert_eq!(three.held(NodeId(2)), 6);
    }

    #[test]
    fn a_zone_that_comes_back_is_used_again() {
        let mut script = with_stream(&["a", "a", "b"], 4);
        script.join(4, "c");
        script.settle(&none());
        for group in script.catalog.groups() {
            let zones: BTreeSet<_> = group
                .replicas
                .iter()
                .map(|r| script.catalog.nodes[&r.node].zone.as_str())
                .collect();
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
    fn a_move_to_a_node_that_is_lost_is_given_up() {
        let mut script = with_stream(&["", "", "", ""], 1);
        let spare = (1..=4).map(NodeId).find(|node| script.held(*node) == 0).unwrap();
        let shard = script.catalog.groups().find(|group| group.shard().is_some()).unwrap();
        let (group, from) = (shard.group, Some(shard.replicas[0].id));
        script.done(GroupCommand::MoveReplica { group, from, to: spare });
        let again = script.run(GroupCommand::MoveReplica { group, from, to: spare });
        assert_eq!(again, Outcome::Refused(Refusal::CannotMove { group, to: spare }));
        let commands = repairs(&script.catalog, &[spare].into(), LIMITS);
        assert!(matches!(commands[..], [Command::Group(GroupCommand::CancelMove { .. })]));
        script.settle(&[spare].into());
        assert_eq!(script.held(spare), 0);
    }

    #[test]
    fn a_wiped_disk_in_the_middle_of_a_move_gets_new_ids() {
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
        /// Whatever comes and goes: repairs end, replicas are on usable nodes where there are enough, and
        /// even within one where zones don't stand against it.
        #[test]
        fn repairs_end_and_even_out(
            nodes in 3u64..8,
            shards in 1u32..20,
            drained in proptest::collection::btree_set(1u64..8, 0..2),
            lost in proptest::collection::btree_set(1u64..8, 0..2),
        ) {
            let mut script = with_stream(&["", "", ""], shards);
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
                prop_assert_eq!(usable.iter().sum::<usize>(), 3 * shards as usize);
            }
        }
    }
}
