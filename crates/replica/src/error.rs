use anabranch_encryption::KeyError;
use anabranch_shard::Shut;
use anabranch_types::NodeId;

/// Why a replica did not do what a caller requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only the leader can do it. Nothing was done.
    #[error("not the leader; it is on node {leader:?}")]
    NotLeader {
        /// Node of the leader, if this replica knows one.
        leader: Option<NodeId>,
    },
    /// This node has no replica of the group. Nothing was done.
    #[error("no replica of the group on this node")]
    NotFound,
    /// The shard is being split or merged. It takes no records until the resharding job is decided. Nothing was
    /// written.
    #[error("the shard is being split or merged")]
    Frozen,
    /// The shard was split or merged, and its child shards take the records now. Nothing was written.
    #[error("the shard is closed")]
    Closed,
    /// Memory, disk or a service limit is used up. Nothing was written.
    #[error("throttled: {0}")]
    Throttled(&'static str),
    /// The request is wrong. Nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// The stream is encrypted, and its master key can't be used. Nothing was done.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The request may or may not have been done.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The replica can't trust its log, or is stopping. Nothing was done.
    #[error("replica is out of service: {0}")]
    OutOfService(String),
}

impl From<Shut> for Error {
    fn from(shut: Shut) -> Self {
        match shut {
            Shut::Pending => Self::Frozen,
            Shut::Closed => Self::Closed,
        }
    }
}

impl From<anabranch_storage::Error> for Error {
    fn from(error: anabranch_storage::Error) -> Self {
        if error == anabranch_storage::Error::DiskFull {
            return Self::Throttled("the disk is full");
        }
        Self::OutOfService(error.to_string())
    }
}
