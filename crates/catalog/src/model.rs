//! The catalog as data, and the streams and shards in it.
//!
//! Fields are public, because nodes and gateways read them from their copies. Only the rules in this crate change a
//! catalog. Nodes, replicas, consumers, table groups and users are in the files that have their rules.

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
use crate::tables::{TableGroup, TableGroupStatus};
use crate::users::Users;

/// The whole catalog, in one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Log index of the last command that changed the catalog. 0 before the first one.
    pub version: u64,
    /// Nodes that have registered and were not removed since, running or not.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The replicas with which the catalog's own group began. A replica that is added later must begin with the same
    /// state, because it applies the same log.
    pub founders: Vec<Replica>,
    /// Replicas of the catalog's own group, without a replica that a move is adding.
    pub replicas: Vec<Replica>,
    /// The move that is under way in the catalog's own group.
    pub moving: Option<Move>,
    /// Streams by name, CREATING and DELETING ones included.
    pub streams: BTreeMap<StreamName, Stream>,
    /// Groups that replicate tables, by id, Creating ones included (`tables.rs`).
    pub table_groups: BTreeMap<GroupId, TableGroup>,
    /// The next [`GroupId`] to give out. Never falls.
    pub next_group: u64,
    /// The next replica id to give out. Never falls.
    pub next_replica: u64,
    /// Whether an operator has paused the moves of leaders and replicas that only even out the load.
    pub balancing_paused: bool,
    /// The rebalance that an operator asked for and that is not finished: log index of its command.
    pub rebalance: Option<u64>,
    /// The account's newest commitment, kept after its end. `None` if there never was one.
    pub commitment: Option<Commitment>,
    /// Users. They sign requests to the Kinesis API.
    pub users: Users,
    /// Newest births under the names of dropped streams (`births.rs`).
    pub former_names: FormerNames,
    /// The newest recovery of each group that was ever recovered. A recovery removes the entries of groups that are
    /// gone.
    pub recovered: BTreeMap<GroupId, Recovered>,
}

/// Identity of a stream: log index of the command that created it. Another stream of the same name has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A stream, with its shards and consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Tells this stream from earlier and later ones of its name.
    pub id: StreamId,
    /// Creation time, by the clock of the gateway that proposed it.
    pub created: Timestamp,
    /// Status that the API shows.
    pub status: StreamStatus,
    /// Capacity mode. Decides whether users or the load set the number of shards.
    pub mode: StreamMode,
    /// MiB per second for which an on-demand stream always has enough shards. 0 if its user set
    /// none.
    pub warm_throughput_mibps: u32,
    /// Hours for which records are kept, between 24 and 8,760.
    pub retention_hours: u32,
    /// Size limit of a record in KiB, data and partition key together.
    pub max_record_size_kib: u32,
    /// Tags of the stream, values by keys.
    pub tags: BTreeMap<String, String>,
    /// Number of replicas that each shard is to have. It has fewer while the cluster has fewer nodes.
    pub replicas: u32,
    /// Shards by number. Closed ones stay until all their records have expired.
    pub shards: BTreeMap<ShardId, Shard>,
    /// The next [`ShardId`] to give out. Numbers of aborted jobs are not used again.
    pub next_shard: u32,
    /// The resharding job that is under way. The stream is UPDATING while it has a job, or a change of encryption
    /// that not every node knows.
    pub job: Option<ReshardJob>,
    /// Number of shards that UpdateShardCount asked for, until the last of its jobs has committed.
    pub target_shards: Option<u32>,
    /// Consumers with enhanced fan-out, by name.
    pub consumers: BTreeMap<ConsumerName, Consumer>,
    /// The resource policy: a JSON document, as its user wrote it.
    pub policy: Option<String>,
    /// Metrics that are published for each shard (EnableEnhancedMonitoring).
    pub shard_metrics: ShardMetrics,
    /// How a record's shard is chosen.
    pub distribution: Distribution,
    /// Whether new records are encrypted, and the data keys of all readable records.
    pub encryption: Encryption,
    /// Changes of about the last day that the limits of the service count. Empty where these limits are off.
    pub recent_changes: RecentChanges,
    /// Newest birth of all removed shards and consumers, of this stream and of former streams of its name
    /// (`births.rs`).
    pub newest_gone: Timestamp,
}

/// A resharding job: some open shards are replaced by others, which cover the same hash keys.
///
/// One command ends the job. `Commit` closes the parents and adds the children to the stream; `Abort` drops the
/// children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReshardJob {
    /// Log index of the command that began the job. Later jobs have higher ones.
    pub id: u64,
    /// Time of that command, by the proposer's clock.
    pub began: Timestamp,
    /// Shards that the job closes, by number.
    pub parents: Vec<ShardId>,
    /// Shards that take their place, by number. Users do not see them before the job has committed.
    pub children: BTreeMap<ShardId, Shard>,
}

/// Status of a stream (API reference, `StreamStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// The groups of the stream elect their first leaders. Operations on records do not find the stream yet.
    Creating,
    /// The stream takes records and changes.
    Active,
    /// The stream takes records. A resharding job or a change of encryption is under way.
    Updating,
    /// Nodes remove the replicas of the stream.
    Deleting,
}

impl StreamStatus {
    /// The name that the API uses.
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
    /// Users set the number of shards.
    Provisioned,
    /// The controller splits and merges shards as the load requires (`scaling.rs`).
    OnDemand,
}

/// A shard of a stream. One Raft group replicates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Number of the shard, unique within its stream.
    pub id: ShardId,
    /// The Raft group that replicates the shard.
    pub group: GroupId,
    /// The job that made the shard; 0 for the first shards of a stream.
    pub born: u64,
    /// The shards from which this one was split or merged, by hash key. The stream may have forgotten them.
    pub parents: Vec<ShardId>,
    /// Hash keys whose records go to this shard.
    pub range: HashKeyRange,
    /// Creation time, by the proposer's clock, and not before that of the parents.
    pub created: Timestamp,
    /// Identity of the shard in sequence numbers, which carry the second of the birth. Not before `created`, in a
    /// later second than the births of the parents, and than those of all former shards with this stream name and
    /// number (`births.rs`).
    pub birth: Timestamp,
    /// Whether the shard takes records.
    pub status: ShardStatus,
    /// Replicas of the group, without a replica that a move is adding.
    pub replicas: Vec<Replica>,
    /// The move that is under way in the group.
    pub moving: Option<Move>,
}

/// Whether a shard takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardStatus {
    /// The shard takes records.
    Open,
    /// The shard takes no records any more. A closed shard never opens again.
    Closed {
        /// Sequence number of the last record; the starting one if the shard never had a record. The API calls this
        /// `EndingSequenceNumber`.
        ending: SequenceNumber,
        /// Closing time. Not before the arrival of the last record, whatever the proposer's clock showed.
        at: Timestamp,
    },
}

impl Catalog {
    /// Version 0: the catalog's own group with the replicas `voters`, and nothing else.
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

    /// Whether leaders and replicas may be moved only to even out the load.
    pub fn balances(&self) -> bool {
        !self.balancing_paused || self.rebalance.is_some()
    }

    /// The catalog's own group.
    pub fn own_group(&self) -> GroupRef<'_> {
        let (group, replicas, moving) = (GroupId::CATALOG, &self.replicas[..], self.moving);
        GroupRef { group, replicas, moving, kind: GroupKind::Catalog, is_new: false }
    }

    /// All groups: the catalog's own first, then those of all shards, hidden children of jobs included, then those of
    /// tables.
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
        let tables = self.table_groups.iter().map(|(group, table)| {
            let (group, replicas, moving) = (*group, &table.replicas[..], table.moving);
            let is_new = table.status == TableGroupStatus::Creating;
            GroupRef { group, replicas, moving, kind: GroupKind::Table(table), is_new }
        });
        std::iter::once(self.own_group()).chain(shards).chain(tables)
    }
}

impl Stream {
    /// The open shard to which `key` belongs. Never `None` in a catalog that keeps its invariants.
    pub fn shard_for(&self, key: HashKey) -> Option<&Shard> {
        self.open_shards().find(|shard| shard.range.contains(key))
    }

    /// The time for which records are kept.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.retention_hours) * 3600)
    }

    /// Open shards, by number.
    pub fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(|shard| shard.is_open())
    }
}

impl Shard {
    /// All replicas that nodes are to hold; see [`GroupRef::holders`].
    pub fn holders(&self) -> impl Iterator<Item = Replica> + '_ {
        holders(&self.replicas, self.moving)
    }

    /// Whether the shard takes records.
    pub fn is_open(&self) -> bool {
        self.status == ShardStatus::Open
    }

    /// Whether the shard was closed at least `retention` ago. Its last record arrived before that, so none is
    /// readable any more.
    pub fn has_expired(&self, retention: Duration, now: Timestamp) -> bool {
        match self.status {
            ShardStatus::Open => false,
            ShardStatus::Closed { at, .. } => at.plus(retention) <= now,
        }
    }

    /// The number below those of all records of the shard. The API calls it `StartingSequenceNumber`.
    pub fn starting_sequence_number(&self) -> SequenceNumber {
        SequenceNumber::shard_start(self.id, self.birth, self.created)
    }
}
