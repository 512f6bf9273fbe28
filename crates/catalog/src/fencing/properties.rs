//! The properties of the protocol: statements that hold in every state, and statements that are true in some state.
//!
//! The second kind shows that the search gets far enough for the first kind to mean something.

use stateright::Property;

use super::JobId;
use super::catalog::{self, ShardIndex, Status};
use super::cluster::{Cluster, State};
use super::shard::{self, Answer, ShardModel, step};

// Statements that hold in every state.

/// So a reader that reads parents to their end before their children sees the records of a key in order.
pub(super) const ORDER: &str = "no shard takes a record after a child of it did";
/// So every acknowledged record can be read: it is not behind the ending number of its shard, and its shard is in the
/// catalog.
pub(super) const NOTHING_LOST: &str = "no record is behind its shard's end";
const COVERED: &str = "open shards have every hash key once";
const OPEN_IS_NOT_CLOSED: &str = "an open shard is never closed";
const ONE_END: &str = "a job is committed or aborted, not both";
/// So it does not matter which controller froze the parent, or when.
pub(super) const ONE_ANSWER: &str = "freezes of a parent by one job answer alike";
/// So no job is stuck.
const CAN_COMMIT: &str = "a current job can freeze its parents";
/// So no shard is stuck.
const COMES_TO_REST: &str = "once jobs are over, leaders open, thaw and close all they should";

// Statements that are true in some state.

/// A shard was in an aborted job and in a committed one.
pub(super) const SECOND_TRY: &str = "a job commits where another was aborted";
pub(super) const TWO_JOBS: &str = "two jobs are current";
pub(super) const MERGED: &str = "a merged shard takes a record";
pub(super) const GRANDCHILD: &str = "a child of a child takes a record";

pub(super) fn all() -> Vec<Property<Cluster>> {
    vec![
        Property::always(ORDER, |_, state: &State| !state.out_of_order),
        Property::always(NOTHING_LOST, |_, state| nothing_lost(state)),
        Property::always(COVERED, covered),
        Property::always(OPEN_IS_NOT_CLOSED, |_, state| open_is_not_closed(state)),
        Property::always(ONE_END, |_, state| one_end(state)),
        Property::always(ONE_ANSWER, |_, state| one_answer(state)),
        Property::always(CAN_COMMIT, can_commit),
        Property::always(COMES_TO_REST, comes_to_rest),
        Property::sometimes(SECOND_TRY, |_, state| second_try(state)),
        Property::sometimes(TWO_JOBS, |_, state| two_jobs(state)),
        Property::sometimes(MERGED, |_, state| merged(state)),
        Property::sometimes(GRANDCHILD, |_, state| grandchild(state)),
    ]
}

fn nothing_lost(state: &State) -> bool {
    state.shards.iter().zip(&state.catalog.shards).all(|(shard, seen)| match seen.status {
        Status::Closed { ending } => shard.last == ending,
        Status::Gone => shard.last == 0,
        Status::Hidden | Status::Open => true,
    })
}

fn covered(cluster: &Cluster, state: &State) -> bool {
    (0..cluster.widths.iter().sum()).all(|key| {
        let of_key = |shard: &catalog::Shard| shard.range.0 <= key && key < shard.range.1;
        state.catalog.open_shards().filter(|(_, shard)| of_key(shard)).count() == 1
    })
}

fn open_is_not_closed(state: &State) -> bool {
    state.catalog.open_shards().all(|(shard, _)| !state.shards[shard].closed)
}

fn one_end(state: &State) -> bool {
    state.catalog.jobs.iter().all(|job| !(job.committed && job.aborted))
}

fn one_answer(state: &State) -> bool {
    let mut pairs = state.answers.iter().zip(state.answers.iter().skip(1));
    pairs.all(|(one, next)| (one.job, one.shard) != (next.job, next.shard))
}

fn can_commit(cluster: &Cluster, state: &State) -> bool {
    let mut jobs = state.catalog.jobs().filter(|(_, job)| job.is_current());
    jobs.all(|(id, job)| {
        job.parents.iter().all(|&parent| {
            let mut shard = state.shards[parent];
            let answer = step(&mut shard, shard::Command::Freeze(id), &cluster.rules);
            answer == Answer::Frozen(shard.last)
        })
    })
}

/// In a state without a current job, the commands of leaders alone bring every shard to rest.
///
/// This expresses "eventually" as a property of single states. The checker's own "eventually" cannot be used: the
/// search joins paths, and then does not know which of them already had the awaited state.
fn comes_to_rest(cluster: &Cluster, state: &State) -> bool {
    if state.catalog.jobs.iter().any(catalog::Job::is_current) {
        return true;
    }
    let mut shards = state.shards.clone();
    for (shard, model) in shards.iter_mut().enumerate() {
        for command in repeated(state, shard).into_iter().flatten() {
            step(model, command, &cluster.rules);
        }
    }
    shards.iter().zip(&state.catalog.shards).all(|(shard, seen)| match seen.status {
        Status::Open => !shard.hidden && shard.frozen_by.is_none() && !shard.closed,
        Status::Closed { .. } => shard.closed,
        Status::Hidden | Status::Gone => true,
    })
}

/// The commands that the leader of `shard` repeats until they are applied, once it has the newest catalog.
fn repeated(state: &State, shard: ShardIndex) -> [Option<shard::Command>; 2] {
    let ShardModel { born, hidden, frozen_by, closed, .. } = state.shards[shard];
    let aborted = |job: &JobId| state.catalog.jobs().any(|(id, it)| id == *job && it.aborted);
    match state.catalog.shards[shard].status {
        Status::Open => [
            hidden.then_some(shard::Command::Open(born)),
            frozen_by.filter(aborted).map(shard::Command::Unfreeze),
        ],
        Status::Closed { .. } if !closed => [frozen_by.map(shard::Command::Close), None],
        Status::Closed { .. } | Status::Hidden | Status::Gone => [None, None],
    }
}

fn second_try(state: &State) -> bool {
    let committed = state.catalog.jobs.iter().filter(|job| job.committed);
    let aborted =
        |parent| state.catalog.jobs.iter().any(|job| job.aborted && job.parents.contains(parent));
    committed.flat_map(|job| &job.parents).any(aborted)
}

fn two_jobs(state: &State) -> bool {
    state.catalog.jobs.iter().filter(|job| job.is_current()).count() == 2
}

fn merged(state: &State) -> bool {
    let mut merges = state.catalog.jobs.iter().filter(|job| job.parents.len() == 2);
    merges.any(|merge| state.shards[merge.children[0]].last > 0)
}

fn grandchild(state: &State) -> bool {
    let mut children = state.catalog.jobs.iter().flat_map(|job| &job.children);
    children.any(|&child| state.taken_after(child).next().is_some())
}
