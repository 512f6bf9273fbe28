use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_types::{
    ConsumerName, GroupId, HashKey, HashKeyRange, NodeId, SequenceNumber, ShardId, StreamName,
    Timestamp,
};

use crate::account::Commitment;
use crate::births::FormerNames;
use crate::consumers::Consumer;
use crate::encryption::Encryption;
use crate::groups::{GroupKind, GroupRef, Move, Recovered, Replica, ShardRef, holders};
use crate::nodes::Node;
use crate::service_limits::RecentChanges;
use crate::streams::{Distribution, ShardMetrics};
use crate::users::Users;

/// The whole catalog. A value of it is one version; copies never mix two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Log index of the last command that changed it. Rises with every change.
    pub version: u64,
    /// Nodes that have ever registered and were not removed.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The replicas that the catalog's own group began with: a replica that is made later has to begin
    /// from the same state before it applies the same log.
    pub founders: Vec<Replica>,
    /// Where the catalog's own group lives.
    pub replicas: Vec<Replica>,
    /// The replica of the catalog's own group that is being moved.
    pub moving: Option<Move>,
    /// Streams by name, those being created and deleted included.
    pub streams: BTreeMap<StreamName, Stream>,
    /// Next [`GroupId`] to give out.
    pub next_group: u64,
    /// Next [`ReplicaId`] to give out.
    pub next_replica: u64,
    /// Whether an operator stopped what is done only for evenness.
    pub balancing_paused: bool,
    /// The rebalance that an operator asked for and that isn't done yet: the log index of its command.
    pub rebalance: Option<u64>,
    /// What the account promised to use at least, the last time it did.
    pub commitment: Option<Commitment>,
    /// Who may sign requests.
    pub users: Users,
    /// Births under names of streams that were dropped.
    pub former_names: FormerNames,
    /// How groups were recovered, the last time that they were.
    pub recovered: BTreeMap<GroupId, Recovered>,
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
    /// MiB a second that an on-demand stream has shards for, whatever its load; 0 if none were asked for.
    pub warm_throughput_mibps: u32,
    /// How long records are kept.
    pub retention_hours: u32,
    /// Largest record, data and partition key together.
    pub max_record_size_kib: u32,
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
    /// Replicas that each shard is to have.
    pub replicas: u32,
    /// Shards by number, closed ones included until they expire.
    pub shards: BTreeMap<ShardId, Shard>,
    /// Next [`ShardId`] to give out.
    pub next_shard: u32,
    /// The resharding that is under way; the stream is UPDATING as long as there is one, or a change of encryption that
    /// not every node knows.
    pub job: Option<ReshardJob>,
    /// Shards that UpdateShardCount aims at, while it hasn't got there.
    pub target_shards: Option<u32>,
    /// Who is pushed its records.
    pub consumers: BTreeMap<ConsumerName, Consumer>,
    /// Who else may do what with it: a policy document, as its user wrote it.
    pub policy: Option<String>,
    /// Metrics of each shard that its user asked for.
    pub shard_metrics: ShardMetrics,
    /// How records find their shards.
    pub distribution: Distribution,
    /// Whether records are encrypted, and under which keys they were.
    pub encryption: Encryption,
    /// Its changes of the last day, where the limits of the service hold.
    pub recent_changes: RecentChanges,
    /// Newest birth of the shards and consumers that are gone from it and from former streams of its name.
    pub newest_gone: Timestamp,
}

/// Some open shards that are to be replaced by others, which cover the same hash keys.
///
/// It ends in one command: COMMIT closes the parents and shows the children, ABORT forgets the children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReshardJob {
    /// Log index of the command that began it; later jobs have higher ones.
    pub id: u64,
    /// When it began.
    pub began: Timestamp,
    /// The shards to close.
    pub parents: Vec<ShardId>,
    /// What goes on in their place. Nobody sees them before COMMIT.
    pub children: BTreeMap<ShardId, Shard>,
}

/// Life of a stream (API reference, `StreamStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Its groups are being made; data operations don't find it yet.
    Creating,
    /// Usable.
    Active,
    /// Usable, while its shards are being changed.
    Updating,
    /// Its groups are being removed.
    Deleting,
}

impl StreamStatus {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
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
    /// The job that made it; 0 for a stream's first shards.
    pub born: u64,
    /// The shards that it was split or merged from, by range; they may have expired.
    pub parents: Vec<ShardId>,
    /// Hash keys that belong to it.
    pub range: HashKeyRange,
    /// When it was created.
    pub created: Timestamp,
    /// Its identity in sequence numbers, which carry its second as that of the creation. Not before `created`, later than
    /// that of its parents, and later than any of former shards of its name and number (`births.rs`).
    pub birth: Timestamp,
    /// Open, or closed at a number.
    pub status: ShardStatus,
    /// Where its copies live.
    pub replicas: Vec<Replica>,
    /// The copy that is being moved.
    pub moving: Option<Move>,
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
        /// When it was closed.
        at: Timestamp,
    },
}

impl Catalog {
    /// The first version: the catalog's own group on `voters`, nothing else.
    pub fn bootstrap(voters: &[Replica]) -> Self {
        let highest = voters.iter().map(|replica| replica.id.0).max().unwrap_or(0);
        Self {
            founders: voters.to_vec(),
            replicas: voters.to_vec(),
            next_group: GroupId::CATALOG.0 + 1,
            next_replica: highest + 1,
            ..Self::default()
        }
    }

    /// Whether leaders and replicas are moved only for the sake of evenness.
    pub fn balances(&self) -> bool {
        !self.balancing_paused || self.rebalance.is_some()
    }

    /// The catalog's own group.
    pub fn own_group(&self) -> GroupRef<'_> {
        let (group, replicas, moving) = (GroupId::CATALOG, &self.replicas[..], self.moving);
        GroupRef { group, replicas, moving, kind: GroupKind::Catalog, is_new: false }
    }

    /// Every group, the catalog's first.
    pub fn groups(&self) -> impl Iterator<Item = GroupRef<'_>> {
        let shards = self.streams.iter().flat_map(|(name, stream)| {
            let creating = stream.status == StreamStatus::Creating;
            let settled = stream.shards.values().map(move |shard| (shard, creating));
            let children = stream.job.iter().flat_map(|job| job.children.values());
            settled.chain(children.map(|shard| (shard, true))).map(move |(shard, is_new)| {
                let Shard { group, ref replicas, moving, .. } = *shard;
                let kind = GroupKind::Shard(ShardRef { name, stream, shard });
                GroupRef { group, replicas, moving, kind, is_new }
            })
        });
        std::iter::once(self.own_group()).chain(shards)
    }

    /// Every shard there is or is to be.
    pub(crate) fn shards_mut(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.streams.values_mut().flat_map(|stream| {
            let children = stream.job.iter_mut().flat_map(|job| job.children.values_mut());
            stream.shards.values_mut().chain(children)
        })
    }
}

impl Stream {
    /// The open shard that `key` belongs to. `None` only while the stream is being created.
    pub fn shard_for(&self, key: HashKey) -> Option<&Shard> {
        self.open_shards().find(|shard| shard.range.contains(key))
    }

    /// How long records are kept.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.retention_hours) * 3600)
    }

    /// Shards that take records, by number.
    pub fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(|shard| shard.is_open())
    }
}

impl Shard {
    /// Every replica that a node is to hold, as [`GroupRef::holders`].
    pub fn holders(&self) -> impl Iterator<Item = Replica> + '_ {
        holders(&self.replicas, self.moving)
    }

    /// Whether it takes records.
    pub fn is_open(&self) -> bool {
        self.status == ShardStatus::Open
    }

    /// Whether it is closed and its last record, which came before that, isn't retained any more.
    pub fn has_expired(&self, retention: Duration, now: Timestamp) -> bool {
        match self.status {
            ShardStatus::Open => false,
            ShardStatus::Closed { at, .. } => at.plus(retention) <= now,
        }
    }

    /// The number before all of its records: `StartingSequenceNumber`.
    pub fn starting_sequence_number(&self) -> SequenceNumber {
        SequenceNumber::shard_start(self.id, self.birth, self.created)
    }
}
