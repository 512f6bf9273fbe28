//! Function mappings as jobs: one job for each shard that a mapping works on.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Cluster, View, parents_have_ended};
use anabranch_jobs::{Copies, Job, JobId, Member, Report, Wanted, WantedJobs, Work};
use anabranch_table::{Key, SpaceId, Version};
use anabranch_types::{AccountId, Clock, Region};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::cluster::{ClusterShard, DocumentStream, JobCheckpoint};
use crate::engine::{End, EngineSettings, Invoker, Progress, Worker};
use crate::event::EventSource;
use crate::function::Function;
use crate::mapping::{Mapping, StartingPosition};
use crate::rows::{self, CHECKPOINTS, DEFINITIONS, MAPPINGS};

/// Name of the service in the ids of jobs.
const SERVICE: &str = "functions";
/// How long a job that is handed over waits for calls in flight, and again for its last commit. Twice that is less than
/// the time that a stopping node gives its jobs.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// Function mappings of a cluster.
#[derive(Clone)]
pub struct Functions {
    cluster: Arc<dyn Cluster>,
    invoker: Arc<dyn Invoker>,
    clock: Arc<dyn Clock>,
    account: AccountId,
    region: Region,
}

/// What a job was begun with.
struct Definition {
    mapping: Mapping,
    function: Function,
    rows: DefinitionRows,
}

/// The rows of a mapping and of its function, to notice changes.
struct DefinitionRows {
    mapping: (Bytes, Version),
    function: (Bytes, Version),
}

impl Functions {
    /// The mappings of a cluster. Account and region are those of its ARNs.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        invoker: Arc<dyn Invoker>,
        clock: Arc<dyn Clock>,
        account: AccountId,
        region: Region,
    ) -> Self {
        Self { cluster, invoker, clock, account, region }
    }

    async fn work(self, job: Job) -> Result<(), String> {
        let id = job.id().clone();
        let mapping: Uuid = id.resource.parse().map_err(|_| "the id of the mapping".to_owned())?;
        let mut copies = job.copies();
        loop {
            // Deleted or disabled: this job is not wanted any more.
            let Some(definition) = definition(&copies, mapping)? else { return Ok(()) };
            let worker = self.worker(&job, &copies, &definition)?;
            let progress = worker.progress.subscribe();
            let changed = CancellationToken::new();
            let (stopping, restart) = (job.stopping(), changed.clone());
            let stop = async move {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = restart.cancelled() => {}
                }
            };
            let mut running = pin!(worker.run(stop));
            let mut reporting = pin!(report(&job, &*self.clock, progress));
            let end = loop {
                tokio::select! {
                    end = &mut running => break end,
                    () = &mut reporting => {}
                    () = copies.changed(&[DEFINITIONS]) => {
                        if !definition.rows.are_newest(&copies) {
                            changed.cancel();
                        }
                    }
                }
            };
            match end {
                End::Stopped if changed.is_cancelled() && !job.stopping().is_cancelled() => {}
                End::Stopped | End::Finished | End::Fenced | End::Gone => return Ok(()),
            }
        }
    }

    fn worker(
        &self,
        job: &Job,
        copies: &Copies,
        definition: &Definition,
    ) -> Result<Worker, String> {
        let (mut mapping, function) = (definition.mapping.clone(), definition.function.clone());
        let shard = job.id().part.parse().map_err(|_| "the id of the shard")?;
        let view = self.cluster.view();
        let found = view.stream(&mapping.stream).ok_or("the stream is gone")?;
        let route = found.shard(shard).ok_or("the shard is gone")?;
        if mapping.start == StartingPosition::Latest {
            // The shards that there were when the mapping was created have checkpoints. All others came later.
            mapping.start = StartingPosition::TrimHorizon;
        }
        let space = |name| copies.space(name).ok_or("the spaces of functions are gone");
        let (definitions, checkpoints): (SpaceId, SpaceId) =
            (space(DEFINITIONS)?, space(CHECKPOINTS)?);
        let names = EventSource::new(
            self.region.clone(),
            &self.account,
            &mapping.stream,
            shard,
            &mapping.function,
        );
        let key = rows::checkpoint_key(mapping.id, route.stream_id, shard);
        if let Some(row) = copies.rows(CHECKPOINTS).get(&key) {
            Checkpoint::decode(&row.value).map_err(|error| error.to_string())?;
        }
        let checkpoint = JobCheckpoint::new(
            job.clone(),
            Key { space: checkpoints, key },
            Key { space: definitions, key: rows::mapping_key(mapping.id) },
        );
        let destination = DocumentStream {
            cluster: Arc::clone(&self.cluster),
            stream: mapping.on_failure.clone(),
            partition_key: mapping.id.to_string(),
        };
        Ok(Worker {
            names,
            source: Arc::new(ClusterShard::new(Arc::clone(&self.cluster), Arc::clone(route))),
            invoker: Arc::clone(&self.invoker),
            checkpoints: Arc::new(checkpoint),
            destination: Arc::new(destination),
            clock: Arc::clone(&self.clock),
            settings: EngineSettings { stop_within: STOP_WITHIN, ..EngineSettings::default() },
            seed: rand::random(),
            progress: watch::Sender::new(Progress::default()),
            mapping: Arc::new(mapping),
            function: Arc::new(function),
        })
    }
}

/// Reports the age of the oldest unfinished record whenever it changes. Never ends while the worker runs.
async fn report(job: &Job, clock: &dyn Clock, mut progress: watch::Receiver<Progress>) {
    while progress.changed().await.is_ok() {
        let oldest = progress.borrow_and_update().oldest;
        let lag = oldest.map_or(0, |arrival| {
            let age = clock.now().since(arrival);
            u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
        });
        job.report(Report { lag_millis: Some(lag), load: 0 });
    }
    std::future::pending().await
}

/// The definition of a mapping. `None` if it is disabled or gone.
fn definition(copies: &Copies, id: Uuid) -> Result<Option<Definition>, String> {
    let definitions = copies.rows(DEFINITIONS);
    let key = rows::mapping_key(id);
    let Some(mapping_row) = definitions.get(&key) else { return Ok(None) };
    let (spec, mapping) = rows::mapping(&mapping_row.value).map_err(|error| error.to_string())?;
    if !spec.enabled {
        return Ok(None);
    }
    let function_key = rows::function_key(&spec.function_name);
    let function_row = definitions.get(&function_key).ok_or("the function is gone")?;
    let (_, function) = rows::function(&function_row.value).map_err(|error| error.to_string())?;
    let rows = DefinitionRows {
        mapping: (key, mapping_row.version),
        function: (function_key, function_row.version),
    };
    Ok(Some(Definition { mapping, function, rows }))
}

impl DefinitionRows {
    fn are_newest(&self, copies: &Copies) -> bool {
        let definitions = copies.rows(DEFINITIONS);
        let is_newest = |(key, version): &(Bytes, Version)| {
            definitions.get(key).is_some_and(|row| row.version == *version)
        };
        is_newest(&self.mapping) && is_newest(&self.function)
    }
}

impl Work for Functions {
    fn service(&self) -> &'static str {
        SERVICE
    }

    fn spaces(&self) -> &'static [&'static str] {
        &[DEFINITIONS, CHECKPOINTS]
    }

    /// A shard is worked on once all its parents are finished, or have expired.
    fn wanted(&self, view: &View, copies: &Copies, member: &dyn Member, wanted: &mut WantedJobs) {
        let (definitions, checkpoints) = (copies.rows(DEFINITIONS), copies.rows(CHECKPOINTS));
        for (key, row) in definitions.range(MAPPINGS, Some(&rows::end_of(MAPPINGS))) {
            let Ok((id, stream)) = rows::wanted_stream(&row.value) else {
                let id = String::from_utf8_lossy(key.get(MAPPINGS.len()..).unwrap_or_default());
                tracing::warn!(%id, "the definition of a mapping is of a later release");
                wanted.unreadable.insert((SERVICE.to_owned(), id.into_owned()));
                continue;
            };
            let Some(found) = stream.and_then(|stream| view.stream(&stream)) else { continue };
            let is_finished = |shard| rows::is_finished(&checkpoints, id, found.stream.id, shard);
            for shard in found.stream.shards.values() {
                if is_finished(shard.id) || !parents_have_ended(found.stream, shard, is_finished) {
                    continue;
                }
                let job = JobId {
                    service: SERVICE.to_owned(),
                    resource: id.to_string(),
                    part: shard.id.to_string(),
                };
                wanted.jobs.insert(job, Wanted { near: member.leader(shard.group), weight: 1 });
            }
        }
    }

    fn run(&self, job: Job) -> BoxFuture<'static, Result<(), String>> {
        self.clone().work(job).boxed()
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").field("account", &self.account).finish_non_exhaustive()
    }
}
