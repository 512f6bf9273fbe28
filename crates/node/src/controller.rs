//! What the leader of the catalog does for the cluster: brings streams from CREATING to ACTIVE and from
//! DELETING to gone. Every step may be repeated, by this leader or the next.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, Outcome, Shard, Stream, StreamStatus};
use anabranch_types::StreamName;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use tokio::time::timeout;

use crate::node::Node;

const ROUND: Duration = Duration::from_millis(50);
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// Shards that are asked for their leader side by side.
const ASK_AT_ONCE: usize = 32;

/// Runs for as long as the node does; acts only while this node leads the catalog.
pub(crate) async fn run(node: Node) {
    let mut versions = node.catalog();
    loop {
        let catalog = Arc::clone(&versions.borrow_and_update());
        let leads = match node.catalog_replica() {
            Some(replica) => replica.leads().await,
            None => false,
        };
        let busy = leads && round(&node, &catalog).await;
        let pause = if busy { ROUND } else { IDLE_ROUND };
        if let Ok(Err(_)) = timeout(pause, versions.changed()).await {
            return;
        }
    }
}

/// Takes the next step of every stream that has one; says whether there were any.
async fn round(node: &Node, catalog: &Catalog) -> bool {
    let mut busy = false;
    for (name, stream) in &catalog.streams {
        match stream.status {
            StreamStatus::Creating => {
                busy = true;
                if all_shards_have_leaders(node, stream).await {
                    step(node, Command::ActivateStream { name: name.clone(), id: stream.id }).await;
                }
            }
            StreamStatus::Deleting => {
                busy = true;
                drop_stream(node, name, stream).await;
            }
            StreamStatus::Active => {}
        }
    }
    busy
}

async fn all_shards_have_leaders(node: &Node, stream: &Stream) -> bool {
    let mut asking = Vec::with_capacity(stream.shards.len());
    for shard in stream.shards.values() {
        asking.push(has_leader(node, shard).boxed());
    }
    let answers = stream::iter(asking).buffer_unordered(ASK_AT_ONCE);
    answers.all(|has_leader| async move { has_leader }).await
}

pub(crate) async fn has_leader(node: &Node, shard: &Shard) -> bool {
    let asked = shard.replicas.iter().map(|replica| async move {
        if replica.node == node.id() {
            match node.shard(shard.group) {
                Some(replica) => replica.seek(anabranch_shard::Start::Latest).await.is_ok(),
                None => false,
            }
        } else {
            node.inner.remotes.leads(replica.node, shard.group.0).await
        }
    });
    futures::future::join_all(asked).await.contains(&true)
}

/// Nodes remove a deleted stream's groups as soon as they see it; the ids are never used again, so a
/// node that is away removes them when it comes back.
async fn drop_stream(node: &Node, name: &StreamName, stream: &Stream) {
    step(node, Command::DropStream { name: name.clone(), id: stream.id }).await;
}

async fn step(node: &Node, command: Command) {
    match node.propose(&command).await {
        Ok(Outcome::Done { .. }) => {}
        Ok(Outcome::Refused(refusal)) => tracing::info!(%refusal, "step"),
        Err(error) => tracing::info!(%error, "step"),
    }
}
