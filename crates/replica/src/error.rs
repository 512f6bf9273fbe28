use anabranch_encryption::KeyError;
use anabranch_shard::Shut;
use anabranch_types::NodeId;

/// Why a replica did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only the leader can do it; nothing was done.
    #[error("not the leader; it is on node {leader:?}")]
    NotLeader {
        /// Where the leader is, as far as this replica knows.
        leader: Option<NodeId>,
    },
    /// This node has no replica of the group; nothing was done.
    #[error("no replica of the group on this node")]
    NotFound,
    /// The shard is being split or merged and takes no records until that is decided; nothing was
    /// written.
    #[error("the shard is being split or merged")]
    Frozen,
    /// The shard was split or merged: its children go on; nothing was written.
    #[error("the shard is closed")]
    Closed,
    /// Memory or disk is at its bound; nothing was written.
    #[error("throttled: {0}")]
    Throttled(&'static str),
    /// The request is wrong; nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// The stream is encrypted, and its master key can't be used; nothing was done.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It may have been done or not.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The replica doesn't trust its own log, or is stopping; nothing was done.
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
