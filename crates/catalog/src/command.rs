use std::collections::BTreeMap;

use anabranch_types::{GroupId, Incarnation, NodeId, ReplicaId, StreamName, Timestamp};

use crate::model::{StreamId, StreamMode};

/// One change to the catalog. Replicated and stored: append variants, never reuse one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A node says who and where it is, each time it starts.
    RegisterNode {
        /// The node.
        node: NodeId,
        /// The life of its data directory.
        incarnation: Incarnation,
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
    /// How long records are kept.
    pub retention_hours: u32,
    /// Largest record.
    pub max_record_size_kib: u32,
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
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
    /// The group or replica isn't the catalog's.
    #[error("group {group} has no replica {replica}")]
    ReplicaNotFound {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
}
