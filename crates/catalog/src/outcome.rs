//! Outcomes: what the catalog answers to a command.
//!
//! A refused command is committed in the log like any other; it changes nothing. The `Display` texts of refusals are for logs
//! and operators. The gateway writes the texts that users of the Kinesis API see (`gateway/src/errors.rs`).

use anabranch_types::{
    ConsumerName, GroupId, HashKey, HashKeyRange, NodeId, ReplicaId, ShardId, StreamName, UserName,
};

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
