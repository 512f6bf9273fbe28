//! The job of one delivery stream: reads the shards of its source, gathers batches, and delivers each batch once.
//!
//! ```text
//! readers (one task a shard) --> batch --close--> intent row --> objects, up to four batches at a time --> commit
//!                                                                                          in order, one transaction:
//!                                                                                          positions move, intent goes
//! ```
//!
//! Order of events after a start: the positions and the intents are loaded. The batches of the intents are finished
//! first (`recovery.rs`). Then reading begins where the last intent ended.
//!
//! A batch that has no intent is dropped when the job ends: the log has its records. A transaction whose outcome is
//! unknown is made again; it has the same result.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::StreamId;
use anabranch_client::{Cluster, ShardPage, Tables, parents_have_ended};
use anabranch_jobs::{CommitError, Job, Report};
use anabranch_shard::Position;
use anabranch_table::{Expect, Key, KeyRange, SpaceId, Transaction};
use anabranch_types::{Clock, ShardId, StreamName, Timestamp};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, Closed, Recipe};
use crate::definition::{Definition, Source};
use crate::intent::{Intent, ReadRun};
use crate::metrics::Metrics;
use crate::readers::{self, Event, Readers};
use crate::recovery;
use crate::rows::{self, At};
use crate::stores::ObjectStores;
use crate::upload;

/// Batches that are delivered at the same time.
const FLIGHTS: usize = 4;
/// With zero buffering, a batch gathers this long.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);
/// Pause after a transaction that failed.
const AGAIN: Duration = Duration::from_millis(500);
/// The deadline of a batch that does not exist.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// The surroundings of a pipeline.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) stores: ObjectStores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spool: Arc<Path>,
    pub(crate) metrics: Arc<Metrics>,
    /// Ends the waits of this run. No transaction is dropped: it could be made later.
    pub(crate) halt: CancellationToken,
    pub(crate) job: Job,
    /// Numbers of the spaces.
    pub(crate) streams: SpaceId,
    pub(crate) positions: SpaceId,
}

/// Why a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The job has another owner.
    Fenced,
    /// The work can't go on here and now. A text for operators.
    Failed(String),
    /// The work was told to end.
    Halted,
}

/// Delivers the records of one delivery stream.
pub(crate) struct Pipeline {
    parts: Parts,
    definition: Definition,
    recipe: Arc<Recipe>,
    stream: StreamName,
    stream_id: StreamId,
    /// How far each shard is in batches that have an intent, or in the batch that gathers.
    read: BTreeMap<ShardId, At>,
    batch: Batch,
    /// When the batch is closed at the latest.
    deadline: Pin<Box<Sleep>>,
    flights: FuturesOrdered<BoxFuture<'static, Flight>>,
    /// When the oldest record of each flight arrived.
    waiting: VecDeque<Option<Timestamp>>,
    next_intent: u64,
    readers: Readers,
}

/// A batch whose objects are all put.
struct Flight {
    number: u64,
    runs: Vec<ReadRun>,
}

impl Parts {
    pub(crate) fn key(&self, key: Bytes) -> Key {
        Key { space: self.positions, key }
    }

    fn tables(&self) -> &Tables {
        self.job.tables()
    }

    /// Rows whose keys begin with `prefix`, in order.
    pub(crate) async fn rows(&self, prefix: Bytes) -> Result<Vec<(Bytes, Bytes)>, End> {
        let range = KeyRange { end: Some(rows::end_of(&prefix)), start: prefix, descending: false };
        let rows = self.tables().all(self.job.group(), self.positions, range).await;
        let rows = rows.map_err(|error| End::Failed(error.to_string()))?;
        Ok(rows.into_iter().map(|(key, row)| (key, row.value)).collect())
    }

    /// Waits for something that is no transaction, until the work is told to end.
    pub(crate) async fn until_halted<T>(&self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            biased;
            () = self.halt.cancelled() => Err(End::Halted),
            done = work => Ok(done),
        }
    }

    /// Makes a transaction that has the same result when it is made twice. Tries again until the table group answers.
    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<(), End> {
        loop {
            match self.job.commit(transaction.clone()).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Fenced | CommitError::Conflict) => return Err(End::Fenced),
                Err(error @ CommitError::Refused(_)) => return Err(End::Failed(error.to_string())),
                Err(CommitError::Failed(error)) => {
                    tracing::warn!(%error, job = %self.job.id(), "delivery: a transaction is made again");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// The check that the delivery stream has not been deleted.
    pub(crate) fn definition_exists(&self, name: &str) -> (Key, Expect) {
        let key = Bytes::copy_from_slice(name.as_bytes());
        (Key { space: self.streams, key }, Expect::Present)
    }
}

impl Pipeline {
    /// Loads where the delivery is, and finishes what an earlier owner began.
    pub(crate) async fn begin(
        parts: Parts,
        definition: Definition,
        recipe: Recipe,
    ) -> Result<Self, End> {
        let gone = || End::Failed("the source stream is gone".to_owned());
        let stream = definition.stream().ok_or_else(gone)?;
        let view =
            parts.cluster.newest_view().await.map_err(|error| End::Failed(error.to_string()))?;
        let stream_id = view.stream(&stream).ok_or_else(gone)?.stream.id;
        if let Source::Stream { id, .. } = definition.source
            && id != stream_id.0
        {
            return Err(gone());
        }
        let mut read = BTreeMap::new();
        let prefix = rows::positions_of(definition.id, stream_id);
        for (key, value) in parts.rows(prefix.clone()).await? {
            let shard =
                std::str::from_utf8(&key[prefix.len()..]).ok().and_then(|id| id.parse().ok());
            if let Some((shard, at)) = shard.zip(At::decode(&value)) {
                read.insert(ShardId(shard), at);
            }
        }
        let (queue, events) = Readers::queue();
        let mut pipeline = Self {
            readers: Readers::new(Arc::clone(&parts.cluster), stream.clone(), queue, events),
            batch: Batch::new(Arc::new(recipe.clone())),
            recipe: Arc::new(recipe),
            parts,
            definition,
            stream,
            stream_id,
            read,
            deadline: Box::pin(sleep(NEVER)),
            flights: FuturesOrdered::new(),
            waiting: VecDeque::new(),
            next_intent: 0,
        };
        pipeline.finish_intents().await?;
        Ok(pipeline)
    }

    async fn finish_intents(&mut self) -> Result<(), End> {
        let prefix = rows::intents_of(self.definition.id);
        for (key, value) in self.parts.rows(prefix.clone()).await? {
            let number =
                std::str::from_utf8(&key[prefix.len()..]).ok().and_then(|text| text.parse().ok());
            let number = number.ok_or_else(|| End::Failed("an intent has no number".to_owned()))?;
            let intent = Intent::decode(&value).map_err(End::Failed)?;
            let mut closed =
                recovery::remake(&self.parts, &self.definition, &self.stream, number, intent)
                    .await?;
            let runs = closed.intent.runs.clone();
            let put = upload::put_all(&self.parts.stores, &self.parts.metrics, &mut closed);
            self.parts.until_halted(put).await?;
            self.committed(Flight { number, runs }).await?;
            self.next_intent = number + 1;
        }
        Ok(())
    }

    /// Delivers until the work is told to end.
    pub(crate) async fn run(mut self) -> Result<(), End> {
        let halt = self.parts.halt.clone();
        loop {
            self.start_readers();
            self.report();
            tokio::select! {
                biased;
                () = halt.cancelled() => return Ok(()),
                Some(flight) = self.flights.next(), if !self.flights.is_empty() => {
                    self.committed(flight).await?;
                }
                () = &mut self.deadline, if !self.batch.is_empty() && self.flights.len() < FLIGHTS => {
                    self.close().await?;
                }
                event = self.readers.next(), if !self.is_held_up() => self.take(event).await?,
            }
        }
    }

    /// Whether a full batch waits for the batches before it.
    fn is_held_up(&self) -> bool {
        self.batch.is_full() && self.flights.len() >= FLIGHTS
    }

    /// Starts readers of the shards whose parents have been read.
    fn start_readers(&mut self) {
        let view = self.parts.cluster.view();
        let found = view.stream(&self.stream);
        let Some(found) = found.filter(|found| found.stream.id == self.stream_id) else { return };
        let finished: BTreeSet<_> =
            self.read.iter().filter(|(_, at)| at.finished).map(|(shard, _)| *shard).collect();
        for shard in found.stream.shards.values() {
            let is_finished = |shard: ShardId| finished.contains(&shard);
            let may_begin =
                !is_finished(shard.id) && parents_have_ended(found.stream, shard, is_finished);
            if may_begin && !self.readers.reads(shard.id) {
                let from = self.read.get(&shard.id).map(|at| at.next());
                self.readers.start(shard.id, from);
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Page(page) => self.take_page(&page).await,
            Event::Ended(shard) => {
                let next = self.read.get(&shard).map(|at| at.next()).unwrap_or_default();
                self.covers(shard, next, next, true);
                if self.batch.is_full() { self.close_when_possible().await } else { Ok(()) }
            }
            Event::Catalog => Ok(()),
        }
    }

    async fn take_page(&mut self, page: &ShardPage) -> Result<(), End> {
        let shard = page.route().shard;
        if page.route().stream_id != self.stream_id {
            return Err(End::Failed("the source stream is gone".to_owned()));
        }
        let mut from = self.read.get(&shard).map(|at| at.next());
        let records = readers::records(&self.definition.source, page);
        let mut records = records.into_iter().peekable();
        while let Some(record) = records.next() {
            let position = Position::of(record.number);
            let next = position.next();
            self.covers(shard, from.unwrap_or(position), next, false);
            from = Some(next);
            self.batch.add(&record).map_err(|error| End::Failed(format!("spool: {error}")))?;
            let is_last_part =
                records.peek().is_none_or(|following| following.number != record.number);
            if is_last_part && self.batch.is_full() {
                self.close_when_possible().await?;
            }
        }
        // User records of another shard are left out, also at the end of a page. A run ends behind a record, so that
        // reading it again finds its end.
        let end = page.stored_records().last().map(|record| Position::of(record.number).next());
        if let Some(end) = end
            && from.is_none_or(|from| from < end)
        {
            self.covers(shard, from.unwrap_or(end), end, false);
        }
        Ok(())
    }

    fn covers(&mut self, shard: ShardId, first: Position, next: Position, ends: bool) {
        if self.batch.is_empty() {
            let interval = self.recipe.settings.object.interval.max(SHORTEST_INTERVAL);
            self.deadline.set(sleep_until(Instant::now() + interval));
        }
        self.batch.covers(shard, first, next, ends);
        self.read.insert(shard, At { finished: ends, ..At::position(next) });
    }

    /// Closes the batch as soon as fewer batches are on their way.
    async fn close_when_possible(&mut self) -> Result<(), End> {
        while self.flights.len() >= FLIGHTS {
            let parts = self.parts.clone();
            let Some(flight) = parts.until_halted(self.flights.next()).await? else { break };
            self.committed(flight).await?;
        }
        self.close().await
    }

    /// Writes the intent of the batch, and begins to put its objects.
    async fn close(&mut self) -> Result<(), End> {
        let next = Batch::new(Arc::clone(&self.recipe));
        let batch = std::mem::replace(&mut self.batch, next);
        self.deadline.set(sleep(NEVER));
        if batch.is_empty() {
            return Ok(());
        }
        self.parts.metrics.failed_records.add(batch.failed());
        let oldest = batch.oldest();
        let closed = batch.close(None).map_err(|error| End::Failed(format!("spool: {error}")))?;
        let number = self.next_intent;
        self.next_intent += 1;
        let key = self.parts.key(rows::intent_key(self.definition.id, number));
        let transaction = Transaction {
            checks: vec![self.parts.definition_exists(&self.definition.name)],
            puts: vec![(key, closed.intent.encode())],
            ..Transaction::default()
        };
        self.parts.commit(transaction).await?;
        self.waiting.push_back(oldest);
        self.flights.push_back(deliver(&self.parts, number, closed));
        Ok(())
    }

    /// Moves the positions of the shards past a batch that is delivered.
    async fn committed(&mut self, flight: Flight) -> Result<(), End> {
        let mut positions = BTreeMap::new();
        for run in &flight.runs {
            let at = At { finished: run.ends, ..At::position(run.next()) };
            positions.insert(run.shard(), at);
            self.read
                .entry(run.shard())
                .and_modify(|read| {
                    if read.next() < at.next() || at.finished {
                        *read = at;
                    }
                })
                .or_insert(at);
        }
        let (id, stream) = (self.definition.id, self.stream_id);
        let put = |(shard, at): (ShardId, At)| {
            (self.parts.key(rows::position_key(id, stream, shard)), at.encode())
        };
        let transaction = Transaction {
            checks: vec![self.parts.definition_exists(&self.definition.name)],
            puts: positions.into_iter().map(put).collect(),
            deletes: vec![self.parts.key(rows::intent_key(id, flight.number))],
            ..Transaction::default()
        };
        self.waiting.pop_front();
        self.parts.commit(transaction).await
    }

    /// Says how long the oldest record waits that is not delivered.
    fn report(&self) {
        let now = self.parts.clock.now();
        let oldest = self.waiting.iter().copied().chain([self.batch.oldest()]).flatten().min();
        let lag = oldest.map_or(0, |oldest| now.since(oldest).as_millis());
        let lag = u64::try_from(lag).unwrap_or(u64::MAX);
        self.parts.job.report(Report { lag_millis: Some(lag), load: 0 });
    }
}

fn deliver(parts: &Parts, number: u64, mut closed: Closed) -> BoxFuture<'static, Flight> {
    let (stores, metrics) = (parts.stores.clone(), Arc::clone(&parts.metrics));
    Box::pin(async move {
        upload::put_all(&stores, &metrics, &mut closed).await;
        Flight { number, runs: closed.intent.runs }
    })
}
