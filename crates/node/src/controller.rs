//! What the leader of the catalog does for the cluster: brings streams from CREATING to ACTIVE and from
//! DELETING to gone, consumers likewise, settles changes of encryption, drives resharding jobs, forgets closed shards that have expired. Every step may be
//! repeated, by this leader or the next. A shard expires by the time that a majority's clocks agree on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, ConsumerCommand, EncryptionCommand, Outcome, Shard, ShardsCommand, Stream,
    StreamCommand, StreamStatus,
};
use anabranch_types::{StreamName, Timestamp};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use tokio::time::timeout;

use crate::data_keys;
use crate::moves::{self, Silences};
use crate::node::Node;
use crate::reshard::{self, Seen};

const ROUND: Duration = Duration::from_millis(50);
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// How long the leader of a shard may take to say that it leads.
const LEADER_ANSWERS: Duration = Duration::from_secs(1);
/// Shards that are asked for their leader side by side.
const ASK_AT_ONCE: usize = 32;
/// Streams that are looked after side by side: one that is stuck doesn't hold up the others.
const STREAMS_AT_ONCE: usize = 16;

/// What a controller remembers of jobs between its rounds, by their number.
type Jobs = BTreeMap<u64, Seen>;

/// Runs for as long as the node does; acts only while this node leads the catalog.
pub(crate) async fn run(node: Node) {
    let mut versions = node.catalog();
    let mut jobs = Jobs::new();
    let mut silences = Silences::new();
    loop {
        let catalog = Arc::clone(&versions.borrow_and_update());
        let busy = if node.leads_catalog().await {
            let stepped = round(&node, &catalog, &mut jobs).await;
            moves::round(&node, &catalog, &mut silences).await || stepped
        } else {
            // What was seen in an earlier time as leader is no longer so.
            jobs.clear();
            silences.clear();
            false
        };
        let pause = if busy { ROUND } else { IDLE_ROUND };
        if let Ok(Err(_)) = timeout(pause, versions.changed()).await {
            return;
        }
    }
}

/// Takes the next step of every stream that has one; says whether there were any.
async fn round(node: &Node, catalog: &Catalog, jobs: &mut Jobs) -> bool {
    let now = node.inner.clock.agreed();
    let mut seen = std::mem::take(jobs);
    let mut steps = Vec::new();
    for (name, stream) in &catalog.streams {
        let job = stream.job.as_ref();
        let seen = job.map(|job| seen.remove(&job.id).unwrap_or_else(Seen::now));
        if has_step(stream, now) {
            steps.push(next_step(node, catalog, (name, stream), now, seen).boxed());
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
        && data_keys::all_follow(node, catalog, stream, change).await
    {
        step(
            node,
            Command::Encryption(EncryptionCommand::Settle { name: name.clone(), id, change }),
        )
        .await;
    }
    let (job, mut seen) = (stream.job.as_ref()?, seen?);
    reshard::drive(node, name, stream, job, &mut seen).await;
    Some((job.id, seen))
}

/// Whether every shard has a leader that answers.
pub(crate) async fn all_have_leaders<'a>(
    node: &Node,
    shards: impl Iterator<Item = &'a Shard>,
) -> bool {
    let asking: Vec<_> = shards.map(|shard| has_leader(node, shard).boxed()).collect();
    let answers = stream::iter(asking).buffer_unordered(ASK_AT_ONCE);
    answers.all(|has_leader| async move { has_leader }).await
}

/// Whether a replica of the shard says soon that it leads. One whose majority is gone says nothing for long.
pub(crate) async fn has_leader(node: &Node, shard: &Shard) -> bool {
    let asked = shard.replicas.iter().map(|replica| async move {
        if replica.node == node.id() {
            match node.shard(shard.group) {
                Some(replica) => replica.seek(anabranch_shard::Start::Latest, true).await.is_ok(),
                None => false,
            }
        } else {
            node.inner.remotes.leads(replica.node, shard.group.0).await
        }
    });
    let answers = timeout(LEADER_ANSWERS, futures::future::join_all(asked)).await;
    answers.is_ok_and(|answers| answers.contains(&true))
}

/// Has the catalog take a step; whatever comes of it, the next round sees.
pub(crate) async fn step(node: &Node, command: Command) {
    match node.propose(&command).await {
        Ok(Outcome::Done { .. }) => {}
        Ok(Outcome::Refused(refusal)) => tracing::info!(%refusal, "step"),
        Err(error) => tracing::info!(%error, "step"),
    }
}
