//! Which node does which job. Pure.
//!
//! - A job stays where it is, unless its node is gone, is draining, or has too much work.
//! - A new job goes to the node that leads its shard, if that node has less than 1.25 times the mean work. Otherwise
//!   it goes to the node with the least work.
//! - If a node has more than 1.25 times the mean, some of its jobs leave it, but only if that makes the largest load
//!   smaller. So jobs never move back and forth.

use std::collections::BTreeMap;

use anabranch_types::NodeId;

use crate::id::JobId;
use crate::row::{JobRow, Owner};

/// Most jobs that leave their nodes in one round because of the balance.
pub(crate) const MAX_BALANCING: usize = 8;

/// A job that is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The node that leads the shard that the job reads. The work is cheapest there.
    pub near: Option<NodeId>,
    /// Work of the job, in any unit that all jobs share. 0 counts as 1.
    pub weight: u64,
}

/// Whether a node takes jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The node takes jobs.
    Takes,
    /// The node was just heard, and may be gone. Its jobs stay, and it gets no others.
    Waited,
    /// The node works, but its jobs are to leave it.
    Draining,
    /// Nothing is heard of the node.
    Gone,
}

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// The nodes of the cluster.
    pub(crate) nodes: &'a BTreeMap<NodeId, Condition>,
    /// The jobs that are wanted.
    pub(crate) wanted: &'a BTreeMap<JobId, Wanted>,
    /// The rows of jobs.
    pub(crate) rows: &'a BTreeMap<JobId, JobRow>,
    /// Most jobs that may leave their nodes for the balance in this round.
    pub(crate) balancing: usize,
}

/// A change of a job's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The node becomes the owner, with a new epoch.
    Assign(NodeId),
    /// The owner is to end its work and give the job up.
    Leave,
    /// The job is no longer wanted, and no node does it: its row is deleted.
    Remove,
}

/// The changes that the situation asks for, in the order of the jobs.
pub(crate) fn assign(situation: &Situation<'_>) -> BTreeMap<JobId, Change> {
    let Situation { nodes, wanted, rows, balancing } = *situation;
    let mut changes: BTreeMap<JobId, Change> = BTreeMap::new();
    let condition = |node| nodes.get(&node).copied().unwrap_or(Condition::Gone);
    for (job, row) in rows.iter().filter(|(job, _)| !wanted.contains_key(job)) {
        // A living owner first ends its work, so that it can record what it has done.
        let change = match row.owner {
            Owner::Owned { node, leaving, .. } if condition(node) != Condition::Gone => {
                (!leaving).then_some(Change::Leave)
            }
            Owner::Owned { .. } | Owner::Free { .. } => Some(Change::Remove),
        };
        changes.extend(change.map(|change| (job.clone(), change)));
    }
    let mut loads = Loads::new(nodes);
    let (mut homeless, mut leaving_jobs) = (Vec::new(), Vec::new());
    for (job, want) in wanted {
        let row = rows.get(job);
        match row.map(|row| &row.owner) {
            None => homeless.push((job, want, None)),
            Some(Owner::Free { left_by }) => homeless.push((job, want, *left_by)),
            Some(Owner::Owned { node, leaving, .. }) => match condition(*node) {
                Condition::Gone => homeless.push((job, want, Some(*node))),
                Condition::Draining | Condition::Takes if *leaving => {
                    leaving_jobs.push((job, want, *node));
                }
                Condition::Draining if loads.takes_jobs() => {
                    changes.insert(job.clone(), Change::Leave);
                }
                Condition::Draining | Condition::Waited => {}
                Condition::Takes => loads.add(*node, job, *want, true),
            },
        }
    }
    for (job, want, avoided) in homeless {
        if let Some(node) = loads.best(want, avoided) {
            loads.add(node, job, *want, false);
            changes.insert(job.clone(), Change::Assign(node));
        }
    }
    // A job that is about to leave counts where it will probably go. Otherwise the next round would take another job
    // from the same node.
    for (job, want, node) in leaving_jobs {
        if let Some(next) = loads.best(want, Some(node)) {
            loads.add(next, job, *want, false);
        }
    }
    for _ in 0..balancing {
        let Some(job) = loads.relieve() else { break };
        changes.insert(job, Change::Leave);
    }
    changes
}

/// The work of each node that takes jobs.
struct Loads(BTreeMap<NodeId, Load>);

#[derive(Default)]
struct Load {
    work: u64,
    /// Jobs that may leave, with their work.
    movable: Vec<(JobId, u64)>,
}

impl Loads {
    fn new(nodes: &BTreeMap<NodeId, Condition>) -> Self {
        let taking = nodes.iter().filter(|(_, condition)| **condition == Condition::Takes);
        Self(taking.map(|(node, _)| (*node, Load::default())).collect())
    }

    fn takes_jobs(&self) -> bool {
        !self.0.is_empty()
    }

    fn add(&mut self, node: NodeId, job: &JobId, want: Wanted, may_leave: bool) {
        let Some(load) = self.0.get_mut(&node) else { return };
        let work = work(&want);
        load.work = load.work.saturating_add(work);
        if may_leave {
            load.movable.push((job.clone(), work));
        }
    }

    /// Work that a node has at most before it has too much: 1.25 times the mean.
    fn limit(&self) -> u64 {
        let total = self.0.values().fold(0_u64, |sum, load| sum.saturating_add(load.work));
        let nodes = (self.0.len() as u64).max(1);
        (total / nodes).saturating_add(total / nodes / 4)
    }

    /// The node for a job without one.
    fn best(&self, want: &Wanted, avoided: Option<NodeId>) -> Option<NodeId> {
        let near = want.near.filter(|node| Some(*node) != avoided);
        if let Some(load) = near.and_then(|node| self.0.get(&node))
            && load.work <= self.limit()
        {
            return near;
        }
        let least = self.0.iter().min_by_key(|(node, load)| (Some(**node) == avoided, load.work));
        least.map(|(node, _)| *node)
    }

    /// Takes a job from the node with the most work, if that makes the largest load smaller. The node with the least
    /// work counts as its next owner.
    fn relieve(&mut self) -> Option<JobId> {
        let limit = self.limit();
        let (most, _) = self.0.iter().max_by_key(|(_, load)| load.work)?;
        let (least, lowest) = self.0.iter().min_by_key(|(_, load)| load.work)?;
        let (most, least, lowest) = (*most, *least, lowest.work);
        let load = self.0.get_mut(&most).filter(|load| load.work > limit)?;
        let after = |work: u64| lowest.saturating_add(work).max(load.work - work);
        let fits = |(_, work): &&(JobId, u64)| after(*work) < load.work;
        let fitting = load.movable.iter().filter(fits);
        let (job, work) = fitting.min_by_key(|(_, work)| (after(*work), *work))?.clone();
        load.movable.retain(|(other, _)| *other != job);
        load.work -= work;
        if let Some(load) = self.0.get_mut(&least) {
            load.work = load.work.saturating_add(work);
        }
        Some(job)
    }
}

fn work(want: &Wanted) -> u64 {
    want.weight.max(1)
}

#[cfg(test)]
mod tests;
