//! A shard of the cluster as a worker reads it, the stream that documents go to, and the checkpoint in the job's table
//! group.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};
use std::time::Duration;

use anabranch_client::{Cluster, Error, ReadError, ShardRoute, StreamReader};
use anabranch_jobs::{CommitError as JobError, Job};
use anabranch_shard::{BatchBuilder, Position, Producer, Start};
use anabranch_table::{Expect, Key, Transaction};
use anabranch_types::{StreamName, partition_key_hash};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::checkpoint::Checkpoint;
use crate::engine::{Checkpoints, CommitError, Destination, Page, Source, SourceError};
use crate::event::Record;
use crate::lanes::Delivery;

/// Longest time until an empty page is returned.
const EMPTY_AFTER: Duration = Duration::from_secs(5);

/// The records of one shard of a cluster.
#[derive(Clone)]
pub(crate) struct ClusterShard {
    cluster: Arc<dyn Cluster>,
    route: Arc<ShardRoute>,
    /// The reader, and the position that its next page begins at.
    reader: Arc<Mutex<Option<(Position, StreamReader)>>>,
}

impl ClusterShard {
    pub(crate) fn new(cluster: Arc<dyn Cluster>, route: Arc<ShardRoute>) -> Self {
        Self { cluster, route, reader: Arc::default() }
    }

    async fn page(self, from: Position) -> Result<Page, SourceError> {
        let mut reader = self.reader.lock().await;
        let known = reader.take().filter(|(next, _)| *next == from);
        let mut begun = match known {
            Some((_, begun)) => begun,
            None => self.begin(from).await?,
        };
        match timeout(EMPTY_AFTER, begun.next()).await {
            // `next` may be dropped at any moment: pages wait in a queue.
            Err(_) => {
                *reader = Some((from, begun));
                Ok(Page { next: from, ..Page::default() })
            }
            Ok(Ok(Some(page))) => {
                let record = |record: anabranch_client::StreamRecord| Record {
                    number: record.number,
                    arrival: record.arrival,
                    partition_key: record.partition_key,
                    data: record.data,
                };
                let records = page.stored_records().map(record).collect();
                let next = page.page().next;
                *reader = Some((next, begun));
                Ok(Page { records, next, is_end: false })
            }
            Ok(Ok(None)) => Ok(Page { next: from, is_end: true, ..Page::default() }),
            Ok(Err(error)) => Err(self.failed(&error)),
        }
    }

    async fn begin(&self, from: Position) -> Result<StreamReader, SourceError> {
        let (stream, shard) = (self.route.stream.clone(), self.route.shard);
        if !self.exists() {
            return Err(SourceError::Gone);
        }
        let cluster = Arc::clone(&self.cluster);
        let begun = StreamReader::begin_shard(cluster, &stream, shard, Start::At(from)).await;
        begun.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ReadError) -> SourceError {
        if self.exists() { SourceError::Unavailable(error.to_string()) } else { SourceError::Gone }
    }

    /// Whether the stream is the one that the route was made for.
    fn exists(&self) -> bool {
        let view = self.cluster.view();
        let found = view.stream(&self.route.stream);
        found.is_some_and(|found| found.stream.id == self.route.stream_id)
    }
}

impl Source for ClusterShard {
    fn seek(&self, start: Start) -> BoxFuture<'static, Result<Position, SourceError>> {
        let this = self.clone();
        async move {
            match this.cluster.seek(&this.route, start).await {
                Ok(position) => Ok(position),
                Err(Error::NotFound) if !this.exists() => Err(SourceError::Gone),
                Err(error) => Err(SourceError::Unavailable(error.to_string())),
            }
        }
        .boxed()
    }

    fn read(&self, from: Position) -> BoxFuture<'static, Result<Page, SourceError>> {
        self.clone().page(from).boxed()
    }

    fn retention(&self) -> Duration {
        let view = self.cluster.view();
        let hours = view.stream(&self.route.stream).map(|found| found.stream.retention_hours);
        Duration::from_secs(3600 * u64::from(hours.unwrap_or(self.route.retention_hours)))
    }
}

/// The stream that gets documents about discarded batches.
pub(crate) struct DocumentStream {
    pub(crate) cluster: Arc<dyn Cluster>,
    /// `None` if the mapping has no destination.
    pub(crate) stream: Option<StreamName>,
    /// All documents of a mapping have this partition key.
    pub(crate) partition_key: String,
}

impl Destination for DocumentStream {
    fn put(&self, document: Bytes) -> BoxFuture<'static, Delivery> {
        let (cluster, stream) = (Arc::clone(&self.cluster), self.stream.clone());
        let key = self.partition_key.clone();
        async move {
            let Some(stream) = stream else { return Delivery::Refused };
            // A name, so that the client may send the document again.
            let id = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
            let mut batch = BatchBuilder::new(Some(Producer { id, sequence: 0 }));
            batch.push(0, key.as_bytes(), &document);
            let Some(batch) = batch.finish() else { return Delivery::Refused };
            let route = {
                let view = cluster.view();
                let found = view.stream(&stream);
                found.and_then(|found| found.shard_for(partition_key_hash(&key)).cloned())
            };
            let Some(route) = route else {
                tracing::warn!(%stream, "the stream for discarded records is gone");
                return Delivery::Unavailable;
            };
            match cluster.append(&route, batch).await {
                Ok(_) => Delivery::Done,
                Err(error @ Error::Invalid(_)) => {
                    tracing::warn!(%stream, %error, "a document about discarded records is lost");
                    Delivery::Refused
                }
                Err(error) => {
                    tracing::warn!(%stream, %error, "a document about discarded records waits");
                    Delivery::Unavailable
                }
            }
        }
        .boxed()
    }
}

/// The checkpoint of a job.
#[derive(Clone)]
pub(crate) struct JobCheckpoint {
    job: Job,
    key: Key,
    /// The definition of the mapping. Without it nothing is stored.
    definition: Key,
    /// The row as this worker left it. A commit that is late must not replace a later one.
    row: Arc<StdMutex<Expect>>,
}

impl JobCheckpoint {
    pub(crate) fn new(job: Job, key: Key, definition: Key) -> Self {
        Self { job, key, definition, row: Arc::new(StdMutex::new(Expect::Absent)) }
    }

    fn row(&self) -> StdMutexGuard<'_, Expect> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checkpoints for JobCheckpoint {
    fn load(&self) -> BoxFuture<'static, Result<Option<Checkpoint>, CommitError>> {
        let this = self.clone();
        async move {
            let (tables, group) = (this.job.tables(), this.job.group());
            let row = tables.get(group, this.key.clone()).await;
            let row = row.map_err(|error| CommitError::Failed(error.to_string()))?;
            *this.row() = row.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
            let decoded = row.map(|row| Checkpoint::decode(&row.value)).transpose();
            decoded.map_err(|error| CommitError::Failed(error.to_string()))
        }
        .boxed()
    }

    fn commit(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), CommitError>> {
        let this = self.clone();
        async move {
            let expected = *this.row();
            let transaction = Transaction {
                checks: vec![
                    (this.definition.clone(), Expect::Present),
                    (this.key.clone(), expected),
                ],
                puts: vec![(this.key.clone(), checkpoint.encode().into())],
                ..Transaction::default()
            };
            match this.job.commit(transaction).await {
                Ok(version) => {
                    *this.row() = Expect::Version(version);
                    Ok(())
                }
                // The mapping was deleted, or an earlier commit of unknown outcome was made after all. In both cases
                // this worker ends, and the next one reads the row.
                Err(JobError::Fenced | JobError::Conflict) => Err(CommitError::Fenced),
                Err(error @ (JobError::Refused(_) | JobError::Failed(_))) => {
                    Err(CommitError::Failed(error.to_string()))
                }
            }
        }
        .boxed()
    }
}

impl fmt::Debug for ClusterShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterShard").field("route", &self.route).finish_non_exhaustive()
    }
}
