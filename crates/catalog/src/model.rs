use std::collections::BTreeMap;

use anabranch_types::{
    GroupId, HashKey, HashKeyRange, Incarnation, NodeId, ReplicaId, SequenceNumber, ShardId,
    StreamName, Timestamp,
};

/// The whole catalog. A value of it is one version; copies never mix two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Log index of the last command that changed it. Rises with every change.
    pub version: u64,
    /// Nodes that have ever registered and were not removed.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Where the catalog's own group lives.
    pub replicas: Vec<Replica>,
    /// Streams by name, those being created and deleted included.
    pub streams: BTreeMap<StreamName, Stream>,
    /// Next [`GroupId`] to give out.
    pub next_group: u64,
    /// Next [`ReplicaId`] to give out.
    pub next_replica: u64,
}

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which life of its data directory is current; others are refused.
    pub incarnation: Incarnation,
    /// `host:port` that other nodes and gRPC clients reach it at.
    pub grpc_address: String,
    /// `host:port` of its Kinesis API; empty if it serves none.
    pub api_address: String,
    /// Failure zone; replicas of a group prefer different ones.
    pub zone: String,
    /// Whether new replicas may be placed on it.
    pub state: NodeState,
}

/// Whether a node takes new replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// Takes replicas.
    #[default]
    Active,
}

/// Identity of a stream; a name that is deleted and created again gets a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A stream and its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Identity: the catalog's log index at which it was created.
    pub id: StreamId,
    /// When it was created.
    pub created: Timestamp,
    /// Where it stands in its life.
    pub status: StreamStatus,
    /// How its capacity is decided.
    pub mode: StreamMode,
    /// How long records are kept.
    pub retention_hours: u32,
    /// Largest record, data and partition key together.
    pub max_record_size_kib: u32,
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
    /// Shards by number, closed ones included until they expire.
    pub shards: BTreeMap<ShardId, Shard>,
}

/// Life of a stream (API reference, `StreamStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Its groups are being made; data operations don't find it yet.
    Creating,
    /// Usable.
    Active,
    /// Its groups are being removed.
    Deleting,
}

/// Capacity mode (API reference, `StreamMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamMode {
    /// As many shards as the user says.
    Provisioned,
    /// As many shards as the load needs.
    OnDemand,
}

/// A shard of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number within the stream.
    pub id: ShardId,
    /// The Raft group that holds it.
    pub group: GroupId,
    /// Hash keys that belong to it.
    pub range: HashKeyRange,
    /// When it was created; part of its sequence numbers.
    pub created: Timestamp,
    /// Open, or closed at a number.
    pub status: ShardStatus,
    /// Where its copies live.
    pub replicas: Vec<Replica>,
}

/// Whether a shard takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardStatus {
    /// Takes records.
    Open,
    /// Takes no more; `ending` is the number of its last record.
    Closed {
        /// `EndingSequenceNumber`.
        ending: SequenceNumber,
    },
}

/// One copy of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// Its identity in the group.
    pub id: ReplicaId,
    /// The node that holds it.
    pub node: NodeId,
}

/// A group as the catalog wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRef<'a> {
    /// The group.
    pub group: GroupId,
    /// Its replicas.
    pub replicas: &'a [Replica],
    /// The shard that it holds; `None` for the catalog itself.
    pub shard: Option<(&'a StreamName, &'a Stream, &'a Shard)>,
}

impl Catalog {
    /// The first version: the catalog's own group on `voters`, nothing else.
    pub fn bootstrap(voters: &[Replica]) -> Self {
        let highest = voters.iter().map(|replica| replica.id.0).max().unwrap_or(0);
        Self {
            replicas: voters.to_vec(),
            next_group: GroupId::CATALOG.0 + 1,
            next_replica: highest + 1,
            ..Self::default()
        }
    }

    /// Every group, the catalog's first.
    pub fn groups(&self) -> impl Iterator<Item = GroupRef<'_>> {
        let own = GroupRef { group: GroupId::CATALOG, replicas: &self.replicas, shard: None };
        let shards = self.streams.iter().flat_map(|(name, stream)| {
            stream.shards.values().map(move |shard| GroupRef {
                group: shard.group,
                replicas: &shard.replicas,
                shard: Some((name, stream, shard)),
            })
        });
        std::iter::once(own).chain(shards)
    }
}

impl Stream {
    /// The open shard that `key` belongs to. `None` only while the stream is being created.
    pub fn shard_for(&self, key: HashKey) -> Option<&Shard> {
        self.open_shards().find(|shard| shard.range.contains(key))
    }

    /// Shards that take records, by number.
    pub fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(|shard| shard.status == ShardStatus::Open)
    }
}

impl Shard {
    /// The number before all of its records: `StartingSequenceNumber`.
    pub fn starting_sequence_number(&self) -> SequenceNumber {
        SequenceNumber::shard_start(self.id, self.created)
    }
}
