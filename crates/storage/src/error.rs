//! The errors of the log store.
//!
//! The kind tells the caller what happened to a write. [`Error::Failed`] and [`Error::Closed`] leave its outcome
//! unknown. All other errors mean that the write did not happen. RocksDB reports lack of space and damage only in the
//! text of its errors, so the conversion here searches that text.

use anabranch_types::{GroupId, LogId};
use rocksdb::ErrorKind;

/// Why a call of the log store failed.
///
/// `Clone`, because one failed disk operation ends every write that waited for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operating system refused a write or a sync. Final: the outcome of every write since the last completed one
    /// is unknown, nothing is retried, and the process should stop.
    #[error("log store stopped after a write error: {detail}")]
    Failed {
        /// The operation, the file, and the error of the operating system.
        detail: String,
    },
    /// The disk has no free space. Nothing happened. Only appends are refused with this error. Reads, votes, purges
    /// and state rows continue.
    #[error("no disk space")]
    DiskFull,
    /// The store was closed, or the simulated process has crashed.
    #[error("log store is closed")]
    Closed,
    /// This replica may have lost entries that it acknowledged. Only [`crate::LogStore::remove_group`] ends the
    /// quarantine.
    #[error("replica of group {group} is quarantined: {reason}")]
    Quarantined {
        /// Group of the replica.
        group: GroupId,
        /// File, offset, the content that was expected there, and the content that was found.
        reason: String,
    },
    /// The entry cannot be read. Nothing else of the log is known to be damaged. [`crate::GroupLog::repair`] repairs
    /// the entry.
    #[error("entry {log_id} of group {group} is damaged here: {reason}")]
    Damaged {
        /// Group of the entry.
        group: GroupId,
        /// Term and index of the entry.
        log_id: LogId,
        /// File, offset, the content that was expected there, and the content that was found.
        reason: Box<str>,
    },
    /// The group of this handle was removed.
    #[error("group {group} was removed")]
    Removed {
        /// Group that was removed.
        group: GroupId,
    },
    /// The read began below the first live entry.
    #[error("entries below index {first} are purged")]
    Purged {
        /// Index of the first entry that can be read.
        first: u64,
    },
    /// The entries of an append do not continue the group's log.
    #[error("append to group {group} at index {actual}, expected {expected}")]
    NotContiguous {
        /// Group of the log.
        group: GroupId,
        /// Index after the last entry.
        expected: u64,
        /// First index of the append that does not continue the log.
        actual: u64,
    },
    /// An entry, or the state rows of one call, do not fit into a segment.
    #[error("payload of {bytes} bytes is above the limit of {limit} bytes")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// Largest payload that the segment size allows.
        limit: usize,
    },
    /// The data directory cannot be used: its version is wrong, another process has it open, or it is not a data
    /// directory.
    #[error("data directory {path}: {detail}")]
    Directory {
        /// The directory, or a file in it.
        path: String,
        /// The cause.
        detail: String,
    },
    /// RocksDB returned an error that is neither lack of space nor damage.
    #[error("index: {detail}")]
    Index {
        /// RocksDB's text.
        detail: String,
    },
    /// RocksDB's files are damaged. The next opening rebuilds the index from the segments.
    #[error("index is damaged: {detail}")]
    IndexDamaged {
        /// RocksDB's text, or the row that cannot be decoded.
        detail: String,
    },
    /// The operating system could not read a segment file.
    #[error("read failed: {detail}")]
    Read {
        /// File, offset, and the error of the operating system.
        detail: String,
    },
    /// A setting has an invalid value.
    #[error("{key}: {rule}")]
    Setting {
        /// Name of the setting.
        key: &'static str,
        /// Rule that the value must satisfy.
        rule: &'static str,
    },
}

/// Texts in RocksDB's errors when the disk has no free space.
const OUT_OF_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// Texts of RocksDB for damage besides "Corruption": a file that the manifest names is missing, or the manifest lacks
/// a column family.
const DAMAGED: [&str; 2] = ["No such file or directory", "Column famil"];

impl From<rocksdb::Error> for Error {
    fn from(error: rocksdb::Error) -> Self {
        let kind = error.kind();
        let detail = error.into_string();
        let says = |words: &&str| detail.contains(*words);
        if OUT_OF_SPACE.iter().any(says) {
            Self::DiskFull
        } else if kind == ErrorKind::Corruption || DAMAGED.iter().any(says) {
            Self::IndexDamaged { detail }
        } else {
            Self::Index { detail }
        }
    }
}
