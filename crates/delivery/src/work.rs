//! Delivery streams as jobs: one job for each, from its creation to the end of its deletion.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Distribution, NewStream, StreamCommand, StreamMode, StreamStatus};
use anabranch_client::{Cluster, View};
use anabranch_jobs::{CommitError, Copies, Job, JobId, Member, Wanted, WantedJobs, Work};
use anabranch_metrics::Registry;
use anabranch_table::{Expect, Transaction};
use anabranch_types::{Clock, StreamName, limits};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::batch::Recipe;
use crate::definition::{Definition, Source, Status};
use crate::metrics::Metrics;
use crate::pipeline::{End, Parts, Pipeline};
use crate::rows::{self, POSITIONS, STREAMS};
use crate::stores::ObjectStores;

/// Name of the service in the ids of jobs.
const SERVICE: &str = "delivery";
/// How long records of an internal stream wait for their destination.
const RETENTION_HOURS: u32 = 168;
/// Longest wait for the catalog between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Rows of one transaction.
const TRANSACTION_ROWS: usize = 100;

/// The delivery streams of a cluster.
#[derive(Clone)]
pub struct Delivery {
    cluster: Arc<dyn Cluster>,
    stores: ObjectStores,
    clock: Arc<dyn Clock>,
    replicas: u32,
    spool: Arc<Path>,
    metrics: Arc<Metrics>,
}

impl Delivery {
    /// The delivery streams of a cluster. Internal streams have `replicas` replicas. `spool` is a folder for large
    /// objects that wait.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        stores: ObjectStores,
        clock: Arc<dyn Clock>,
        replicas: u32,
        spool: PathBuf,
        registry: &Registry,
    ) -> Self {
        let metrics = Arc::new(Metrics::new(registry));
        Self { cluster, stores, clock, replicas, spool: spool.into(), metrics }
    }

    async fn work(self, job: Job) -> Result<(), String> {
        let copies = job.copies();
        let streams = copies.space(STREAMS).ok_or("the space of delivery streams is gone")?;
        // Not every node needs a copy of the positions.
        let positions = job.tables().create_space(job.group(), POSITIONS).await;
        let positions = positions.map_err(|error| error.to_string())?;
        let parts = Parts {
            cluster: Arc::clone(&self.cluster),
            stores: self.stores.clone(),
            clock: Arc::clone(&self.clock),
            spool: Arc::clone(&self.spool),
            metrics: Arc::clone(&self.metrics),
            halt: CancellationToken::new(),
            job: job.clone(),
            streams,
            positions,
        };
        match self.follow(&parts, copies.clone()).await {
            Ok(()) | Err(End::Fenced | End::Halted) => Ok(()),
            Err(End::Failed(text)) => Err(text),
        }
    }

    /// Does what the state of the delivery stream asks for, until the job ends.
    async fn follow(&self, parts: &Parts, mut copies: Copies) -> Result<(), End> {
        let stopping = parts.job.stopping();
        loop {
            let Some(definition) = definition(&copies, parts.job.id()) else { return Ok(()) };
            let seen = version(&copies, &definition.name);
            let changed = async {
                while version(&copies, &definition.name) == seen {
                    copies.changed(&[STREAMS]).await;
                }
            };
            match definition.status {
                Status::Creating => {
                    let mut changed = std::pin::pin!(wait(changed, &stopping));
                    tokio::select! {
                        created = self.create(parts, &definition) => {
                            created?;
                            changed.await;
                        }
                        () = &mut changed => {}
                    }
                }
                Status::Deleting => {
                    tokio::select! {
                        deleted = self.delete(parts, &definition) => deleted?,
                        () = stopping.cancelled() => return Ok(()),
                    }
                    wait(changed, &stopping).await;
                }
                Status::Active if !definition.paused => {
                    let (version, destination) =
                        (definition.version, definition.destination.clone());
                    let recipe =
                        Recipe::new(&definition, version, destination, Arc::clone(&self.spool));
                    let recipe = recipe.map_err(|error| End::Failed(error.to_string()))?;
                    let halt = CancellationToken::new();
                    let parts = Parts { halt: halt.clone(), ..parts.clone() };
                    let described = definition.clone();
                    let halting = async {
                        wait(changed, &stopping).await;
                        halt.cancel();
                        std::future::pending::<Infallible>().await
                    };
                    let run =
                        async { Pipeline::begin(parts, described, recipe).await?.run().await };
                    let ended = tokio::select! {
                        ended = run => ended,
                        never = halting => match never {},
                    };
                    match ended {
                        Ok(()) | Err(End::Halted) => {}
                        Err(end @ (End::Fenced | End::Failed(_))) => return Err(end),
                    }
                }
                Status::Active | Status::CreatingFailed => wait(changed, &stopping).await,
            }
            if stopping.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Makes the internal stream, if there is one, and says that the delivery stream is active.
    async fn create(&self, parts: &Parts, definition: &Definition) -> Result<(), End> {
        let created = Definition { status: Status::Active, ..definition.clone() };
        if matches!(definition.source, Source::DirectPut { .. }) {
            let too_long = || End::Failed("a name that is too long".into());
            let name = definition.stream().ok_or_else(too_long)?;
            self.make_stream(&name).await?;
        }
        self.replace(parts, &created).await
    }

    /// Puts a definition in the place of the one that is there.
    async fn replace(&self, parts: &Parts, definition: &Definition) -> Result<(), End> {
        let (key, exists) = parts.definition_exists(&definition.name);
        let row = parts.job.tables().get(parts.job.group(), key.clone()).await;
        let row = row.map_err(|error| End::Failed(error.to_string()))?;
        let Some(row) = row else { return Ok(()) };
        let stored =
            Definition::decode(&row.value).map_err(|error| End::Failed(error.to_string()))?;
        if stored.id != definition.id || stored.status != Status::Creating {
            return Ok(());
        }
        let (status, failure) = (definition.status, definition.failure.clone());
        let replaced = Definition { status, failure, ..stored };
        let transaction = Transaction {
            checks: vec![(key.clone(), Expect::Version(row.version)), (key.clone(), exists)],
            puts: vec![(key, replaced.encode().into())],
            ..Transaction::default()
        };
        match parts.job.commit(transaction).await {
            Ok(_) | Err(CommitError::Conflict) => Ok(()),
            Err(CommitError::Fenced) => Err(End::Fenced),
            Err(error @ (CommitError::Refused(_) | CommitError::Failed(_))) => {
                Err(End::Failed(error.to_string()))
            }
        }
    }

    async fn make_stream(&self, name: &StreamName) -> Result<(), End> {
        loop {
            let view = self.view().await?;
            match view.stream(name).map(|found| found.stream.status) {
                Some(StreamStatus::Active | StreamStatus::Updating) => return Ok(()),
                Some(StreamStatus::Creating | StreamStatus::Deleting) => {}
                None => {
                    let create = StreamCommand::Create(NewStream {
                        name: name.clone(),
                        shards: 1,
                        mode: StreamMode::Provisioned,
                        warm_throughput_mibps: 0,
                        retention_hours: RETENTION_HOURS,
                        max_record_size_kib: limits::DEFAULT_MAX_RECORD_SIZE_KIB,
                        tags: BTreeMap::new(),
                        distribution: Distribution::default(),
                        replicas: self.replicas,
                        now: self.clock.now(),
                    });
                    self.propose(create).await?;
                }
            }
            self.cluster.newer_view(view.catalog().version, LOOK_AGAIN).await;
        }
    }

    async fn delete(&self, parts: &Parts, definition: &Definition) -> Result<(), End> {
        if let (Source::DirectPut { .. }, Some(name)) = (&definition.source, definition.stream()) {
            self.drop_stream(&name).await?;
        }
        let left = parts.rows(rows::all_of(definition.id)).await?;
        for chunk in left.chunks(TRANSACTION_ROWS) {
            let deletes = chunk.iter().map(|(key, _)| parts.key(key.clone())).collect();
            parts.commit(Transaction { deletes, ..Transaction::default() }).await?;
        }
        // A second attempt must not delete a delivery stream that has got the name meanwhile.
        let (key, _) = parts.definition_exists(&definition.name);
        let row = parts.job.tables().get(parts.job.group(), key.clone()).await;
        let row = row.map_err(|error| End::Failed(error.to_string()))?;
        let Some(row) = row else { return Ok(()) };
        let stored =
            Definition::decode(&row.value).map_err(|error| End::Failed(error.to_string()))?;
        if stored.id != definition.id {
            return Ok(());
        }
        let transaction = Transaction {
            checks: vec![(key.clone(), Expect::Version(row.version))],
            deletes: vec![key],
            ..Transaction::default()
        };
        parts.commit(transaction).await
    }

    async fn drop_stream(&self, name: &StreamName) -> Result<(), End> {
        loop {
            let view = self.view().await?;
            let Some(found) = view.stream(name) else { return Ok(()) };
            if found.stream.status != StreamStatus::Deleting {
                let delete = StreamCommand::Delete { name: name.clone(), with_consumers: true };
                self.propose(delete).await?;
            }
            self.cluster.newer_view(view.catalog().version, LOOK_AGAIN).await;
        }
    }

    async fn view(&self) -> Result<Arc<View>, End> {
        self.cluster.newest_view().await.map_err(|error| End::Failed(error.to_string()))
    }

    /// Proposes a change. A refusal is for the next look at the catalog: another owner may have been first.
    async fn propose(&self, command: StreamCommand) -> Result<(), End> {
        if let Err(error) = self.cluster.propose(command.into()).await {
            tracing::info!(%error, "delivery: a change of an internal stream");
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

/// Waits until the definition has changed, or the job is to end.
async fn wait(changed: impl Future<Output = ()>, stopping: &CancellationToken) {
    tokio::select! {
        () = changed => {}
        () = stopping.cancelled() => {}
    }
}

/// The definition that a job is for. `None` if it is gone, or if another one has its name.
fn definition(copies: &Copies, job: &JobId) -> Option<Definition> {
    let definition = rows::definition(&copies.rows(STREAMS), &job.resource)?;
    (definition.id.to_string() == job.part).then_some(definition)
}

fn version(copies: &Copies, name: &str) -> Option<anabranch_table::Version> {
    copies.rows(STREAMS).get(name.as_bytes()).map(|row| row.version)
}

impl Work for Delivery {
    fn service(&self) -> &'static str {
        SERVICE
    }

    fn spaces(&self) -> &'static [&'static str] {
        &[STREAMS]
    }

    fn wanted(&self, view: &View, copies: &Copies, member: &dyn Member, wanted: &mut WantedJobs) {
        for (key, row) in copies.rows(STREAMS).range(b"", None) {
            let Ok(definition) = Definition::decode(&row.value) else {
                let name = String::from_utf8_lossy(key).into_owned();
                tracing::warn!(name, "the definition of a delivery stream is of a later release");
                wanted.unreadable.insert((SERVICE.to_owned(), name));
                continue;
            };
            let found =
                definition.stream().and_then(|name| view.stream(&name).map(|found| found.stream));
            let shard = found.and_then(|stream| stream.shards.values().next());
            let near = shard.and_then(|shard| member.leader(shard.group));
            let job = JobId {
                service: SERVICE.to_owned(),
                resource: definition.name,
                part: definition.id.to_string(),
            };
            wanted.jobs.insert(job, Wanted { near, weight: 1 });
        }
    }

    fn run(&self, job: Job) -> BoxFuture<'static, Result<(), String>> {
        self.clone().work(job).boxed()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("stores", &self.stores).finish_non_exhaustive()
    }
}
