use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::scaling::ShardLoad;
use anabranch_encryption::ShardKeys;
use anabranch_shard::{
    Batch, Command, DuplicateWindow, Gate, Outcome, Page, Position, Run, Shut, Start, Step,
};
use anabranch_storage::Health;
use anabranch_types::{Clock, HashKeyRange, ReplicaId, Timestamp, limits};
use bytes::BytesMut;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::Error;
use crate::group::{DISK_STALLED, Group, GroupStatus};
use crate::load_meter::LoadMeter;
use crate::machine::remember;
use crate::metrics::AppendOutcome;
use crate::payload::Payload;
use crate::proposer::{Event, Proposal, Proposer};
use crate::reader::{LEAST_BEHIND, PageBounds, append_of};
use crate::settings::ReplicaSettings;
use crate::shard_meter::ShardMeter;

/// How long an append waits for a resharding job to be decided: some times what that takes, and less
/// than a client waits.
const FROZEN_PATIENCE: Duration = Duration::from_secs(1);

/// More than a stored entry has besides its batch: the command's head, and what sealing adds.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// This node's replica of a shard. Cheap to clone.
#[derive(Clone)]
pub struct ShardReplica {
    pub(crate) group: Arc<Group>,
    window: Arc<Mutex<DuplicateWindow>>,
    events: mpsc::UnboundedSender<Event>,
    permits: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    retention_hours: Arc<AtomicU32>,
    load: Arc<LoadMeter>,
    /// Counts against the service's limits, where there are any.
    meter: Option<Arc<ShardMeter>>,
    append_deadline: Duration,
    /// Encryption of its records; `None` where there is none ever.
    keys: Option<Arc<ShardKeys>>,
}

impl ShardReplica {
    pub(crate) fn new(
        group: Arc<Group>,
        window: Arc<Mutex<DuplicateWindow>>,
        permits: Arc<Semaphore>,
        clock: Arc<dyn Clock>,
        retention_hours: u32,
        settings: &ReplicaSettings,
        keys: Option<Arc<ShardKeys>>,
    ) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let proposer = Proposer {
            group: Arc::clone(&group),
            window: Arc::clone(&window),
            clock: Arc::clone(&clock),
            events: events.clone(),
            stamped: Timestamp::default(),
            under_way: HashMap::new(),
        };
        // Ends when the replica is stopped: the group then refuses, and nobody sends.
        tokio::spawn(proposer.run(receiver));
        let retention_hours = Arc::new(AtomicU32::new(retention_hours));
        let load = Arc::default();
        let meter = settings.service_limits.then(|| Arc::new(ShardMeter::new(clock.now())));
        let append_deadline = settings.append_deadline;
        Self {
            group,
            window,
            events,
            permits,
            clock,
            retention_hours,
            load,
            meter,
            append_deadline,
            keys,
        }
    }

    /// Appends a batch; answered once a majority has it on disk. Says where the records stand, in the
    /// order of the batch. On the leader only. Waits for a while where a resharding job is about to
    /// decide whether the shard takes records.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the batch may have been written or not; after any other it was not. After
    /// [`Error::Closed`] it is nowhere in this shard, whatever became of earlier attempts.
    pub async fn append(&self, batch: Batch) -> Result<Vec<Run>, Error> {
        let result = self.append_unless_frozen(batch).await;
        self.group.metrics.appends.of(AppendOutcome::of(&result)).increment();
        result
    }

    /// As [`Self::append`].
    async fn append_unless_frozen(&self, batch: Batch) -> Result<Vec<Run>, Error> {
        let deadline = Instant::now() + FROZEN_PATIENCE;
        loop {
            match self.append_now(batch.clone()).await {
                Err(Error::Frozen) if self.is_decided_before(deadline).await => {}
                Ok(runs) => {
                    if self.load.is_on()
                        && let Ok(term) = self.group.leading_term()
                    {
                        self.load.count(term, self.clock.now(), &batch);
                    }
                    return Ok(runs);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the shard takes records or never will again.
    async fn is_decided_before(&self, deadline: Instant) -> bool {
        let mut changes = self.group.progress.changes();
        let decided = changes.wait_for(|_| !self.is_undecided());
        matches!(timeout_at(deadline, decided).await, Ok(Ok(_)))
    }

    async fn append_now(&self, batch: Batch) -> Result<Vec<Run>, Error> {
        self.group.leading_term()?;
        self.group.check_room()?;
        self.group.check_fits(batch.bytes().len() + ENTRY_OVERHEAD_BYTES)?;
        if let Some(meter) = &self.meter {
            meter.write(&batch, self.clock.now())?;
        }
        let bytes = u32::try_from(batch.bytes().len()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(bytes);
        let permit = permit.map_err(|_| Error::Throttled("appends under way fill their memory"))?;
        // Asked with the permit in hand: whoever waits for a key is counted.
        let sealer = match &self.keys {
            Some(keys) => keys.sealer().await?,
            None => None,
        };
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::OutOfService("the replica is stopping".into());
        self.events
            .send(Event::Propose(Proposal { batch, sealer, answer, permit }))
            .map_err(|_| stopped())?;
        let answered = tokio::select! {
            biased;
            answered = timeout(self.append_deadline, answered) => answered,
            // Others lead now. Whoever sends it again is told from them whether it was written.
            () = self.group.until_stalled() => return Err(Error::Unknown(DISK_STALLED.into())),
        };
        match answered {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => Err(Error::Unknown("the replica stopped".into())),
            Err(_elapsed) => Err(Error::Unknown("no majority in time".into())),
        }
    }

    /// Takes a step of a resharding job; says what came of it. On the leader only.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::OutOfService`]: nothing was done. [`Error::Unknown`].
    pub async fn step(&self, step: Step) -> Result<Outcome, Error> {
        self.group.leading_term()?;
        let command = Command::Reshard(step);
        let mut stored = BytesMut::with_capacity(command.encoded_bytes());
        command.encode(&mut stored);
        match self.group.propose(Payload::Command(stored.freeze())).await? {
            (_, crate::machine::Outcome::Shard(outcome)) => Ok(outcome),
            (_, other) => Err(Error::Unknown(format!("a step came to {other:?}"))),
        }
    }

    /// Whether the shard takes records, as this replica knows.
    pub fn gate(&self) -> Gate {
        self.group.progress.gate()
    }

    /// Whether the shard takes no records for now, until a resharding job is decided.
    pub(crate) fn is_undecided(&self) -> bool {
        self.group.progress.shut() == Some(Shut::Pending)
    }

    /// Whether this replica leads and knows everything that was decided before.
    pub fn leads(&self) -> bool {
        self.group.leading_term().is_ok()
    }

    /// For each record of a call that may be a repeat where it stands in this shard, which is closed; so
    /// any replica knows, once it has applied that.
    ///
    /// # Errors
    /// [`Error::Frozen`] if this replica doesn't know yet that the shard is closed.
    pub fn recall(&self, batch: &Batch) -> Result<Vec<Option<Run>>, Error> {
        if !self.gate().closed {
            return Err(Error::Frozen);
        }
        let known = self.window.lock().unwrap_or_else(PoisonError::into_inner).find(batch);
        Ok(known.unwrap_or_else(|| vec![None; batch.record_count() as usize]))
    }

    /// Finds where a reader begins. `Latest` on the leader only, and with `leader_only` everything. A replica that doesn't
    /// lead knows where the first record since a time is only if it has one: else the leader may.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::OutOfService`].
    pub async fn seek(&self, start: Start, leader_only: bool) -> Result<Position, Error> {
        if leader_only {
            self.group.read_index().await?;
        }
        let knows_tip = leader_only || self.group.leads_alone();
        match start {
            Start::At(position) => Ok(position),
            Start::Latest => self.group.read_index().await.map(Position::entry),
            Start::TrimHorizon => self.group.first_arrival_since(self.retained_from()).await,
            Start::AtTimestamp(time) => {
                let since = time.max(self.retained_from());
                if !knows_tip && self.group.progress.last_arrival() < since {
                    return Err(self.group.not_leader());
                }
                self.group.first_arrival_since(since).await
            }
        }
    }

    /// Records from `from` on, of what this replica has applied. With `leader_only` it must lead, and
    /// then every acknowledged record is seen. Else a page may end before the tip: one of a replica that doesn't lead
    /// never says that it ends there.
    ///
    /// # Errors
    /// [`Error::NotLeader`], also of a replica that hasn't come to `from` yet; [`Error::OutOfService`].
    pub async fn read(
        &self,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        leader_only: bool,
    ) -> Result<Page, Error> {
        if leader_only {
            self.group.read_index().await?;
        }
        let (bounds, clock) = (PageBounds { max_records, max_bytes }, self.clock.as_ref());
        let retained_from = self.retained_from();
        let knows_tip = leader_only || self.group.leads_alone();
        // Its reader has seen what stands there, so it is acknowledged; there is more than this replica knows.
        if !knows_tip && from > Position::entry(self.group.progress.applied()) {
            return Err(self.group.not_leader());
        }
        let may_lack_records = !knows_tip && self.group.may_lack_records();
        let keys = self.keys.as_deref();
        let mut page = self.group.read_page(from, bounds, retained_from, clock, keys).await?;
        if may_lack_records && page.behind.is_zero() {
            let newest = self.group.progress.last_arrival().max(retained_from);
            page.behind = clock.now().since(newest);
        }
        if !knows_tip {
            page.behind = page.behind.max(LEAST_BEHIND);
        }
        Ok(page)
    }

    /// As [`Self::read`]. If there are no records, waits for the first one as long as `wait`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_or_wait(
        &self,
        mut from: Position,
        max_records: u32,
        max_bytes: usize,
        leader_only: bool,
        wait: Duration,
    ) -> Result<Page, Error> {
        let deadline = Instant::now() + wait;
        loop {
            let page = self.read(from, max_records, max_bytes, leader_only).await?;
            if wait.is_zero() || !page.batches.is_empty() {
                return Ok(page);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(page);
            }
            // Entries without records move on what is waited for.
            from = page.next;
            self.wait_for(from, left).await;
        }
    }

    /// As [`Self::read_or_wait`], for a reader that polls: within the service's limits, if the shard has them.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Throttled`].
    pub async fn poll(
        &self,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        leader_only: bool,
        wait: Duration,
    ) -> Result<Page, Error> {
        let Some(meter) = &self.meter else {
            return self.read_or_wait(from, max_records, max_bytes, leader_only, wait).await;
        };
        if leader_only {
            self.group.leading_term()?;
        }
        meter.read(self.clock.now())?;
        let page = self.read_or_wait(from, max_records, max_bytes, leader_only, wait).await?;
        meter.got(&page);
        Ok(page)
    }

    /// How long whoever was pushed so many bytes is to be pushed nothing.
    pub fn pause_after_push(&self, bytes: usize) -> Duration {
        match self.meter {
            Some(_) => Duration::from_micros(
                (bytes as u64).saturating_mul(1_000_000) / limits::SHARD_READ_BYTES_PER_SECOND,
            ),
            None => Duration::ZERO,
        }
    }

    /// Returns when there may be something at `from`, or after `longest`.
    pub async fn wait_for(&self, from: Position, longest: Duration) {
        let mut changes = self.group.progress.changes();
        let reached = changes.wait_for(|applied| *applied > from.log_index);
        let _either_way = timeout(longest, reached).await;
    }

    /// Encryption of the shard's records.
    pub fn keys(&self) -> Option<&ShardKeys> {
        self.keys.as_deref()
    }

    /// The shard's voters, if this replica leads and no change of them is under way.
    pub fn settled_voters(&self) -> Option<BTreeSet<ReplicaId>> {
        self.group.settled_voters()
    }

    /// What the replica says of itself.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// Measures the load on the shard, which has these hash keys, while this replica leads; or no more.
    pub fn measure_load(&self, range: Option<HashKeyRange>) {
        self.load.measure(range);
    }

    /// The load on the shard, if it is measured and this replica leads.
    pub fn load(&self) -> Option<ShardLoad> {
        self.load.load(self.group.leading_term().ok()?, self.clock.now())
    }

    /// Follows a change of the stream's retention.
    pub fn set_retention_hours(&self, hours: u32) {
        self.retention_hours.store(hours, Ordering::Relaxed);
    }

    /// Records that arrived before this are expired. None are while the time isn't agreed on: a wrong clock neither
    /// trims a record nor hides it.
    pub(crate) fn retained_from(&self) -> Timestamp {
        let Some(now) = self.clock.agreed() else { return Timestamp::default() };
        let hours = self.retention_hours.load(Ordering::Relaxed);
        now.minus(Duration::from_secs(u64::from(hours) * 3600))
    }
}

/// Fills the window of repeats from the end of the log, as far back as a repeat may come.
///
/// # Errors
/// If the log can't be read. A replica with a window that lacks calls would write their repeats twice.
pub(crate) async fn rebuild_window(
    group: &Group,
    window: &Mutex<DuplicateWindow>,
) -> Result<(), Error> {
    const MOST_ENTRIES: u64 = DuplicateWindow::MAX_CALLS as u64;
    let since = group.progress.last_arrival().minus(DuplicateWindow::LENGTH);
    let end = group.progress.applied();
    let start = group.first_arrival_since(since).await.map_err(|error| not_now(group, &error))?;
    let mut from = start.log_index.max(end.saturating_sub(MOST_ENTRIES));
    let voids = group.progress.voids();
    while from < end {
        let entries = match group.read_entries(from, end, limits::PUT_RECORDS_MAX_BYTES).await {
            Err(anabranch_storage::Error::Purged { first }) => {
                from = first;
                continue;
            }
            entries => entries.map_err(|error| not_now(group, &error))?,
        };
        for entry in entries {
            from = entry.log_id.index + 1;
            if voids.contain(entry.log_id.index) {
                continue;
            }
            if let Some((command, arrival)) = append_of(entry.payload) {
                remember(window, command, entry.log_id.index, arrival);
            }
        }
    }
    Ok(())
}

/// What a read that failed says of the replica: out of service if its log has a verdict, else to be opened again.
fn not_now(group: &Group, error: &dyn std::fmt::Display) -> Error {
    match group.log.health() {
        Health::Quarantined { reason } => Error::OutOfService(reason),
        Health::Healthy => Error::Unknown(format!("the log can't be read now: {error}")),
    }
}
