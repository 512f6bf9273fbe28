//! Outcomes: what the catalog answers to a command.
//!
//! A refused command is committed in the log like any other; it changes nothing. The `Display` texts of refusals are
//! for logs and operators. The gateway writes the texts that users of the Kinesis API see (`kinesis/src/error.rs`).

use anabranch_types::{
    ConsumerName, GroupId, HashKey, HashKeyRange, NodeId, ReplicaId, ShardId, StreamName, UserName,
};

/// Result of applying a command. A refused command is in the log like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command changed the catalog, or the catalog was already as the command wants it.
    Done {
        /// The change is visible in every catalog whose [`crate::Catalog::version`] is at least this.
        version: u64,
    },
    /// The command changed nothing.
    Refused(Refusal),
}

/// Reason why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A stream of that name exists, in any status.
    #[error("stream {name} already exists")]
    StreamExists {
        /// Name of the existing stream.
        name: StreamName,
    },
    /// No stream of that name exists, or it is another one than the command is about.
    #[error("stream {name} not found")]
    StreamNotFound {
        /// Name in the command.
        name: StreamName,
    },
    /// The status of the stream does not allow the change.
    #[error("stream {name} is not ACTIVE")]
    StreamNotActive {
        /// Name of the stream.
        name: StreamName,
    },
    /// The stream has consumers, and the command does not delete them with it.
    #[error("stream {name} has consumers")]
    StreamHasConsumers {
        /// Name of the stream.
        name: StreamName,
    },
    /// The stream has a consumer of that name, in any status.
    #[error("consumer {consumer} already exists")]
    ConsumerExists {
        /// Name of the existing consumer.
        consumer: ConsumerName,
    },
    /// The stream has no consumer of that name, or its registration time is another.
    #[error("consumer {consumer} not found")]
    ConsumerNotFound {
        /// Name in the command.
        consumer: ConsumerName,
    },
    /// A resource would have too many tags.
    #[error("more than {limit} tags")]
    TooManyTags {
        /// Highest number that is allowed.
        limit: u64,
    },
    /// No node takes a replica.
    #[error("the cluster has no node that takes a replica")]
    NoNodes,
    /// A limit of the service or of this implementation.
    #[error("{what}: {actual} is over the limit of {limit}")]
    Limit {
        /// The limited quantity. Each text is listed in `crates/proto/src/catalog/outcomes.rs`.
        what: &'static str,
        /// Value that the command would lead to.
        actual: u64,
        /// Highest value that is allowed.
        limit: u64,
    },
    /// The stream has no shard of that number.
    #[error("shard {shard} not found")]
    ShardNotFound {
        /// Number in the command.
        shard: ShardId,
    },
    /// The shard is closed.
    #[error("shard {shard} has been split or merged already")]
    ShardClosed {
        /// Number of the shard.
        shard: ShardId,
    },
    /// The shard cannot be split at that key: the key must be at least two above the first and below the last key of
    /// the shard.
    #[error("shard {shard} of {} to {} can't be split at {at}", range.start(), range.end())]
    CannotSplit {
        /// Number of the shard.
        shard: ShardId,
        /// Hash keys of the shard.
        range: HashKeyRange,
        /// First hash key that the upper child would have.
        at: HashKey,
    },
    /// The second shard does not begin right after the end of the first.
    #[error("shards {lower} and {upper} are not neighbours in this order")]
    NotAdjacent {
        /// Shard that the command names first.
        lower: ShardId,
        /// Shard that the command names second.
        upper: ShardId,
    },
    /// The wanted number of shards is too far from the current one.
    #[error("{target} shards are not between {lowest} and {highest}, of {current} now")]
    ShardCount {
        /// Open shards now.
        current: u32,
        /// Wanted number.
        target: u32,
        /// Lowest number that is allowed.
        lowest: u32,
        /// Highest number that is allowed.
        highest: u32,
    },
    /// The stream is in on-demand mode: users do not set its number of shards.
    #[error("stream {name} is in on-demand mode")]
    OnDemand {
        /// Name of the stream.
        name: StreamName,
    },
    /// The stream is in provisioned mode, and the command is for on-demand mode.
    #[error("stream {name} is not in on-demand mode")]
    NotOnDemand {
        /// Name of the stream.
        name: StreamName,
    },
    /// The new retention is out of bounds, shorter although the command lengthens it, or longer although the command
    /// shortens it.
    #[error("retention of {asked} hours, where it is {current} hours")]
    Retention {
        /// Hours now.
        current: u32,
        /// Hours in the command.
        asked: u32,
    },
    /// The data key is not in use any more: another leader has replaced it, or encryption was stopped.
    #[error("data key {used} of stream {name} is not in use")]
    DataKeyOver {
        /// Name of the stream.
        name: StreamName,
        /// Number of the data key.
        used: u32,
    },
    /// The job is not under way, or the command lacks the ending of one of its parents.
    #[error("job {job} of stream {name} is not under way")]
    JobOver {
        /// Name of the stream.
        name: StreamName,
        /// Log index of the command that began the job.
        job: u64,
    },
    /// No node of that id has registered.
    #[error("node {node} is not known")]
    NodeNotFound {
        /// Id in the command.
        node: NodeId,
    },
    /// The node holds replicas. They must be moved away first.
    #[error("node {node} holds {replicas} replicas: drain it first")]
    NodeInUse {
        /// Id of the node.
        node: NodeId,
        /// Number of replicas that it holds or is about to get, those of the catalog included.
        replicas: u64,
    },
    /// The replica cannot be moved now: another replica of the group is being moved, the group is new, or the target
    /// node has a replica of the group or takes none.
    #[error("a replica of group {group} can't be moved to node {to} now")]
    CannotMove {
        /// Id of the group.
        group: GroupId,
        /// Target node.
        to: NodeId,
    },
    /// The group is new, so no acknowledged record can be in it yet.
    #[error("group {group} is being made: there is nothing to recover")]
    CannotRecover {
        /// Id of the group.
        group: GroupId,
    },
    /// The catalog has no such group, or the group has no such replica.
    #[error("group {group} has no replica {replica}")]
    ReplicaNotFound {
        /// Group in the command.
        group: GroupId,
        /// Replica in the command.
        replica: ReplicaId,
    },
    /// A user of that name exists.
    #[error("user {user} already exists")]
    UserExists {
        /// Name of the existing user.
        user: UserName,
    },
    /// No user of that name exists.
    #[error("user {user} not found")]
    UserNotFound {
        /// Name in the command.
        user: UserName,
    },
    /// An access key of that id exists, of this or another user.
    #[error("access key {id} already exists")]
    AccessKeyExists {
        /// Id of the existing key.
        id: String,
    },
    /// No access key of that id exists.
    #[error("access key {id} not found")]
    AccessKeyNotFound {
        /// Id in the command.
        id: String,
    },
    /// The user has no policy of that name.
    #[error("user {user} has no policy {name}")]
    UserPolicyNotFound {
        /// Name of the user.
        user: UserName,
        /// Name of the policy.
        name: String,
    },
}
