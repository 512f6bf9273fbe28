use anabranch_catalog::Refusal;
use anabranch_types::KeyFault;

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The catalog refused it; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream or shard is gone.
    #[error("shard not found")]
    NotFound,
    /// The shard takes no more records; nothing was written, by no earlier attempt of the same producer
    /// either. Its children go on, once [`crate::Client::view`] shows them.
    #[error("shard is closed")]
    Closed,
    /// The shard is being split or merged and didn't get there in time; as with [`Self::Closed`],
    /// nothing was written. It is decided soon.
    #[error("shard is being split or merged")]
    Frozen,
    /// Another subscription of the same consumer has the shard.
    #[error("another subscription of the consumer has the shard")]
    InUse,
    /// Memory or disk is at its bound, or a limit was met; nothing was written. Try again later.
    #[error("throttled: {0}")]
    Throttled(String),
    /// The stream is encrypted, and its master key can't be used; nothing was done.
    #[error("{message}")]
    Key {
        /// What is wrong with it.
        fault: KeyFault,
        /// In words; names the key.
        message: String,
    },
    /// No leader was found before the deadline; nothing was written.
    #[error("no leader within the deadline")]
    NoLeader,
    /// The request itself is wrong; says what.
    #[error("{0}")]
    Invalid(String),
    /// The answer did not come: it may have happened or not.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}
