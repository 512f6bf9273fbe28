//! A log store in memory for tests. It loses unsynced writes as a disk does.
//!
//! Writes wait in one queue until a sync. [`SimStore::crash`] drops the waiting writes, except for a random prefix,
//! because a real crash may spare some. It returns the store that would open afterwards. The store does no I/O and
//! reads no clock. With the same seeds and the same calls it does the same things.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anabranch_types::{GroupId, Incarnation, LogId};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::{Notify, watch};

use crate::{
    Completion, DiskState, Entry, Error, GroupLog, Health, LogState, LogStore, StateKey, Stats,
    Vote,
    model::{Change, Model},
};

/// When the simulated disk syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SimSync {
    /// After every write that is not lazy, before the call returns.
    #[default]
    Automatic,
    /// Only in [`SimStore::sync`] and on close.
    OnDemand,
    /// As [`Self::OnDemand`], but every write is reported as durable at once. For tests that must notice such a disk.
    Lying,
}

/// Settings of a [`SimStore`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimSettings {
    /// When writes become durable.
    pub sync: SimSync,
    /// Result of [`LogStore::incarnation`].
    pub incarnation: Incarnation,
    /// Result of [`LogStore::starts`]. The store that opens after a crash has one more. With 0, the disk does not count
    /// its starts.
    pub starts: u64,
}

/// The simulated store. A clone is a cheap handle to the same store.
#[derive(Clone)]
pub struct SimStore(Arc<Mutex<State>>, Arc<Damage>);

/// Entries that cannot be read.
#[derive(Default)]
struct Damage {
    entries: watch::Sender<BTreeMap<GroupId, BTreeSet<u64>>>,
    found: Notify,
}

struct State {
    settings: SimSettings,
    /// The state that reads see.
    visible: BTreeMap<GroupId, Visible>,
    /// The state that survives a crash.
    durable: BTreeMap<GroupId, Model>,
    pending: VecDeque<Pending>,
    /// Completions to call, with their results. They are called in this order and without the lock.
    due: VecDeque<(Completion, Result<(), Error>)>,
    calling: bool,
    quarantined: BTreeMap<GroupId, String>,
    refusal: Option<Error>,
    disk: DiskState,
    stalled: Option<Duration>,
    payload_limit: usize,
    lives: u64,
    stats: Stats,
}

struct Visible {
    /// Number that distinguishes the handles of a removed group from those of a later group with the same id.
    life: u64,
    model: Model,
}

struct Pending {
    group: GroupId,
    change: Change,
    done: Option<Completion>,
}

struct SimGroup {
    id: GroupId,
    life: u64,
    store: SimStore,
}

impl SimStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new(settings: SimSettings) -> Self {
        Self::with_durable(settings, BTreeMap::new(), BTreeMap::new())
    }

    /// Makes all writes so far durable and completes them.
    pub fn sync(&self) {
        let mut state = self.lock();
        state.sync();
        self.call_completions(state);
    }

    /// Number of writes that wait for a sync.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().pending.len()
    }

    /// Ends this store as a power loss does. Returns the store that opens afterwards.
    ///
    /// A prefix of the unsynced writes survives. `seed` decides its length. Handles of the old store return
    /// [`Error::Closed`]. Completions of its unsynced writes are dropped without being called.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut state = self.lock();
        state.refusal = Some(Error::Closed);
        let surviving = StdRng::seed_from_u64(seed).random_range(0..=state.pending.len());
        let lost: Vec<Pending> = state.pending.drain(..).collect();
        let mut durable = state.durable.clone();
        for pending in lost.iter().take(surviving) {
            change_durable(&mut durable, pending.group, pending.change.clone());
        }
        let starts = state.settings.starts;
        let settings = SimSettings { starts: starts + u64::from(starts > 0), ..state.settings };
        let next = Self::with_durable(settings, durable, state.quarantined.clone());
        next.1.entries.send_replace(self.1.entries.borrow().clone());
        next.set_disk(state.disk);
        drop(state);
        drop(lost);
        next
    }

    /// A copy of the durable state, like a backup or a snapshot of a volume.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.lock();
        Self::with_durable(state.settings, state.durable.clone(), state.quarantined.clone())
    }

    /// Quarantines a group, as damage found on a disk does.
    pub fn quarantine(&self, group: GroupId, reason: &str) {
        self.lock().quarantined.insert(group, reason.to_owned());
    }

    /// Damages an entry, as a wrong bit in its payload does.
    pub fn damage(&self, group: GroupId, index: u64) {
        self.1.entries.send_modify(|damaged| {
            damaged.entry(group).or_default().insert(index);
        });
        self.1.found.notify_one();
    }

    /// Makes every later write fail with [`Error::Failed`], as a failed fsync does.
    pub fn fail(&self, detail: &str) {
        let mut state = self.lock();
        let error = Error::Failed { detail: detail.to_owned() };
        let lost: Vec<Pending> = state.pending.drain(..).collect();
        for done in lost.into_iter().filter_map(|pending| pending.done) {
            state.due.push_back((done, Err(error.clone())));
        }
        state.refusal = Some(error);
        self.call_completions(state);
    }

    /// Sets the state of the disk. A full disk refuses appends.
    pub fn set_disk(&self, disk: DiskState) {
        self.lock().disk = disk;
    }

    /// Sets the result of [`LogStore::stalled`]. It does not stop syncs: the test decides about those.
    pub fn set_stalled(&self, stalled: Option<Duration>) {
        self.lock().stalled = stalled;
    }

    /// Sets the largest payload, as small segments would limit it.
    pub fn set_payload_limit(&self, bytes: usize) {
        self.lock().payload_limit = bytes;
    }

    fn forget_damage(&self, group: GroupId) {
        self.1.entries.send_if_modified(|damaged| damaged.remove(&group).is_some());
    }

    fn with_durable(
        settings: SimSettings,
        durable: BTreeMap<GroupId, Model>,
        quarantined: BTreeMap<GroupId, String>,
    ) -> Self {
        let visible =
            durable.iter().map(|(id, model)| (*id, Visible { life: 0, model: model.clone() }));
        let state = State {
            settings,
            visible: visible.collect(),
            durable,
            pending: VecDeque::new(),
            due: VecDeque::new(),
            calling: false,
            quarantined,
            refusal: None,
            disk: DiskState::Normal,
            stalled: None,
            payload_limit: usize::MAX,
            lives: 0,
            stats: Stats::default(),
        };
        Self(Arc::new(Mutex::new(state)), Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the waiting completions. Only one thread at a time does that, so completions keep their order.
    fn call_completions<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.calling {
            return;
        }
        state.calling = true;
        while let Some((done, result)) = state.due.pop_front() {
            drop(state);
            done(result);
            state = self.lock();
        }
        state.calling = false;
    }
}

impl State {
    fn sync(&mut self) {
        while let Some(pending) = self.pending.pop_front() {
            change_durable(&mut self.durable, pending.group, pending.change);
            self.due.extend(pending.done.map(|done| (done, Ok(()))));
        }
        self.stats.syncs += 1;
    }

    fn check(&self, id: GroupId, life: u64) -> Result<(), Error> {
        if let Some(error) = &self.refusal {
            return Err(error.clone());
        }
        if self.visible.get(&id).is_none_or(|group| group.life != life) {
            return Err(Error::Removed { group: id });
        }
        match self.quarantined.get(&id) {
            Some(reason) => Err(Error::Quarantined { group: id, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn check_append(&self, id: GroupId, entries: &[Entry]) -> Result<(), Error> {
        if self.disk == DiskState::Full {
            return Err(Error::DiskFull);
        }
        let limit = self.payload_limit;
        if let Some(entry) = entries.iter().find(|entry| entry.payload.len() > limit) {
            return Err(Error::TooLarge { bytes: entry.payload.len(), limit });
        }
        let bounds = self.visible.get(&id).map(|group| &group.model.bounds);
        let checked = bounds.map(|b| b.check_append(entries.iter().map(|entry| entry.log_id)));
        match checked {
            Some(Err((expected, actual))) => {
                Err(Error::NotContiguous { group: id, expected, actual })
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, group: GroupId, change: Change, done: Option<Completion>) {
        if let Change::Append(entries) = &change {
            let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
            self.stats.payload_bytes += bytes as u64;
        }
        if let Some(visible) = self.visible.get_mut(&group) {
            visible.model.apply(change.clone());
        }
        let lazy = done.is_none();
        let done = if self.settings.sync == SimSync::Lying {
            self.due.extend(done.map(|done| (done, Ok(()))));
            None
        } else {
            done
        };
        self.pending.push_back(Pending { group, change, done });
        if self.settings.sync == SimSync::Automatic && !lazy {
            self.sync();
        }
    }
}

fn change_durable(durable: &mut BTreeMap<GroupId, Model>, group: GroupId, change: Change) {
    match change {
        Change::Remove => {
            durable.remove(&group);
        }
        change @ (Change::Append(_)
        | Change::Vote(_)
        | Change::Truncate(_)
        | Change::Purge(_)
        | Change::State(_)) => durable.entry(group).or_default().apply(change),
    }
}

impl LogStore for SimStore {
    fn group(&self, id: GroupId) -> Result<Arc<dyn GroupLog>, Error> {
        self.check()?;
        let mut state = self.lock();
        let lives = state.lives;
        let visible = state
            .visible
            .entry(id)
            .or_insert_with(|| Visible { life: lives, model: Model::default() });
        Ok(Arc::new(SimGroup { id, life: visible.life, store: self.clone() }))
    }

    fn check(&self) -> Result<(), Error> {
        self.lock().refusal.clone().map_or(Ok(()), Err)
    }

    fn groups(&self) -> Vec<GroupId> {
        self.lock().visible.keys().copied().collect()
    }

    fn holds(&self, id: GroupId) -> bool {
        self.lock().visible.contains_key(&id)
    }

    fn damaged_groups(&self) -> Vec<GroupId> {
        self.1.entries.borrow().keys().copied().collect()
    }

    fn until_damaged(&self) -> BoxFuture<'_, ()> {
        self.1.found.notified().boxed()
    }

    fn remove_group(&self, id: GroupId, done: Completion) {
        self.forget_damage(id);
        let mut state = self.lock();
        match state.refusal.clone() {
            Some(error) => state.due.push_back((done, Err(error))),
            None => {
                state.lives += 1;
                state.visible.remove(&id);
                state.quarantined.remove(&id);
                state.write(id, Change::Remove, Some(done));
            }
        }
        self.call_completions(state);
    }

    /// Does nothing: damage here always concerns one group.
    fn bound_damage(&self, _existing: &BTreeSet<GroupId>) -> Result<(), Error> {
        Ok(())
    }

    fn stats(&self) -> Stats {
        let state = self.lock();
        Stats {
            quarantined_groups: state.quarantined.len() as u64,
            disk: state.disk,
            ..state.stats
        }
    }

    fn disk(&self) -> DiskState {
        self.lock().disk
    }

    fn stalled(&self) -> Option<Duration> {
        self.lock().stalled
    }

    fn heals_by_restart(&self) -> bool {
        false
    }

    fn incarnation(&self) -> Incarnation {
        self.lock().settings.incarnation
    }

    fn starts(&self) -> u64 {
        self.lock().settings.starts
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let mut state = self.lock();
        if state.refusal.is_none() {
            state.sync();
            state.refusal = Some(Error::Closed);
        }
        self.call_completions(state);
        futures::future::ready(()).boxed()
    }
}

impl SimGroup {
    fn write(
        &self,
        change: Change,
        done: Option<Completion>,
        check: impl FnOnce(&State) -> Result<(), Error>,
    ) {
        let mut state = self.store.lock();
        match state.check(self.id, self.life).and_then(|()| check(&state)) {
            Ok(()) => state.write(self.id, change, done),
            Err(error) => state.due.extend(done.map(|done| (done, Err(error)))),
        }
        self.store.call_completions(state);
    }

    fn with_model<T: Default>(&self, view: impl FnOnce(&Model) -> T) -> T {
        let state = self.store.lock();
        let live = state.visible.get(&self.id).filter(|group| group.life == self.life);
        live.map(|group| view(&group.model)).unwrap_or_default()
    }

    fn read_now(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        self.store.lock().check(self.id, self.life)?;
        let read = self.with_model(|model| match model.bounds.purged() {
            Some(purged) if range.start <= purged.index && range.start < range.end => {
                Some(Err(Error::Purged { first: model.bounds.first() }))
            }
            _ => Some(Ok(model.read(range, max_bytes))),
        });
        let mut entries = read.unwrap_or(Err(Error::Removed { group: self.id }))?;
        let damaged = self.damaged();
        let is_damaged = |entry: &Entry| damaged.contains(&entry.log_id);
        let whole = entries.iter().position(is_damaged).unwrap_or(entries.len());
        if let (0, Some(entry)) = (whole, entries.first()) {
            let (group, reason) = (self.id, "simulated rot".into());
            return Err(Error::Damaged { group, log_id: entry.log_id, reason });
        }
        entries.truncate(whole);
        Ok(entries)
    }
}

impl GroupLog for SimGroup {
    fn append(&self, entries: Vec<Entry>, done: Completion) {
        let checked = entries.clone();
        self.write(Change::Append(entries), Some(done), |state| {
            state.check_append(self.id, &checked)
        });
    }

    fn payload_limit(&self) -> usize {
        self.store.lock().payload_limit
    }

    fn room(&self) -> Option<BoxFuture<'_, ()>> {
        None
    }

    fn save_vote(&self, vote: Vote, done: Completion) {
        self.write(Change::Vote(vote), Some(done), |_| Ok(()));
    }

    fn truncate_after(&self, last_kept: Option<u64>, done: Completion) {
        let from = last_kept.map_or(0, |index| index.saturating_add(1));
        self.write(Change::Truncate(from), Some(done), |_| Ok(()));
    }

    fn purge(&self, up_to: LogId, done: Completion) {
        self.write(Change::Purge(up_to), Some(done), |_| Ok(()));
    }

    fn put_state(&self, rows: Vec<(StateKey, Option<Bytes>)>, done: Option<Completion>) {
        self.write(Change::State(rows), done, |_| Ok(()));
    }

    fn log_state(&self) -> LogState {
        self.with_model(|model| model.bounds.state())
    }

    fn vote(&self) -> Option<Vote> {
        self.with_model(|model| model.vote)
    }

    fn state(&self, key: StateKey) -> Result<Option<Bytes>, Error> {
        self.store.lock().check(self.id, self.life)?;
        Ok(self.with_model(|model| model.rows.get(&key).cloned()))
    }

    fn checkpoints(&self) -> Vec<(u64, Bytes)> {
        self.with_model(|model| checkpoint_rows(&model.rows))
    }

    fn read(
        &self,
        range: Range<u64>,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
        futures::future::ready(self.read_now(range, max_bytes)).boxed()
    }

    fn read_cached(&self, range: Range<u64>, max_bytes: usize) -> Option<Vec<Entry>> {
        self.read_now(range, max_bytes).ok()
    }

    fn health(&self) -> Health {
        match self.store.lock().quarantined.get(&self.id) {
            Some(reason) => Health::Quarantined { reason: reason.clone() },
            None => Health::Healthy,
        }
    }

    fn damaged(&self) -> Vec<LogId> {
        let damaged = self.store.1.entries.borrow();
        let indexes = damaged.get(&self.id).into_iter().flatten();
        let id = |index: &u64| {
            let term = self.with_model(|model| model.bounds.term_of(*index))?;
            Some(LogId { term, index: *index })
        };
        indexes.filter_map(id).collect()
    }

    fn until_repaired(&self) -> BoxFuture<'_, ()> {
        let mut damaged = self.store.1.entries.subscribe();
        let id = self.id;
        async move {
            let _is_open = damaged.wait_for(|damaged| !damaged.contains_key(&id)).await;
        }
        .boxed()
    }

    fn repair(&self, entry: Entry) -> BoxFuture<'_, Result<(), Error>> {
        let id = entry.log_id;
        let term = self.with_model(|model| model.bounds.term_of(id.index));
        if term == Some(id.term) {
            self.store.1.entries.send_modify(|damaged| {
                let left = damaged.entry(self.id).or_default();
                left.remove(&id.index);
                if left.is_empty() {
                    damaged.remove(&self.id);
                }
            });
        }
        futures::future::ready(Ok(())).boxed()
    }

    fn repair_by_checksum(&self, _id: LogId) -> BoxFuture<'_, Result<bool, Error>> {
        futures::future::ready(Ok(false)).boxed()
    }

    fn copy_of(&self, id: LogId) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        let found = self.with_model(|model| model.read(id.index..id.index + 1, usize::MAX).pop());
        let found = match found.filter(|entry| entry.log_id == id) {
            Some(entry) if self.damaged().contains(&entry.log_id) => {
                let (group, reason) = (self.id, "simulated rot".into());
                Err(Error::Damaged { group, log_id: id, reason })
            }
            found => Ok(found),
        };
        futures::future::ready(found).boxed()
    }

    fn condemn(&self, reason: &str) {
        self.store.forget_damage(self.id);
        self.store.quarantine(self.id, reason);
    }

    fn disk(&self) -> DiskState {
        self.store.lock().disk
    }
}

/// The checkpoint rows among a group's rows, in index order.
pub(crate) fn checkpoint_rows(rows: &BTreeMap<StateKey, Bytes>) -> Vec<(u64, Bytes)> {
    rows.iter()
        .filter_map(|(key, value)| match key {
            StateKey::Checkpoint(index) => Some((*index, value.clone())),
            StateKey::Committed
            | StateKey::Snapshot
            | StateKey::Replica
            | StateKey::Machine
            | StateKey::Founders => None,
        })
        .collect()
}
