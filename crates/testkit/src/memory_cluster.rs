//! A cluster in memory: the real catalog, and a vector for the log of each shard.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, ConsumerCommand, EncryptionCommand, NodeCommand, Outcome, Replica,
    ShardChange, ShardsCommand, StreamCommand, StreamId, newest_group, samples,
};
use anabranch_client::{Cluster, Error, Pages, ShardRoute, View, WatchedRows};
use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_table::{
    Limits, Next, Request, Response, TableState, Version, WatchPage, Watched, WatchedRange, Watcher,
};
use anabranch_types::{
    Clock, GroupId, HashKey, KeyFault, ManualClock, NodeId, ReplicaId, ShardId, StreamName,
    Timestamp,
};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use futures::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::memory_cluster::log::Log;

mod log;

/// A cluster without nodes: commands are applied to a real [`Catalog`], and the log of each shard is a vector of
/// batches with the deduplication window that real replicas have.
///
/// Nothing happens by itself. A test plays the controller: it makes streams ACTIVE ([`Self::activate`]), splits
/// shards ([`Self::split`]), and decides which version of the catalog the reader sees ([`Self::show`],
/// [`Self::publish`]). Appends are stamped with the clock that the test gave.
#[derive(Debug)]
pub struct MemoryCluster {
    state: Arc<Mutex<State>>,
    clock: Arc<ManualClock>,
}

#[derive(Debug)]
struct State {
    catalog: Catalog,
    index: u64,
    shown: Arc<View>,
    versions: watch::Sender<u64>,
    logs: HashMap<GroupId, Log>,
    tables: HashMap<GroupId, TableState>,
    /// Number of writes to tables, for watchers of rows.
    written: watch::Sender<u64>,
    failures: HashMap<GroupId, Error>,
    appends: usize,
    /// The same number, for reads that wait.
    appended: watch::Sender<usize>,
    /// Whether the catalog has no leader.
    is_silent: bool,
    /// The hash keys that came with the last append.
    hash_keys: Bytes,
}

impl MemoryCluster {
    /// A cluster of one node, without streams.
    pub fn new(clock: Arc<ManualClock>) -> Self {
        let voters = [Replica { id: ReplicaId(1), node: NodeId(1) }];
        let cluster = Self {
            state: Arc::new(Mutex::new(State {
                catalog: Catalog::bootstrap(&voters),
                index: 0,
                shown: Arc::default(),
                versions: watch::channel(0).0,
                logs: HashMap::new(),
                tables: HashMap::new(),
                written: watch::channel(0).0,
                failures: HashMap::new(),
                appends: 0,
                appended: watch::channel(0).0,
                is_silent: false,
                hash_keys: Bytes::new(),
            })),
            clock,
        };
        cluster.apply(Command::Node(NodeCommand::Register(samples::registration(1))));
        cluster
    }

    /// As the controller does: makes every stream that is CREATING ACTIVE.
    pub fn activate(&self) {
        let view = self.view();
        for (name, stream) in &view.catalog().streams {
            self.apply(Command::Stream(StreamCommand::Activate {
                name: name.clone(),
                id: stream.id,
                newest_group: newest_group(stream.shards.values()),
            }));
        }
    }

    /// As the controller does: drops every stream that is DELETING.
    pub fn drop_deleted(&self) {
        let view = self.view();
        for (name, stream) in &view.catalog().streams {
            self.apply(Command::Stream(StreamCommand::Drop { name: name.clone(), id: stream.id }));
        }
    }

    /// As the controller does: makes every consumer of the stream ACTIVE.
    pub fn settle_consumers(&self, name: &str) {
        let name = parsed(name);
        let id = self.view().catalog().streams[&name].id;
        self.apply(Command::Consumer(ConsumerCommand::Settle { name, id }));
    }

    /// As the controller does: settles a change of encryption, as if every node had followed it.
    pub fn settle_encryption(&self, name: &str) {
        let name = parsed(name);
        let (id, unsettled) = {
            let view = self.view();
            let stream = &view.catalog().streams[&name];
            (stream.id, stream.encryption.unsettled)
        };
        if let Some(change) = unsettled {
            self.apply(Command::Encryption(EncryptionCommand::Settle { name, id, change }));
        }
    }

    /// Shows an older version to callers of `view`, until one asks for the newest.
    pub fn show(&self, older: Arc<View>) {
        self.state().shown = older;
    }

    /// Lets requests for the newest version wait for ever, or answers them again.
    pub fn silence(&self, is_silent: bool) {
        self.state().is_silent = is_silent;
    }

    /// Lets every append to this shard end with `error`; `None` lets them succeed again.
    pub fn fail(&self, name: &str, shard: u32, error: Option<Error>) {
        let group = self.group(name, shard);
        let mut state = self.state();
        match error {
            Some(error) => state.failures.insert(group, error),
            None => state.failures.remove(&group),
        };
    }

    /// Splits a shard at the middle of its range. Callers of `view` see it only after [`Self::publish`], or when an
    /// append has met the closed shard.
    pub fn split(&self, name: &str, shard: u32) {
        let name = parsed(name);
        let group = self.group(name.as_str(), shard);
        let mut state = self.state();
        let last = state.logs.get(&group).and_then(Log::last).unwrap_or_default();
        let now = self.clock.now();
        let parent = &state.catalog.streams[&name].shards[&ShardId(shard)];
        let (id, range) = (parent.id, parent.range);
        let ending = last.sequence_number(id, parent.birth, now);
        let at = HashKey(range.start().0 + (range.end().0 - range.start().0) / 2 + 1);
        let change = ShardChange::Split { shard: id, at };
        state.apply(Command::Shards(ShardsCommand::Reshard { name: name.clone(), change, now }));
        let stream = &state.catalog.streams[&name];
        let (id, job) = (stream.id, stream.job.as_ref().expect("it was just begun").id);
        let endings = BTreeMap::from([(ShardId(shard), ending)]);
        state.apply(Command::Shards(ShardsCommand::Commit {
            name,
            id,
            job,
            endings,
            newest_group: None,
            now,
        }));
    }

    /// As the controller does: commits every resharding job.
    pub fn commit_jobs(&self) {
        let view = self.view();
        for (name, stream) in &view.catalog().streams {
            let Some(job) = &stream.job else { continue };
            let state = self.state();
            let ending = |id: &ShardId| {
                let shard = &stream.shards[id];
                let last = state.logs.get(&shard.group).and_then(Log::last);
                let number = last.map(|l| l.sequence_number(*id, shard.birth, self.clock.now()));
                (*id, number.unwrap_or_else(|| shard.starting_sequence_number()))
            };
            let endings = job.parents.iter().map(ending).collect();
            drop(state);
            let (name, now) = (name.clone(), self.clock.now());
            self.apply(Command::Shards(ShardsCommand::Commit {
                name,
                id: stream.id,
                job: job.id,
                endings,
                newest_group: newest_group(job.children.values()),
                now,
            }));
        }
    }

    /// Shows the newest version to callers of `view`.
    pub fn publish(&self) {
        self.state().publish();
    }

    /// How many appends were made, retries included.
    pub fn appends(&self) -> usize {
        self.state().appends
    }

    /// The hash keys that came with the last append.
    pub fn hash_keys(&self) -> Bytes {
        self.state().hash_keys.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn group(&self, name: &str, shard: u32) -> GroupId {
        let name = parsed(name);
        self.state().catalog.streams[&name].shards[&ShardId(shard)].group
    }

    fn apply(&self, command: Command) -> Outcome {
        let mut state = self.state();
        let outcome = state.apply(command);
        state.publish();
        outcome
    }

    fn recall_now(&self, shard: &ShardRoute, batch: &Batch) -> Vec<Option<Run>> {
        let known = |log: &Log| log.find(batch);
        let nothing = || vec![None; batch.record_count() as usize];
        self.state().logs.get(&shard.group).map_or_else(nothing, known)
    }

    fn table_now(&self, group: GroupId, request: Request) -> Result<Response, Error> {
        let mut state = self.state();
        if !state.catalog.table_groups.contains_key(&group) {
            return Err(Error::NotFound);
        }
        if let Some(error) = state.failures.get(&group) {
            return Err(error.clone());
        }
        let table = state.tables.entry(group).or_insert_with(|| TableState::new(Limits::default()));
        if let Some(response) = request.read(table) {
            return Ok(response);
        }
        let command = match request {
            Request::Transact(transaction) => {
                let transactions = vec![transaction];
                anabranch_table::Command::Transact { transactions, now: self.clock.now() }
            }
            Request::CreateSpace { id, name } => anabranch_table::Command::CreateSpace { id, name },
            Request::DropSpace(space) => anabranch_table::Command::DropSpace { space },
            Request::Get(_) | Request::Range { .. } | Request::ListSpaces => {
                return Err(Error::Invalid("not a write".into()));
            }
        };
        let outcome = table.apply(table.applied() + 1, command).pop();
        state.written.send_modify(|writes| *writes += 1);
        outcome.map(Response::Outcome).ok_or(Error::NoLeader)
    }

    fn append_now(&self, shard: &ShardRoute, batch: &Batch) -> Result<Vec<Run>, Error> {
        let mut state = self.state();
        let live = state.catalog.streams.get(&shard.stream).ok_or(Error::NotFound)?;
        if !live.shards[&shard.shard].is_open() {
            let known = state.logs.get(&shard.group).map(|log| log.find(batch));
            if let Some(runs) = known.and_then(|known| known.into_iter().collect()) {
                return Ok(runs);
            }
            state.publish();
            return Err(Error::Closed);
        }
        if let Some(error) = state.failures.get(&shard.group) {
            return Err(error.clone());
        }
        state.appends += 1;
        state.hash_keys = batch.hash_keys().clone();
        let arrival = self.clock.now();
        let runs = state.logs.entry(shard.group).or_default().append(batch, arrival);
        state.appended.send_replace(state.appends);
        Ok(runs)
    }

    fn read_now(
        &self,
        shard: &ShardRoute,
        from: Position,
        max_records: u32,
        max_bytes: usize,
    ) -> Page {
        self.state().read(shard.group, from, max_records, max_bytes, self.clock.now())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parsed(name: &str) -> StreamName {
    name.parse().expect("a test gives a valid name")
}

impl State {
    fn read(
        &self,
        group: GroupId,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        now: Timestamp,
    ) -> Page {
        let empty = Log::default();
        let log = self.logs.get(&group).unwrap_or(&empty);
        log.read(from, max_records, max_bytes, now)
    }

    /// Whether the catalog lists a shard with this group.
    fn lists(&self, group: GroupId) -> bool {
        let mut shards = self.catalog.streams.values().flat_map(|stream| stream.shards.values());
        shards.any(|shard| shard.group == group)
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        self.catalog.apply(self.index, command)
    }

    fn publish(&mut self) {
        self.shown = Arc::new(View::new(self.catalog.clone()));
        self.versions.send_replace(self.catalog.version);
    }
}

impl Cluster for MemoryCluster {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.state().shown)
    }

    fn newest_view(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        if self.state().is_silent {
            return pending().boxed();
        }
        self.publish();
        ready(Ok(self.view())).boxed()
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        let result = match self.apply(command) {
            Outcome::Done { .. } => Ok(self.view()),
            Outcome::Refused(refusal) => Err(refusal.into()),
        };
        ready(result).boxed()
    }

    fn new_data_key(
        &self,
        _: StreamName,
        id: StreamId,
        master_key: String,
    ) -> BoxFuture<'_, Result<Vec<u8>, Error>> {
        let made = match master_key.as_str() {
            "alias/disabled" => {
                Err(Error::Key { fault: KeyFault::Disabled, message: "disabled".into() })
            }
            _ => Ok(id.0.to_be_bytes().to_vec()),
        };
        ready(made).boxed()
    }

    fn append<'a>(
        &'a self,
        shard: &'a ShardRoute,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Vec<Run>, Error>> {
        ready(self.append_now(shard, &batch)).boxed()
    }

    fn table(&self, group: GroupId, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        ready(self.table_now(group, request)).boxed()
    }

    fn recall<'a>(
        &'a self,
        shard: &'a ShardRoute,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Vec<Option<Run>>, Error>> {
        ready(Ok(self.recall_now(shard, batch))).boxed()
    }

    fn newer_view(&self, version: u64, longest: Duration) -> BoxFuture<'_, ()> {
        let mut versions = self.state().versions.subscribe();
        let newer = async move {
            let _either_way = timeout(longest, versions.wait_for(|seen| *seen > version)).await;
        };
        newer.boxed()
    }

    fn seek<'a>(
        &'a self,
        shard: &'a ShardRoute,
        start: Start,
    ) -> BoxFuture<'a, Result<Position, Error>> {
        let empty = Log::default();
        let position = self.state().logs.get(&shard.group).unwrap_or(&empty).seek(start);
        ready(Ok(position)).boxed()
    }

    fn read<'a>(
        &'a self,
        shard: &'a ShardRoute,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Page, Error>> {
        let read = move || self.read_now(shard, from, max_records, max_bytes);
        let has_records = move || !read().batches.is_empty();
        let mut appends = self.state().appended.subscribe();
        async move {
            // With a wait of zero this returns at once.
            let _either_way = timeout(wait, appends.wait_for(|_| has_records())).await;
            Ok(read())
        }
        .boxed()
    }

    /// The rows that are there, then each change as soon as it is made.
    fn watch_rows(&self, group: GroupId, range: WatchedRange) -> Result<WatchedRows, Error> {
        if !self.state().catalog.table_groups.contains_key(&group) {
            return Err(Error::NotFound);
        }
        let state = Arc::clone(&self.state);
        let written = self.state().written.subscribe();
        let begin = (Watcher::new(range, Version::START), Version::START, written);
        let pages = stream::unfold(begin, move |(mut watcher, told, mut written)| {
            let state = Arc::clone(&state);
            async move {
                loop {
                    // Before the look: a write that comes after the look must end the wait below.
                    written.mark_unchanged();
                    let next = match lock(&state).tables.get(&group) {
                        Some(table) => watcher.next(table, usize::MAX),
                        None => Next::Behind,
                    };
                    match next {
                        Next::Tell(watched) => return Some((watched, (watcher, told, written))),
                        Next::Nothing(version) if version != told => {
                            let is_complete = true;
                            let page = WatchPage { version, is_complete, ..WatchPage::default() };
                            return Some((Watched::Page(page), (watcher, version, written)));
                        }
                        Next::Nothing(_) | Next::Behind => {}
                    }
                    written.changed().await.ok()?;
                }
            }
        });
        Ok(WatchedRows::following(pages))
    }

    /// The records that are there, then each record as soon as it is appended. Sends no empty pages. If the shard is
    /// not in the catalog, the pages end with [`Error::NotFound`].
    fn tail(&self, shard: &ShardRoute, from: Position) -> Pages {
        let (state, clock, group) = (Arc::clone(&self.state), Arc::clone(&self.clock), shard.group);
        let appends = self.state().appended.subscribe();
        let versions = self.state().versions.subscribe();
        let begin = (from, appends, versions);
        let pages = stream::unfold(begin, move |(from, mut appends, mut versions)| {
            let (state, clock) = (Arc::clone(&state), Arc::clone(&clock));
            async move {
                loop {
                    // Before the read: an append that comes after the read must end the wait below.
                    appends.mark_unchanged();
                    versions.mark_unchanged();
                    let read = {
                        let state = lock(&state);
                        let page = state.read(group, from, u32::MAX, usize::MAX, clock.now());
                        if state.lists(group) { Ok(page) } else { Err(Error::NotFound) }
                    };
                    match read {
                        Ok(page) if page.batches.is_empty() => {}
                        Ok(page) => {
                            let next = page.next;
                            return Some((Ok(page), (next, appends, versions)));
                        }
                        Err(error) => return Some((Err(error), (from, appends, versions))),
                    }
                    tokio::select! {
                        changed = appends.changed() => changed.ok()?,
                        changed = versions.changed() => changed.ok()?,
                    }
                }
            }
        });
        pages.boxed()
    }

    /// The records that are there, then nothing: the stream never ends.
    fn subscribe<'a>(
        &'a self,
        shard: &'a ShardRoute,
        from: Position,
        _consumer: String,
    ) -> BoxFuture<'a, Result<Pages, Error>> {
        let page = self.read_now(shard, from, u32::MAX, usize::MAX);
        let pages = stream::once(ready(Ok(page))).chain(stream::pending());
        ready(Ok(pages.boxed())).boxed()
    }
}
