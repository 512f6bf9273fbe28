use anabranch_types::{GroupId, LogId};
use rocksdb::ErrorKind;

/// Why the log store did not do what it was asked.
///
/// Clonable, because one failed disk operation ends every write that waited for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operating system refused a write or a sync. Sticky: the outcome of every write since the last
    /// completed one is unknown, nothing is retried, and the process should stop.
    #[error("log store stopped after a write error: {detail}")]
    Failed {
        /// What was being done, to which file, and what the system answered.
        detail: String,
    },
    /// The disk has no room for it: nothing happened. Appends are refused so; reads, votes, purges and state rows go on.
    #[error("no disk space")]
    DiskFull,
    /// The store was closed, or the process that it simulates has crashed.
    #[error("log store is closed")]
    Closed,
    /// This replica may have lost what it acknowledged. Only [`crate::LogStore::remove_group`] ends this.
    #[error("replica of group {group} is quarantined: {reason}")]
    Quarantined {
        /// The group whose replica it is.
        group: GroupId,
        /// File, offset, what was expected there and what was found.
        reason: String,
    },
    /// The entry can't be read, and nothing else of the log is known to be damaged. [`crate::GroupLog::mend`] ends this.
    #[error("entry {log_id} of group {group} is damaged here: {reason}")]
    Damaged {
        /// The group.
        group: GroupId,
        /// The entry.
        log_id: LogId,
        /// File, offset, what was expected there and what was found.
        reason: Box<str>,
    },
    /// The handle outlived its group: the group was removed.
    #[error("group {group} was removed")]
    Removed {
        /// The group.
        group: GroupId,
    },
    /// The entry before the first live one was asked for.
    #[error("entries below index {first} are purged")]
    Purged {
        /// Index of the first entry that can be read.
        first: u64,
    },
    /// An append does not continue the group's log.
    #[error("append to group {group} at index {actual}, expected {expected}")]
    NotContiguous {
        /// The group.
        group: GroupId,
        /// Index after the last entry.
        expected: u64,
        /// Index that the append began with, or jumped to.
        actual: u64,
    },
    /// One entry, or one call's state rows, do not fit into a segment.
    #[error("payload of {bytes} bytes is above the limit of {limit} bytes")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// Largest payload that the segment size allows.
        limit: usize,
    },
    /// The data directory cannot be used: wrong version, in use, or not one of ours.
    #[error("data directory {path}: {detail}")]
    Directory {
        /// The directory or the file in it.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// RocksDB answered with an error.
    #[error("index: {detail}")]
    Index {
        /// RocksDB's words.
        detail: String,
    },
    /// RocksDB's files are not as they were written. The next opening makes the index anew from the segments.
    #[error("index is damaged: {detail}")]
    IndexDamaged {
        /// RocksDB's words, or the row that makes no sense.
        detail: String,
    },
    /// A read from a segment file failed in the operating system.
    #[error("read failed: {detail}")]
    Read {
        /// File, offset, and what the system answered.
        detail: String,
    },
    /// A setting breaks its rule.
    #[error("{key}: {rule}")]
    Setting {
        /// The setting's name.
        key: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// What RocksDB's errors say when there is no room.
const OUT_OF_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// What RocksDB says of damage besides "Corruption": a file that the manifest names is gone, or the manifest lacks a family.
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
