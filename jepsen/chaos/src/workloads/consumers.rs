//! A consumer application that keeps its checkpoints in the harness. Workers die and go on at the last checkpoint, and
//! a child is read only after all records of its parents were processed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_checkers::history::{
    Answer, Checkpoint, CheckpointAt, Done, IterStart, LeaseTake, LeaseTaken, Process, Record,
    Shard, ShardId, StreamName,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;
use rand::seq::IteratorRandom;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::kinesis::Failure;
use crate::scene::Scene;
use crate::session::Session;
use crate::workload::{Workload, create_lasting_stream};
use crate::workloads::producer::Producer;

const STREAM: &str = "resharded-consumers";
const APP: &str = "app";
const WORKERS: u64 = 2;
/// A worker dies after one of this number of pages.
const DIES: u32 = 15;

/// The workload.
pub(crate) struct Consumers;

#[async_trait]
impl Workload for Consumers {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("consumers prepare", 0);
        create_lasting_stream(&mut session, &StreamName::from(STREAM), 3).await
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let producer =
            Producer::new(scene.session("consumers producer", 0), StreamName::from(STREAM));
        let leases = Arc::new(Mutex::new(Leases::default()));
        let workers = (0..WORKERS).map(|number| {
            let worker = Worker {
                session: scene.session("consumers worker", number),
                stream: StreamName::from(STREAM),
                owner: format!("worker-{number}"),
                leases: Arc::clone(&leases),
            };
            worker.run().boxed()
        });
        std::iter::once(producer.run().boxed()).chain(workers).collect()
    }

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::from(STREAM)]
    }
}

/// The leases of the application. A worker holds the lock only for one look-up or change.
#[derive(Default)]
struct Leases(BTreeMap<ShardId, Lease>);

#[derive(Clone, Default)]
struct Lease {
    epoch: u64,
    is_owned: bool,
    checkpoint: Option<CheckpointAt>,
}

impl Leases {
    fn is_over(&self, shard: &ShardId) -> bool {
        self.0.get(shard).is_some_and(|lease| lease.checkpoint == Some(CheckpointAt::ShardEnd))
    }

    /// Whether a shard can be read now: nobody owns it, and its parents that still exist are over.
    fn is_free(&self, shard: &Shard, all: &[Shard]) -> bool {
        let exists = |id: &ShardId| all.iter().any(|shard| shard.shard == *id);
        let owned = self.0.get(&shard.shard).is_some_and(|lease| lease.is_owned);
        !owned
            && !self.is_over(&shard.shard)
            && shard.parents.iter().all(|p| !exists(p) || self.is_over(p))
    }

    /// Takes a lease. Returns its new epoch, and the checkpoint.
    fn take(&mut self, shard: &ShardId) -> (u64, Option<CheckpointAt>) {
        let lease = self.0.entry(shard.clone()).or_default();
        lease.epoch += 1;
        lease.is_owned = true;
        (lease.epoch, lease.checkpoint)
    }

    fn set(&mut self, shard: &ShardId, at: CheckpointAt) {
        self.0.entry(shard.clone()).or_default().checkpoint = Some(at);
    }

    fn release(&mut self, shard: &ShardId) {
        self.0.entry(shard.clone()).or_default().is_owned = false;
    }
}

struct Worker {
    session: Session,
    stream: StreamName,
    owner: String,
    leases: Arc<Mutex<Leases>>,
}

impl Worker {
    async fn run(mut self) {
        while self.session.scene.goes_on() {
            self.session.move_about();
            if let Some(shard) = self.choose().await {
                // A worker that fails leaves its lease, as a worker that dies does.
                let _died = self.work(&shard).await;
                self.with_leases(|leases| leases.release(&shard));
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    fn with_leases<T>(&self, work: impl FnOnce(&mut Leases) -> T) -> T {
        work(&mut self.leases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn choose(&mut self) -> Option<ShardId> {
        let shards = self.session.shards(&self.stream).await.ok()?.shards;
        let free = self.with_leases(|leases| {
            let free = shards.iter().filter(|shard| leases.is_free(shard, &shards));
            free.map(|shard| shard.shard.clone()).collect::<Vec<_>>()
        });
        free.into_iter().choose(&mut self.session.random)
    }

    /// Owns a shard until the worker dies, the shard is over, or the run ends.
    async fn work(&mut self, shard: &ShardId) -> Result<(), Failure> {
        let (epoch, checkpoint) = self.take(shard).await?;
        let start = match checkpoint {
            Some(CheckpointAt::Seq(seq)) => IterStart::AfterSequenceNumber(seq),
            _ => IterStart::TrimHorizon,
        };
        let mut iterator = self.session.iter(&self.stream, shard, start).await?;
        let mut processed = None;
        while self.session.scene.goes_on() {
            let (page, next) = self.session.get(iterator).await?;
            for record in &page.records {
                self.process(shard, epoch, record).await?;
                processed = Some(CheckpointAt::Seq(record.seq));
            }
            let Some(next) = next else {
                return self.checkpoint(shard, epoch, CheckpointAt::ShardEnd).await;
            };
            if let Some(at) = processed
                && self.session.random.random_ratio(1, 3)
            {
                self.checkpoint(shard, epoch, at).await?;
            }
            if self.session.random.random_ratio(1, DIES) {
                return Ok(());
            }
            iterator = next;
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn take(&mut self, shard: &ShardId) -> Result<(u64, Option<CheckpointAt>), Failure> {
        let (epoch, checkpoint) = self.with_leases(|leases| leases.take(shard));
        let call = LeaseTake {
            app: APP.into(),
            stream: self.stream.clone(),
            shard: shard.clone(),
            epoch,
            owner: self.owner.clone(),
        };
        let taken = LeaseTaken { checkpoint };
        self.session.run_native(call, Answer::LeaseTake, async { Ok(taken) }).await?;
        Ok((epoch, checkpoint))
    }

    async fn process(
        &mut self,
        shard: &ShardId,
        epoch: u64,
        record: &Record,
    ) -> Result<(), Failure> {
        let Some(uid) = record.uid else { return Ok(()) };
        let call = Process {
            app: APP.into(),
            stream: self.stream.clone(),
            shard: shard.clone(),
            epoch,
            uid,
            seq: record.seq,
        };
        self.session.run_native(call, Answer::Process, async { Ok(Done {}) }).await.map(drop)
    }

    async fn checkpoint(
        &mut self,
        shard: &ShardId,
        epoch: u64,
        at: CheckpointAt,
    ) -> Result<(), Failure> {
        let call = Checkpoint {
            app: APP.into(),
            stream: self.stream.clone(),
            shard: shard.clone(),
            epoch,
            at,
            owner: String::new(),
            back: false,
            release: false,
        };
        let leases = Arc::clone(&self.leases);
        let set = async {
            leases.lock().unwrap_or_else(PoisonError::into_inner).set(shard, at);
            Ok(Done {})
        };
        self.session.run_native(call, Answer::Checkpoint, set).await.map(drop)
    }
}
