//! Runs the state of one group as a job: takes calls one after another, stores what they change, then answers.
//!
//! Calls that wait while rows are stored are made together, and share the next transaction. Each transaction expects
//! the row of the transaction before it (the turn) and writes it. So a transaction that comes late changes nothing,
//! also if it is of this coordinator. If a transaction finds another turn, the coordinator reads all rows again: then
//! it knows what is stored. The calls that waited for it are not answered, and their callers send them again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_client::{Absent, Cluster, Error, View};
use anabranch_jobs::{CommitError, Copies, Job};
use anabranch_table::{Expect, Key, KeyRange, SpaceId, Transaction, Version};
use anabranch_types::ShardId;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::group::{Changes, Group, OwnedShard, Refused, ShardCheckpoint};
use crate::name::{GroupKey, MemberId};
use crate::rows::{self, DEFINITIONS, Definition, GroupId, STATE, StateKey, StoredMember};

/// Calls that may wait.
const WAITING_CALLS: usize = 1024;
/// Calls that are made together.
const CALLS_AT_ONCE: usize = 256;
/// Changed rows of one transaction. With its checks it has at most 100 keys.
const TRANSACTION_ROWS: usize = 90;
/// Pause before a transaction is made again, or all rows are read again.
const AGAIN: Duration = Duration::from_millis(100);
/// The same if the table group takes no rows.
const AGAIN_WHEN_FULL: Duration = Duration::from_secs(1);
/// Longest wait for a newer version of the catalog.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A call of a member.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) member: MemberId,
    pub(crate) kind: CallKind,
    pub(crate) reply: oneshot::Sender<Result<Answer, Failed>>,
}

#[derive(Debug)]
pub(crate) enum CallKind {
    Join(StoredMember),
    Heartbeat,
    Checkpoint(Vec<ShardCheckpoint>),
    Leave(Vec<ShardCheckpoint>),
}

/// The answer to a call. Everything in it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether the member's Join made the group.
    pub(crate) is_creator: bool,
    /// Version of the member's shards.
    pub(crate) version: u64,
    /// Shards whose checkpoints were refused.
    pub(crate) refused: Vec<ShardId>,
}

/// Why a call was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The table group takes no rows. Nothing was done.
    #[error("{0}")]
    Full(String),
}

/// The group as its members see it: stored, and the newest.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) definition: Definition,
    pub(crate) view: Arc<View>,
    pub(crate) members: BTreeMap<MemberId, ShownMember>,
    /// Rises with each change of a list.
    version: u64,
}

/// The shards of a member, and the version of this list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownMember {
    pub(crate) version: u64,
    pub(crate) shards: Arc<Vec<OwnedShard>>,
}

/// A coordinator that runs in this process.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) calls: mpsc::Sender<Call>,
    pub(crate) shown: watch::Receiver<Arc<Shown>>,
}

/// The coordinators of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coordinators(Arc<Mutex<HashMap<GroupKey, Running>>>);

/// Runs one group.
pub(crate) struct Coordinator {
    pub(crate) key: GroupKey,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) job: Job,
    pub(crate) coordinators: Coordinators,
}

/// Where the rows of the group are.
struct Rows {
    definition: Key,
    version: Version,
    id: GroupId,
    state: SpaceId,
    /// The row that each transaction expects and writes.
    turn: Expect,
}

/// Why a coordinator ends, or reads all rows again.
enum End {
    /// The job is handed over, has another owner, or the group is gone.
    Over,
    /// The definition or the rows are others than expected: all are read again.
    Changed,
    /// The table group takes no rows.
    Full(String),
    /// A text for operators.
    Failed(String),
}

impl Coordinators {
    pub(crate) fn get(&self, key: &GroupKey) -> Option<Running> {
        self.lock().get(key).cloned()
    }

    fn register(&self, key: &GroupKey, running: Running) -> Registered {
        let calls = running.calls.clone();
        self.lock().insert(key.clone(), running);
        Registered { coordinators: self.clone(), key: key.clone(), calls }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GroupKey, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a coordinator reachable, until it is dropped.
struct Registered {
    coordinators: Coordinators,
    key: GroupKey,
    calls: mpsc::Sender<Call>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut coordinators = self.coordinators.lock();
        // A later coordinator of the group may have begun before this one was dropped.
        if coordinators.get(&self.key).is_some_and(|found| found.calls.same_channel(&self.calls)) {
            coordinators.remove(&self.key);
        }
    }
}

impl Coordinator {
    /// Runs until the job is to end.
    pub(crate) async fn run(self) -> Result<(), String> {
        let mut copies = self.job.copies();
        let stopping = self.job.stopping();
        loop {
            let pause = match self.run_once(&mut copies).await {
                End::Over => return Ok(()),
                End::Changed => AGAIN,
                End::Full(reason) => {
                    tracing::warn!(group = %self.key, reason, "the group can't store its rows");
                    AGAIN_WHEN_FULL
                }
                End::Failed(error) => return Err(error),
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stopping.cancelled() => return Ok(()),
            }
        }
    }

    async fn run_once(&self, copies: &mut Copies) -> End {
        let (definition, mut rows) = match self.definition(copies).await {
            Ok(Some(found)) => found,
            Ok(None) => return End::Over,
            Err(error) => return End::Failed(error),
        };
        // An older version may lack the stream, or shards of it.
        let mut view = match self.cluster.newest_view().await {
            Ok(view) => view,
            Err(error) => return End::Failed(error.to_string()),
        };
        let mut group = match self.load(&view, &mut rows).await {
            Ok(Some(group)) => group,
            Ok(None) => return End::Over,
            Err(error) => return End::Failed(error),
        };
        let (sender, mut calls) = mpsc::channel(WAITING_CALLS);
        let members = BTreeMap::new();
        let shown = Shown { definition, view: Arc::clone(&view), members, version: 0 };
        let (shown, receiver) = watch::channel(Arc::new(shown));
        show(&shown, &group, &view);
        let running = Running { calls: sender, shown: receiver };
        let _registered = self.coordinators.register(&self.key, running);
        let mut waiting = Vec::new();
        loop {
            let began = Instant::now();
            let made: Vec<_> =
                waiting.drain(..).map(|call| make(&mut group, call, began)).collect();
            group.settle(began);
            if let Err(end) = self.store(&mut rows, group.take_changes()).await {
                if let End::Full(text) = &end {
                    made.into_iter().for_each(|made| made.fail(text));
                }
                return end;
            }
            group.excuse(began.elapsed());
            show(&shown, &group, &view);
            made.into_iter().for_each(|made| made.answer(&shown.borrow()));
            match self.wait(&mut calls, copies, &rows, &view, group.deadline()).await {
                Ok(call) => waiting.extend(call),
                Err(end) => return end,
            }
            while waiting.len() < CALLS_AT_ONCE
                && let Ok(call) = calls.try_recv()
            {
                waiting.push(call);
            }
            let newest = self.cluster.view();
            if !Arc::ptr_eq(&newest, &view) {
                group.follow(newest.stream(&self.key.stream).map(|found| found.stream));
                view = newest;
            }
        }
    }

    /// Waits until there is something to do. Returns the call that came, if one did.
    async fn wait(
        &self,
        calls: &mut mpsc::Receiver<Call>,
        copies: &mut Copies,
        rows: &Rows,
        view: &View,
        deadline: Option<Instant>,
    ) -> Result<Option<Call>, End> {
        let stopping = self.job.stopping();
        let silence = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let mut call = None;
        tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(End::Over),
            received = calls.recv() => call = received,
            () = copies.changed(&[DEFINITIONS]) => {}
            () = self.cluster.newer_view(view.catalog().version, LOOK_AGAIN) => {}
            () = silence => {}
        }
        let version = copies.rows(DEFINITIONS).get(&rows.definition.key).map(|row| row.version);
        match version {
            None => Err(End::Over),
            Some(version) if version > rows.version => Err(End::Changed),
            Some(_) => Ok(call),
        }
    }

    /// The definition of the group and where its rows are. `None` if the group is gone.
    async fn definition(&self, copies: &Copies) -> Result<Option<(Definition, Rows)>, String> {
        let key = rows::definition_key(&self.key);
        let definitions = copies.rows(DEFINITIONS);
        let Some(row) = definitions.get(&key) else { return Ok(None) };
        let definition: Definition = rows::decode(&key, &row.value)?;
        let space = copies.space(DEFINITIONS).ok_or("the space of consumer groups is gone")?;
        let state = self.job.tables().space(self.job.group(), STATE).await;
        let state = state.map_err(|error| error.to_string())?;
        let state = state.ok_or("the space of members and shards is gone")?;
        let rows = Rows {
            definition: Key { space, key },
            version: row.version,
            id: definition.id.clone(),
            state,
            turn: Expect::Absent,
        };
        Ok(Some((definition, rows)))
    }

    /// Reads the members and the shards of the group. `None` if the stream is gone.
    async fn load(&self, view: &View, rows: &mut Rows) -> Result<Option<Group>, String> {
        let Some(found) = view.stream(&self.key.stream) else { return Ok(None) };
        // Both are above every epoch of a shard in an earlier group of this name.
        let mut group = Group::new(self.job.epoch().max(rows.version.as_u64()));
        group.follow(Some(found.stream));
        let prefix = rows::state_of(&self.key);
        let keys = KeyRange {
            start: prefix.clone(),
            end: Some(rows::state_end(&self.key)),
            descending: false,
        };
        let stored = self.job.tables().all(self.job.group(), rows.state, keys).await;
        let now = Instant::now();
        let mut left = Vec::new();
        for (key, row) in stored.map_err(|error: Absent| error.to_string())? {
            match key.get(prefix.len()..).and_then(rows::parse_state_key) {
                Some((id, _)) if id != rows.id => left.push(key),
                Some((_, StateKey::Turn)) => rows.turn = Expect::Version(row.version),
                Some((_, StateKey::Member(id))) => {
                    group.restore_member(id, rows::decode(&key, &row.value)?, now);
                }
                Some((_, StateKey::Shard(stream, shard))) => {
                    group.restore_shard(stream, shard, rows::decode(&key, &row.value)?);
                }
                None => return Err(format!("unknown row {}", String::from_utf8_lossy(&key))),
            }
        }
        self.delete(rows, left).await?;
        Ok(Some(group))
    }

    /// Deletes what is left of other groups of this name.
    async fn delete(&self, rows: &Rows, left: Vec<Bytes>) -> Result<(), String> {
        for chunk in left.chunks(TRANSACTION_ROWS) {
            let key = |key: &Bytes| Key { space: rows.state, key: key.clone() };
            let checks = vec![(rows.definition.clone(), Expect::Version(rows.version))];
            let deletes = chunk.iter().map(key).collect();
            let transaction = Transaction { checks, deletes, ..Transaction::default() };
            self.job.commit(transaction).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn store(&self, rows: &mut Rows, changes: Changes) -> Result<(), End> {
        if changes.is_empty() {
            return Ok(());
        }
        let (key, id) = (&self.key, &rows.id);
        let members = changes.members.iter().map(|(member, stored)| {
            (rows::member_key(key, id, member), stored.as_ref().map(rows::encode))
        });
        let shards = changes.shards.iter().map(|((stream, shard), stored)| {
            (rows::shard_key(key, id, *stream, *shard), stored.as_ref().map(rows::encode))
        });
        let changed: Vec<_> = members.chain(shards).collect();
        let turn = Key { space: rows.state, key: rows::turn_key(key, id) };
        for chunk in changed.chunks(TRANSACTION_ROWS) {
            let mut transaction = Transaction {
                checks: vec![
                    (rows.definition.clone(), Expect::Version(rows.version)),
                    (turn.clone(), rows.turn),
                ],
                // The writer of the first row tells whether a transaction of unknown outcome was made.
                puts: vec![(turn.clone(), Bytes::new())],
                ..Transaction::default()
            };
            for (key, value) in chunk {
                let key = Key { space: rows.state, key: key.clone() };
                match value {
                    Some(value) => transaction.puts.push((key, value.clone())),
                    None => transaction.deletes.push(key),
                }
            }
            rows.turn = Expect::Version(self.commit(transaction).await?);
        }
        Ok(())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Version, End> {
        let stopping = self.job.stopping();
        loop {
            match self.job.commit(transaction.clone()).await {
                Ok(version) => return Ok(version),
                Err(CommitError::Fenced) => return Err(End::Over),
                Err(CommitError::Conflict) => return Err(End::Changed),
                Err(CommitError::Refused(refusal)) => return Err(End::Full(refusal.to_string())),
                Err(CommitError::Failed(Error::Throttled(reason))) => {
                    return Err(End::Full(reason));
                }
                Err(CommitError::Failed(error)) => {
                    tracing::debug!(group = %self.key, %error, "rows are written again");
                }
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = stopping.cancelled() => return Err(End::Over),
            }
        }
    }
}

/// A call that was made and is not answered yet.
struct Made {
    member: MemberId,
    reply: oneshot::Sender<Result<Answer, Failed>>,
    refused: Result<Vec<ShardId>, Refused>,
}

impl Made {
    fn answer(self, shown: &Shown) {
        let Self { member, reply, refused } = self;
        let answer = refused.map(|refused| Answer {
            is_creator: shown.definition.creator == member.as_str(),
            version: shown.members.get(&member).map_or(0, |member| member.version),
            refused,
        });
        let _caller_is_gone = reply.send(answer.map_err(Failed::Refused));
    }

    fn fail(self, text: &str) {
        let _caller_is_gone = self.reply.send(Err(Failed::Full(text.to_owned())));
    }
}

fn make(group: &mut Group, call: Call, now: Instant) -> Made {
    let Call { member, kind, reply } = call;
    let refused = match kind {
        CallKind::Join(stored) => group.join(member.clone(), stored, now).map(|()| Vec::new()),
        CallKind::Heartbeat => group.hear(&member, now).map(|()| Vec::new()),
        CallKind::Checkpoint(checkpoints) => group.checkpoint(&member, &checkpoints, now),
        CallKind::Leave(checkpoints) => {
            group.leave(&member, &checkpoints);
            Ok(Vec::new())
        }
    };
    Made { member, reply, refused }
}

/// Shows the group as it is stored. The list of a member has a new version if more than the positions in it have
/// changed: the member stored those itself.
fn show(shown: &watch::Sender<Arc<Shown>>, group: &Group, view: &Arc<View>) {
    let former = Arc::clone(&shown.borrow());
    let version = former.version + 1;
    let mut has_changed = !Arc::ptr_eq(&former.view, view);
    let members = group.owned().into_iter().map(|(id, shards)| {
        let known = former.members.get(&id).filter(|known| are_alike(&known.shards, &shards));
        has_changed |= known.is_none();
        let version = known.map_or(version, |known| known.version);
        (id, ShownMember { version, shards: Arc::new(shards) })
    });
    let members: BTreeMap<_, _> = members.collect();
    has_changed |= members.len() != former.members.len();
    let definition = former.definition.clone();
    let next = Arc::new(Shown { definition, view: Arc::clone(view), members, version });
    if has_changed {
        shown.send_replace(next);
    } else {
        // A watch that begins gets the newest positions. Nobody is woken.
        shown.send_if_modified(|shown| {
            *shown = next;
            false
        });
    }
}

/// Whether two lists differ in positions at most.
fn are_alike(a: &[OwnedShard], b: &[OwnedShard]) -> bool {
    let without_position = |shard: &OwnedShard| OwnedShard { next: None, ..shard.clone() };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| without_position(a) == without_position(b))
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator").field("group", &self.key).finish_non_exhaustive()
    }
}
