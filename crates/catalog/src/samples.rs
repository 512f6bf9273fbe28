//! Samples for tests of this crate and of the crates above it: nodes, streams, shards and consumers.
//!
//! Each function returns a value with plain defaults. A test changes the fields that it is about:
//!
//! ```
//! use anabranch_catalog::{Stream, StreamMode, samples};
//!
//! let stream = Stream { mode: StreamMode::OnDemand, ..samples::stream([samples::shard(0)]) };
//! assert_eq!(stream.open_shards().count(), 1);
//! ```
//!
//! The module is part of the library, because tests of other crates see only that. No other code uses it.

use std::collections::BTreeMap;

use anabranch_types::{GroupId, HashKeyRange, Incarnation, NodeId, ShardId, Timestamp, limits};

use crate::consumers::{Consumer, ConsumerStatus};
use crate::encryption::Encryption;
use crate::model::{Shard, ShardStatus, Stream, StreamId, StreamMode, StreamStatus};
use crate::nodes::NodeRegistration;
use crate::service_limits::RecentChanges;
use crate::streams::{Distribution, NewStream, ShardMetrics};

/// When all samples were created: one second after 1970-01-01 UTC.
pub const CREATED: Timestamp = Timestamp::from_millis(1000);

/// The registration of node `id`: incarnation `id`, the address `127.0.0.1:id`, no zone, no Kinesis API, and no count
/// of its starts.
pub fn registration(id: u64) -> NodeRegistration {
    NodeRegistration {
        node: NodeId(id),
        incarnation: Incarnation(id),
        starts: 0,
        boot: 0,
        grpc_address: format!("127.0.0.1:{id}"),
        api_address: String::new(),
        zone: String::new(),
    }
}

/// A provisioned stream of three replicas per shard, with the defaults of CreateStream.
///
/// # Panics
/// If `name` is not the name of a stream.
pub fn new_stream(name: &str, shards: u32) -> NewStream {
    NewStream {
        name: name.parse().expect("samples have valid names"),
        shards,
        mode: StreamMode::Provisioned,
        warm_throughput_mibps: 0,
        retention_hours: limits::DEFAULT_RETENTION_HOURS,
        max_record_size_kib: 1024,
        tags: BTreeMap::new(),
        distribution: Distribution::default(),
        replicas: 3,
        now: CREATED,
    }
}

/// An ACTIVE stream, as [`new_stream`] makes one, with these shards.
pub fn stream(shards: impl IntoIterator<Item = Shard>) -> Stream {
    let shards: BTreeMap<_, _> = shards.into_iter().map(|shard| (shard.id, shard)).collect();
    let next_shard = shards.keys().next_back().map_or(0, |last| last.0 + 1);
    Stream {
        id: StreamId(1),
        created: CREATED,
        status: StreamStatus::Active,
        mode: StreamMode::Provisioned,
        warm_throughput_mibps: 0,
        retention_hours: limits::DEFAULT_RETENTION_HOURS,
        max_record_size_kib: 1024,
        tags: BTreeMap::new(),
        replicas: 3,
        shards,
        next_shard,
        job: None,
        target_shards: None,
        consumers: BTreeMap::new(),
        policy: None,
        shard_metrics: ShardMetrics::default(),
        distribution: Distribution::default(),
        encryption: Encryption::default(),
        recent_changes: RecentChanges::default(),
        newest_gone: Timestamp::default(),
    }
}

/// An open shard with all hash keys, in group `id + 1`, without parents or replicas.
pub fn shard(id: u32) -> Shard {
    Shard {
        id: ShardId(id),
        group: GroupId(u64::from(id) + 1),
        born: 0,
        parents: Vec::new(),
        range: HashKeyRange::FULL,
        created: CREATED,
        birth: CREATED,
        status: ShardStatus::Open,
        replicas: Vec::new(),
        moving: None,
    }
}

/// The shard, closed at `at` without a record.
pub fn closed(shard: Shard, at: Timestamp) -> Shard {
    let ending = shard.starting_sequence_number();
    Shard { status: ShardStatus::Closed { ending, at }, ..shard }
}

/// An ACTIVE consumer without tags or a policy.
pub fn consumer() -> Consumer {
    Consumer {
        created: CREATED,
        status: ConsumerStatus::Active,
        tags: BTreeMap::new(),
        policy: None,
    }
}
