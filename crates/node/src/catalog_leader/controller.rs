//! What the leader of the catalog does for the cluster: brings streams from CREATING to ACTIVE and from
//! DELETING to gone, consumers likewise, settles changes of encryption, drives resharding jobs, forgets closed shards that have expired. Every step may be
//! repeated, by this leader or the next. A shard expires by the time that a majority's clocks agree on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, ConsumerCommand, EncryptionCommand, ShardsCommand, Stream, StreamCommand,
    StreamStatus,
};
use anabranch_types::{StreamName, Timestamp};
use futures::FutureExt;
use futures::stream::{self, StreamExt};

use crate::catalog_leader::moves::{self, Silences};
use crate::catalog_leader::reshard::{self, Seen};
use crate::catalog_leader::{Duty, PlacedRebalance, encryption};
use crate::catalog_requests::step;
use crate::fail_point::FailPoints;
use crate::node::Node;
use crate::shard_leaders::all_have_leaders;

const ROUND: Duration = Duration::from_millis(50);
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// Streams that are looked after side by side: one that is stuck doesn't hold up the others.
const STREAMS_AT_ONCE: usize = 16;

/// What a controller remembers of jobs between its rounds, by their number.
type Jobs = BTreeMap<u64, Seen>;

/// The controller of one term as leader.
pub(super) struct Controller {
    jobs: Jobs,
    silences: Silences,
    placed: Arc<PlacedRebalance>,
    fail_points: Arc<FailPoints>,
}

impl Controller {
    pub(super) fn new(placed: Arc<PlacedRebalance>, fail_points: Arc<FailPoints>) -> Self {
        Self { jobs: Jobs::new(), silences: Silences::new(), placed, fail_points }
    }
}

impl Duty for Controller {
    const IDLE: Duration = IDLE_ROUND;
    const FOLLOWS_CATALOG: bool = true;

    async fn round(&mut self, node: &Node, catalog: &Catalog) -> Duration {
        let stepped = round(node, catalog, &mut self.jobs, &self.fail_points).await;
        let moved = moves::round(node, catalog, &mut self.silences, &self.placed).await;
        if stepped || moved { ROUND } else { IDLE_ROUND }
    }
}

/// Takes the next step of every stream that has one; says whether there were any.
async fn round(node: &Node, catalog: &Catalog, jobs: &mut Jobs, fail_points: &FailPoints) -> bool {
    let now = node.clock().agreed();
    let mut seen = std::mem::take(jobs);
    let mut steps = Vec::new();
    for (name, stream) in &catalog.streams {
        let job = stream.job.as_ref();
        let seen = job.map(|job| seen.remove(&job.id).unwrap_or_else(Seen::now));
        if has_step(stream, now) {
            steps.push(next_step(node, catalog, (name, stream), now, seen, fail_points).boxed());
        }
    }
    let busy = !steps.is_empty();
    let driven = stream::iter(steps).buffer_unordered(STREAMS_AT_ONCE);
    jobs.extend(driven.filter_map(|seen| async move { seen }).collect::<Vec<_>>().await);
    busy
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
    seen: Option<Seen>,
    fail_points: &FailPoints,
) -> Option<(u64, Seen)> {
    let (stream_name, id) = (name.clone(), stream.id);
    match stream.status {
        StreamStatus::Creating if all_have_leaders(node, stream.shards.values()).await => {
            step(node, Command::Stream(StreamCommand::Activate { name: stream_name, id })).await;
        }
        // Nodes remove a deleted stream's groups as soon as they see it; the ids are never used again,
        // so a node that is away removes them when it comes back.
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
    let (job, mut seen) = (stream.job.as_ref()?, seen?);
    reshard::drive(node, name, stream, job, &mut seen, fail_points).await;
    Some((job.id, seen))
}
