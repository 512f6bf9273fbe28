//! Writers that send calls all the time, until they are asked to pause.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_client::{Client, ShardRoute};
use anabranch_shard::Producer;
use futures::stream::{self, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::oracle::Oracle;

/// Writers of each shard. The last of them has no producer id, so the client sends its calls only once.
const WRITERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// Running writers. They stop when this value is dropped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    calls: watch::Receiver<u64>,
    writers: JoinSet<()>,
}

struct Shared {
    client: Client,
    oracle: Mutex<Oracle>,
    gate: Arc<RwLock<()>>,
    begun: watch::Sender<u64>,
    in_flight: AtomicUsize,
}

impl Load {
    /// Begins to write to `shards`.
    pub(crate) fn start(client: Client, shards: &[Arc<ShardRoute>], rng: &mut StdRng) -> Self {
        let (begun, calls) = watch::channel(0);
        let oracle = Mutex::default();
        let (gate, in_flight) = (Arc::default(), AtomicUsize::default());
        let shared = Arc::new(Shared { client, oracle, gate, begun, in_flight });
        let mut writers = JoinSet::new();
        for shard in shards {
            for writer in 0..WRITERS {
                let name = (writer + 1 < WRITERS).then(|| format!("{}/{writer}", shard.group));
                let rng = StdRng::seed_from_u64(rng.random());
                writers.spawn(go_on(Arc::clone(&shared), Arc::clone(shard), name, rng));
            }
        }
        Self { shared, calls, writers }
    }

    /// Returns when `more` further calls have begun.
    pub(crate) async fn calls(&mut self, more: u64) {
        let until = *self.calls.borrow() + more;
        self.calls.wait_for(|begun| *begun >= until).await.unwrap();
    }

    /// Number of calls without a response yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until every call has ended. No call begins while the guard lives.
    pub(crate) async fn pause(&mut self) -> OwnedRwLockWriteGuard<()> {
        if let Some(ended) = self.writers.try_join_next() {
            ended.unwrap();
        }
        Arc::clone(&self.shared.gate).write_owned().await
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.shared.oracle()
    }
}

impl Shared {
    fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn go_on(shared: Arc<Shared>, shard: Arc<ShardRoute>, name: Option<String>, mut rng: StdRng) {
    for sequence in 0.. {
        let _open = shared.gate.read().await;
        let producer =
            name.as_ref().map(|name| Producer { id: name.clone().into_bytes().into(), sequence });
        let lengths = lengths(&mut rng);
        let call = shared.oracle().call(shard.group, producer, &lengths);
        shared.begun.send_modify(|begun| *begun += 1);
        shared.in_flight.fetch_add(1, Ordering::SeqCst);
        let result = shared.client.append(&shard, call.batch.clone()).await;
        shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        shared.oracle().ended(&call, &result);
        if result.is_err() {
            sleep(PAUSE).await; // a writer without retries would otherwise fail in a tight loop
        }
    }
}

/// Sends `calls` calls with records of `lengths`, to one shard after the other, `at_once` at a time. Returns how many
/// records were acknowledged.
pub(crate) async fn write(
    client: &Client,
    oracle: &mut Oracle,
    shards: &[Arc<ShardRoute>],
    calls: usize,
    lengths: &[usize],
    at_once: usize,
) -> u64 {
    let before = oracle.counts.acknowledged;
    let sending: Vec<_> = (0..calls)
        .zip(shards.iter().cycle())
        .map(|(_, shard)| {
            let id = uuid::Uuid::new_v4().as_bytes().to_vec();
            let producer = Producer { id: id.into(), sequence: 0 };
            let call = oracle.call(shard.group, Some(producer), lengths);
            async move {
                let result = client.append(shard, call.batch.clone()).await;
                (call, result)
            }
        })
        .collect();
    let mut answers = stream::iter(sending).buffer_unordered(at_once);
    while let Some((call, result)) = answers.next().await {
        oracle.ended(&call, &result);
    }
    oracle.counts.acknowledged - before
}

/// Lengths of the records of a call: mostly a few small records, sometimes a record that is larger than a round of
/// the log.
fn lengths(rng: &mut StdRng) -> Vec<usize> {
    if rng.random_ratio(1, 100) {
        return vec![rng.random_range(32_000..200_000)];
    }
    (0..rng.random_range(1..8)).map(|_| rng.random_range(16..600)).collect()
}
