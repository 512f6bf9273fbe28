//! Plans moves of replicas. A pure function of the catalog and the set of lost nodes; the controller proposes the
//! commands (ADR-0016).
//!
//! Reasons for a move, in this order:
//!
//! 1. The replica is on a node that is lost or drains.
//! 2. The group has too few replicas: as many as the stream or the table group wants, and three for the catalog, or
//!    five from five nodes on.
//! 3. Two replicas of the group are in one zone, and a node in another zone is free.
//! 4. One node has at least two replicas more than another. Only this reason can be paused, and it waits until no
//!    group has one of the others and no replica moves.
//!
//! It never happens that a group moves two replicas at once. Plans come to an end: no move is a reason for another
//! move.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::NodeId;

use crate::command::Command;
use crate::groups::{GroupCommand, GroupKind, GroupRef, Replica, ShardRef};
use crate::model::Catalog;
use crate::nodes::{Node, NodeState};

/// Limit on moves that are under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveLimits {
    /// Highest number of moves to or from one node.
    pub per_node: usize,
}

/// Number of usable nodes from which on the catalog has five voters instead of three.
const NODES_FOR_FIVE_VOTERS: usize = 5;

/// The commands that begin and cancel moves now. `lost` are silent nodes whose replicas are to be
/// replaced.
///
/// Empty if no replica can be placed better. While balancing is paused, no move begins only to even out the load.
pub fn plan_moves(catalog: &Catalog, lost: &BTreeSet<NodeId>, limits: MoveLimits) -> Vec<Command> {
    let mut plan = Plan::new(catalog, lost, limits);
    let groups: Vec<_> = catalog.groups().filter(|group| !group.is_new).collect();
    for group in &groups {
        plan.cancel_if_in_vain(group);
    }
    for group in &groups {
        plan.make_safe(group);
    }
    // Evening out waits for all moves that make groups safer: each node has few moves at a time, and a move for
    // evenness could take the place of a more urgent one.
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
    /// Number of replicas on each usable node after all moves. Those of the catalog do not count.
    load: BTreeMap<NodeId, usize>,
    /// Number of moves to or from each node, planned ones included.
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

    /// Whether the replicas of a node must move away: it drains, or it is lost. A voter of the first catalog that has
    /// not registered yet is neither, so its replica stays.
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

    /// Plans a move for one of the first three reasons: off a lost or draining node, one more replica, or into
    /// another zone.
    fn make_safe(&mut self, group: &GroupRef<'_>) {
        if group.moving.is_some() {
            return;
        }
        let wanted = match group.kind {
            GroupKind::Shard(ShardRef { stream, .. }) => stream.replicas as usize,
            GroupKind::Table(table) => table.wanted_replicas as usize,
            GroupKind::Catalog if self.usable.len() >= NODES_FOR_FIVE_VOTERS => 5,
            GroupKind::Catalog => 3,
        };
        let stranded = group.replicas.iter().find(|replica| self.is_left(replica.node));
        if let Some(leaving) = stranded {
            self.begin(group, Some(*leaving), |_| true);
        } else if group.replicas.len() < wanted {
            self.begin(group, None, |_| true);
        } else if let Some(leaving) = self.shares_zone(group) {
            let others = self.zones_without(group, Some(leaving));
            self.begin(group, Some(leaving), |zone| !others.contains(zone));
        }
    }

    /// A replica in the same zone as another replica of the group, on the node with the highest load.
    fn shares_zone(&self, group: &GroupRef<'_>) -> Option<Replica> {
        let shares = |replica: &&Replica| {
            if !self.catalog.nodes.contains_key(&replica.node) {
                return false; // Its zone is not known before it registers.
            }
            let zones = self.zones_without(group, Some(**replica));
            zones.contains(self.zone(replica.node))
        };
        group.replicas.iter().filter(shares).max_by_key(|r| self.load_of(r.node)).copied()
    }

    /// Zones of the group's replicas, without `leaving`.
    fn zones_without(&self, group: &GroupRef<'_>, leaving: Option<Replica>) -> BTreeSet<&'a str> {
        let is_known = |replica: &&Replica| self.catalog.nodes.contains_key(&replica.node);
        let stays = group.replicas.iter().filter(|replica| Some(**replica) != leaving);
        stays.filter(is_known).map(|replica| self.zone(replica.node)).collect()
    }

    /// Plans a move from the group's node with the highest load to the best other node, if their loads differ by at
    /// least two: a smaller difference would only change sides. The move must not bring two replicas into one zone.
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

    /// The best node for a new replica: preferably in a zone of its own, then with the lowest load, then with the
    /// lowest id. `None` if every usable node has a replica of the group or is busy.
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
mod tests;
