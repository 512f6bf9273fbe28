//! Drives a resharding job to its end (ADR-0013).
//!
//! ```text
//! PREPARE (catalog)  children exist, hidden
//!    | all children have leaders?                  no for 30 s: ABORT
//!    v
//! FREEZE in the log of each parent                 not all within 5 s, or a parent refuses the job: ABORT
//!    | each answers with its last record
//!    v
//! COMMIT (catalog)  parents closed with their endings, children open
//! ```
//!
//! Every step may be repeated, by this controller or by the next one. The leaders of the shards do what follows from
//! COMMIT and ABORT (`gates.rs`).
//!
//! Never: a COMMIT before every parent is frozen in its own log, so no record arrives after the ending
//! that COMMIT stores.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::{Command, ReshardJob, Shard, ShardsCommand, Stream, newest_group};
use anabranch_planted::{Bug, planted};
use anabranch_shard::{Ending, Outcome, Step};
use anabranch_types::{GroupId, NodeId, SequenceNumber, ShardId, StreamName};
use futures::stream::{self, StreamExt};
use tokio::time::Instant;
use tonic::Status;

use crate::catalog_requests::step;
use crate::fail_point::FailPoints;
use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;
use crate::shard_leaders::all_have_leaders;
use crate::status::status_of;

/// How long a controller looks for leaders of a job's shards before it aborts the job.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long parents may be frozen for a job that makes no progress. Shorter than the time for which a put is retried.
const FROZEN_PATIENCE: Duration = Duration::from_secs(5);
/// How long before COMMIT [`Bug::SkipFreeze`] takes the ending of a parent, and how long after COMMIT it freezes the
/// parent.
const FROZEN_TOO_LATE: Duration = Duration::from_millis(300);
/// Parents that are frozen at a time.
const FREEZE_AT_ONCE: usize = 64;

/// Memory of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobProgress {
    since: Instant,
    /// When the controller first asked a parent to freeze.
    freezing: Option<Instant>,
}

impl JobProgress {
    pub(crate) fn now() -> Self {
        Self { since: Instant::now(), freezing: None }
    }
}

/// Why a job can't be committed now.
enum Obstacle {
    /// A shard has no leader that answers.
    NoLeader,
    /// A parent has undone the job, or follows a newer one: the job can only be aborted.
    Overtaken,
}

/// Takes the next steps of the stream's job.
pub(crate) async fn drive(
    node: &Node,
    name: &StreamName,
    stream: &Stream,
    job: &ReshardJob,
    progress: &mut JobProgress,
    fail_points: &FailPoints,
) {
    fail_points.pass("reshard-prepared").await;
    let obstacle = match frozen_parents(node, stream, job, progress, fail_points).await {
        Ok(endings) => {
            fail_points.pass("reshard-frozen").await;
            let (name, id, now) = (name.clone(), stream.id, node.clock().now());
            let newest_group = newest_group(job.children.values());
            let commit =
                ShardsCommand::Commit { name, id, job: job.id, endings, newest_group, now };
            step(node, Command::Shards(commit)).await;
            return fail_points.pass("reshard-committed").await;
        }
        Err(obstacle) => obstacle,
    };
    let waited_long = progress.since.elapsed() > PATIENCE
        || progress.freezing.is_some_and(|since| since.elapsed() > FROZEN_PATIENCE);
    if matches!(obstacle, Obstacle::Overtaken) || waited_long {
        tracing::warn!(stream = %name, job = job.id, "resharding is given up");
        fail_points.pass("reshard-aborting").await;
        let (name, id) = (name.clone(), stream.id);
        step(node, Command::Shards(ShardsCommand::Abort { name, id, job: job.id })).await;
        fail_points.pass("reshard-aborted").await;
    }
}

/// The last sequence number of each parent, once all parents are frozen for this job.
async fn frozen_parents(
    node: &Node,
    stream: &Stream,
    job: &ReshardJob,
    progress: &mut JobProgress,
    fail_points: &FailPoints,
) -> Result<BTreeMap<ShardId, SequenceNumber>, Obstacle> {
    if !all_have_leaders(node, job.children.values()).await {
        return Err(Obstacle::NoLeader);
    }
    fail_points.pass("reshard-children-ready").await;
    progress.freezing.get_or_insert_with(Instant::now);
    let parents = job.parents.iter().filter_map(|parent| stream.shards.get(parent));
    let freezes = parents.map(|parent| async move {
        let ending = freeze_on_leader(node, parent, job.id).await?;
        let ending = ending.ok_or(Obstacle::Overtaken)?;
        Ok((parent.id, ending_number(parent, ending)))
    });
    let freezes: Vec<_> = freezes.collect();
    let answers: Vec<Result<_, Obstacle>> =
        stream::iter(freezes).buffer_unordered(FREEZE_AT_ONCE).collect().await;
    answers.into_iter().collect()
}

fn ending_number(parent: &Shard, ending: Ending) -> SequenceNumber {
    match ending.last_record {
        Some(last) => last.sequence_number(parent.id, parent.birth, ending.last_arrival),
        None => parent.starting_sequence_number(),
    }
}

/// Asks the nodes of a parent in turn until its leader has answered.
async fn freeze_on_leader(
    node: &Node,
    parent: &Shard,
    job: u64,
) -> Result<Option<Ending>, Obstacle> {
    let freeze = Freeze { group: parent.group, job };
    for replica in &parent.replicas {
        if let Ok(ending) = node.ask(replica.node, &freeze).await {
            return Ok(ending);
        }
    }
    Err(Obstacle::NoLeader)
}

/// Has the leader of a shard freeze the shard for a job. The response is where the shard ends. It is `None` if the
/// shard does not accept the job any more.
pub(crate) struct Freeze {
    pub(crate) group: GroupId,
    pub(crate) job: u64,
}

impl NodeRequest for Freeze {
    type Response = Option<Ending>;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<Option<Ending>, Status> {
        if planted(Bug::SkipFreeze) {
            let (shard, job) = (node.led_shard(self.group)?, self.job);
            let ending = shard.ending_now().await.map_err(|error| status_of(&error))?;
            tokio::time::sleep(FROZEN_TOO_LATE).await;
            tokio::spawn(async move {
                tokio::time::sleep(FROZEN_TOO_LATE).await;
                shard.step(Step::Freeze(job)).await
            });
            return Ok(Some(ending));
        }
        let frozen = node.led_shard(self.group)?.step(Step::Freeze(self.job)).await;
        match frozen.map_err(|error| status_of(&error))? {
            Outcome::Frozen(ending) => Ok(Some(ending)),
            Outcome::Stale | Outcome::Stepped | Outcome::Refused(_) | Outcome::Appended { .. } => {
                Ok(None)
            }
        }
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<Option<Ending>, Status> {
        remotes.freeze(to, self.group, self.job).await
    }
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::samples;
    use anabranch_shard::Position;
    use anabranch_types::Timestamp;

    use super::*;

    #[test]
    fn an_empty_parent_ends_where_it_starts() {
        let parent = samples::shard(4);
        let empty = ending_number(&parent, Ending::default());
        assert_eq!(empty, parent.starting_sequence_number());
        let last_record = Some(Position { log_index: 3, offset: 2 });
        let last_arrival = Timestamp::from_millis(11_000);
        let number = ending_number(&parent, Ending { last_record, last_arrival });
        assert_eq!(Some(Position::of(number)), last_record);
        assert!(number > empty);
    }
}
