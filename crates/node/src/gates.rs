//! Takes the steps of resharding that follow from the catalog alone: the leader of a shard opens it once
//! it is seen to be committed, closes it once it is seen to be closed, and thaws it once the job that
//! froze it is seen to be gone. What was decided is decided; a step may be late or repeated.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Catalog, Shard, ShardRef, Stream};
use anabranch_replica::{Replicas, ShardReplica};
use anabranch_shard::{Gate, Step};
use anabranch_types::GroupId;
use futures::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// How often gates are looked at when the catalog doesn't change: a new leader may have come late.
const ROUND: Duration = Duration::from_millis(200);
/// Steps that are taken side by side.
const STEPS_AT_ONCE: usize = 64;

/// Follows the catalog for as long as the node runs.
pub(crate) async fn follow(mut versions: watch::Receiver<Arc<Catalog>>, replicas: Replicas) {
    loop {
        let catalog = Arc::clone(&versions.borrow_and_update());
        let steps = due(&replicas, &catalog).into_iter().map(|(group, replica, step)| async move {
            if let Err(error) = replica.step(step).await {
                tracing::info!(%group, ?step, %error, "gate");
            }
        });
        stream::iter(steps).buffer_unordered(STEPS_AT_ONCE).collect::<()>().await;
        if let Ok(Err(_)) = timeout(ROUND, versions.changed()).await {
            return;
        }
    }
}

/// The steps that shards led by this node have to take. Most shards have none: only those that are shut, and
/// not for good, are looked up.
fn due(replicas: &Replicas, catalog: &Catalog) -> Vec<(GroupId, ShardReplica, Step)> {
    let mut undecided = replicas.undecided_shards();
    if undecided.is_empty() {
        return Vec::new();
    }
    let due = catalog.groups().filter(|group| !group.is_new).filter_map(|group| {
        let ShardRef { stream, shard, .. } = group.shard()?;
        let replica = undecided.remove(&group.group)?;
        let step = step(replica.gate(), stream, shard, catalog.version)?;
        replica.leads().then_some((group.group, replica, step))
    });
    due.collect()
}

/// The step that brings the gate of a shard, which is visible in this version of the catalog, to where
/// the catalog wants it.
fn step(gate: Gate, stream: &Stream, shard: &Shard, version: u64) -> Option<Step> {
    if !shard.is_open() {
        return gate.frozen_by().map(Step::Close);
    }
    if gate.hidden {
        return Some(Step::Open(shard.born));
    }
    let froze = gate.frozen_by()?;
    let is_under_way = stream.job.as_ref().is_some_and(|job| job.id == froze);
    // A version from before the job says nothing about it. A job that was committed has closed the
    // shard; one that is neither committed nor under way was aborted.
    (version >= froze && !is_under_way).then_some(Step::Unfreeze(froze))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anabranch_catalog::{ReshardJob, samples};
    use anabranch_types::ShardId;

    use super::*;

    fn stream(job: Option<u64>, open: bool) -> Stream {
        let shard = Shard { born: 3, ..samples::shard(0) };
        let shard = if open { shard } else { samples::closed(shard, samples::CREATED) };
        let job = job.map(|id| ReshardJob {
            id,
            began: samples::CREATED,
            parents: vec![ShardId(0)],
            children: BTreeMap::new(),
        });
        Stream { job, ..samples::stream([shard]) }
    }

    fn step_of(gate: Gate, stream: &Stream, version: u64) -> Option<Step> {
        step(gate, stream, &stream.shards[&ShardId(0)], version)
    }

    #[test]
    fn a_gate_follows_the_catalog() {
        let open = Gate { born: 3, ..Gate::default() };
        let hidden = Gate { hidden: true, ..open };
        let frozen = Gate { job: 7, frozen: true, ..open };
        let closed = Gate { closed: true, ..frozen };
        assert_eq!(step_of(open, &stream(None, true), 9), None);
        assert_eq!(step_of(hidden, &stream(None, true), 9), Some(Step::Open(3)));
        assert_eq!(step_of(frozen, &stream(Some(7), true), 9), None);
        assert_eq!(step_of(frozen, &stream(Some(8), true), 9), Some(Step::Unfreeze(7)));
        assert_eq!(step_of(frozen, &stream(None, true), 7), Some(Step::Unfreeze(7)));
        assert_eq!(step_of(frozen, &stream(None, true), 6), None);
        assert_eq!(step_of(frozen, &stream(None, false), 9), Some(Step::Close(7)));
        assert_eq!(step_of(closed, &stream(None, false), 9), None);
    }
}
