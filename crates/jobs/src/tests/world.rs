//! A cluster of nodes that have jobs, and the faults that happen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, Node, NodeState, StreamId, TableGroup, TableGroupStatus,
};
use anabranch_client::shard::{Batch, Position, Run, Start};
use anabranch_client::{Cluster, Error, Page, Pages, ShardRoute, Tables, View, WatchedRows};
use anabranch_table::{
    Command as TableCommand, Key, Limits, Next, Outcome, Request, Response, TableState,
    Transaction, Version, WatchPage, Watched, WatchedRange, Watcher,
};
use anabranch_types::{GroupId, ManualClock, NodeId, StreamName, Timestamp};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::assign::Wanted;
use crate::copies::Copies;
use crate::id::JobId;
use crate::jobs::Jobs;
use crate::member::Member;
use crate::row::{self, JobRow};
use crate::work::{CommitError, Job, WantedJobs, Work};

const GROUP: GroupId = GroupId(7);
const SERVICE: &str = "counters";
const COUNTS: &str = "counters/counts";
/// A round trip to the leader of the table group.
const TRIP: Duration = Duration::from_millis(3);
/// Time between two counts of a job.
const EVERY: Duration = Duration::from_millis(50);
/// A node that was not heard for this time is silent.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// Time until the group has another leader.
const ELECTION: Duration = Duration::from_millis(1500);

pub(super) fn id(node: u64) -> NodeId {
    NodeId(node)
}

/// When a node dies at a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// The group never gets the transaction.
    Before,
    /// The group makes it. The node does not hear the response.
    After,
}

/// The cluster. All handles share it.
#[derive(Clone)]
pub(super) struct World(Arc<Inner>);

struct Inner {
    state: watch::Sender<Arc<TableState>>,
    view: watch::Sender<Arc<View>>,
    parts: Mutex<Parts>,
    /// Changes with each change of the faults.
    faults: watch::Sender<u64>,
    clock: Arc<ManualClock>,
}

struct Parts {
    log_index: u64,
    leader: Option<NodeId>,
    /// No node leads before.
    elected: Instant,
    nodes: BTreeMap<NodeId, NodeParts>,
    wanted: u32,
    /// So many responses get lost.
    lost_responses: u32,
    /// The stored numbers of each job, in their order.
    stored: BTreeMap<JobId, Vec<u64>>,
    /// Counts that were refused because their sender owns the job no more.
    refused: u64,
}

#[derive(Default)]
struct NodeParts {
    jobs: Option<Jobs>,
    /// Number of the process: calls of an earlier one end nowhere.
    process: u64,
    dead_since: Option<Instant>,
    held_since: Option<Instant>,
    /// Transactions until the node dies.
    crash: Option<(u32, Crash)>,
}

impl World {
    /// Starts `nodes` nodes. Node 1 leads the table group.
    pub(super) fn start(nodes: u64, jobs: u32) -> Self {
        let mut state = TableState::new(Limits::DEFAULT);
        state.apply(
            1,
            TableCommand::Transact { transactions: vec![], now: Timestamp::from_millis(1) },
        );
        let mut catalog = Catalog::bootstrap(&[]);
        catalog.version = 1;
        let group = TableGroup {
            wanted_replicas: 3,
            replicas: Vec::new(),
            moving: None,
            status: TableGroupStatus::Ready,
        };
        catalog.table_groups.insert(GROUP, group);
        catalog.nodes = (1..=nodes).map(|node| (id(node), node_of_catalog())).collect();
        let parts = Parts {
            log_index: 1,
            leader: Some(id(1)),
            elected: Instant::now(),
            nodes: BTreeMap::new(),
            wanted: jobs,
            lost_responses: 0,
            stored: BTreeMap::new(),
            refused: 0,
        };
        let world = Self(Arc::new(Inner {
            state: watch::channel(Arc::new(state)).0,
            view: watch::channel(Arc::new(View::new(catalog))).0,
            parts: Mutex::new(parts),
            faults: watch::channel(0).0,
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000))),
        }));
        for node in 1..=nodes {
            world.parts().nodes.insert(id(node), NodeParts::default());
            world.begin(id(node));
        }
        world
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.parts.lock().unwrap()
    }

    fn begin(&self, node: NodeId) {
        let process = {
            let mut parts = self.parts();
            let known = parts.nodes.get_mut(&node).unwrap();
            known.process += 1;
            known.dead_since = None;
            known.crash = None;
            known.process
        };
        let cluster = Arc::new(NodeCluster { world: self.clone(), node, process });
        let tables = Tables::new(cluster, 3);
        let works: Vec<Arc<dyn Work>> = vec![Arc::new(Counters(self.clone()))];
        let member = Arc::new(NodeMember { world: self.clone(), node });
        let jobs = Jobs::start(works, member, tables, self.0.clock.clone());
        self.parts().nodes.get_mut(&node).unwrap().jobs = Some(jobs);
    }

    fn changed(&self) {
        self.0.faults.send_modify(|round| *round += 1);
    }

    /// The node dies at its transaction number `step` from now on.
    pub(super) fn crash_at(&self, node: NodeId, step: u32, crash: Crash) {
        self.parts().nodes.get_mut(&node).unwrap().crash = Some((step, crash));
    }

    fn die(&self, node: NodeId) {
        let mut parts = self.parts();
        let known = parts.nodes.get_mut(&node).unwrap();
        known.dead_since = Some(Instant::now());
        known.crash = None;
        let jobs = known.jobs.take();
        if parts.leader == Some(node) {
            parts.leader = None;
            parts.elected = Instant::now() + ELECTION;
        }
        drop(parts);
        // All tasks of the process end.
        if let Some(jobs) = jobs {
            jobs.abandon();
        }
        self.changed();
        self.elect_later();
    }

    /// Another node leads the group after the time of an election.
    fn elect_later(&self) {
        let world = self.clone();
        tokio::spawn(async move {
            sleep(ELECTION).await;
            let mut parts = world.parts();
            if parts.leader.is_none() && parts.elected <= Instant::now() {
                let living = parts.nodes.iter().find(|(_, node)| node.is_well());
                parts.leader = living.map(|(id, _)| *id);
            }
            drop(parts);
            world.changed();
        });
    }

    /// Another process of a dead node begins.
    pub(super) fn restart(&self, node: NodeId) {
        if self.is_dead(node) {
            self.begin(node);
            self.changed();
        }
    }

    /// The node's calls and what it hears are held up, as if its process was stopped.
    pub(super) fn hold(&self, node: NodeId, held: bool) {
        let mut parts = self.parts();
        let known = parts.nodes.get_mut(&node).unwrap();
        known.held_since = held.then(|| known.held_since.unwrap_or_else(Instant::now));
        let led = parts.leader == Some(node) && held;
        if led {
            parts.leader = None;
            parts.elected = Instant::now() + ELECTION;
        }
        drop(parts);
        self.changed();
        if led {
            self.elect_later();
        }
    }

    /// The table group's leader is there now. With `None` it has no leader.
    pub(super) fn lead(&self, node: Option<NodeId>) {
        let mut parts = self.parts();
        parts.leader = node.filter(|node| parts.nodes[node].is_well());
        let none = parts.leader.is_none();
        parts.elected = Instant::now() + ELECTION;
        drop(parts);
        self.changed();
        if none {
            self.elect_later();
        }
    }

    /// The next responses to transactions get lost.
    pub(super) fn lose_responses(&self, count: u32) {
        self.parts().lost_responses = count;
    }

    /// So many jobs are wanted.
    pub(super) fn want(&self, jobs: u32) {
        self.parts().wanted = jobs;
    }

    /// The node gets no jobs any more.
    pub(super) fn drain(&self, node: NodeId) {
        let mut catalog = self.0.view.borrow().catalog().clone();
        catalog.version += 1;
        catalog.nodes.get_mut(&node).unwrap().state = NodeState::Draining;
        self.0.view.send_replace(Arc::new(View::new(catalog)));
    }

    /// Stops the node in order.
    pub(super) async fn stop(&self, node: NodeId) {
        let jobs = self.parts().nodes.get_mut(&node).unwrap().jobs.take().unwrap();
        let ending = jobs.stop().await;
        // The node transfers the leadership of its groups.
        let other = self
            .parts()
            .nodes
            .iter()
            .find(|(id, known)| **id != node && known.is_well())
            .map(|(id, _)| *id);
        self.lead(other);
        drop(ending);
        self.parts().nodes.get_mut(&node).unwrap().dead_since = Some(Instant::now());
        self.changed();
    }

    /// Ends all faults.
    pub(super) fn heal(&self) {
        let nodes: Vec<_> = self.parts().nodes.keys().copied().collect();
        self.lose_responses(0);
        for node in nodes {
            self.hold(node, false);
            self.parts().nodes.get_mut(&node).unwrap().crash = None;
            self.restart(node);
        }
        self.lead(Some(id(1)));
    }

    pub(super) fn is_dead(&self, node: NodeId) -> bool {
        self.parts().nodes[&node].dead_since.is_some()
    }

    pub(super) fn wanted(&self) -> BTreeSet<JobId> {
        (0..self.parts().wanted).map(job).collect()
    }

    /// How far each job has counted.
    pub(super) fn counts(&self) -> BTreeMap<JobId, usize> {
        let parts = self.parts();
        parts.stored.iter().map(|(job, stored)| (job.clone(), stored.len())).collect()
    }

    pub(super) fn refused(&self) -> u64 {
        self.parts().refused
    }

    /// The owner of each job, as the rows say.
    pub(super) fn owners(&self) -> BTreeMap<JobId, NodeId> {
        let state = Arc::clone(&self.0.state.borrow());
        let Some((space, _)) = state.spaces().find(|(_, space)| space.name() == row::SPACE) else {
            return BTreeMap::new();
        };
        let page = state.range(space, b"", None, usize::MAX).unwrap();
        let owner = |(key, row): &(Bytes, anabranch_table::Row)| {
            Some((JobId::of_key(key)?, JobRow::decode(&row.value).ok()?.node()?))
        };
        page.rows.iter().filter_map(owner).collect()
    }

    pub(super) fn jobs_of(&self, node: NodeId) -> BTreeSet<JobId> {
        self.owners().into_iter().filter(|(_, owner)| *owner == node).map(|(job, _)| job).collect()
    }

    /// No former owner has stored anything.
    pub(super) fn check(&self) {
        for (job, stored) in &self.parts().stored {
            let gapless = stored.iter().copied().eq(1..=stored.len() as u64);
            assert!(gapless, "{job} has stored {stored:?}");
        }
    }

    /// The group applies a command.
    fn apply(&self, command: TableCommand) -> Vec<Outcome> {
        let mut parts = self.parts();
        parts.log_index += 1;
        let mut state = TableState::clone(&self.0.state.borrow());
        let (counted, owners) = counted(&state, &command);
        let outcomes = state.apply(parts.log_index, command);
        if let Some((job, number)) = counted {
            match outcomes.first() {
                Some(Outcome::Done { .. }) => parts.stored.entry(job).or_default().push(number),
                Some(Outcome::Failed { check: 0, .. }) if owners => parts.refused += 1,
                _ => {}
            }
        }
        self.0.state.send_replace(Arc::new(state));
        outcomes
    }
}

/// The job and the number that a command stores, if it is a count.
fn counted(state: &TableState, command: &TableCommand) -> (Option<(JobId, u64)>, bool) {
    let TableCommand::Transact { transactions, .. } = command else { return (None, false) };
    let counted =
        transactions.iter().flat_map(|transaction| &transaction.puts).find_map(|(key, value)| {
            let space = state.space(key.space)?;
            let number = (space.name() == COUNTS).then(|| read_number(value))?;
            Some((JobId::of_key(&key.key)?, number))
        });
    let fenced = counted.is_some();
    (counted, fenced)
}

fn read_number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

fn node_of_catalog() -> Node {
    Node {
        incarnation: anabranch_types::Incarnation(1),
        starts: 1,
        boot: 1,
        went_back: false,
        grpc_address: String::new(),
        api_address: String::new(),
        zone: String::new(),
        state: NodeState::Active,
    }
}

fn job(number: u32) -> JobId {
    let resource = format!("r{number}");
    JobId { service: SERVICE.to_owned(), resource, part: "p".to_owned() }
}

impl NodeParts {
    fn is_well(&self) -> bool {
        self.dead_since.is_none() && self.held_since.is_none()
    }
}

/// Jobs that count.
struct Counters(World);

impl Work for Counters {
    fn service(&self) -> &'static str {
        SERVICE
    }

    fn spaces(&self) -> &'static [&'static str] {
        &[COUNTS]
    }

    fn wanted(&self, _: &View, _: &Copies, _: &dyn Member, wanted: &mut WantedJobs) {
        for id in self.0.wanted() {
            wanted.jobs.insert(id, Wanted { near: None, weight: 1 });
        }
    }

    fn run(&self, job: Job) -> BoxFuture<'static, Result<(), String>> {
        async move {
            let space = job.copies().space(COUNTS).ok_or("no space")?;
            let key = Key { space, key: job.id().key().into() };
            let row = job.tables().get(job.group(), key.clone()).await;
            let row = row.map_err(|error| error.to_string())?;
            let mut number = row.map_or(0, |row| read_number(&row.value));
            let stopping = job.stopping();
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = sleep(EVERY) => {}
                }
                number += 1;
                let puts = vec![(key.clone(), number.to_string().into())];
                let counted = job.commit(Transaction { puts, ..Transaction::default() }).await;
                match counted {
                    Ok(_) => {}
                    Err(CommitError::Fenced) => return Ok(()),
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        .boxed()
    }
}

struct NodeMember {
    world: World,
    node: NodeId,
}

impl Member for NodeMember {
    fn node(&self) -> NodeId {
        self.node
    }

    fn is_current(&self) -> bool {
        true
    }

    fn leads(&self, _: GroupId) -> bool {
        self.world.parts().leader == Some(self.node)
    }

    fn leader(&self, _: GroupId) -> Option<NodeId> {
        self.world.parts().leader
    }

    fn is_silent(&self, node: NodeId) -> bool {
        let parts = self.world.parts();
        let known = &parts.nodes[&node];
        let since = known.dead_since.or(known.held_since);
        since.is_some_and(|since| since.elapsed() >= SILENT_AFTER)
    }
}

/// The cluster as one process of a node sees it.
#[derive(Clone)]
struct NodeCluster {
    world: World,
    node: NodeId,
    process: u64,
}

impl NodeCluster {
    /// Waits while the node is held up. Never ends for a process that is dead.
    async fn lives(&self) {
        let mut faults = self.world.0.faults.subscribe();
        loop {
            {
                let parts = self.world.parts();
                let known = &parts.nodes[&self.node];
                if known.process == self.process && known.is_well() {
                    return;
                }
            }
            if faults.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Whether the node dies now, at this transaction.
    fn dies(&self) -> Option<Crash> {
        let mut parts = self.world.parts();
        let known = parts.nodes.get_mut(&self.node)?;
        let (steps, crash) = known.crash?;
        known.crash = (steps > 1).then(|| (steps - 1, crash));
        (steps <= 1).then_some(crash)
    }

    /// A call that was sent reaches the group also if its caller does not wait for it any more.
    async fn call(self, request: Request) -> Result<Response, Error> {
        let sent = tokio::spawn(self.deliver(request));
        sent.await.unwrap_or_else(|_| Err(Error::NoLeader))
    }

    async fn deliver(self, request: Request) -> Result<Response, Error> {
        self.lives().await;
        sleep(TRIP).await;
        if self.world.parts().leader.is_none() {
            sleep(Duration::from_millis(200)).await;
            return Err(Error::NoLeader);
        }
        let dies = if request.is_write() { self.dies() } else { None };
        if dies == Some(Crash::Before) {
            self.world.die(self.node);
            return std::future::pending().await;
        }
        let response = match request {
            Request::Transact(transaction) => {
                let now = Timestamp::from_millis(1);
                let command = TableCommand::Transact { transactions: vec![transaction], now };
                Response::Outcome(self.world.apply(command).remove(0))
            }
            Request::CreateSpace { id, name } => Response::Outcome(
                self.world.apply(TableCommand::CreateSpace { id, name }).remove(0),
            ),
            Request::DropSpace(space) => {
                Response::Outcome(self.world.apply(TableCommand::DropSpace { space }).remove(0))
            }
            read @ (Request::Get(_) | Request::Range { .. } | Request::ListSpaces) => {
                read.read(&self.world.0.state.borrow()).unwrap()
            }
        };
        if dies == Some(Crash::After) {
            self.world.die(self.node);
            return std::future::pending().await;
        }
        sleep(TRIP).await;
        self.lives().await;
        let is_lost = {
            let mut parts = self.world.parts();
            let is_lost = parts.lost_responses > 0 && matches!(response, Response::Outcome(_));
            parts.lost_responses = parts.lost_responses.saturating_sub(u32::from(is_lost));
            is_lost
        };
        if is_lost { Err(Error::Unknown("the response got lost".to_owned())) } else { Ok(response) }
    }
}

impl Cluster for NodeCluster {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.world.0.view.borrow())
    }

    fn newest_view(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        async { Ok(self.view()) }.boxed()
    }

    fn propose(&self, _: Command) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        async { Err(Error::NoLeader) }.boxed()
    }

    fn new_data_key(
        &self,
        _: StreamName,
        _: StreamId,
        _: String,
    ) -> BoxFuture<'_, Result<Vec<u8>, Error>> {
        FutureExt::boxed(async { Err(Error::NotFound) })
    }

    fn append<'a>(&'a self, _: &'a ShardRoute, _: Batch) -> BoxFuture<'a, Result<Vec<Run>, Error>> {
        FutureExt::boxed(async { Err(Error::NotFound) })
    }

    fn recall<'a>(
        &'a self,
        _: &'a ShardRoute,
        _: &'a Batch,
    ) -> BoxFuture<'a, Result<Vec<Option<Run>>, Error>> {
        FutureExt::boxed(async { Err(Error::NotFound) })
    }

    fn newer_view(&self, version: u64, longest: Duration) -> BoxFuture<'_, ()> {
        let mut view = self.world.0.view.subscribe();
        async move {
            let newer = view.wait_for(|view| view.catalog().version > version);
            let _either_way = timeout(longest, newer).await;
        }
        .boxed()
    }

    fn seek<'a>(&'a self, _: &'a ShardRoute, _: Start) -> BoxFuture<'a, Result<Position, Error>> {
        FutureExt::boxed(async { Err(Error::NotFound) })
    }

    fn read<'a>(
        &'a self,
        _: &'a ShardRoute,
        _: Position,
        _: u32,
        _: usize,
        _: Duration,
    ) -> BoxFuture<'a, Result<Page, Error>> {
        FutureExt::boxed(async { Err(Error::NotFound) })
    }

    fn table(&self, _: GroupId, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        self.clone().call(request).boxed()
    }

    fn watch_rows(&self, _: GroupId, range: WatchedRange) -> Result<WatchedRows, Error> {
        let watching = Watching {
            cluster: self.clone(),
            watcher: Watcher::new(range, Version::START),
            states: self.world.0.state.subscribe(),
        };
        Ok(WatchedRows::following(stream::unfold(watching, Watching::next)))
    }

    fn tail(&self, _: &ShardRoute, _: Position) -> Pages {
        StreamExt::boxed(stream::empty())
    }

    fn subscribe<'a>(
        &'a self,
        _: &'a ShardRoute,
        _: Position,
        _: String,
    ) -> BoxFuture<'a, Result<Pages, Error>> {
        FutureExt::boxed(async { Err(Error::NotFound) })
    }
}

/// A watch of rows by a node.
struct Watching {
    cluster: NodeCluster,
    watcher: Watcher,
    states: watch::Receiver<Arc<TableState>>,
}

impl Watching {
    async fn next(mut self) -> Option<(Watched, Self)> {
        loop {
            self.cluster.lives().await;
            let state = Arc::clone(&self.states.borrow_and_update());
            let version = match self.watcher.next(&state, usize::MAX) {
                Next::Tell(watched) => {
                    sleep(TRIP).await;
                    self.cluster.lives().await;
                    return Some((watched, self));
                }
                Next::Nothing(version) => version,
                Next::Behind => Version::START,
            };
            if timeout(Duration::from_secs(1), self.states.changed()).await.is_err()
                && version > Version::START
            {
                // A beat, as a replica sends it.
                let page = WatchPage { is_complete: true, version, ..WatchPage::default() };
                return Some((Watched::Page(page), self));
            }
        }
    }
}
