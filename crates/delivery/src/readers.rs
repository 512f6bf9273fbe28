//! The readers of the source's shards: one task for each, and a common queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Cluster, ReadError, ShardPage, StreamReader, StreamRecord};
use anabranch_shard::{Position, Start};
use anabranch_types::{ShardId, StreamName};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::definition::Source;

/// Pages that wait, of all shards together.
const QUEUED_PAGES: usize = 4;
/// Pause after a shard could not be read.
const AGAIN: Duration = Duration::from_secs(1);
/// How often new shards are looked for, if no shard has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A message of a reader.
pub(crate) enum Event {
    /// Records of a shard.
    Page(ShardPage),
    /// All of a closed shard was read.
    Ended(ShardId),
    /// The stream may have other shards than before.
    Catalog,
}

/// The records of a page as a delivery stream takes them: aggregated records only of a stream of users are taken apart.
pub(crate) fn records(source: &Source, page: &ShardPage) -> Vec<StreamRecord> {
    match source {
        Source::Stream { .. } => page.records().collect(),
        Source::DirectPut { .. } => page.stored_records().collect(),
    }
}

/// The readers of a source. They end when it is dropped.
pub(crate) struct Readers {
    cluster: Arc<dyn Cluster>,
    stream: StreamName,
    queue: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    tasks: BTreeMap<ShardId, AbortHandle>,
}

impl Readers {
    /// The queue of the readers.
    pub(crate) fn queue() -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
        mpsc::channel(QUEUED_PAGES)
    }

    pub(crate) fn new(
        cluster: Arc<dyn Cluster>,
        stream: StreamName,
        queue: mpsc::Sender<Event>,
        events: mpsc::Receiver<Event>,
    ) -> Self {
        Self { cluster, stream, queue, events, tasks: BTreeMap::new() }
    }

    /// Whether a reader of the shard was started.
    pub(crate) fn reads(&self, shard: ShardId) -> bool {
        self.tasks.contains_key(&shard)
    }

    /// Starts to read a shard at a position, or at its oldest record.
    pub(crate) fn start(&mut self, shard: ShardId, from: Option<Position>) {
        let start = from.map_or(Start::TrimHorizon, Start::At);
        let read =
            read(Arc::clone(&self.cluster), self.stream.clone(), shard, start, self.queue.clone());
        self.tasks.insert(shard, tokio::spawn(read).abort_handle());
    }

    /// The next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        match timeout(LOOK_AGAIN, self.events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) | Err(_) => Event::Catalog,
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

/// Reads a shard to its end. Begins again after an error.
async fn read(
    cluster: Arc<dyn Cluster>,
    stream: StreamName,
    shard: ShardId,
    mut start: Start,
    queue: mpsc::Sender<Event>,
) {
    loop {
        let error = match read_from(&cluster, &stream, shard, &mut start, &queue).await {
            // A shard that has expired has no records left.
            Ok(()) | Err(ReadError::NoShard { .. }) => {
                let _pipeline_has_ended = queue.send(Event::Ended(shard)).await;
                return;
            }
            Err(error) => error,
        };
        if queue.is_closed() {
            return;
        }
        tracing::warn!(%stream, %shard, %error, "delivery: a shard can't be read");
        sleep(AGAIN).await;
    }
}

async fn read_from(
    cluster: &Arc<dyn Cluster>,
    stream: &StreamName,
    shard: ShardId,
    start: &mut Start,
    queue: &mpsc::Sender<Event>,
) -> Result<(), ReadError> {
    let mut reader = StreamReader::begin_shard(Arc::clone(cluster), stream, shard, *start).await?;
    while let Some(page) = reader.next().await? {
        *start = Start::At(page.page().next);
        if queue.send(Event::Page(page)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
