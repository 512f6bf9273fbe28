//! The clients of a run: they append, read, follow, and change the catalog, until they are told to stop.
//!
//! Every client is a task on a machine without a node, and reaches the cluster over the simulated network. All choices
//! come from the generator of the task.

mod admin;
mod audit;
mod producer;
mod reader;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anabranch_catalog::StreamStatus;
use anabranch_client::{Client, ShardRoute};
use anabranch_shard::{Page, Position, Record};
use anabranch_types::{Clock, StreamName, Timestamp};
use chaos_checkers::history::{self, Millis, Seq};
use chaos_checkers::payload;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

pub use audit::Audit;

use crate::clock::WallClock;
use crate::network::{SimConnector, address_of};
use crate::recorder::{Process, Recorder};

/// The stages of a run. The caller of the simulation moves it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The cluster starts, and the first streams are created.
    Begins,
    /// Clients work while faults come and go.
    Runs,
    /// All faults are over. Clients end.
    Heals,
    /// Everything is read.
    Audits,
    /// Everything was read.
    Done,
}

/// The common state of all clients of a run.
#[derive(Clone)]
pub struct Workload {
    nodes: u64,
    recorder: Recorder,
    clock: WallClock,
    stage: Rc<Cell<Stage>>,
    /// When all faults ended.
    healed: Rc<Cell<Timestamp>>,
    /// Whether clients begin no call.
    held: Rc<Cell<bool>>,
    busy: Rc<Cell<u32>>,
    ready: Rc<Cell<bool>>,
    chains: Rc<Cell<u64>>,
}

impl Workload {
    /// The workload of a run.
    pub fn new(nodes: u64, recorder: Recorder, clock: WallClock) -> Self {
        let stage = Rc::new(Cell::new(Stage::Begins));
        Self {
            healed: Rc::default(),
            held: Rc::default(),
            nodes,
            recorder,
            clock,
            stage,
            busy: Rc::default(),
            ready: Rc::default(),
            chains: Rc::default(),
        }
    }

    /// The stage of the run.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Moves the run to `stage`.
    pub fn set_stage(&self, stage: Stage) {
        if stage == Stage::Heals {
            self.healed.set(self.clock.now());
        }
        self.stage.set(stage);
    }

    /// Whether the first streams take records.
    pub fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Lets clients begin no call, or begin calls again.
    pub fn hold(&self, held: bool) {
        self.held.set(held);
    }

    /// Waits while clients may begin no call.
    async fn pass(&self) {
        while self.held.get() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Number of clients that have not ended.
    pub fn busy(&self) -> u32 {
        self.busy.get()
    }

    /// The program of a machine with clients. It never returns.
    ///
    /// # Errors
    /// Never.
    pub async fn run(self, seed: u64, has_admin: bool) -> turmoil::Result {
        let mut rng = StdRng::seed_from_u64(seed);
        let client = self.connect().await;
        if has_admin {
            admin::create_first_streams(&self, &client).await;
            self.ready.set(true);
        }
        self.until(Stage::Runs).await;
        let (producer, reader) = (rng.random(), rng.random());
        self.spawn(producer::produce(self.clone(), client.clone(), producer));
        self.spawn(reader::read(self.clone(), client.clone(), reader));
        if has_admin {
            self.spawn(admin::change(self.clone(), client, rng.random()));
        }
        std::future::pending().await
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let busy = Rc::clone(&self.busy);
        busy.set(busy.get() + 1);
        tokio::task::spawn_local(async move {
            task.await;
            busy.set(busy.get() - 1);
        });
    }

    /// A connected client. Tries until a node answers.
    async fn connect(&self) -> Client {
        loop {
            let seeds = (1..=self.nodes).map(address_of).collect();
            if let Ok(client) = Client::connect(seeds, std::sync::Arc::new(SimConnector)).await {
                return client;
            }
        }
    }

    async fn until(&self, stage: Stage) {
        while self.stage() < stage {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_running(&self) -> bool {
        self.stage() == Stage::Runs
    }

    fn process(&self) -> Process {
        self.recorder.process()
    }

    fn next_chain(&self) -> u64 {
        self.chains.set(self.chains.get() + 1);
        self.chains.get()
    }
}

/// A pause of a client, in milliseconds.
async fn pause(rng: &mut StdRng, millis: std::ops::Range<u64>) {
    sleep(Duration::from_millis(rng.random_range(millis))).await;
}

/// The streams that hold records, as the client's copy of the catalog has them.
fn streams_with_records(client: &Client) -> Vec<StreamName> {
    let view = client.view();
    let streams = view.catalog().streams.iter();
    let usable = streams.filter(|(name, stream)| {
        let takes = matches!(stream.status, StreamStatus::Active | StreamStatus::Updating);
        takes && name.as_str().starts_with("data")
    });
    usable.map(|(name, _)| name.clone()).collect()
}

fn stream_name(name: &StreamName) -> history::StreamName {
    name.as_str().into()
}

fn shard_id(shard: anabranch_types::ShardId) -> history::ShardId {
    history::ShardId(shard.to_string())
}

fn seq(route: &ShardRoute, position: Position, arrival: Timestamp) -> Seq {
    let number = position.sequence_number(route.shard, route.birth, arrival);
    number.to_string().parse().expect("a sequence number is decimal and has 186 bits")
}

/// The records of a page, as the history has them.
fn records(route: &ShardRoute, page: &Page) -> Vec<history::Record> {
    page.records()
        .map(|(position, arrival, record)| read(route, position, arrival, &record))
        .collect()
}

fn read(
    route: &ShardRoute,
    position: Position,
    arrival: Timestamp,
    record: &Record,
) -> history::Record {
    let parsed = payload::parse(&record.data).ok();
    let pk = String::from_utf8_lossy(&record.partition_key).into_owned();
    history::Record {
        seq: seq(route, position, arrival),
        uid: parsed.filter(|(_, key)| *key == pk).map(|(uid, _)| uid),
        pk,
        ts: Millis(arrival.as_millis()),
    }
}
