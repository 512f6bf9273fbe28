use anabranch_catalog::Refusal;
use anabranch_types::KeyFault;

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The catalog refused the command; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream or shard is gone.
    #[error("shard not found")]
    NotFound,
    /// The shard is closed. Nothing was written, also by no earlier attempt of the same producer. Its children take
    /// records, once [`crate::Client::view`] shows them.
    #[error("shard is closed")]
    Closed,
    /// The shard is being split or merged, and the append waited too long for that. As with [`Self::Closed`], nothing
    /// was written. The shard will be open or closed soon.
    #[error("shard is being split or merged")]
    Frozen,
    /// Another subscription of the same consumer has the shard.
    #[error("another subscription of the consumer has the shard")]
    InUse,
    /// Memory or disk is full, or a limit was reached; nothing was written. Try again later.
    #[error("throttled: {0}")]
    Throttled(String),
    /// The stream is encrypted, and its master key can't be used; nothing was done.
    #[error("{message}")]
    Key {
        /// Kind of the fault.
        fault: KeyFault,
        /// Text that names the key.
        message: String,
    },
    /// No leader was found before the deadline; nothing was written.
    #[error("no leader within the deadline")]
    NoLeader,
    /// The request is invalid; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// The response did not come. The call may have been done or not.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}
