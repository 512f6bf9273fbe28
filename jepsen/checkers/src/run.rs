//! What a history says about the cluster, collected once for all rules.
//!
//! Nothing here judges. A *sighting* is one place in the history that says which record is at which position: an
//! acknowledgement or a read. The *log* of a shard is the sorted list of its known positions.

mod log;
mod puts;
mod readings;
mod retention;
mod shards;
mod surroundings;

use std::collections::{HashMap, HashSet};

use crate::history::{Call, Header, History, Nanos, Operation, Outcome, Seq, StreamName, Uid};

pub(crate) use log::{Position, Sighting, Source};
pub(crate) use puts::{Ack, Put, PutOutcome};
pub(crate) use readings::{Chain, Full, PageSeen};
pub(crate) use shards::{Listing, ShardKey, Shards};
pub(crate) use surroundings::Surroundings;

/// What a history says.
pub(crate) struct Run<'a> {
    pub(crate) header: &'a Header,
    pub(crate) operations: Vec<Operation<'a>>,
    /// Each record of each put.
    pub(crate) puts: Vec<Put<'a>>,
    /// Indexes into `puts`.
    pub(crate) puts_of: HashMap<Uid, Vec<usize>>,
    pub(crate) shards: Shards<'a>,
    /// All sightings, by shard, position and time.
    pub(crate) sightings: Vec<Sighting<'a>>,
    pub(crate) chains: Vec<Chain<'a>>,
    /// All full reads of a shard.
    pub(crate) drains: Vec<Full<'a>>,
    /// Faults, observations and the last heal.
    pub(crate) surroundings: Surroundings<'a>,
    pub(crate) stalled: bool,
    /// The time of the last event.
    pub(crate) end: Nanos,
    retentions: HashMap<&'a StreamName, retention::Retentions>,
    deleted: HashSet<&'a StreamName>,
}

impl<'a> Run<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let header = history.header();
        let operations = history.operations();
        let mut shards = Shards::default();
        let mut puts = puts::collect(&operations, &mut shards);
        let puts_of = puts::link(&mut puts);
        let chains = readings::chains(&operations, &mut shards);
        let drains = readings::drains(&operations, &mut shards);
        shards.learn(&operations, &chains);
        let sightings = log::sightings(&puts, &chains, &drains);
        log::build(&mut shards, &sightings, &puts, &puts_of);
        let surroundings = Surroundings::of(history.events());
        let stalled = surroundings.is_stalled(header);
        let retentions = retention::collect(header, &operations);
        let deleted = deleted(&operations);
        let end = history.events().last().map_or(Nanos(0), |event| event.time);
        Self {
            header,
            operations,
            puts,
            puts_of,
            shards,
            sightings,
            chains,
            drains,
            surroundings,
            stalled,
            end,
            retentions,
            deleted,
        }
    }

    /// Whether the stream may have been deleted. Then its records may be gone at any time.
    pub(crate) fn is_deleted(&self, shard: ShardKey) -> bool {
        self.deleted.contains(self.shards[shard].stream)
    }

    /// Whether the stream may have been deleted.
    pub(crate) fn is_stream_deleted(&self, stream: &StreamName) -> bool {
        self.deleted.contains(stream)
    }

    /// The shortest and the longest retention that may have been in force at some time from `from` to `to`.
    pub(crate) fn retention(&self, stream: &StreamName, from: Nanos, to: Nanos) -> (u64, u64) {
        let hour = self.header.hour_ms.as_nanos();
        let (least, most) = self.retentions.get(stream).map_or_else(
            || (self.header.default_retention_hours, self.header.default_retention_hours),
            |retentions| retentions.range(from, to),
        );
        (least.saturating_mul(hour), most.saturating_mul(hour))
    }

    /// The changes that may have made the retention of the stream longer: times of their invocations.
    pub(crate) fn raises(&self, stream: &StreamName) -> &[Nanos] {
        self.retentions.get(stream).map_or(&[], |retentions| retentions.raises())
    }

    /// Whether the record may have been trimmed at this time. A record of a deleted stream always may.
    pub(crate) fn may_be_trimmed(&self, shard: ShardKey, position: &Position, at: Nanos) -> bool {
        if self.is_deleted(shard) {
            return true;
        }
        let age = at.since(position.since).saturating_add(self.header.clock_skew_ms.as_nanos());
        let (least, _) = self.retention(self.shards[shard].stream, position.since, at);
        age >= least
    }

    /// The put of a record, if the history has one. Of several, the first.
    pub(crate) fn put_of(&self, uid: Uid) -> Option<&Put<'a>> {
        self.puts_of.get(&uid).and_then(|puts| puts.first()).map(|put| &self.puts[*put])
    }

    /// Puts that were acknowledged, with their acknowledgement.
    pub(crate) fn acks(&self) -> impl Iterator<Item = (&Put<'a>, Ack)> {
        self.puts.iter().filter_map(|put| put.ack().map(|ack| (put, ack)))
    }

    /// The position as a message shows it.
    pub(crate) fn place(&self, shard: ShardKey, seq: Seq) -> String {
        format!("{}, sequence number {seq}", self.shards.name(shard))
    }
}

fn deleted<'a>(operations: &[Operation<'a>]) -> HashSet<&'a StreamName> {
    let may_work =
        |operation: &&Operation<'a>| !matches!(operation.outcome, Outcome::Failed { .. });
    let stream = |operation: &Operation<'a>| match operation.call {
        Call::Delete(delete) => Some(&delete.stream),
        _ => None,
    };
    operations.iter().filter(may_work).filter_map(stream).collect()
}
