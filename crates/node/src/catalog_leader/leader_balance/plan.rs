//! Decides which leaders move: the nodes share the leaders evenly, and a node that is much slower than the others
//! leads nothing.
//!
//! Pure: the health of the nodes goes in, moves come out. There is no clock; time is counted in rounds.
//!
//! Invariants:
//! - A move goes to a node that holds a replica of the group and accepts leaders.
//! - A group that was moved rests for [`REST`] rounds, whether the move succeeded or not.
//! - Nothing moves between nodes whose numbers of leaders differ by less than two, so a leader never moves to and
//!   fro.
//! - A new [`Balance`] only observes for [`SLOW_AFTER`] rounds. Otherwise each new leader of the catalog would give
//!   leaders to a slow node. A rebalance that an operator asks for also waits for that, but it ends every rest.
//! - While an operator has balancing paused, rounds only observe.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anabranch_types::{GroupId, NodeId};

/// Most moves of one round.
const MOST_MOVES: usize = 16;
/// Rounds for which a group that was moved is left alone.
const REST: u32 = 10;
/// Rounds in a row in which a node must be slow before it counts as slow.
const SLOW_AFTER: u32 = 5;
/// Rounds in a row in which a slow node must be fine before it no longer counts as slow.
const FAST_AFTER: u32 = 30;
/// A time is slow from this many times the median of the other nodes on. It is fine below half of that.
const FAR: u32 = 8;
/// A write to the disk that takes less time is never slow.
const SYNC_FLOOR: Duration = Duration::from_millis(50);
/// A ping that takes less time is never slow.
const ROUND_TRIP_FLOOR: Duration = Duration::from_millis(100);

/// A node that has reported its health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeStatus {
    /// Groups that the node leads.
    pub(crate) leads: BTreeSet<GroupId>,
    /// Whether the node may be given leaders: it has been ready for a while, and it stays. Nothing is moved away from
    /// a node that accepts none.
    pub(crate) accepts_leaders: bool,
    /// Mean time of the node's recent writes to its disk; `None` if there were none.
    pub(crate) sync: Option<Duration>,
    /// Mean times of the node's recent pings to others.
    pub(crate) round_trips: BTreeMap<NodeId, Duration>,
}

/// A group whose leader is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) group: GroupId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

/// Settings of operators, by the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OperatorSettings {
    /// Whether balancing is paused.
    pub(crate) paused: bool,
    /// Number of the rebalance that is under way. It goes on while balancing is paused.
    pub(crate) rebalance: Option<u64>,
}

/// The memory of the balance, from round to round.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    /// Rounds until now.
    rounds: u32,
    /// Number of the rebalance that was under way in the last round.
    rebalance: Option<u64>,
    detectors: BTreeMap<NodeId, SlowDetector>,
    /// How many more rounds each group that was moved rests.
    resting: BTreeMap<GroupId, u32>,
}

/// Whether a node counts as slow. It changes only after several samples in a row to the contrary.
#[derive(Clone, Copy, Debug, Default)]
struct SlowDetector {
    is_slow: bool,
    /// Samples in a row that contradict `is_slow`.
    contrary_samples: u32,
}

/// The speed of a node in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    Slow,
    Fine,
    Unclear,
}

impl Balance {
    /// The moves of one round: from what operators have set, where the replicas of each group are, and the nodes that
    /// answered.
    pub(crate) fn round(
        &mut self,
        settings: OperatorSettings,
        replicas: &BTreeMap<GroupId, Vec<NodeId>>,
        nodes: &BTreeMap<NodeId, NodeStatus>,
    ) -> Vec<Move> {
        self.observe(nodes);
        self.rounds = self.rounds.saturating_add(1);
        self.resting.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        if self.rebalance != settings.rebalance {
            self.rebalance = settings.rebalance;
            self.resting.clear();
        }
        let stays = settings.paused && settings.rebalance.is_none();
        if stays || !self.has_observed_enough() {
            return Vec::new();
        }
        let targets = nodes.iter().filter(|(id, node)| node.accepts_leaders && !self.is_slow(**id));
        // The catalog is one group, and its leader has little to do. So it does not count as a load.
        let shards = |node: &NodeStatus| {
            let shards = node.leads.iter().filter(|group| **group != GroupId::CATALOG);
            shards.copied().collect()
        };
        let leads = targets.map(|(id, node)| (*id, shards(node))).collect();
        let moved = self.resting.keys().copied().collect();
        let mut plan = Plan { replicas, leads, moved, moves: Vec::new() };
        for (id, node) in
            nodes.iter().filter(|(id, node)| node.accepts_leaders && self.is_slow(**id))
        {
            plan.take_leaders_from(*id, &node.leads);
        }
        plan.spread();
        self.resting.extend(plan.moves.iter().map(|one| (one.group, REST)));
        plan.moves
    }

    /// Whether enough was observed to move leaders. Before that, a round without moves does not mean that the leaders
    /// are balanced.
    pub(crate) fn has_observed_enough(&self) -> bool {
        self.rounds > SLOW_AFTER
    }

    /// Whether `node` counts as slow.
    fn is_slow(&self, node: NodeId) -> bool {
        self.detectors.get(&node).is_some_and(|detector| detector.is_slow)
    }

    fn observe(&mut self, nodes: &BTreeMap<NodeId, NodeStatus>) {
        let syncs: BTreeMap<NodeId, Duration> =
            nodes.iter().filter_map(|(id, node)| Some((*id, node.sync?))).collect();
        // The shortest time of all pings to a node counts, so that one slow link speaks against neither of its ends.
        let mut round_trips: BTreeMap<NodeId, Duration> = BTreeMap::new();
        for (to, took) in nodes.values().flat_map(|node| &node.round_trips) {
            let shortest = round_trips.entry(*to).or_insert(*took);
            *shortest = (*shortest).min(*took);
        }
        for id in nodes.keys() {
            let samples =
                [sample(*id, &syncs, SYNC_FLOOR), sample(*id, &round_trips, ROUND_TRIP_FLOOR)];
            let sample = match samples {
                [Sample::Slow, _] | [_, Sample::Slow] => Sample::Slow,
                [Sample::Fine, Sample::Fine] => Sample::Fine,
                [Sample::Unclear, _] | [_, Sample::Unclear] => Sample::Unclear,
            };
            self.detectors.entry(*id).or_default().observe(sample);
        }
    }
}

impl SlowDetector {
    fn observe(&mut self, sample: Sample) {
        let (contrary, enough) =
            if self.is_slow { (Sample::Fine, FAST_AFTER) } else { (Sample::Slow, SLOW_AFTER) };
        self.contrary_samples = if sample == contrary { self.contrary_samples + 1 } else { 0 };
        if self.contrary_samples >= enough {
            *self = Self { is_slow: !self.is_slow, contrary_samples: 0 };
        }
    }
}

/// How the time of `node` compares with the median of the others.
fn sample(node: NodeId, times: &BTreeMap<NodeId, Duration>, floor: Duration) -> Sample {
    let Some(own) = times.get(&node).copied() else { return Sample::Unclear };
    let mut others: Vec<_> =
        times.iter().filter(|(id, _)| **id != node).map(|(_, time)| *time).collect();
    others.sort_unstable();
    let Some(median) = others.get(others.len().saturating_sub(1) / 2) else {
        return Sample::Unclear;
    };
    if own >= floor.max(*median * FAR) {
        Sample::Slow
    } else if own < (floor / 2).max(*median * FAR / 2) {
        Sample::Fine
    } else {
        Sample::Unclear
    }
}

/// The moves of one round, while they are found.
struct Plan<'a> {
    replicas: &'a BTreeMap<GroupId, Vec<NodeId>>,
    /// The groups that each node leads after the moves, of the nodes that accept leaders.
    leads: BTreeMap<NodeId, BTreeSet<GroupId>>,
    /// Groups that may not be moved in this round: they rest, or are in `moves`.
    moved: BTreeSet<GroupId>,
    moves: Vec<Move>,
}

impl Plan<'_> {
    /// Moves the leaders of a slow node to the nodes that lead least.
    fn take_leaders_from(&mut self, from: NodeId, leads: &BTreeSet<GroupId>) {
        for group in leads {
            if self.moves.len() == MOST_MOVES || self.moved.contains(group) {
                continue;
            }
            let replicas = self.replicas.get(group).into_iter().flatten();
            let targets = replicas.filter_map(|node| Some((self.leads.get(node)?.len(), *node)));
            if let Some((_, to)) = targets.min() {
                self.make(Move { group: *group, from, to });
            }
        }
    }

    /// Moves leaders until the numbers of all nodes differ by less than two, or the replicas allow no more.
    fn spread(&mut self) {
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

    /// The shortest chain of moves that takes one leader from `from` and gives one to a node with at least two fewer.
    /// Each move is of another group, so only the ends of the chain change their numbers.
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
