//! This node's replica of a shard: appends, reads, and the steps of resharding jobs.
//!
//! An append passes these steps. Each step before the proposer may refuse it without any effect. After that, an
//! error may be [`Error::Unknown`].
//!
//! ```text
//! leader? -> free space on disks? -> fits an entry? -> service limits -> memory permit -> data key
//!   -> proposer (a retry? else stamp, seal, propose) -> synced by a majority -> applied here -> positions
//! ```
//!
//! Reads show applied entries only. A read with `leader_only` first proves that this replica still leads.
//!
//! This never happens: a replica that does not lead reports that a page ends at the tip of the shard.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::scaling::ShardLoad;
use anabranch_encryption::ShardKeys;
use anabranch_planted::{Bug, planted};
use anabranch_shard::{
    Batch, Command, DeduplicationWindow, Ending, Gate, Outcome, Page, Position, Run, Shut, Start,
    Step,
};
use anabranch_storage::Health;
use anabranch_types::{Clock, HashKeyRange, Timestamp, limits};
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

/// How long an append waits until a resharding job is decided. Several times longer than a job needs for that, and
/// shorter than a client waits.
const FROZEN_PATIENCE: Duration = Duration::from_secs(1);

/// Upper bound for what a stored entry has besides its batch: the head of the command, and the bytes that sealing
/// adds.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// This node's replica of a shard. Cheap to clone.
#[derive(Clone)]
pub struct ShardReplica {
    pub(crate) group: Arc<Group>,
    window: Arc<Mutex<DeduplicationWindow>>,
    events: mpsc::UnboundedSender<Event>,
    permits: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    retention_hours: Arc<AtomicU32>,
    load: Arc<LoadMeter>,
    /// Counts calls and bytes against the limits of the Kinesis service. `None` if these limits are off.
    meter: Option<Arc<ShardMeter>>,
    append_deadline: Duration,
    /// Keys that encrypt the records of the shard. `None` if its records are never encrypted.
    keys: Option<Arc<ShardKeys>>,
}

impl ShardReplica {
    pub(crate) fn new(
        group: Arc<Group>,
        window: Arc<Mutex<DeduplicationWindow>>,
        permits: Arc<Semaphore>,
        clock: Arc<dyn Clock>,
        retention_hours: u32,
        settings: &ReplicaSettings,
        keys: Option<Arc<ShardKeys>>,
    ) -> Self {
        let (events, receiver) = mpsc::unbounded_channel(); // bounded by the node's append permits
        let proposer = Proposer {
            group: Arc::clone(&group),
            window: Arc::clone(&window),
            clock: Arc::clone(&clock),
            events: events.downgrade(),
            stamped: Timestamp::default(),
            in_flight: HashMap::new(),
        };
        // This task ends when `events` and all its clones are dropped.
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

    /// Appends a batch and returns the positions of its records, in the order of the batch. Works on the leader
    /// only. Returns once a majority has the batch on disk and this replica has applied it. If a resharding job has
    /// frozen the shard, waits up to a second until the job is decided.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the batch may or may not have been written. After any other error this call wrote
    /// nothing. After [`Error::Closed`] the batch is not in this shard at all, not even from an earlier attempt.
    pub async fn append(&self, batch: Batch) -> Result<Vec<Run>, Error> {
        let result = self.append_unless_frozen(batch).await;
        self.group.metrics.appends.of(AppendOutcome::of(&result)).increment();
        result
    }

    /// [`Self::append`] without the count of its outcome.
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

    /// Waits until the shard takes records or is closed. Returns false if `deadline` comes first.
    async fn is_decided_before(&self, deadline: Instant) -> bool {
        let mut changes = self.group.progress.changes();
        let decided = changes.wait_for(|_| !self.is_undecided());
        matches!(timeout_at(deadline, decided).await, Ok(Ok(_)))
    }

    async fn append_now(&self, batch: Batch) -> Result<Vec<Run>, Error> {
        self.group.leading_term()?;
        self.group.check_free_space()?;
        self.group.check_fits(batch.bytes().len() + ENTRY_OVERHEAD_BYTES)?;
        if let Some(meter) = &self.meter {
            meter.write(&batch, self.clock.now())?;
        }
        let bytes = u32::try_from(batch.bytes().len()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(bytes);
        let permit =
            permit.map_err(|_| Error::Throttled("appends in flight use all of their memory"))?;
        // The permit comes first, so that appends which wait for a key count against the memory limit.
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
            // Another replica takes over. If the caller retries there, the new leader knows from its deduplication
            // window whether this batch was written.
            () = self.group.until_stalled() => return Err(Error::Unknown(DISK_STALLED.into())),
        };
        match answered {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => Err(Error::Unknown("the replica stopped".into())),
            Err(_elapsed) => Err(Error::Unknown("no majority in time".into())),
        }
    }

    /// Replicates and applies one step of a resharding job. Works on the leader only.
    ///
    /// # Errors
    /// [`Error::NotLeader`] or [`Error::OutOfService`] if nothing was done. [`Error::Unknown`] if the step may have
    /// been applied.
    pub async fn step(&self, step: Step) -> Result<Outcome, Error> {
        self.group.leading_term()?;
        let command = Command::Reshard(step);
        let mut stored = BytesMut::with_capacity(command.encoded_bytes());
        command.encode(&mut stored);
        match self.group.propose(Payload::Command(stored.freeze())).await? {
            (_, crate::machine::Outcome::Shard(outcome)) => Ok(outcome),
            (_, other) => Err(Error::Unknown(format!("unexpected outcome of a step: {other:?}"))),
        }
    }

    /// Where the records of the shard end now, as far as this replica has applied them. Only [`Bug::SkipFreeze`] may
    /// use it: without a freeze the shard goes on.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn ending_now(&self) -> Result<Ending, Error> {
        let last_arrival = self.group.progress.last_arrival();
        let from = self.group.first_arrival_since(last_arrival).await?;
        let page = self.read(from, u32::MAX, limits::GET_RECORDS_MAX_BYTES, false).await?;
        let last_record = page.batches.last().map(|batch| {
            let last = u16::try_from(batch.records.saturating_sub(1)).unwrap_or(u16::MAX);
            Position { log_index: batch.log_index, offset: batch.first.saturating_add(last) }
        });
        Ok(Ending { last_record, last_arrival })
    }

    /// Whether the shard takes records, as of the newest entry that this replica has applied.
    pub fn gate(&self) -> Gate {
        self.group.progress.gate()
    }

    /// Whether the shard takes no records until a resharding job is committed or aborted.
    pub(crate) fn is_undecided(&self) -> bool {
        self.group.progress.shut() == Some(Shut::Pending)
    }

    /// Whether this replica leads and has applied all entries of earlier terms.
    pub fn leads(&self) -> bool {
        self.group.leading_term().is_ok()
    }

    /// For each record of `batch` the position at which an earlier attempt of the same call wrote it, or `None` if
    /// this shard does not hold the record. For closed shards only: they get no records any more, so every replica
    /// that has applied the close knows the answer.
    ///
    /// # Errors
    /// [`Error::Frozen`] if this replica does not know yet that the shard is closed.
    pub fn recall(&self, batch: &Batch) -> Result<Vec<Option<Run>>, Error> {
        if !self.gate().closed {
            return Err(Error::Frozen);
        }
        let known = self.window.lock().unwrap_or_else(PoisonError::into_inner).find(batch);
        Ok(known.unwrap_or_else(|| vec![None; batch.record_count() as usize]))
    }

    /// Finds the position at which a reader begins. [`Start::Latest`] works on the leader only, and so does every
    /// start with `leader_only`. A replica that does not lead answers [`Start::AtTimestamp`] only if it has applied
    /// a record that arrived at that time or later. Otherwise only the leader may have such a record.
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

    /// Reads applied records from `from` on. With `leader_only` this replica must lead, and then the page misses no
    /// acknowledged record. Without it the page may end before the tip of the shard. A replica that does not lead
    /// never reports that a page ends at the tip.
    ///
    /// # Errors
    /// [`Error::NotLeader`], also if this replica does not lead and has not applied the log up to `from` yet.
    /// [`Error::OutOfService`].
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
        let knows_tip = leader_only || self.group.leads_alone() || planted(Bug::FollowerTip);
        // Another replica gave this position to the reader. So the records before it are acknowledged, and this
        // replica lacks some of them.
        if !knows_tip && from > Position::entry(self.group.progress.applied()) {
            return Err(self.group.not_leader());
        }
        let may_lack_records = !knows_tip && self.group.may_lack_records();
        let keys = self.keys.as_deref();
        let mut page = self.group.read_page(from, bounds, retained_from, clock, keys).await?;
        // The page ends where this replica ends, perhaps before the tip. Its lag is the age of the newest record
        // here.
        if may_lack_records && page.behind.is_zero() {
            let newest = self.group.progress.last_arrival().max(retained_from);
            page.behind = clock.now().since(newest);
        }
        if !knows_tip {
            page.behind = page.behind.max(LEAST_BEHIND);
        }
        Ok(page)
    }

    /// As [`Self::read`], but if there are no records, waits up to `wait` for the first one.
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
            // Entries without records advance the position too. The first record comes after them.
            from = page.next;
            self.wait_for(from, left).await;
        }
    }

    /// As [`Self::read_or_wait`], for a reader that polls. Counts against the limits of the Kinesis service if they
    /// are on.
    ///
    /// # Errors
    /// As [`Self::read`]. [`Error::Throttled`] if the limit is used up.
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

    /// How long to pause after `bytes` bytes were pushed to a subscriber, so that the subscriber stays within the
    /// read limit of the Kinesis service. Zero if the limits are off.
    pub fn pause_after_push(&self, bytes: usize) -> Duration {
        match self.meter {
            Some(_) => Duration::from_micros(
                (bytes as u64).saturating_mul(1_000_000) / limits::SHARD_READ_BYTES_PER_SECOND,
            ),
            None => Duration::ZERO,
        }
    }

    /// Returns once the entry of `from` is applied, or after `longest`.
    pub async fn wait_for(&self, from: Position, longest: Duration) {
        let mut changes = self.group.progress.changes();
        let reached = changes.wait_for(|applied| *applied > from.log_index);
        let _either_way = timeout(longest, reached).await;
    }

    /// Keys that encrypt the records of the shard, if there are any.
    pub fn keys(&self) -> Option<&ShardKeys> {
        self.keys.as_deref()
    }

    /// State of the replica.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// Starts to measure the load on the shard, whose hash keys are `range`, whenever this replica leads. `None`
    /// stops the measurement.
    pub fn measure_load(&self, range: Option<HashKeyRange>) {
        self.load.measure(range);
    }

    /// The load on the shard, if it is measured and this replica leads.
    pub fn load(&self) -> Option<ShardLoad> {
        self.load.load(self.group.leading_term().ok()?, self.clock.now())
    }

    /// Sets the retention of the stream, in hours.
    pub fn set_retention_hours(&self, hours: u32) {
        self.retention_hours.store(hours, Ordering::Relaxed);
    }

    /// Records that arrived before this time are expired. While no majority of the nodes agrees on the time, no
    /// record is expired, because a wrong clock must neither trim nor hide records.
    pub(crate) fn retained_from(&self) -> Timestamp {
        let Some(now) = self.clock.agreed() else { return Timestamp::default() };
        let hours = self.retention_hours.load(Ordering::Relaxed);
        now.minus(Duration::from_secs(u64::from(hours) * 3600))
    }
}

/// Fills the deduplication window from the end of the log, back to the oldest call of which a retry may still come.
///
/// # Errors
/// If the log can't be read. If the window lacked a call, this replica would write the records of a retry a second
/// time.
pub(crate) async fn rebuild_window(
    group: &Group,
    window: &Mutex<DeduplicationWindow>,
) -> Result<(), Error> {
    const MAX_ENTRIES: u64 = DeduplicationWindow::MAX_CALLS as u64;
    let since = group.progress.last_arrival().minus(DeduplicationWindow::LENGTH);
    let end = group.progress.applied();
    let start =
        group.first_arrival_since(since).await.map_err(|error| read_error(group, &error))?;
    let mut from = start.log_index.max(end.saturating_sub(MAX_ENTRIES));
    let voids = group.progress.voids();
    while from < end {
        let entries = match group.read_entries(from, end, limits::PUT_RECORDS_MAX_BYTES).await {
            Err(anabranch_storage::Error::Purged { first }) => {
                from = first;
                continue;
            }
            entries => entries.map_err(|error| read_error(group, &error))?,
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

/// The error after a failed read of the log: out of service if the log is quarantined. Otherwise the node opens the
/// replica again later.
fn read_error(group: &Group, error: &dyn std::fmt::Display) -> Error {
    match group.log.health() {
        Health::Quarantined { reason } => Error::OutOfService(reason),
        Health::Healthy => Error::Unknown(format!("the log can't be read now: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::Replica;
    use anabranch_shard::{BatchBuilder, Producer};
    use anabranch_storage::{LogStore, SimSettings, SimStore};
    use anabranch_testkit::eventually;
    use anabranch_transport::{TcpConnector, Transport, TransportSettings};
    use anabranch_types::{GroupId, ManualClock, NodeId, ReplicaId};
    use bytes::Bytes;
    use futures::FutureExt;

    use super::*;
    use crate::group::GroupSpec;
    use crate::replicas::Replicas;

    /// The registry of a node that is alone in its cluster.
    fn replicas() -> Replicas {
        let settings = TransportSettings::new(NodeId(1), 1, "test".into());
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let registry = anabranch_metrics::Registry::default();
        let transport = Transport::new(settings, Arc::new(TcpConnector), clock, &registry);
        transport.clocks().set_nodes([NodeId(1)]);
        let store: Arc<dyn LogStore> = Arc::new(SimStore::new(SimSettings::default()));
        let clock = transport.clocks().clone();
        Replicas::new(store, transport, clock, ReplicaSettings::default(), &registry)
    }

    fn call(number: usize) -> Batch {
        let id = Bytes::from(number.to_string());
        let mut builder = BatchBuilder::new(Some(Producer { id, sequence: 0 }));
        builder.push(0, b"key", b"data");
        builder.finish().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_replica_leaves_no_task_and_no_memory() {
        let replicas = replicas();
        let member = Replica { id: ReplicaId(1), node: NodeId(1) };
        let spec = GroupSpec {
            group: GroupId(1),
            replica: member.id,
            members: vec![member],
            is_new: true,
            born: 0,
        };
        for opening in 0..3 {
            let shard = replicas.open_shard(&spec, 24, None).await.unwrap();
            eventually("the record is written", || shard.append(call(opening)).map(Result::ok))
                .await;
            let (group, window) = (Arc::downgrade(&shard.group), Arc::downgrade(&shard.window));
            drop(shard);
            assert!(group.strong_count() > 0, "the registry holds the replica");
            replicas.close(spec.group).await;
            eventually("the group and the deduplication window are dropped", || async {
                (group.strong_count() + window.strong_count() == 0).then_some(())
            })
            .await;
        }
    }
}
