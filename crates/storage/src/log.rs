//! The interface of the log store. [`LogStore`] holds the logs of all groups of a node. [`GroupLog`] is the log of
//! one group.
//!
//! Every implementation guarantees:
//! - All writes of one group take effect, become durable and complete in the order of the calls.
//! - Reads see a write as soon as its call returns. The write is durable when its [`Completion`] is called with `Ok`.
//! - A write whose completion got `Ok` survives every crash, or the replica is [`Health::Quarantined`].
//! - A write whose completion was not called may survive a crash or not. An append may survive in part. Writes never
//!   survive out of order.
//!
//! ```text
//! append() returns    round is synced    completion gets Ok
//!        |                   |                    |
//!        +-- visible --------+-- durable ---------+-- reported: survives every crash
//! ```

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use anabranch_types::{GroupId, Incarnation, LogId, ReplicaId};
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{DiskState, Error, StateKey};

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Term and index of the entry.
    pub log_id: LogId,
    /// The store never looks into the payload. It reads back the same bytes that were written.
    pub payload: Bytes,
}

/// The Raft vote of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// Term of the vote.
    pub term: u64,
    /// Replica that got the vote.
    pub replica: ReplicaId,
    /// Whether a quorum granted the vote.
    pub committed: bool,
}

/// Callback of one write. The store calls it once: after the sync that covers the write, or with the reason why the
/// write was not synced.
///
/// It runs on the store's writer thread, so it must be short and must not call the store. [`Error::Failed`] and
/// [`Error::Closed`] leave the outcome of the write unknown. Any other error is a refusal: the write did not happen.
/// A crash of the simulated store drops completions without calling them, as a crash of the process does.
pub type Completion = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// First and last id of a group's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Last entry that was purged.
    pub purged: Option<LogId>,
    /// Last entry of the log. Equals `purged` if the log is empty.
    pub last: Option<LogId>,
}

/// Whether the log of a replica can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// No damage is known that may have lost an entry.
    Healthy,
    /// The store found damage that may have lost acknowledged entries. The quarantine survives restarts. Only
    /// [`LogStore::remove_group`] ends it.
    Quarantined {
        /// File, offset, the content that was expected there, and the content that was found.
        reason: String,
    },
}

/// Counters since the store was opened, and current sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of appended entry payloads. Entries that were copied forward are not counted.
    pub payload_bytes: u64,
    /// Bytes of all frames that were written, entries that were copied forward included.
    pub written_bytes: u64,
    /// Bytes in whole blocks, as the device sees them: the rounds, the zeroes that prepare fresh segments, and the
    /// last round if the opening wrote it again.
    pub device_bytes: u64,
    /// Rounds that were written.
    pub rounds: u64,
    /// Calls of fdatasync on segment files by the writer.
    pub syncs: u64,
    /// Total duration of these syncs in microseconds.
    pub sync_micros: u64,
    /// Segments of the log that are not reclaimed yet, the active one included.
    pub segments_live: u64,
    /// Prepared segments that are ready to be written.
    pub segments_free: u64,
    /// Dead segments whose file was recycled or deleted.
    pub segments_reclaimed: u64,
    /// Bytes of entries that were copied forward out of old segments.
    pub copied_forward_bytes: u64,
    /// Bytes in the cache of newest entries.
    pub cache_bytes: u64,
    /// Frame bytes of live entries in sealed segments. A run counts in full until all of it is purged.
    pub live_bytes: u64,
    /// Bytes that wait in the write queue.
    pub queued_bytes: u64,
    /// Number of quarantined groups.
    pub quarantined_groups: u64,
    /// State of the free disk space.
    pub disk: DiskState,
    /// Bytes of the file system that this process can still use.
    pub available_bytes: u64,
    /// Bytes that the ballast files take now. The store deletes them when the disk is full.
    pub ballast_bytes: u64,
    /// Moving average of the duration of a sync. Each sync has a weight of one sixteenth.
    pub sync_time: Duration,
    /// Duration of the longest sync.
    pub longest_sync: Duration,
    /// How long the writer has been writing the current round. Zero if there is no such round. This is the only value
    /// that shows a disk that hangs, because the other times change only after a sync.
    pub writing_for: Duration,
    /// Progress of the scrub.
    pub scrub: ScrubProgress,
}

/// Progress of the scrub. The scrub verifies everything that is stored, in one pass after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Passes that ended since the store was opened.
    pub passes: u64,
    /// Bytes of sealed segments that the current pass has begun to verify.
    pub done_bytes: u64,
    /// Bytes of sealed segments that the current pass has to verify in total.
    pub total_bytes: u64,
    /// Time since the last pass ended. `None` if no pass has ended.
    pub since_pass: Option<Duration>,
}

/// The log, the vote and the state rows of one group on this node.
pub trait GroupLog: Send + Sync {
    /// Appends entries after the last one. An empty log may begin at any index above the purged one.
    ///
    /// Never blocks. The write queue is bounded only if the caller first waits for [`GroupLog::room`].
    fn append(&self, entries: Vec<Entry>, done: Completion);

    /// Largest payload in bytes that one entry may have.
    fn payload_limit(&self) -> usize;

    /// Returns `None` if the write queue has capacity. Otherwise returns a future that ends when it has. Callers
    /// await the future before the next [`GroupLog::append`].
    fn room(&self) -> Option<BoxFuture<'_, ()>>;

    /// Replaces the stored vote.
    fn save_vote(&self, vote: Vote, done: Completion);

    /// Removes every entry above `last_kept`. `None` removes all live entries. The purged id does not change.
    fn truncate_after(&self, last_kept: Option<u64>, done: Completion);

    /// Removes every entry up to and including `up_to`.
    ///
    /// `up_to` may be beyond the last entry, after a snapshot was installed. Then the log is empty and starts after
    /// `up_to`. Nothing happens if `up_to` is below the index that is already purged.
    fn purge(&self, up_to: LogId, done: Completion);

    /// Writes (`Some`) or deletes (`None`) state rows, all of them or none.
    ///
    /// Without `done` the rows are lazy: they are written with the next round and cause no sync of their own.
    fn put_state(&self, rows: Vec<(StateKey, Option<Bytes>)>, done: Option<Completion>);

    /// First and last id of the log. Includes writes that are not durable yet.
    fn log_state(&self) -> LogState;

    /// The vote. Includes a write that is not durable yet.
    fn vote(&self) -> Option<Vote>;

    /// Value of one state row. Includes writes that are not durable yet.
    ///
    /// # Errors
    /// [`Error::Quarantined`] or [`Error::Removed`]. After the end of the store the row is returned, or the error of
    /// [`LogStore::check`].
    fn state(&self, key: StateKey) -> Result<Option<Bytes>, Error>;

    /// Indexes and values of the [`StateKey::Checkpoint`] rows, in index order.
    fn checkpoints(&self) -> Vec<(u64, Bytes)>;

    /// Reads consecutive entries from `range.start` on. Stops at `range.end`, at the end of the log, or before the
    /// payloads exceed `max_bytes`. Returns at least one entry if there is one.
    ///
    /// The answer is immediate if the entries are in the cache. Disk reads run on tokio's blocking threads, so the
    /// future must be polled inside a runtime. Fails with [`Error::Purged`] if `range.start` is below the first live
    /// entry. Fails with [`Error::Damaged`] only if the first entry of the answer is damaged.
    fn read(&self, range: Range<u64>, max_bytes: usize)
    -> BoxFuture<'_, Result<Vec<Entry>, Error>>;

    /// As [`GroupLog::read`], but returns `None` unless the cache holds the whole answer.
    fn read_cached(&self, range: Range<u64>, max_bytes: usize) -> Option<Vec<Entry>>;

    /// Whether this replica is quarantined.
    fn health(&self) -> Health;

    /// Live entries that are known to be damaged. Reads of them fail with [`Error::Damaged`].
    fn damaged(&self) -> Vec<LogId>;

    /// Returns once no live entry is known to be damaged. Also returns when the group is quarantined or removed.
    fn until_repaired(&self) -> BoxFuture<'_, ()>;

    /// Repairs a damaged entry with a copy from another replica. Such a copy is the same entry, because Raft gives a
    /// term and an index to one entry only. The repair is durable when the future ends. An entry that can be read is
    /// not changed.
    ///
    /// Runs on tokio's blocking threads, so the future must be polled inside a runtime.
    ///
    /// # Errors
    /// [`Error::Damaged`] if `entry` is not the entry that was written here. [`Error::Read`] if the disk cannot be
    /// written. Otherwise the errors of [`GroupLog::read`].
    fn repair(&self, entry: Entry) -> BoxFuture<'_, Result<(), Error>>;

    /// Repairs a damaged entry without a copy, if its checksum shows that exactly one bit is wrong. Returns whether
    /// the entry can be read now. For entries of which no other replica has a copy.
    ///
    /// # Errors
    /// As [`GroupLog::repair`].
    fn repair_by_checksum(&self, id: LogId) -> BoxFuture<'_, Result<bool, Error>>;

    /// Returns this log's copy of an entry, or `None` if the log does not contain the entry. Works on a quarantined
    /// replica too: an entry whose checksum is right is the entry that was written.
    ///
    /// Runs on tokio's blocking threads, as [`GroupLog::read`].
    ///
    /// # Errors
    /// [`Error::Damaged`] if the entry cannot be read; [`Error::Removed`], [`Error::Closed`], [`Error::Read`] or
    /// [`Error::Index`].
    fn copy_of(&self, id: LogId) -> BoxFuture<'_, Result<Option<Entry>, Error>>;

    /// Quarantines the replica, as damage beyond repair does. The quarantine is durable when this returns, unless the
    /// disk is full. Waits for the disk.
    fn condemn(&self, reason: &str);

    /// State of the free disk space under this log. Cheap enough to be called for each append.
    fn disk(&self) -> DiskState;
}

/// The logs of all groups of one node.
pub trait LogStore: Send + Sync + 'static {
    /// Opens a group's log, or starts an empty one.
    ///
    /// A quarantined replica opens too, and its [`GroupLog::health`] tells that it is quarantined. Sometimes the
    /// extent of damage cannot be determined. Then *every* group id is quarantined, also ids that this store has
    /// never seen, until [`LogStore::bound_damage`] is called.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::Failed`].
    fn group(&self, id: GroupId) -> Result<Arc<dyn GroupLog>, Error>;

    /// Returns an error once the store has ended. Unlike [`LogStore::group`], it does not create a group.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::Failed`].
    fn check(&self) -> Result<(), Error>;

    /// Groups that this store has data of or has opened, in order.
    fn groups(&self) -> Vec<GroupId>;

    /// Whether the store has data of this group or has opened it. Does not create the group.
    fn holds(&self, id: GroupId) -> bool;

    /// Groups with entries that are known to be damaged, in order.
    fn damaged_groups(&self) -> Vec<GroupId>;

    /// Returns when a damaged entry was found since the last call returned.
    fn until_damaged(&self) -> BoxFuture<'_, ()>;

    /// Deletes a group's log, vote, state rows and quarantine. After this call [`LogStore::group`] returns a new,
    /// empty log.
    fn remove_group(&self, id: GroupId, done: Completion);

    /// Limits a quarantine of every group to the groups in `existing` and the groups that the store has data of.
    /// These stay quarantined until they are removed. Every other group is healthy. Does nothing if there is no
    /// quarantine of every group.
    ///
    /// `existing` must name every group of which this directory may have held a replica when the damage was found.
    ///
    /// # Errors
    /// [`Error::Failed`] if the quarantine file cannot be written. After a crash every group is then quarantined
    /// again.
    fn bound_damage(&self, existing: &BTreeSet<GroupId>) -> Result<(), Error>;

    /// Counters and sizes for monitoring.
    fn stats(&self) -> Stats;

    /// State of the free disk space.
    fn disk(&self) -> DiskState;

    /// How long the disk has made no progress with writes. `None` if that is below the limit in the settings. A full
    /// disk is not stalled. Never waits for the disk.
    fn stalled(&self) -> Option<Duration>;

    /// Whether the store has ended, or is about to end, because of damage that the next opening repairs.
    fn heals_by_restart(&self) -> bool;

    /// Identity of this data directory, drawn at random when it was created.
    fn incarnation(&self) -> Incarnation;

    /// How often this data directory was opened, this opening included. 0 if the number is unknown.
    fn starts(&self) -> u64;

    /// Writes the queued writes, makes lazy rows durable, and ends the store. Later writes and openings of groups fail
    /// with [`Error::Closed`]. A read may still get what is in memory.
    fn close(&self) -> BoxFuture<'_, ()>;
}
