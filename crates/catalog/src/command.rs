use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::{
    AccountId, ConsumerName, GroupId, HashKey, HashKeyRange, Incarnation, NodeId, ReplicaId,
    SequenceNumber, ShardId, StreamName, Timestamp, UserName,
};

use crate::attributes::{Distribution, ShardMetrics};
use crate::model::{NodeState, Resource, StreamId, StreamMode};

/// One change to the catalog. Replicated and stored: append variants, never reuse one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A node says who and where it is, each time it starts.
    RegisterNode {
        /// The node.
        node: NodeId,
        /// The life of its data directory.
        incarnation: Incarnation,
        /// How often the directory was opened, this time included; 0 if the node doesn't say.
        starts: u64,
        /// The life of its process.
        boot: u64,
        /// Where other nodes and gRPC clients reach it.
        grpc_address: String,
        /// Where its Kinesis API is.
        api_address: String,
        /// Its failure zone.
        zone: String,
    },
    /// A user creates a stream.
    CreateStream(NewStream),
    /// The controller saw a leader in every group of a new stream.
    ActivateStream {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
    },
    /// A user deletes a stream.
    DeleteStream {
        /// The stream's name.
        name: StreamName,
        /// Whether its consumers go with it; else one that has any stays.
        with_consumers: bool,
    },
    /// The controller saw that no node holds a group of a deleted stream any more.
    DropStream {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
    },
    /// A replica's copy is damaged or wiped: give its node a fresh one under a new id.
    ReplaceReplica {
        /// The group.
        group: GroupId,
        /// The replica that is lost.
        lost: ReplicaId,
    },
    /// An operator has a group that has lost its majority go on from the log of one replica alone. Whatever only the others
    /// had is lost.
    RecoverGroup {
        /// The group.
        group: GroupId,
        /// The replica whose log counts from now on.
        from: ReplicaId,
    },
    /// A user has shards replaced by others.
    Reshard {
        /// The stream.
        name: StreamName,
        /// Which shards, and by what.
        change: ShardChange,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// The controller has the answer of every parent of a job that it takes no more records.
    CommitReshard {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// The job.
        job: u64,
        /// Of each parent, the number of its last record.
        endings: BTreeMap<ShardId, SequenceNumber>,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// The controller gives a job up: its shards stay as they are.
    AbortReshard {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// The job.
        job: u64,
    },
    /// The controller saw that closed shards hold nothing that is retained any more.
    ExpireShards {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// A user changes how long records are kept.
    SetRetention {
        /// The stream.
        name: StreamName,
        /// From now on.
        hours: u32,
        /// Whether the user says that it is longer than before; else shorter.
        longer: bool,
    },
    /// A user changes how a stream's capacity is decided.
    SetStreamMode {
        /// The stream.
        name: StreamName,
        /// From now on.
        mode: StreamMode,
        /// MiB a second that it is to have shards for at least; `None` leaves an on-demand stream's.
        warm_throughput_mibps: Option<u32>,
    },
    /// A user changes what an on-demand stream has shards for at least.
    SetWarmThroughput {
        /// The stream.
        name: StreamName,
        /// MiB a second.
        mibps: u32,
    },
    /// The controller has the shards of an on-demand stream follow its load.
    Scale {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// One split or one merge.
        change: ShardChange,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// An operator has a node emptied, or used again.
    SetNodeState {
        /// The node.
        node: NodeId,
        /// From now on.
        state: NodeState,
    },
    /// An operator removes a node that holds nothing any more.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// The controller has a replica moved, or one added.
    MoveReplica {
        /// The group.
        group: GroupId,
        /// The replica that leaves; `None` if one is added.
        from: Option<ReplicaId>,
        /// Where the new one is to be.
        to: NodeId,
    },
    /// The controller saw that the group's voters are what a move wanted.
    FinishMove {
        /// The group.
        group: GroupId,
        /// The replica that was added.
        replica: ReplicaId,
    },
    /// The controller gives a move up: its new replica's node is lost or being emptied.
    CancelMove {
        /// The group.
        group: GroupId,
        /// The replica that was to be added.
        replica: ReplicaId,
    },
    /// An operator stops what is done only for evenness, or has it go on. Stopping ends a rebalance.
    SetBalancing {
        /// Whether it is stopped from now on.
        paused: bool,
    },
    /// An operator has leaders and replicas evened out once, also while balancing is paused.
    Rebalance,
    /// The controller found nothing left to even out.
    FinishRebalance {
        /// Which rebalance: the log index of its command.
        rebalance: u64,
    },
    /// A user registers a consumer with enhanced fan-out.
    RegisterConsumer {
        /// The stream.
        name: StreamName,
        /// The consumer.
        consumer: ConsumerName,
        /// The user's tags.
        tags: BTreeMap<String, String>,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// A user removes a consumer.
    DeregisterConsumer {
        /// The stream.
        name: StreamName,
        /// The consumer.
        consumer: ConsumerName,
        /// Which one of that name: when it was registered.
        created: Timestamp,
    },
    /// The controller makes consumers that were registered usable, and forgets those that were removed.
    SettleConsumers {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
    },
    /// A user changes tags.
    SetTags {
        /// Of what.
        resource: Resource,
        /// Tags that are added, or get another value.
        set: BTreeMap<String, String>,
        /// Keys of tags that go; those that aren't there don't matter.
        removed: BTreeSet<String>,
    },
    /// A user says who else may do what, or takes that back.
    SetPolicy {
        /// With what.
        resource: Resource,
        /// The policy document.
        policy: Option<String>,
    },
    /// A user changes how large a record may be.
    SetMaxRecordSize {
        /// The stream.
        name: StreamName,
        /// KiB of data and partition key together.
        kib: u32,
    },
    /// A user asks for metrics of each shard, or no longer.
    SetShardMetrics {
        /// The stream.
        name: StreamName,
        /// Metrics that are wanted from now on.
        on: ShardMetrics,
        /// Metrics that aren't.
        off: ShardMetrics,
    },
    /// A user changes how records find their shards.
    SetDistribution {
        /// The stream.
        name: StreamName,
        /// From now on.
        distribution: Distribution,
    },
    /// A user has a stream's records encrypted, or encrypted under another master key.
    StartEncryption {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name the data key was made for: it can't be unwrapped for another one. `None` in commands
        /// from before that was said.
        id: Option<StreamId>,
        /// The master key, as the user names it.
        master_key: String,
        /// A new data key, wrapped by it.
        wrapped: Vec<u8>,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// A user has a stream's new records stored as they are again.
    StopEncryption {
        /// The stream.
        name: StreamName,
    },
    /// A leader of one of the stream's shards has used a data key for long enough.
    RotateDataKey {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// Number of the data key that was used.
        used: u32,
        /// The next data key, wrapped by the same master key.
        wrapped: Vec<u8>,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// The controller saw that every node knows how a stream's records are to be stored.
    SettleEncryption {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// The change: log index of its command.
        change: u64,
    },
    /// A user has the account promise to use so much at least, or no longer.
    SetCommitment {
        /// Whether it does.
        enabled: bool,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// An operator creates a user, who has no key and may do nothing yet.
    CreateUser {
        /// Its name.
        name: UserName,
        /// Whose resources are its own.
        account: AccountId,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// An operator deletes a user, its keys and its policies.
    DeleteUser {
        /// Its name.
        name: UserName,
    },
    /// An operator gives a user an access key.
    CreateAccessKey {
        /// The user.
        user: UserName,
        /// The access key id.
        id: String,
        /// Its secret, sealed for that id.
        sealed_secret: Vec<u8>,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// An operator switches an access key on or off.
    SetAccessKey {
        /// The access key id.
        id: String,
        /// Whether it is on from now on.
        enabled: bool,
    },
    /// An operator deletes an access key.
    DeleteAccessKey {
        /// The access key id.
        id: String,
    },
    /// An operator gives a user a policy, in place of the one of the same name.
    PutUserPolicy {
        /// The user.
        user: UserName,
        /// The policy's name.
        name: String,
        /// The policy document.
        document: String,
    },
    /// An operator takes a policy from a user.
    DeleteUserPolicy {
        /// The user.
        user: UserName,
        /// The policy's name.
        name: String,
    },
    /// A user's change in a cluster that has the limits of the service.
    Limited {
        /// The change; never a limited one itself.
        command: Box<Command>,
        /// The proposer's clock.
        now: Timestamp,
    },
}

impl Command {
    /// Whether the command, applied once more right behind itself, changes nothing and has the same outcome. If nobody knows
    /// what became of such a command, it may be proposed again.
    pub fn is_repeatable(&self) -> bool {
        if let Self::Limited { command, .. } = self {
            return command.is_repeatable(); // a change without effect is not counted
        }
        matches!(
            self,
            Self::SetTags { .. }
                | Self::SetPolicy { .. }
                | Self::SetMaxRecordSize { .. }
                | Self::SetShardMetrics { .. }
        )
    }
}

/// How shards are to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChange {
    /// One shard by two.
    Split {
        /// The shard.
        shard: ShardId,
        /// First hash key of the upper child.
        at: HashKey,
    },
    /// Two neighbours by one.
    Merge {
        /// The one with the lower hash keys.
        lower: ShardId,
        /// The one with the higher hash keys.
        upper: ShardId,
    },
    /// All shards by so many of equal size.
    Count(u32),
}

/// What a user asks for in CreateStream, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStream {
    /// Its name.
    pub name: StreamName,
    /// How many shards; at least 1.
    pub shards: u32,
    /// Capacity mode.
    pub mode: StreamMode,
    /// MiB a second that an on-demand stream has shards for at least; 0 if none were asked for.
    pub warm_throughput_mibps: u32,
    /// How long records are kept.
    pub retention_hours: u32,
    /// Largest record.
    pub max_record_size_kib: u32,
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
    /// How records find their shards.
    pub distribution: Distribution,
    /// Replicas of each shard; fewer if there are fewer nodes.
    pub replicas: u32,
    /// The proposer's clock.
    pub now: Timestamp,
}

/// What applying a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed the catalog, or had already done so; the version that holds it.
    Done {
        /// [`crate::Catalog::version`] from which on the change is visible.
        version: u64,
    },
    /// It changed nothing.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is a stream of that name.
    #[error("stream {name} already exists")]
    StreamExists {
        /// The name.
        name: StreamName,
    },
    /// There is no stream of that name.
    #[error("stream {name} not found")]
    StreamNotFound {
        /// The name.
        name: StreamName,
    },
    /// The stream isn't in a state that allows it.
    #[error("stream {name} is not ACTIVE")]
    StreamNotActive {
        /// The name.
        name: StreamName,
    },
    /// The stream has consumers, which were not to go with it.
    #[error("stream {name} has consumers")]
    StreamHasConsumers {
        /// The name.
        name: StreamName,
    },
    /// There is a consumer of that name.
    #[error("consumer {consumer} already exists")]
    ConsumerExists {
        /// The name.
        consumer: ConsumerName,
    },
    /// There is no such consumer.
    #[error("consumer {consumer} not found")]
    ConsumerNotFound {
        /// The name.
        consumer: ConsumerName,
    },
    /// A resource would have too many tags.
    #[error("more than {limit} tags")]
    TooManyTags {
        /// What is allowed.
        limit: u64,
    },
    /// No node can hold a replica.
    #[error("the cluster has no node to place a shard on")]
    NoNodes,
    /// A limit of the service.
    #[error("{what}: {actual} is over the limit of {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// What was asked for.
        actual: u64,
        /// What is allowed.
        limit: u64,
    },
    /// There is no such shard.
    #[error("shard {shard} not found")]
    ShardNotFound {
        /// The shard.
        shard: ShardId,
    },
    /// The shard is closed.
    #[error("shard {shard} has been split or merged already")]
    ShardClosed {
        /// The shard.
        shard: ShardId,
    },
    /// A shard can't be split there: each half has to have at least two keys below the last.
    #[error("shard {shard} of {} to {} can't be split at {at}", range.start(), range.end())]
    CannotSplit {
        /// The shard.
        shard: ShardId,
        /// Its hash keys.
        range: HashKeyRange,
        /// Where it was to be split.
        at: HashKey,
    },
    /// The second shard doesn't begin where the first one ends.
    #[error("shards {lower} and {upper} are not neighbours in this order")]
    NotAdjacent {
        /// The first.
        lower: ShardId,
        /// The second.
        upper: ShardId,
    },
    /// The wanted number of shards is too far from the current one.
    #[error("{target} shards are not between {lowest} and {highest}, of {current} now")]
    ShardCount {
        /// Open shards now.
        current: u32,
        /// What was asked for.
        target: u32,
        /// The lowest that is allowed.
        lowest: u32,
        /// The highest that is allowed.
        highest: u32,
    },
    /// The stream's shards follow its load; nobody sets their number.
    #[error("stream {name} is in on-demand mode")]
    OnDemand {
        /// The stream.
        name: StreamName,
    },
    /// The stream has as many shards as its user says.
    #[error("stream {name} is not in on-demand mode")]
    NotOnDemand {
        /// The stream.
        name: StreamName,
    },
    /// Not longer when it was to be longer, not shorter when it was to be shorter, or out of bounds.
    #[error("retention of {asked} hours, where it is {current} hours")]
    Retention {
        /// Hours now.
        current: u32,
        /// What was asked for.
        asked: u32,
    },
    /// Another data key was made meanwhile, or none is wanted any more.
    #[error("data key {used} of stream {name} is not in use")]
    DataKeyOver {
        /// The stream.
        name: StreamName,
        /// The data key.
        used: u32,
    },
    /// That job isn't under way.
    #[error("job {job} of stream {name} is not under way")]
    JobOver {
        /// The stream.
        name: StreamName,
        /// The job.
        job: u64,
    },
    /// There is no such node.
    #[error("node {node} is not known")]
    NodeNotFound {
        /// The node.
        node: NodeId,
    },
    /// The node holds replicas: it has to be drained first.
    #[error("node {node} holds {replicas} replicas: drain it first")]
    NodeInUse {
        /// The node.
        node: NodeId,
        /// How many it holds, those of the catalog included.
        replicas: u64,
    },
    /// A replica can't be moved: another of the group is on its way, the group is being made, or the node
    /// holds one already or takes none.
    #[error("a replica of group {group} can't be moved to node {to} now")]
    CannotMove {
        /// The group.
        group: GroupId,
        /// Where to.
        to: NodeId,
    },
    /// The group is being made: nothing that was acknowledged can be in it yet.
    #[error("group {group} is being made: there is nothing to recover")]
    CannotRecover {
        /// The group.
        group: GroupId,
    },
    /// The group or replica isn't the catalog's.
    #[error("group {group} has no replica {replica}")]
    ReplicaNotFound {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// There is a user of that name.
    #[error("user {user} already exists")]
    UserExists {
        /// The name.
        user: UserName,
    },
    /// There is no user of that name.
    #[error("user {user} not found")]
    UserNotFound {
        /// The name.
        user: UserName,
    },
    /// There is an access key of that id.
    #[error("access key {id} already exists")]
    AccessKeyExists {
        /// The id.
        id: String,
    },
    /// There is no access key of that id.
    #[error("access key {id} not found")]
    AccessKeyNotFound {
        /// The id.
        id: String,
    },
    /// The user has no policy of that name.
    #[error("user {user} has no policy {name}")]
    UserPolicyNotFound {
        /// The user.
        user: UserName,
        /// The policy's name.
        name: String,
    },
}
