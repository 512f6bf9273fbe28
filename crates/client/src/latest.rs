//! Where each shard of a stream is now.

use std::sync::Arc;

use anabranch_catalog::StreamId;
use anabranch_shard::{Position, Start};
use anabranch_types::{ShardId, StreamName};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::cluster::Cluster;
use crate::error::Error;
use crate::lineage::end_of_shard;

/// Shards whose positions are looked for at a time.
const SEEKS_AT_ONCE: usize = 64;

/// The end of one shard, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestPosition {
    /// Identity of the stream.
    pub stream: StreamId,
    /// The shard.
    pub shard: ShardId,
    /// Records that are put later are at this position or after it.
    pub next: Position,
    /// Whether the shard is closed: it gets no more records.
    pub is_closed: bool,
}

/// The end of each shard of a stream, open and closed, at some moment during this call. For a reader of all records
/// that are put from now on, through splits and merges.
///
/// # Errors
/// [`Error::NotFound`] if there is no such stream; otherwise those of [`Cluster::newest_view`] and [`Cluster::seek`].
pub async fn latest_positions(
    cluster: &dyn Cluster,
    name: &StreamName,
) -> Result<Vec<LatestPosition>, Error> {
    let view = cluster.newest_view().await?;
    let found = view.stream(name).ok_or(Error::NotFound)?;
    let stream = found.stream.id;
    let mut seeks = Vec::new();
    for listed in found.stream.shards.values() {
        let Some(route) = found.shard(listed.id).map(Arc::clone) else { continue };
        let end = end_of_shard(listed);
        seeks.push(async move {
            let next = match end {
                Some(end) => end,
                None => cluster.seek(&route, Start::Latest).await?,
            };
            Ok(LatestPosition { stream, shard: route.shard, next, is_closed: end.is_some() })
        });
    }
    stream::iter(seeks).buffered(SEEKS_AT_ONCE).try_collect().await
}
