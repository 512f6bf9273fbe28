//! Where each shard of a stream is now.

use std::sync::Arc;

use anabranch_shard::{Position, Start};
use anabranch_types::StreamName;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::cluster::Cluster;
use crate::error::Error;
use crate::view::ShardRoute;

/// Shards whose positions are looked for at a time.
const SEEKS_AT_ONCE: usize = 64;

/// The end of one shard, at a moment.
#[derive(Clone, Debug)]
pub struct LatestPosition {
    /// The shard.
    pub route: Arc<ShardRoute>,
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
    stream: &StreamName,
) -> Result<Vec<LatestPosition>, Error> {
    let view = cluster.newest_view().await?;
    let found = view.stream(stream).ok_or(Error::NotFound)?;
    let mut seeks = Vec::new();
    for shard in found.stream.shards.values() {
        let Some(route) = found.shard(shard.id) else { continue };
        let (route, is_closed) = (Arc::clone(route), !shard.is_open());
        seeks.push(async move {
            let next = cluster.seek(&route, Start::Latest).await?;
            Ok(LatestPosition { route, next, is_closed })
        });
    }
    stream::iter(seeks).buffered(SEEKS_AT_ONCE).try_collect().await
}
