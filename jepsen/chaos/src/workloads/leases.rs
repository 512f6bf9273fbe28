//! Leases of consumers, whose owners pause for longer than the others wait. Then they try to store a checkpoint, which
//! must be refused. `leases/table.rs` has workers of the Kinesis Client Library, `leases/group.rs` has members of a
//! consumer group.
//!
//! Nobody reads records here: a checkpoint is a number that rises. The workload `consumers` reads records.

mod coordinator;
mod group;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_checkers::history::{Answer, RecoverLease, Recovered, ShardId, StreamName};
use futures::FutureExt;
use futures::future::{BoxFuture, join, join_all};
use rand::Rng;
use tokio::time::{Instant, sleep};

use crate::admin::Admin;
use crate::kinesis::Failure;
use crate::reshard;
use crate::scene::Scene;
use crate::session::Session;
use crate::workload::{Workload, create_lasting_stream};
use crate::workloads::tables::create_table;
use group::{Filled, Member};
use table::Worker;

const WORKERS: u64 = 3;
const MEMBERS: u64 = 3;
/// Longest time until a lease has an owner that stores a checkpoint.
const LONGEST: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(100);

/// The workload.
#[derive(Default)]
pub(crate) struct Leases {
    of_table: Stored,
    of_group: Stored,
    filled: Filled,
}

#[async_trait]
impl Workload for Leases {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("leases prepare", 0);
        create_table(&mut session, table::TABLE, "leaseKey").await?;
        create_lasting_stream(&mut session, &group::stream(), group::SHARDS).await
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let workers = (0..WORKERS).map(|number| {
            let session = scene.session("leases worker", number);
            Worker::new(session, number, self.of_table.clone()).run().boxed()
        });
        let members = (0..MEMBERS).map(|number| {
            let (scene, stored) = (scene.clone(), self.of_group.clone());
            let filled = self.filled.clone();
            // The connections belong to the thread that makes them, and so to its network.
            async move {
                match Member::new(&scene, number, stored, filled) {
                    Ok(member) => member.run().await,
                    Err(error) => scene.recorder.note(format!("member {number}: {error:#}")),
                }
            }
            .boxed()
        });
        let reshards = reshard_now_and_then(scene.session("leases reshard", 0)).boxed();
        let fills = group::fill(scene.session("leases fill", 0), self.filled.clone()).boxed();
        workers.chain(members).chain([reshards, fills]).collect()
    }

    async fn recover(&self, scene: &Scene, healed: Instant) {
        let leases = table::leases();
        let table = leases.iter().map(|lease| {
            recover_lease(scene, table::APP, table::stream(), lease, &self.of_table, healed)
        });
        let group = async {
            let shards = open_shards(scene, healed).await;
            let shards = shards.iter().map(|shard| {
                recover_lease(scene, group::APP, group::stream(), shard, &self.of_group, healed)
            });
            join_all(shards).await;
        };
        join(join_all(table), group).await;
    }

    fn streams(&self) -> Vec<StreamName> {
        Vec::new()
    }
}

/// When each lease took a checkpoint: the begin of the newest call that succeeded.
#[derive(Clone, Default)]
pub(super) struct Stored(Arc<Mutex<BTreeMap<ShardId, Instant>>>);

impl Stored {
    /// Remembers a checkpoint.
    fn add(&self, shard: &ShardId, began: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shard.clone(), began);
    }

    fn is_after(&self, shard: &ShardId, time: Instant) -> bool {
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.get(shard).is_some_and(|began| *began > time)
    }
}

/// Records how long it takes until a lease takes a checkpoint of its owner.
async fn recover_lease(
    scene: &Scene,
    app: &str,
    stream: StreamName,
    shard: &ShardId,
    stored: &Stored,
    healed: Instant,
) {
    let mut session = scene.session("leases recovery", 0);
    let call = RecoverLease { app: app.into(), stream, shard: shard.clone() };
    let work = async {
        while !stored.is_after(shard, healed) {
            if healed.elapsed() > LONGEST {
                return Err(Failure::Unknown("no checkpoint".into()));
            }
            sleep(AGAIN).await;
        }
        Ok(Recovered { ms: u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX) })
    };
    // The history has the outcome.
    let _recorded = session.run_native(call, Answer::RecoverLease, work).await;
}

/// The open shards of the group's stream. Members get to them after all their ancestors.
async fn open_shards(scene: &Scene, healed: Instant) -> Vec<ShardId> {
    let mut session = scene.session("leases list", 0);
    while healed.elapsed() < LONGEST {
        if let Ok(listed) = session.shards(&group::stream()).await {
            let open = listed.shards.into_iter().filter(|shard| shard.end.is_none());
            return open.map(|shard| shard.shard).collect();
        }
        sleep(AGAIN).await;
    }
    Vec::new()
}

/// Splits and merges shards, so that members get children.
async fn reshard_now_and_then(mut session: Session) {
    let stream = group::stream();
    while session.scene.goes_on() {
        let pause = session.random.random_range(8_000..14_000);
        let until = Instant::now() + Duration::from_millis(pause);
        while session.scene.goes_on() && Instant::now() < until {
            sleep(AGAIN).await;
        }
        let scene = session.scene.clone();
        // A resharding that fails has another try later.
        let _refused = reshard::one(&scene, &mut session.random, &stream).await;
    }
}
