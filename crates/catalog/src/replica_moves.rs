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
pub fn plan_moves(catalog: &Catalog, lost: &BTreeSet<NodeId>, limits: MoveLimits) -> Vec<Command> {
    let mut plan = Plan::new(catalog, lost, limits);
    let groups: Vec<_> = catalog.groups().filter(|group| !group.is_new).collect();
    for group in &groups {
        plan.cancel_if_in_vain(group);
    }
    for group in &groups {
        plan.make_safe(group);
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
    fn make_safe(&mut self, group: &GroupRef<'_>) {
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
        } else if let Some(leaving) = self.shares_zone(group) {
            let others = self.zones_without(group, Some(leaving));
            self.begin(group, Some(leaving), |zone| !others.contains(zone));
        }
    }

    /// A replica whose zone another one is in, on the fullest node.
    fn shares_zone(&self, group: &GroupRef<'_>) -> Option<Replica> {
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
mod tests;
