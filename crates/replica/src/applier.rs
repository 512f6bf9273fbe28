//! The state machine as openraft sees it: applies committed entries, stores checkpoints, makes and installs
//! snapshots.
//!
//! ```text
//! log index 0 ......... S ............... H ............ C ............ A .......... last entry
//!            purged        not readable       readable       readable      not applied
//!
//! S snapshot: the state as of the last purged entry      H trim horizon: the first readable entry
//! C checkpoint: the state as of one entry                A the first entry that is not applied
//! ```
//!
//! A `Checkpoint` entry makes every replica store its state in a row. A `Trim` entry moves the horizon. After that
//! upkeep asks openraft for a snapshot, which is the newest checkpoint below the horizon, and then for a purge up to
//! it.
//!
//! This never happens: a snapshot covers a readable entry, or a write is acknowledged before readers can see it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anabranch_proto::replica as pb;
use anabranch_storage::{GroupLog, StateKey};
use anabranch_types::{LogId, Timestamp};
use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use prost::Message;
use tokio::sync::oneshot;

use crate::checkpoint_log::CheckpointLog;
use crate::checkpoints::Kept;
use crate::convert::{log_id, log_id_message, membership_message, membership_of, raft_log_id_of};
use crate::log_adapter::into_io;
use crate::machine::{Encoded, Machine, Outcome, Stored};
use crate::metrics::Metrics;
use crate::payload::Payload;
use crate::progress::Progress;
use crate::raft_types::{
    RaftEntry, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};

/// Applies committed entries to a group's machine, keeps checkpoints and moves the trim horizon.
pub(crate) struct Applier {
    log: Arc<dyn GroupLog>,
    /// For a machine whose state does not fit into a row.
    checkpoint_log: Option<CheckpointLog>,
    machine: Box<dyn Machine>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    applied: Option<RaftLogId>,
    membership: StoredMembership,
}

impl Applier {
    /// Restores the state of the newest checkpoint or snapshot. openraft then applies the entries after it.
    ///
    /// `parts` is the replica's checkpoint log, if its machine needs one.
    pub(crate) async fn open(
        log: Arc<dyn GroupLog>,
        parts: Option<Arc<dyn GroupLog>>,
        machine: Box<dyn Machine>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (applied, membership, checkpoint_log) = (None, StoredMembership::default(), None);
        let mut applier =
            Self { log, checkpoint_log, machine, progress, metrics, applied, membership };
        let snapshot = applier.log.state(StateKey::Snapshot).map_err(into_io)?;
        let snapshot_index = snapshot.clone().and_then(checkpoint_log_id).map(|id| id.index);
        let last = applier.log.log_state().last;
        let mut stale = Vec::new();
        let mut newest = snapshot.clone();
        let (mut kept, mut named) = (Vec::new(), Vec::new());
        named.extend(snapshot.clone().map(decode).transpose()?.and_then(|row| row.parts));
        for (index, checkpoint) in applier.log.checkpoints() {
            // A crash lost the entry that this row covers. Or the snapshot is newer, and the parts that the row names
            // may be purged.
            let is_lost = last.is_none_or(|last| index > last.index);
            let is_superseded = parts.is_some() && snapshot_index > Some(index);
            if is_lost || is_superseded {
                stale.push(removed(index));
                continue;
            }
            let message = decode(checkpoint.clone())?;
            let arrival = Timestamp::from_millis(message.last_arrival_millis);
            kept.push(Kept { index, arrival });
            named.extend(message.parts);
            let newest_id = newest.clone().and_then(checkpoint_log_id).map(|id| id.index);
            if newest_id < Some(index) {
                newest = Some(checkpoint);
            }
        }
        let thinned = applier.progress.checkpoints().extend(kept);
        if !thinned.is_empty() {
            applier.log.put_state(thinned.into_iter().map(removed).collect(), None);
        }
        if parts.is_some() && !stale.is_empty() {
            put_durably(&applier.log, stale).await?;
        }
        if let Some(log) = parts {
            let opened = CheckpointLog::open(log, &named).await.map_err(io::Error::other)?;
            applier.checkpoint_log = Some(opened);
        }
        applier.progress.set_gate(applier.machine.gate());
        if let Some(checkpoint) = newest {
            applier.restore(checkpoint).await?;
        }
        if let Some(horizon) = snapshot.map(decode).transpose()?.map(|s| s.trim_horizon) {
            let known = applier.progress.trim_horizon();
            applier.progress.set_trim_horizon(known.max(horizon));
        }
        Ok(applier)
    }

    /// The machine, and the last entry that it has applied.
    pub(crate) fn into_machine(self) -> (Box<dyn Machine>, Option<LogId>) {
        (self.machine, self.applied.as_ref().map(log_id))
    }

    /// The replica's checkpoint log, if its machine has one.
    pub(crate) fn checkpoint_log(&self) -> Option<CheckpointLog> {
        self.checkpoint_log.clone()
    }

    async fn restore(&mut self, checkpoint: Bytes) -> io::Result<()> {
        let message = decode(checkpoint)?;
        let state = match (message.parts, &self.checkpoint_log) {
            (None, _) => Stored::Row(message.machine),
            (Some(parts), Some(log)) => {
                Stored::Parts(log.read_all(parts).await.map_err(io::Error::other)?)
            }
            (Some(_), None) => {
                return Err(io::Error::other("a checkpoint of another kind of group"));
            }
        };
        self.machine.restore(state).map_err(io::Error::other)?;
        self.applied = message.last.map(raft_log_id_of);
        self.membership = StoredMembership::new(
            message.membership_log_id.map(raft_log_id_of),
            membership_of(message.membership.unwrap_or_default()),
        );
        self.progress.set_gate(self.machine.gate());
        if let Some(id) = &self.applied {
            self.progress.set_applied(log_id(id), self.machine.last_arrival());
        }
        self.progress.set_trim_horizon(message.trim_horizon);
        self.machine.publish();
        self.progress.notify();
        Ok(())
    }

    /// Stores the state as of the `Checkpoint` entry at `log_index`, which was just applied.
    fn checkpoint(&self, log_index: u64) {
        let mut message = pb::Checkpoint {
            last: self.applied.as_ref().map(log_id_message),
            membership_log_id: self.membership.log_id().as_ref().map(log_id_message),
            membership: Some(membership_message(self.membership.membership())),
            trim_horizon: self.progress.trim_horizon(),
            last_arrival_millis: self.machine.last_arrival().as_millis(),
            ..pb::Checkpoint::default()
        };
        match (self.machine.encode(), &self.checkpoint_log) {
            (Encoded::Row(state), _) => {
                message.machine = state;
                keep(&self.log, &self.progress, log_index, &message);
            }
            (Encoded::Parts(state), Some(parts)) => {
                let Some(writing) = parts.begin() else {
                    // The parts of the checkpoint before this one are still being written.
                    return;
                };
                let (log, progress) = (Arc::clone(&self.log), Arc::clone(&self.progress));
                let (parts, logged) = (parts.clone(), self.machine.logged_bytes());
                let covered = logged.as_ref().map_or(0, |logged| logged.swap(0, Ordering::Relaxed));
                let (metrics, began) = (Arc::clone(&self.metrics), Instant::now());
                tokio::spawn(async move {
                    match parts.write(&state, &writing).await {
                        Ok((written, bytes)) => writing.finish(|| {
                            message.parts = Some(written);
                            keep(&log, &progress, log_index, &message);
                            metrics.tables.checkpoint_duration.observe_duration(began.elapsed());
                            metrics.tables.checkpoint_bytes.observe(bytes);
                        }),
                        Err(error) => {
                            // The checkpoint before this one stays, and the log that follows it.
                            tracing::warn!(log_index, %error, "no checkpoint");
                            if let Some(logged) = logged {
                                logged.fetch_add(covered, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
            (Encoded::Parts(_), None) => {}
        }
    }

    fn apply_entry(&mut self, entry: RaftEntry) -> io::Result<Outcome> {
        let id = log_id(&entry.log_id());
        self.applied = Some(entry.log_id());
        let outcome = match entry.payload {
            EntryPayload::Blank => Outcome::None,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(self.applied, membership);
                Outcome::None
            }
            EntryPayload::Normal(stored) => self.apply_payload(id.index, stored.0)?,
        };
        if self.machine.is_in_parts() {
            // Readers of rows look at the published state once the entry counts as applied.
            self.machine.publish();
        }
        self.progress.set_applied(id, self.machine.last_arrival());
        Ok(outcome)
    }

    fn apply_payload(&mut self, log_index: u64, stored: Bytes) -> io::Result<Outcome> {
        match Payload::decode(stored).map_err(io::Error::other)? {
            Payload::Command(command) => {
                let outcome = self.machine.apply(log_index, command).map_err(io::Error::other)?;
                if outcome.may_have_moved_gate() {
                    self.progress.set_gate(self.machine.gate());
                }
                Ok(outcome)
            }
            Payload::Checkpoint => {
                self.checkpoint(log_index);
                Ok(Outcome::None)
            }
            Payload::Trim { horizon } => {
                if horizon > self.progress.trim_horizon() && horizon <= log_index {
                    self.progress.set_trim_horizon(horizon);
                }
                Ok(Outcome::None)
            }
            Payload::Blank | Payload::Membership(_) => Ok(Outcome::None),
        }
    }
}

/// Writes the row of the checkpoint at `index`, and removes the checkpoints that it makes superfluous.
fn keep(log: &Arc<dyn GroupLog>, progress: &Progress, index: u64, message: &pb::Checkpoint) {
    let arrival = Timestamp::from_millis(message.last_arrival_millis);
    let mut rows = vec![(StateKey::Checkpoint(index), Some(message.encode_to_vec().into()))];
    rows.extend(progress.checkpoints().add(index, arrival).into_iter().map(removed));
    log.put_state(rows, None);
}

/// The write that deletes the checkpoint at `index`.
const fn removed(index: u64) -> (StateKey, Option<Bytes>) {
    (StateKey::Checkpoint(index), None)
}

fn decode(checkpoint: Bytes) -> io::Result<pb::Checkpoint> {
    pb::Checkpoint::decode(checkpoint).map_err(io::Error::other)
}

/// Maximum number of entries that are applied before waiting readers are notified.
const APPLY_BATCH: usize = 256;

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = Bytes;
    type SnapshotBuilder = TrimSnapshot;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(APPLY_BATCH);
        while let Some(batch) = batches.next().await {
            let (began, count) = (Instant::now(), batch.len());
            let mut answers = Vec::with_capacity(count);
            for item in batch {
                let (entry, responder) = item?;
                let outcome = self.apply_entry(entry)?;
                answers.extend(responder.map(|responder| (responder, outcome)));
            }
            // First readers can see the entries, then the writers get their responses. So an acknowledged record can
            // be read.
            self.machine.publish();
            self.progress.notify();
            answers.into_iter().for_each(|(responder, outcome)| responder.send(outcome));
            self.metrics.applied_entries.add(count as u64);
            self.metrics.apply_duration.observe_duration(began.elapsed());
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> TrimSnapshot {
        let (log, progress) = (Arc::clone(&self.log), Arc::clone(&self.progress));
        TrimSnapshot { log, progress, checkpoint_log: self.checkpoint_log.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: Bytes,
    ) -> Result<(), io::Error> {
        let mut message = decode(data)?;
        let last = meta.last_log_id.as_ref().map(log_id);
        // The log goes on right after the snapshot. So its first entry is the horizon here.
        message.trim_horizon = last.map_or(0, |last| last.index + 1);
        let checkpoint: Bytes = message.encode_to_vec().into();
        if let Some(parts) = &self.checkpoint_log {
            // A checkpoint of the old state that is being written now must not follow the snapshot.
            parts.give_up();
        }
        let old = self.progress.checkpoints().clear();
        let mut rows: Vec<_> = old.into_iter().map(removed).collect();
        rows.push((StateKey::Snapshot, Some(checkpoint.clone())));
        // The rows must be on disk before openraft purges the entries that the snapshot replaces.
        put_durably(&self.log, rows).await?;
        self.restore(checkpoint).await?;
        purge_parts(self.checkpoint_log.as_ref(), message.parts).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let row = self.log.state(StateKey::Snapshot).map_err(into_io)?;
        row.map(snapshot).transpose()
    }
}

fn snapshot(checkpoint: Bytes) -> io::Result<Snapshot> {
    let message = decode(checkpoint.clone())?;
    let membership = membership_of(message.membership.unwrap_or_default());
    let meta = SnapshotMeta {
        last_log_id: message.last.map(raft_log_id_of),
        last_membership: StoredMembership::new(
            message.membership_log_id.map(raft_log_id_of),
            membership,
        ),
    };
    Ok(Snapshot { meta, snapshot: checkpoint })
}

async fn put_durably(
    log: &Arc<dyn GroupLog>,
    rows: Vec<(StateKey, Option<Bytes>)>,
) -> io::Result<()> {
    let (done, written) = oneshot::channel();
    log.put_state(rows, Some(Box::new(move |result| drop(done.send(result)))));
    let result = written.await.map_err(|_| io::Error::other("the log store is gone"))?;
    result.map_err(into_io)
}

/// Makes the snapshot from the newest checkpoint below the trim horizon. Never from a newer one: a follower that
/// gets the snapshot must still get all retained records as entries.
pub(crate) struct TrimSnapshot {
    log: Arc<dyn GroupLog>,
    progress: Arc<Progress>,
    checkpoint_log: Option<CheckpointLog>,
}

impl RaftSnapshotBuilder<TypeConfig> for TrimSnapshot {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let horizon = self.progress.trim_horizon();
        let Some(last_trimmed) = horizon.checked_sub(1) else {
            return Err(io::Error::other("nothing is trimmed, so there is no snapshot to make"));
        };
        let current = self.log.state(StateKey::Snapshot).map_err(into_io)?;
        let current_index = current.clone().and_then(checkpoint_log_id).map(|id| id.index);
        let kept = self.progress.checkpoints().newest_up_to(last_trimmed);
        let newer = kept.filter(|kept| current_index.is_none_or(|index| index < kept.index));
        let Some(Kept { index, .. }) = newer else {
            let none = || io::Error::other(format!("no checkpoint up to index {last_trimmed}"));
            return snapshot(current.ok_or_else(none)?);
        };
        let row = self.log.state(StateKey::Checkpoint(index)).map_err(into_io)?;
        let row = row.ok_or_else(|| io::Error::other(format!("no checkpoint at index {index}")))?;
        let mut message = decode(row)?;
        message.trim_horizon = horizon;
        let checkpoint: Bytes = message.encode_to_vec().into();
        let superseded = self.progress.checkpoints().below(index);
        let mut rows: Vec<_> = superseded.into_iter().map(removed).collect();
        rows.push((StateKey::Snapshot, Some(checkpoint.clone())));
        put_durably(&self.log, rows).await?;
        self.progress.checkpoints().remove_below(index);
        purge_parts(self.checkpoint_log.as_ref(), message.parts).await?;
        snapshot(checkpoint)
    }
}

/// Purges the parts before those of the newest snapshot, whose row is durable.
async fn purge_parts(
    log: Option<&CheckpointLog>,
    newest: Option<pb::CheckpointParts>,
) -> io::Result<()> {
    match (log, newest) {
        (Some(log), Some(parts)) => log.purge_below(parts.first).await.map_err(io::Error::other),
        _ => Ok(()),
    }
}

/// The last log id that a stored snapshot or checkpoint covers, if the row can be decoded.
pub(crate) fn checkpoint_log_id(row: Bytes) -> Option<LogId> {
    let last = decode(row).ok()?.last?;
    Some(LogId { term: last.term, index: last.index })
}
