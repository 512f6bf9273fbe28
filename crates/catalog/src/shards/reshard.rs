//! The beginning and the end of a resharding job.
//!
//! A job begins only in an ACTIVE stream, so a stream has one job at a time. Its number is the log index of the
//! command that began it; `Commit` and `Abort` name it, so that a late one does not end a later job. So a controller
//! may act on an old copy of the catalog.
//!
//! UpdateShardCount may need several jobs. The commit of one begins the next in the same command, until the shards
//! are equal.

use std::collections::BTreeMap;

use anabranch_types::{GroupId, SequenceNumber, ShardId, StreamName, Timestamp, limits};

use crate::apply::Change;
use crate::births::born_after;
use crate::groups::saw_all;
use crate::model::{
    Catalog, ReshardJob, Shard, ShardStatus, Stream, StreamId, StreamMode, StreamStatus,
};
use crate::outcome::Refusal;
use crate::placement;
use crate::shards::ShardChange;
use crate::shards::pieces::{Piece, check_count, merge, pieces_towards, split};

/// Dates of a new shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    /// Creation time, which users see.
    pub(crate) created: Timestamp,
    /// Identity in sequence numbers (`births.rs`).
    pub(crate) birth: Timestamp,
}

/// What a controller says of a job whose parents it has frozen; see [`ShardsCommand::Commit`](super::ShardsCommand).
pub(super) struct FrozenJob {
    pub(super) job: u64,
    pub(super) endings: BTreeMap<ShardId, SequenceNumber>,
    pub(super) newest_group: Option<GroupId>,
}

impl Catalog {
    pub(super) fn reshard(
        &mut self,
        log_index: u64,
        name: StreamName,
        change: ShardChange,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        if self.active_stream(&name)?.mode == StreamMode::OnDemand {
            return Err(Refusal::OnDemand { name });
        }
        self.begin_change(log_index, &name, change, now)
    }

    /// As [`Self::reshard`], for a stream in on-demand mode.
    pub(super) fn scale(
        &mut self,
        log_index: u64,
        name: StreamName,
        id: StreamId,
        change: ShardChange,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let stream = self.active_stream(&name)?;
        if stream.id != id {
            return Err(Refusal::StreamNotFound { name });
        }
        if stream.mode != StreamMode::OnDemand {
            return Err(Refusal::NotOnDemand { name });
        }
        self.begin_change(log_index, &name, change, now)
    }

    fn begin_change(
        &mut self,
        log_index: u64,
        name: &StreamName,
        change: ShardChange,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let stream = self.active_stream(name)?;
        let target = match change {
            ShardChange::Count(target) => {
                check_count(stream, target)?;
                Some(target)
            }
            ShardChange::Split { .. } | ShardChange::Merge { .. } => None,
        };
        let pieces = match change {
            ShardChange::Split { shard, at } => split(stream, shard, at)?,
            ShardChange::Merge { lower, upper } => merge(stream, lower, upper)?,
            ShardChange::Count(target) => pieces_towards(stream, target),
        };
        if pieces.is_empty() {
            return Ok(Change::AlreadySo);
        }
        self.begin_job(log_index, name, pieces, target, now)?;
        Ok(Change::Made)
    }

    pub(super) fn commit_reshard(
        &mut self,
        log_index: u64,
        name: &StreamName,
        id: StreamId,
        FrozenJob { job, endings, newest_group }: FrozenJob,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let stream = self.stream_of_job(name, id, job)?;
        if stream.job.as_ref().is_some_and(|job| !saw_all(newest_group, &job.children)) {
            return Ok(Change::AlreadySo);
        }
        let complete = stream.job.as_ref().is_some_and(|job| {
            job.parents.len() == endings.len()
                && job.parents.iter().all(|parent| endings.contains_key(parent))
        });
        // Without an ending, a parent could still take records, which would be behind its end.
        let Some(job) = stream.job.take_if(|_| complete) else {
            return Err(Refusal::JobOver { name: name.clone(), job });
        };
        // Retention counts from the time at which a parent was closed, and the proposer's clock may be behind. So the
        // time is at least the arrival of the last record, and at least the creation of the children.
        let made = job.children.values().map(|child| child.created).max().unwrap_or_default();
        for (parent, ending) in endings {
            if let Some(shard) = stream.shards.get_mut(&parent) {
                let start = shard.starting_sequence_number();
                let ending = ending.max(start);
                // A sequence number has the second in which its record arrived, rounded down, so take the next one. A
                // shard without records ends at its starting number, which has no arrival.
                let has_records = ending > start;
                let after = (ending.parts().arrival_seconds + u64::from(has_records)) * 1000;
                let at = now.max(made).max(Timestamp::from_millis(after));
                shard.status = ShardStatus::Closed { ending, at };
            }
        }
        stream.shards.extend(job.children);
        stream.status = stream.status_at_rest();
        if let Some(target) = stream.target_shards.take() {
            // In the same command: between two jobs of one UpdateShardCount no other change of the user can come in.
            let pieces = pieces_towards(stream, target);
            if !pieces.is_empty()
                && let Err(refusal) = self.begin_job(log_index, name, pieces, Some(target), now)
            {
                debug_assert!(false, "the first job of the change was within the limit: {refusal}");
            }
        }
        Ok(Change::Made)
    }

    pub(super) fn abort_reshard(
        &mut self,
        name: &StreamName,
        id: StreamId,
        job: u64,
    ) -> Result<Change, Refusal> {
        let stream = self.stream_of_job(name, id, job)?;
        (stream.job, stream.target_shards) = (None, None);
        stream.status = stream.status_at_rest();
        Ok(Change::Made)
    }

    /// The stream with this job.
    ///
    /// # Errors
    /// [`Refusal::JobOver`] if the job is not under way, or if the stream is another one.
    fn stream_of_job(
        &mut self,
        name: &StreamName,
        id: StreamId,
        job: u64,
    ) -> Result<&mut Stream, Refusal> {
        let stream = self.streams.get_mut(name).filter(|stream| stream.id == id);
        let is_current = |stream: &&mut Stream| stream.job.as_ref().is_some_and(|j| j.id == job);
        stream.filter(is_current).ok_or_else(|| Refusal::JobOver { name: name.clone(), job })
    }

    /// Begins the job with the number `job`. A refusal changes nothing.
    fn begin_job(
        &mut self,
        job: u64,
        name: &StreamName,
        pieces: Vec<Piece>,
        target: Option<u32>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(stream) = self.streams.get(name) else {
            return Err(Refusal::StreamNotFound { name: name.clone() });
        };
        let mut parents: Vec<_> = pieces.iter().flat_map(|piece| piece.parents.clone()).collect();
        parents.sort_unstable();
        parents.dedup();
        let open = stream.open_shards().count() - parents.len() + pieces.len();
        if open > limits::STREAM_MAX_SHARDS as usize {
            let [actual, limit] = [open as u64, u64::from(limits::STREAM_MAX_SHARDS)];
            return Err(Refusal::Limit { what: "ShardCount", actual, limit });
        }
        // Readers compare sequence numbers of parent and child. Numbers begin with the second of the birth, so the
        // child's birth is later.
        let of_parents = || parents.iter().filter_map(|parent| stream.shards.get(parent));
        let newest = of_parents().map(|parent| parent.birth).max().unwrap_or_default();
        let earliest = of_parents().map(|parent| parent.created).max().unwrap_or_default();
        let dates = Dates { created: now.max(earliest), birth: born_after(newest, now) };
        let first = ShardId(stream.next_shard);
        let children = self.new_shards(&pieces, first, job, dates, stream.replicas)?;
        let stream = self.streams.get_mut(name).ok_or_else(|| not_found(name))?;
        stream.next_shard += u32::try_from(children.len()).unwrap_or(u32::MAX);
        stream.job = Some(ReshardJob { id: job, began: now, parents, children });
        stream.target_shards = target;
        stream.status = StreamStatus::Updating;
        Ok(())
    }

    /// Makes shards of `pieces`, with numbers from `first` on, new groups, and replicas on nodes. A refusal changes
    /// nothing.
    ///
    /// # Errors
    /// [`Refusal::NoNodes`] if no node takes a replica.
    pub(crate) fn new_shards(
        &mut self,
        pieces: &[Piece],
        first: ShardId,
        born: u64,
        dates: Dates,
        replicas: u32,
    ) -> Result<BTreeMap<ShardId, Shard>, Refusal> {
        let (mut load, mut next_replica) = (placement::load(self), self.next_replica);
        let mut shards = BTreeMap::new();
        for (number, piece) in (0..).zip(pieces) {
            let replicas = placement::place(self, replicas, &mut load, &mut next_replica);
            if replicas.is_empty() {
                return Err(Refusal::NoNodes);
            }
            let id = ShardId(first.0 + number);
            let group = GroupId(self.next_group + u64::from(number));
            let Piece { range, parents } = piece.clone();
            let (status, moving) = (ShardStatus::Open, None);
            let shard = Shard {
                id,
                group,
                born,
                parents,
                range,
                created: dates.created,
                birth: dates.birth,
                status,
                replicas,
                moving,
            };
            shards.insert(id, shard);
        }
        self.next_group += pieces.len() as u64;
        self.next_replica = next_replica;
        Ok(shards)
    }
}

fn not_found(name: &StreamName) -> Refusal {
    Refusal::StreamNotFound { name: name.clone() }
}

#[cfg(test)]
mod tests;
