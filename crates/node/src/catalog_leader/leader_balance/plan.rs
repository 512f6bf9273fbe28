//! Which node is to lead which group: the nodes share the leaders, and a node that is much slower than the
//! others leads nothing.
//!
//! Pure: what the nodes said goes in, moves come out; no clock, a round is a round. What always holds: a move
//! goes to a node that holds a replica and takes leaders; a group that was moved rests for [`REST`] rounds,
//! whatever came of it; nothing is moved between nodes whose numbers of leaders differ by less than two, so
//! two rounds never move a group to and fro. Who begins to balance watches for [`SLOW_AFTER`] rounds first, or a
//! slow node would be given leaders by each that begins; a rebalance that an operator asks for waits for that too,
//! but ends every rest. While an operator has balancing paused, rounds only watch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anabranch_types::{GroupId, NodeId};

/// Moves of one round.
const MOST_MOVES: usize = 16;
/// Rounds for which a group that was moved is left alone.
const REST: u32 = 10;
/// Rounds in a row that must speak against a node before it is slow.
const SLOW_AFTER: u32 = 5;
/// Rounds in a row that must speak for it before it isn't any more.
const FAST_AFTER: u32 = 30;
/// So many times the others' median is far above them. Half of it isn't.
const FAR: u32 = 8;
/// Writes to the disk that take less are never slow.
const SYNC_FLOOR: Duration = Duration::from_millis(50);
/// Pings that take less are never slow.
const ROUND_TRIP_FLOOR: Duration = Duration::from_millis(100);

/// What a node said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Groups that it leads.
    pub(crate) leads: BTreeSet<GroupId>,
    /// Whether it may lead more: it has been ready for a while, and stays. One that mayn't is left alone.
    pub(crate) takes: bool,
    /// Mean time of a recent write to its disk.
    pub(crate) sync: Option<Duration>,
    /// Mean times of its recent pings to others.
    pub(crate) round_trips: BTreeMap<NodeId, Duration>,
}

/// A group whose leader is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) group: GroupId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

/// What operators want, as the catalog has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Whether leaders stay where they are.
    pub(crate) paused: bool,
    /// The rebalance that is under way, also while paused.
    pub(crate) rebalance: Option<u64>,
}

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    /// Rounds so far.
    rounds: u32,
    /// The rebalance of the last round.
    rebalance: Option<u64>,
    paces: BTreeMap<NodeId, Pace>,
    /// Rounds that are left of a group's rest.
    resting: BTreeMap<GroupId, u32>,
}

/// Whether a node is slow, and for how many rounds in a row the contrary was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    is_slow: bool,
    doubts: u32,
}

/// What one round says of a node's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Slow,
    Fine,
    Unclear,
}

impl Balance {
    /// The moves of a round, from what operators want, where the replicas of each group are, and what the nodes
    /// said that answered.
    pub(crate) fn round(
        &mut self,
        orders: Orders,
        replicas: &BTreeMap<GroupId, Vec<NodeId>>,
        nodes: &BTreeMap<NodeId, Standing>,
    ) -> Vec<Move> {
        self.judge(nodes);
        self.rounds = self.rounds.saturating_add(1);
        self.resting.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        if self.rebalance != orders.rebalance {
            self.rebalance = orders.rebalance;
            self.resting.clear();
        }
        let stays = orders.paused && orders.rebalance.is_none();
        if stays || !self.has_watched() {
            return Vec::new();
        }
        let takes = nodes.iter().filter(|(id, node)| node.takes && !self.is_slow(**id));
        // The catalog is one group, and its leader has little to do: it doesn't count.
        let shards = |node: &Standing| {
            let shards = node.leads.iter().filter(|group| **group != GroupId::CATALOG);
            shards.copied().collect()
        };
        let leads = takes.map(|(id, node)| (*id, shards(node))).collect();
        let moved = self.resting.keys().copied().collect();
        let mut plan = Plan { replicas, leads, moved, moves: Vec::new() };
        for (id, node) in nodes.iter().filter(|(id, node)| node.takes && self.is_slow(**id)) {
            plan.relieve(*id, &node.leads);
        }
        plan.even_out();
        self.resting.extend(plan.moves.iter().map(|one| (one.group, REST)));
        plan.moves
    }

    /// Whether it has seen enough to move leaders; before that, a round without moves says nothing.
    pub(crate) fn has_watched(&self) -> bool {
        self.rounds > SLOW_AFTER
    }

    /// Whether `node` is much slower than the others.
    fn is_slow(&self, node: NodeId) -> bool {
        self.paces.get(&node).is_some_and(|pace| pace.is_slow)
    }

    fn judge(&mut self, nodes: &BTreeMap<NodeId, Standing>) {
        let syncs: BTreeMap<NodeId, Duration> =
            nodes.iter().filter_map(|(id, node)| Some((*id, node.sync?))).collect();
        // The shortest way to a node: a slow link between two doesn't speak against either.
        let mut round_trips: BTreeMap<NodeId, Duration> = BTreeMap::new();
        for (to, took) in nodes.values().flat_map(|node| &node.round_trips) {
            let shortest = round_trips.entry(*to).or_insert(*took);
            *shortest = (*shortest).min(*took);
        }
        for id in nodes.keys() {
            let signs = [sign(*id, &syncs, SYNC_FLOOR), sign(*id, &round_trips, ROUND_TRIP_FLOOR)];
            let sign = match signs {
                [Sign::Slow, _] | [_, Sign::Slow] => Sign::Slow,
                [Sign::Fine, Sign::Fine] => Sign::Fine,
                [Sign::Unclear, _] | [_, Sign::Unclear] => Sign::Unclear,
            };
            self.paces.entry(*id).or_default().see(sign);
        }
    }
}

impl Pace {
    fn see(&mut self, sign: Sign) {
        let (contrary, enough) =
            if self.is_slow { (Sign::Fine, FAST_AFTER) } else { (Sign::Slow, SLOW_AFTER) };
        self.doubts = if sign == contrary { self.doubts + 1 } else { 0 };
        if self.doubts >= enough {
            *self = Self { is_slow: !self.is_slow, doubts: 0 };
        }
    }
}

/// How `node` compares with the others.
fn sign(node: NodeId, times: &BTreeMap<NodeId, Duration>, floor: Duration) -> Sign {
    let Some(own) = times.get(&node).copied() else { return Sign::Unclear };
    let mut others: Vec<_> =
        times.iter().filter(|(id, _)| **id != node).map(|(_, time)| *time).collect();
    others.sort_unstable();
    let Some(median) = others.get(others.len().saturating_sub(1) / 2) else { return Sign::Unclear };
    if own >= floor.max(*median * FAR) {
        Sign::Slow
    } else if own < (floor / 2).max(*median * FAR / 2) {
        Sign::Fine
    } else {
        Sign::Unclear
    }
}

/// The moves of a round as they are found.
struct Plan<'a> {
    replicas: &'a BTreeMap<GroupId, Vec<NodeId>>,
    /// What each node that takes leaders would lead after the moves.
    leads: BTreeMap<NodeId, BTreeSet<GroupId>>,
    /// Groups that stay where they are now.
    moved: BTreeSet<GroupId>,
    moves: Vec<Move>,
}

impl Plan<'_> {
    /// Gives what a node leads to others.
    fn relieve(&mut self, from: NodeId, leads: &BTreeSet<GroupId>) {
        for group in leads {
            if self.moves.len() == MOST_MOVES || self.moved.contains(group) {
                continue;
            }
            let replicas = self.replicas.get(group).into_iter().flatten();
            let heirs = replicas.filter_map(|node| Some((self.leads.get(node)?.len(), *node)));
            if let Some((_, to)) = heirs.min() {
                self.make(Move { group: *group, from, to });
            }
        }
    }

    /// Moves leaders until the nodes' numbers differ by less than two, as far as the replicas allow.
    fn even_out(&mut self) {
        while self.moves.len() < MOST_MOVES {
            let mut fullest: Vec<_> =
                self.leads.iter().map(|(node, leads)| (leads.len(), *node)).collect();
            fullest.sort_unstable_by(|a, b| b.cmp(a));
            let Some(path) = fullest.into_iter().find_map(|(_, node)| self.path(node)) else {
                return;
            };
            path.into_iter().for_each(|hop| self.make(hop));
        }
    }

    /// The shortest way on which `from` gets rid of a leader to a node with two fewer: each hop moves another
    /// group, so that only the ends change their numbers.
    fn path(&self, from: NodeId) -> Option<Vec<Move>> {
        let few = self.leads.get(&from)?.len().checked_sub(2)?;
        let mut came: BTreeMap<NodeId, Move> = BTreeMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            if self.leads[&at].len() <= few {
                let mut hops = Vec::new();
                let mut back = at;
                while let Some(hop) = came.get(&back) {
                    hops.push(*hop);
                    back = hop.from;
                }
                hops.reverse();
                return Some(hops);
            }
            for group in self.leads[&at].difference(&self.moved) {
                for to in self.replicas.get(group).into_iter().flatten() {
                    if self.leads.contains_key(to) && *to != from && !came.contains_key(to) {
                        came.insert(*to, Move { group: *group, from: at, to: *to });
                        next.push_back(*to);
                    }
                }
            }
        }
        None
    }

    fn make(&mut self, one: Move) {
        self.moved.insert(one.group);
        self.moves.push(one);
        if one.group == GroupId::CATALOG {
            return;
        }
        if let Some(leads) = self.leads.get_mut(&one.from) {
            leads.remove(&one.group);
        }
        if let Some(leads) = self.leads.get_mut(&one.to) {
            leads.insert(one.group);
        }
    }
}

#[cfg(test)]
mod tests;
