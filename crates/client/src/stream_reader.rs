//! Reads a whole stream: each record once, and the records of a partition key in the order in which they were
//! acknowledged.
//!
//! ```text
//! shard 0 ── task ──┐                       Each shard that can be read has a task. The tasks share a bounded
//! shard 1 ── task ──┼── queue ── next()     queue, so a slow caller of `next` slows the reading down.
//! shard 2 ── task ──┘
//! ```
//!
//! Order of events: the reader looks for its positions in the shards that can be read now, and starts their tasks.
//! When a task has come to the end of a closed shard, the reader starts the tasks of the children whose parents have
//! all been read (`lineage.rs`). A task finds the end by comparing its position with the catalog, and looks again at
//! each new version.
//!
//! Never: a record of a child before the last record of its parent; a record twice.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Stream, StreamId};
use anabranch_shard::{Page, Position, Start};
use anabranch_types::{ShardId, StreamName};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::lineage::{Lineage, is_over};
use crate::shard_page::{ReadShard, ShardPage};
use crate::view::StreamView;

/// Pages that wait for the caller of [`StreamReader::next`], of all shards together.
const QUEUED_PAGES: usize = 8;
/// Shards whose positions are looked for at a time.
const SEEKS_AT_ONCE: usize = 64;
/// Most records and bytes of a page of a closed shard.
const PAGE_RECORDS: u32 = 10_000;
const PAGE_BYTES: usize = 1 << 20;
/// How long a replica that has not applied the end of a closed shard yet may wait for it.
const REST_WAIT: Duration = Duration::from_millis(500);
/// How often a task looks whether its shard has ended, if no new version of the catalog tells it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Why a stream can't be read, or not any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No node told the newest version of the catalog.
    #[error("asking for the newest catalog")]
    Catalog(#[source] Error),
    /// The newest version of the catalog has no such stream.
    #[error("there is no stream {0}")]
    NoStream(StreamName),
    /// The stream has no such shard, or the shard has expired.
    #[error("stream {stream} has no shard {shard}")]
    NoShard {
        /// Name of the stream.
        stream: StreamName,
        /// The shard that was to be read alone.
        shard: ShardId,
    },
    /// The stream was deleted while it was read.
    #[error("stream {0} is gone")]
    StreamGone(StreamName),
    /// No replica could tell where a shard's reader has to begin.
    #[error("looking for where to begin")]
    Seek(#[source] Error),
    /// A shard could not be read before the client's deadline, or its stream was deleted.
    #[error("reading {shard} of {stream}")]
    Shard {
        /// Name of the stream.
        stream: StreamName,
        /// The shard.
        shard: ShardId,
        /// Error of the cluster.
        #[source]
        error: Error,
    },
}

/// A reader of one stream, or of one shard of it. Reads ahead; stops when it is dropped.
pub struct StreamReader {
    cluster: Arc<dyn Cluster>,
    stream: StreamName,
    /// Tells the stream from a later one of the same name.
    id: StreamId,
    order: Order,
    /// Where the children of the first shards begin.
    later: Start,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    being_read: usize,
}

/// Which shards are read, and in which order.
enum Order {
    One(ShardId),
    All(Lineage),
}

/// Report of the task of a shard.
enum Event {
    Page(ShardPage),
    Ended(ShardId),
    Failed(ReadError),
}

impl StreamReader {
    /// Begins to read all shards of `stream`. Returns once the reader knows its position in each shard that can be
    /// read now, so every record that is put after that is read.
    ///
    /// - [`Start::TrimHorizon`]: all records that are retained.
    /// - [`Start::Latest`]: all records that are put from now on. Shards that are closed are skipped.
    /// - [`Start::AtTimestamp`]: all records that arrived then or later.
    /// - [`Start::At`]: for a reader of one shard; here it is the same position in every shard.
    ///
    /// # Errors
    /// [`ReadError::Catalog`], [`ReadError::NoStream`], [`ReadError::Seek`].
    pub async fn begin(
        cluster: Arc<dyn Cluster>,
        stream: &StreamName,
        start: Start,
    ) -> Result<Self, ReadError> {
        Self::begin_with(cluster, stream, None, start).await
    }

    /// As [`Self::begin`], but reads `shard` alone. [`Self::next`] returns `None` at the end of the shard.
    ///
    /// # Errors
    /// As [`Self::begin`], and [`ReadError::NoShard`].
    pub async fn begin_shard(
        cluster: Arc<dyn Cluster>,
        stream: &StreamName,
        shard: ShardId,
        start: Start,
    ) -> Result<Self, ReadError> {
        Self::begin_with(cluster, stream, Some(shard), start).await
    }

    async fn begin_with(
        cluster: Arc<dyn Cluster>,
        stream: &StreamName,
        only: Option<ShardId>,
        start: Start,
    ) -> Result<Self, ReadError> {
        let view = cluster.newest_view().await.map_err(ReadError::Catalog)?;
        let no_stream = || ReadError::NoStream(stream.clone());
        let found = view.stream(stream).ok_or_else(no_stream)?;
        if let Some(shard) = only.filter(|shard| found.shard(*shard).is_none()) {
            return Err(ReadError::NoShard { stream: stream.clone(), shard });
        }
        let (sender, events) = mpsc::channel(QUEUED_PAGES);
        let mut reader = Self {
            cluster,
            stream: stream.clone(),
            id: found.stream.id,
            order: Order::new(only, start, found.stream),
            later: match start {
                // A child's first records are newer than the moment in which the reader began.
                Start::Latest => Start::TrimHorizon,
                start @ (Start::TrimHorizon | Start::At(_) | Start::AtTimestamp(_)) => start,
            },
            events,
            sender,
            tasks: JoinSet::new(),
            being_read: 0,
        };
        let shards = reader.order.next_shards(found);
        for (shard, from) in reader.seek(shards, start).await.map_err(ReadError::Seek)? {
            reader.spawn(shard, Start::At(from));
        }
        Ok(reader)
    }

    /// How many shards are being read now.
    pub fn shards_being_read(&self) -> usize {
        self.being_read
    }

    /// The next page, of whichever shard has one; it has at least one record. `None` when the only shard has ended. A
    /// stream does not end.
    ///
    /// Cancel-safe: a caller that drops the future and calls again misses nothing.
    ///
    /// # Errors
    /// [`ReadError::Shard`], [`ReadError::Seek`], [`ReadError::StreamGone`]. The reader can't go on after an error.
    pub async fn next(&mut self) -> Result<Option<ShardPage>, ReadError> {
        if self.being_read == 0 && matches!(self.order, Order::One(_)) {
            return Ok(None); // the shard ended at an earlier call
        }
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Page(page) => return Ok(Some(page)),
                Event::Failed(error) => return Err(error),
                Event::Ended(shard) => {
                    self.being_read -= 1;
                    match &mut self.order {
                        Order::One(_) => return Ok(None),
                        Order::All(lineage) => lineage.end(shard),
                    }
                    self.spawn_children()?;
                }
            }
        }
        Ok(None) // never: the reader keeps a sender
    }

    /// Starts the tasks of the shards that can be read now and could not before.
    fn spawn_children(&mut self) -> Result<(), ReadError> {
        // The view shows the children: its version closed the parent, and the same version opened them.
        let view = self.cluster.view();
        let found = view.stream(&self.stream).filter(|found| found.stream.id == self.id);
        let found = found.ok_or_else(|| ReadError::StreamGone(self.stream.clone()))?;
        for shard in self.order.next_shards(found) {
            self.spawn(shard, self.later);
        }
        Ok(())
    }

    async fn seek(
        &self,
        shards: Vec<ReadShard>,
        start: Start,
    ) -> Result<Vec<(ReadShard, Position)>, Error> {
        let seeks = stream::iter(shards).map(|shard| async move {
            let from = self.cluster.seek(shard.route(), start).await?;
            Ok((shard, from))
        });
        seeks.buffered(SEEKS_AT_ONCE).try_collect().await
    }

    fn spawn(&mut self, shard: ReadShard, start: Start) {
        let (cluster, events) = (Arc::clone(&self.cluster), self.sender.clone());
        self.being_read += 1;
        self.tasks.spawn(read(cluster, shard, start, events));
    }
}

impl Order {
    fn new(only: Option<ShardId>, start: Start, stream: &Stream) -> Self {
        match (only, start) {
            (Some(shard), _) => Self::One(shard),
            (None, Start::Latest) => Self::All(Lineage::from_open(stream)),
            (None, Start::TrimHorizon | Start::At(_) | Start::AtTimestamp(_)) => {
                Self::All(Lineage::default())
            }
        }
    }

    /// The shards to begin with, now that the last ones have ended.
    fn next_shards(&mut self, found: StreamView<'_>) -> Vec<ReadShard> {
        let shards = match self {
            Self::One(shard) => vec![*shard],
            Self::All(lineage) => lineage.begin(found.stream),
        };
        shards.into_iter().filter_map(|shard| ReadShard::new(found, shard)).collect()
    }
}

/// The task of one shard: sends its pages, then how it ended.
async fn read(
    cluster: Arc<dyn Cluster>,
    shard: ReadShard,
    start: Start,
    events: mpsc::Sender<Event>,
) {
    let id = shard.id();
    let event = match read_pages(&*cluster, shard, start, &events).await {
        Ok(()) => Event::Ended(id),
        Err(error) => Event::Failed(error),
    };
    let _reader_is_dropped = events.send(event).await;
}

async fn read_pages(
    cluster: &dyn Cluster,
    shard: ReadShard,
    start: Start,
    events: &mpsc::Sender<Event>,
) -> Result<(), ReadError> {
    let failed = |error| shard.failed(error);
    let mut next = cluster.seek(shard.route(), start).await.map_err(ReadError::Seek)?;
    let mut pages = cluster.tail(shard.route(), next);
    loop {
        let view = cluster.view();
        let found = view.stream(&shard.route().stream);
        if has_ended(found, &shard, next).map_err(failed)? {
            return Ok(());
        }
        if found.is_some_and(|found| is_closed(found.stream, shard.id())) {
            drop(pages);
            return read_rest(cluster, &shard, next, events).await;
        }
        let page = tokio::select! {
            biased;
            page = pages.next() => page,
            () = cluster.newer_view(view.catalog().version, LOOK_AGAIN) => continue,
        };
        let page = match page.transpose() {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(()),
            Err(error) => {
                // A shard that has expired since the check above is not found. That is its end.
                let view = cluster.view();
                let found = view.stream(&shard.route().stream);
                let has_ended =
                    error == Error::NotFound && has_ended(found, &shard, next) == Ok(true);
                return if has_ended { Ok(()) } else { Err(failed(error)) };
            }
        };
        next = page.next;
        if page.record_count() > 0 && send(events, &shard, page).await.is_err() {
            return Ok(()); // the reader was dropped
        }
    }
}

/// Reads a closed shard from `next` to its end. No record comes any more, so a page that is asked for tells the end at
/// once. A tail would tell it with its next empty page, seconds later.
async fn read_rest(
    cluster: &dyn Cluster,
    shard: &ReadShard,
    mut next: Position,
    events: &mpsc::Sender<Event>,
) -> Result<(), ReadError> {
    let failed = |error| shard.failed(error);
    loop {
        let read = cluster.read(shard.route(), next, PAGE_RECORDS, PAGE_BYTES, REST_WAIT).await;
        let view = cluster.view();
        let ended = |next| has_ended(view.stream(&shard.route().stream), shard, next);
        let page = match read {
            Ok(page) => page,
            Err(Error::NotFound) if ended(next) == Ok(true) => return Ok(()),
            // The limits of the service count these reads.
            Err(Error::Throttled(_)) => {
                sleep(REST_WAIT).await;
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        next = page.next;
        if page.record_count() > 0 && send(events, shard, page).await.is_err() {
            return Ok(()); // the reader was dropped
        }
        if ended(next).map_err(failed)? {
            return Ok(());
        }
    }
}

/// Whether the catalog says that the shard takes no more records.
fn is_closed(stream: &Stream, shard: ShardId) -> bool {
    stream.shards.get(&shard).is_some_and(|shard| !shard.is_open())
}

/// Whether no record of `shard` comes at `next` or later.
fn has_ended(
    found: Option<StreamView<'_>>,
    shard: &ReadShard,
    next: Position,
) -> Result<bool, Error> {
    let found = found.filter(|found| found.stream.id == shard.route().stream_id);
    let found = found.ok_or(Error::NotFound)?;
    // A shard that isn't listed any more is closed, and all of its records have expired.
    Ok(found.stream.shards.get(&shard.id()).is_none_or(|shard| is_over(shard, next)))
}

async fn send(
    events: &mpsc::Sender<Event>,
    shard: &ReadShard,
    page: Page,
) -> Result<(), mpsc::error::SendError<Event>> {
    events.send(Event::Page(ShardPage::new(shard.clone(), page))).await
}
