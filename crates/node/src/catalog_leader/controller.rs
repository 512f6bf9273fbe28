//! Takes every stream and every table group to where the catalog wants it, one step at a time.
//!
//! The steps of one stream, in order: CREATING to ACTIVE once every shard has a leader, or DELETING to gone; closed
//! shards that have expired are forgotten; changes of consumers are settled; a change of encryption is settled once
//! every node follows it; the stream's resharding job is driven (`reshard.rs`). A table group has one step, from
//! Creating to Ready once it has a leader. After the streams and table groups come the moves of replicas (`moves.rs`).
//!
//! A round takes the steps that are due, and the next round comes 50 ms later as long as there were any. Every step
//! may be repeated, by this leader or by the next one. A shard expires by the time that a majority of clocks agrees
//! on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, ConsumerCommand, EncryptionCommand, ShardsCommand, Stream, StreamCommand,
    StreamStatus, TableCommand, TableGroupStatus, newest_group,
};
use anabranch_types::{StreamName, Timestamp};
use futures::FutureExt;
use futures::future::join_all;
use futures::stream::{self, StreamExt};

use crate::catalog_leader::moves::{self, SilentSince};
use crate::catalog_leader::reshard::{self, JobProgress};
use crate::catalog_leader::{Duty, PlacedRebalance, encryption};
use crate::catalog_requests::step;
use crate::fail_point::FailPoints;
use crate::node::Node;
use crate::shard_leaders::{all_have_leaders, has_leader};

const ROUND: Duration = Duration::from_millis(50);
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// Streams whose steps are taken at a time, so that a stream that is stuck does not delay the others.
const STREAMS_AT_ONCE: usize = 16;

/// Memory of jobs from round to round, by the number of the job.
type Jobs = BTreeMap<u64, JobProgress>;

/// The controller, during one term as leader of the catalog.
pub(super) struct Controller {
    jobs: Jobs,
    silent_since: SilentSince,
    placed: Arc<PlacedRebalance>,
    fail_points: Arc<FailPoints>,
}

impl Controller {
    pub(super) fn new(placed: Arc<PlacedRebalance>, fail_points: Arc<FailPoints>) -> Self {
        Self { jobs: Jobs::new(), silent_since: SilentSince::new(), placed, fail_points }
    }
}

impl Duty for Controller {
    const IDLE: Duration = IDLE_ROUND;
    const FOLLOWS_CATALOG: bool = true;

    async fn round(&mut self, node: &Node, catalog: &Catalog) -> Duration {
        let streams = round(node, catalog, &mut self.jobs, &self.fail_points);
        let (stepped, activated) = tokio::join!(streams, activate_table_groups(node, catalog));
        let moved = moves::round(node, catalog, &mut self.silent_since, &self.placed).await;
        if stepped || activated || moved { ROUND } else { IDLE_ROUND }
    }
}

/// Takes the next step of every stream that has one. Returns whether there were any.
async fn round(node: &Node, catalog: &Catalog, jobs: &mut Jobs, fail_points: &FailPoints) -> bool {
    let now = node.clock().agreed();
    let mut progress = std::mem::take(jobs);
    let mut steps = Vec::new();
    for (name, stream) in &catalog.streams {
        let job = stream.job.as_ref();
        let progress = job.map(|job| progress.remove(&job.id).unwrap_or_else(JobProgress::now));
        if has_step(stream, now) {
            steps
                .push(next_step(node, catalog, (name, stream), now, progress, fail_points).boxed());
        }
    }
    let busy = !steps.is_empty();
    let driven = stream::iter(steps).buffer_unordered(STREAMS_AT_ONCE);
    jobs.extend(driven.filter_map(|progress| async move { progress }).collect::<Vec<_>>().await);
    busy
}

/// Activates every Creating table group that has a leader. Returns whether there are Creating groups.
///
/// The leader has an applied entry of its own term. So a majority of the replicas has stored the first members of the
/// group, and no other replica can initialise the group with other members.
async fn activate_table_groups(node: &Node, catalog: &Catalog) -> bool {
    let groups = catalog.table_groups.iter();
    let creating = groups.filter(|(_, table)| table.status == TableGroupStatus::Creating);
    let steps = creating.map(|(group, table)| async move {
        if has_leader(node, *group, &table.replicas).await {
            step(node, Command::Table(TableCommand::Activate { group: *group })).await;
        }
    });
    !join_all(steps).await.is_empty()
}

fn has_step(stream: &Stream, now: Option<Timestamp>) -> bool {
    stream.job.is_some()
        || matches!(stream.status, StreamStatus::Creating | StreamStatus::Deleting)
        || has_expired_shards(stream, now)
        || stream.has_unsettled_consumers()
        || stream.encryption.unsettled.is_some()
}

fn has_expired_shards(stream: &Stream, now: Option<Timestamp>) -> bool {
    let expired = |now| stream.shards.values().any(|s| s.has_expired(stream.retention(), now));
    now.is_some_and(expired)
}

async fn next_step(
    node: &Node,
    catalog: &Catalog,
    (name, stream): (&StreamName, &Stream),
    now: Option<Timestamp>,
    progress: Option<JobProgress>,
    fail_points: &FailPoints,
) -> Option<(u64, JobProgress)> {
    let (stream_name, id) = (name.clone(), stream.id);
    match stream.status {
        StreamStatus::Creating if all_have_leaders(node, stream.shards.values()).await => {
            let newest_group = newest_group(stream.shards.values());
            let activate = StreamCommand::Activate { name: stream_name, id, newest_group };
            step(node, Command::Stream(activate)).await;
        }
        // Nodes remove the groups of a stream as soon as they see that it is DELETING. Group ids are never used
        // again, so a node that is away now removes the groups when it comes back.
        StreamStatus::Deleting => {
            step(node, Command::Stream(StreamCommand::Drop { name: stream_name, id })).await
        }
        StreamStatus::Creating | StreamStatus::Active | StreamStatus::Updating => {}
    }
    if has_expired_shards(stream, now)
        && let Some(now) = now
    {
        step(node, Command::Shards(ShardsCommand::Expire { name: name.clone(), id, now })).await;
    }
    if stream.has_unsettled_consumers() {
        step(node, Command::Consumer(ConsumerCommand::Settle { name: name.clone(), id })).await;
    }
    if let Some(change) = stream.encryption.unsettled
        && encryption::all_follow(node, catalog, stream, change).await
    {
        step(
            node,
            Command::Encryption(EncryptionCommand::Settle { name: name.clone(), id, change }),
        )
        .await;
    }
    let (job, mut progress) = (stream.job.as_ref()?, progress?);
    reshard::drive(node, name, stream, job, &mut progress, fail_points).await;
    Some((job.id, progress))
}
