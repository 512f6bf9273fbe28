//! Takes the steps of resharding that follow from the catalog alone (ADR-0013). The leader of a shard opens the shard
//! once the catalog shows COMMIT of the job that made it, closes it once the catalog shows that it is closed, and
//! unfreezes it once the job that froze it was aborted.
//!
//! A decision of the catalog never changes, so a step may be late or repeated, and any leader of the shard may take
//! it.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Catalog, Shard, ShardRef, Stream};
use anabranch_replica::{Replicas, ShardReplica};
use anabranch_shard::{Gate, Step};
use anabranch_types::GroupId;
use futures::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// How often gates are looked at if the catalog does not change. A leader may have been elected after the last
/// change.
const ROUND: Duration = Duration::from_millis(200);
/// Steps that are taken at a time.
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

/// The steps that are due on shards that this node leads. Most shards have none: only shards that are closed to
/// appends, and not for good, are looked up.
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

/// The step that brings the gate of a shard to where this version of the catalog wants it. The shard is listed in
/// this version.
fn step(gate: Gate, stream: &Stream, shard: &Shard, version: u64) -> Option<Step> {
    if !shard.is_open() {
        return gate.frozen_by().map(Step::Close);
    }
    if gate.hidden {
        return Some(Step::Open(shard.born));
    }
    let froze = gate.frozen_by()?;
    let is_under_way = stream.job.as_ref().is_some_and(|job| job.id == froze);
    // A version from before the job says nothing about the job. A job that was committed has closed the shard, so a
    // job that is neither committed nor under way was aborted.
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
