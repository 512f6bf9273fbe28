//! A shard, a table, a function and a destination in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_functions::engine::{
    Checkpoints, CommitError, Destination, End, EngineSettings, Invoker, Page, Progress, Source,
    SourceError, Worker,
};
use anabranch_functions::{
    Answer, Checkpoint, Delivery, EventSource, Function, FunctionSpec, Mapping, MappingSpec, Record,
};
use anabranch_shard::{Position, Start};
use anabranch_types::{Clock, SequenceNumber, SequenceNumberParts, ShardId, Timestamp};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A clock that follows the time of the runtime, which a test may pause.
pub(crate) struct RuntimeClock(Instant);

impl RuntimeClock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        BEGIN.plus(self.0.elapsed())
    }
}

/// Records of one shard.
#[derive(Clone)]
pub(crate) struct Shard(watch::Sender<Stored>);

#[derive(Clone, Default)]
struct Stored {
    records: Vec<Record>,
    is_closed: bool,
    is_gone: bool,
    reads_to_fail: usize,
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Appends records whose keys and data are `texts`.
    pub(crate) fn put(&self, texts: &[&str]) {
        self.0.send_modify(|stored| {
            for text in texts {
                let log_index = stored.records.len() as u64 + 1;
                stored.records.push(Record {
                    number: number(log_index),
                    arrival: BEGIN,
                    partition_key: Bytes::copy_from_slice(text.as_bytes()),
                    data: Bytes::copy_from_slice(text.as_bytes()),
                });
            }
        });
    }

    pub(crate) fn close(&self) {
        self.0.send_modify(|stored| stored.is_closed = true);
    }

    pub(crate) fn delete(&self) {
        self.0.send_modify(|stored| stored.is_gone = true);
    }

    pub(crate) fn fail_reads(&self, reads: usize) {
        self.0.send_modify(|stored| stored.reads_to_fail = reads);
    }
}

impl Source for Shard {
    fn seek(&self, start: Start) -> BoxFuture<'static, Result<Position, SourceError>> {
        let last = self.0.borrow().records.len() as u64;
        async move {
            Ok(match start {
                Start::Latest => Position::entry(last + 1),
                Start::At(position) => position,
                Start::TrimHorizon | Start::AtTimestamp(_) => Position::entry(1),
            })
        }
        .boxed()
    }

    fn read(&self, from: Position) -> BoxFuture<'static, Result<Page, SourceError>> {
        let (this, mut stored) = (self.clone(), self.0.subscribe());
        async move {
            let ready = |stored: &Stored| {
                let unread = (stored.records.len() as u64) >= from.log_index;
                unread || stored.is_closed || stored.is_gone || stored.reads_to_fail > 0
            };
            let found = stored.wait_for(ready).await.unwrap().clone();
            if found.is_gone {
                return Err(SourceError::Gone);
            }
            if found.reads_to_fail > 0 {
                this.fail_reads(found.reads_to_fail - 1);
                return Err(SourceError::Unavailable("test".into()));
            }
            let skip = usize::try_from(from.log_index).unwrap() - 1;
            let records: Vec<Record> = found.records.iter().skip(skip).take(100).cloned().collect();
            let next = Position::entry(from.log_index + records.len() as u64);
            let is_end = found.is_closed && next.log_index > found.records.len() as u64;
            Ok(Page { records, next, is_end })
        }
        .boxed()
    }

    fn retention(&self) -> Duration {
        Duration::from_secs(86_400)
    }
}

pub(crate) fn number(log_index: u64) -> SequenceNumber {
    SequenceNumber::new(SequenceNumberParts {
        shard_born_seconds: 1_700_000_000,
        shard: ShardId(0),
        log_index,
        offset: 0,
        arrival_seconds: BEGIN.as_secs(),
    })
}

/// A row of a table.
#[derive(Clone, Default)]
pub(crate) struct Row(Arc<Mutex<RowState>>);

#[derive(Default)]
struct RowState {
    bytes: Option<Vec<u8>>,
    is_fenced: bool,
    is_unreachable: bool,
    commits: usize,
}

impl Row {
    pub(crate) fn next(&self) -> Option<u64> {
        self.checkpoint().map(|checkpoint| checkpoint.next.log_index)
    }

    pub(crate) fn checkpoint(&self) -> Option<Checkpoint> {
        let state = self.0.lock().unwrap();
        state.bytes.as_deref().map(|bytes| Checkpoint::decode(bytes).unwrap())
    }

    pub(crate) fn commits(&self) -> usize {
        self.0.lock().unwrap().commits
    }

    pub(crate) fn fence(&self) {
        self.0.lock().unwrap().is_fenced = true;
    }

    pub(crate) fn set_unreachable(&self, is_unreachable: bool) {
        self.0.lock().unwrap().is_unreachable = is_unreachable;
    }
}

impl Checkpoints for Row {
    fn load(&self) -> BoxFuture<'static, Result<Option<Checkpoint>, CommitError>> {
        let found = self.checkpoint();
        async { Ok(found) }.boxed()
    }

    fn commit(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), CommitError>> {
        let row = self.clone();
        async move {
            let mut state = row.0.lock().unwrap();
            if state.is_fenced {
                return Err(CommitError::Fenced);
            }
            if state.is_unreachable {
                return Err(CommitError::Failed("test".into()));
            }
            state.bytes = Some(checkpoint.encode());
            state.commits += 1;
            Ok(())
        }
        .boxed()
    }
}

/// A function whose calls a test answers.
#[derive(Clone)]
pub(crate) struct Calls(
    Arc<watch::Sender<VecDeque<Pending>>>,
    Arc<Mutex<Vec<oneshot::Sender<Answer>>>>,
);

type Pending = Vec<String>;

impl Calls {
    pub(crate) fn new() -> Self {
        Self(Arc::default(), Arc::default())
    }

    /// Waits for the next call, and returns the data of its records and where its answer goes.
    pub(crate) async fn next(&self) -> (String, oneshot::Sender<Answer>) {
        let mut calls = self.0.subscribe();
        calls.wait_for(|calls| !calls.is_empty()).await.unwrap();
        let mut records = None;
        self.0.send_modify(|calls| records = calls.pop_front());
        (records.unwrap().concat(), self.1.lock().unwrap().remove(0))
    }

    /// Answers the next call with success, and returns the data of its records.
    pub(crate) async fn succeed(&self) -> String {
        let (records, answer) = self.next().await;
        answer.send(ok()).unwrap();
        records
    }

    pub(crate) fn waiting(&self) -> usize {
        self.0.borrow().len()
    }
}

pub(crate) fn ok() -> Answer {
    Answer::Returned { status: 200, payload: Bytes::new() }
}

pub(crate) fn failed() -> Answer {
    Answer::Failed { status: 200, error: "Unhandled".into() }
}

impl Invoker for Calls {
    fn call(
        &self,
        _function: Arc<Function>,
        _request_id: Uuid,
        event: Bytes,
    ) -> BoxFuture<'static, Answer> {
        let event: Value = serde_json::from_slice(&event).unwrap();
        let keys = event["Records"].as_array().unwrap().iter();
        let keys = keys.map(|record| record["kinesis"]["partitionKey"].as_str().unwrap().into());
        let (sender, answer) = oneshot::channel();
        self.1.lock().unwrap().push(sender);
        let keys = keys.collect();
        self.0.send_modify(|calls| calls.push_back(keys));
        answer.map(|answer| answer.unwrap_or(Answer::NotCalled)).boxed()
    }
}

/// Documents that arrived.
#[derive(Clone, Default)]
pub(crate) struct Documents(Arc<watch::Sender<Vec<Value>>>);

impl Documents {
    /// Waits for the first document.
    pub(crate) async fn first(&self) -> Value {
        let mut documents = self.0.subscribe();
        documents.wait_for(|documents| !documents.is_empty()).await.unwrap()[0].clone()
    }
}

impl Destination for Documents {
    fn put(&self, document: Bytes) -> BoxFuture<'static, Delivery> {
        let document = serde_json::from_slice(&document).unwrap();
        self.0.send_modify(|documents| documents.push(document));
        async { Delivery::Done }.boxed()
    }
}

/// Everything around a worker.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) row: Row,
    pub(crate) calls: Calls,
    pub(crate) documents: Documents,
    pub(crate) spec: MappingSpec,
}

/// A worker that runs.
pub(crate) struct Running {
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<End>,
    pub(crate) progress: watch::Receiver<Progress>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            shard: Shard::new(),
            row: Row::default(),
            calls: Calls::new(),
            documents: Documents::default(),
            spec: MappingSpec::new(Uuid::nil(), "meters", "sum"),
        }
    }

    pub(crate) fn run(&self) -> Running {
        self.run_with(Arc::new(self.calls.clone()), "http://f.test/")
    }

    pub(crate) fn run_with(&self, invoker: Arc<dyn Invoker>, url: &str) -> Running {
        let mapping = Arc::new(Mapping::check(&self.spec).unwrap());
        let function = Function::check(&FunctionSpec::new("sum", url)).unwrap();
        let (progress, watched) = watch::channel(Progress::default());
        let names = EventSource::new(
            Default::default(),
            &Default::default(),
            &mapping.stream,
            ShardId(0),
            &mapping.function,
        );
        let worker = Worker {
            mapping,
            function: Arc::new(function),
            names,
            source: Arc::new(self.shard.clone()),
            invoker,
            checkpoints: Arc::new(self.row.clone()),
            destination: Arc::new(self.documents.clone()),
            clock: RuntimeClock::start(),
            settings: EngineSettings::default(),
            seed: 1,
            progress,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = stopped.map(|_told| ());
        Running { stop, ended: tokio::spawn(worker.run(stopped)), progress: watched }
    }
}

impl Running {
    /// Stops the worker and waits for its end.
    pub(crate) async fn stop(self) -> End {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap()
    }
}
