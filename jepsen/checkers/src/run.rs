//! The facts of a history, collected once for all rules.
//!
//! Nothing here judges. A *sighting* is one place in the history that says which record is at which position: an
//! acknowledgement or a read. The *log* of a shard is the sorted list of its known positions.

mod log;
mod puts;
mod readings;
mod retention;
mod shards;
mod surroundings;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::history::{Call, Header, History, Nanos, Operation, Outcome, Seq, StreamName, Uid};

pub(crate) use log::{Position, Sighting, Source};
pub(crate) use puts::{Ack, Put, PutOutcome};
pub(crate) use readings::{Chain, Full, PageSeen};
pub(crate) use shards::{Listing, ShardKey, Shards};
pub(crate) use surroundings::{Period, Surroundings, ends};

/// The facts of a history.
pub(crate) struct Run<'a> {
    pub(crate) header: &'a Header,
    pub(crate) operations: Vec<Operation<'a>>,
    /// The calls that split and merge shards.
    pub(crate) reshards: Vec<Operation<'a>>,
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
    /// Streams that were created more than once. Their shards have the same names again, so nothing is said about
    /// their records and shards.
    pub(crate) reused: BTreeSet<&'a StreamName>,
}

impl<'a> Run<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let header = history.header();
        let operations = history.operations();
        let reused = reused(&operations);
        let is_plain = |operation: &&Operation<'a>| {
            stream_of(operation.call).is_none_or(|stream| !reused.contains(stream))
        };
        let data: Vec<Operation<'a>> = operations.iter().filter(is_plain).cloned().collect();
        let is_reshard = |operation: &&Operation<'a>| {
            matches!(operation.call, Call::Split(_) | Call::Merge(_) | Call::Scale(_))
        };
        let reshards = operations.iter().filter(is_reshard).cloned().collect();
        let mut shards = Shards::default();
        let mut puts = puts::collect(&data, &mut shards);
        let puts_of = puts::link(&mut puts);
        let chains = readings::chains(&data, &mut shards);
        let drains = readings::drains(&data, &mut shards);
        shards.learn(&data, &chains);
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
            reshards,
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
            reused,
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

    /// The shortest and the longest retention that the stream ever had, in nanoseconds.
    fn retention_bounds(&self, stream: &StreamName) -> (u64, u64) {
        let default = self.header.default_retention_hours;
        let bounds = self.retentions.get(stream).map_or((default, default), |all| all.bounds());
        self.in_nanos(bounds)
    }

    fn in_nanos(&self, (least, most): (u64, u64)) -> (u64, u64) {
        let hour = self.header.hour_ms.as_nanos();
        (least.saturating_mul(hour), most.saturating_mul(hour))
    }

    /// The shortest and the longest retention, in nanoseconds, that may have been in force at some time from `from` to
    /// `to`.
    pub(crate) fn retention(&self, stream: &StreamName, from: Nanos, to: Nanos) -> (u64, u64) {
        let default = self.header.default_retention_hours;
        let hours = self.retentions.get(stream);
        self.in_nanos(hours.map_or((default, default), |hours| hours.range(from, to)))
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
        let age = self.surroundings.cluster_time(position.since, at);
        let age = age.saturating_add(self.header.clock_skew_ms.as_nanos());
        let stream = self.shards[shard].stream;
        let (least, most) = self.retention_bounds(stream);
        if age < least || age >= most {
            return age >= most;
        }
        age >= self.retention(stream, position.since, at).0
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

/// The stream of a call that puts, reads or lists.
fn stream_of(call: &Call) -> Option<&StreamName> {
    match call {
        Call::Put(call) => Some(&call.stream),
        Call::Puts(call) => Some(&call.stream),
        Call::Iter(call) => Some(&call.stream),
        Call::Shards(call) => Some(&call.stream),
        Call::Drain(call) => Some(&call.stream),
        _ => None,
    }
}

fn may_work(operation: &&Operation<'_>) -> bool {
    !matches!(operation.outcome, Outcome::Failed { .. })
}

/// Streams with a call to delete them and two calls to create them that may have worked.
fn reused<'a>(operations: &[Operation<'a>]) -> BTreeSet<&'a StreamName> {
    let mut created = HashSet::new();
    let creates = operations.iter().filter(may_work).filter_map(|operation| match operation.call {
        Call::Create(create) => Some(&create.stream),
        _ => None,
    });
    let deleted = deleted(operations);
    creates.filter(|stream| !created.insert(*stream) && deleted.contains(stream)).collect()
}

fn deleted<'a>(operations: &[Operation<'a>]) -> HashSet<&'a StreamName> {
    let stream = |operation: &Operation<'a>| match operation.call {
        Call::Delete(delete) => Some(&delete.stream),
        _ => None,
    };
    operations.iter().filter(may_work).filter_map(stream).collect()
}
