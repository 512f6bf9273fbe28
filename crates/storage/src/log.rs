//! The log store as its users see it: [`LogStore`] holds the logs of all groups of a node,
//! [`GroupLog`] is one group's.
//!
//! What always holds, for every implementation:
//! - All writes of one group take effect, become durable and complete in the order of the calls.
//! - A write is visible to reads when its call returns, and durable when its [`Completion`] is called with `Ok`.
//! - What a completion reported is there after any crash, or the replica is [`Health::Quarantined`].
//! - A write that was never reported may survive a crash or not, an append also in part, but never out of order.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use anabranch_types::{GroupId, Incarnation, LogId, ReplicaId};
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{DiskState, Error, StateKey};

/// One item of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Term and index.
    pub log_id: LogId,
    /// Opaque to the store; written and read back as the same bytes.
    pub payload: Bytes,
}

/// A Raft vote of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// Term that was voted in.
    pub term: u64,
    /// Who the vote went to.
    pub replica: ReplicaId,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// Called once, after the sync that covers the write, or with the reason why there was none.
///
/// Runs on the store's writer thread: it must be short and must not call the store. An `Err` other than
/// [`Error::Failed`] and [`Error::Closed`] is a refusal (the write did not happen); those two leave the outcome unknown.
/// A crash of the simulated store drops completions uncalled, as a crash of the process does.
pub type Completion = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Where a group's log begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The last entry; equals `purged` if the log is empty.
    pub last: Option<LogId>,
}

/// Whether a replica's log can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing wrong is known.
    Healthy,
    /// Damage was found that may have cost acknowledged entries. The verdict survives restarts;
    /// only [`LogStore::remove_group`] ends it.
    Quarantined {
        /// File, offset, what was expected there and what was found.
        reason: String,
    },
}

/// Counters and sizes of a log store, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of entry payloads that were written, copies not counted.
    pub payload_bytes: u64,
    /// Bytes of frames that were written, copies included.
    pub written_bytes: u64,
    /// The same in whole blocks as the device sees them, with the zeroes that prepare fresh segments.
    pub device_bytes: u64,
    /// Rounds written.
    pub rounds: u64,
    /// Calls of fdatasync on segment files by the writer.
    pub syncs: u64,
    /// Microseconds that it took to write and sync those rounds, together.
    pub sync_micros: u64,
    /// Segments that hold live entries, the active one included.
    pub segments_live: u64,
    /// Segments that stand ready to be written.
    pub segments_free: u64,
    /// Segments that were emptied and reused or deleted.
    pub segments_reclaimed: u64,
    /// Bytes of entries copied forward out of old segments.
    pub copied_forward_bytes: u64,
    /// Bytes in the cache of newest entries.
    pub cache_bytes: u64,
    /// Frame bytes of entries in sealed segments that are not purged (whole runs are counted).
    pub live_bytes: u64,
    /// Bytes that wait in the write queue.
    pub queued_bytes: u64,
    /// Groups in quarantine.
    pub quarantined_groups: u64,
    /// How much room there is.
    pub disk: DiskState,
    /// Bytes that the file system has free for this process.
    pub available_bytes: u64,
    /// Bytes of the ballast, which is given back when the disk is full.
    pub ballast_bytes: u64,
    /// How long a sync takes: the average, of which each one makes a sixteenth.
    pub sync_time: Duration,
    /// How long the longest sync took.
    pub longest_sync: Duration,
    /// For how long the round has been written that is being written now; zero if none is. A disk that hangs shows
    /// here only.
    pub writing_for: Duration,
    /// How far the scrub is.
    pub scrub: ScrubProgress,
}

/// How far the scrub is: it verifies everything that is stored, again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Passes that ended since the store was opened.
    pub passes: u64,
    /// Bytes of sealed segments that this pass has verified.
    pub done_bytes: u64,
    /// Bytes of sealed segments that this pass verifies in all.
    pub total_bytes: u64,
    /// How long ago the last pass ended, if one did.
    pub since_pass: Option<Duration>,
}

/// One group's log, vote and state rows on this node.
pub trait GroupLog: Send + Sync {
    /// Adds entries behind the last one. An empty log may begin at any index above the purged one.
    ///
    /// Never blocks. What waits to be written is bounded only if the caller waits for [`GroupLog::room`] first.
    fn append(&self, entries: Vec<Entry>, done: Completion);

    /// The largest payload that the log takes.
    fn payload_limit(&self) -> usize;

    /// Something to wait for before the next [`GroupLog::append`], if the write queue is full.
    fn room(&self) -> Option<BoxFuture<'_, ()>>;

    /// Replaces the vote.
    fn save_vote(&self, vote: Vote, done: Completion);

    /// Removes every entry above `last_kept`; `None` removes all live entries. The purged id stays.
    fn truncate_after(&self, last_kept: Option<u64>, done: Completion);

    /// Removes every entry up to `up_to`, inclusive.
    ///
    /// If `up_to` is beyond the last entry (a snapshot was installed) the log is then empty and starts after it.
    /// Nothing happens if it is below what is purged already.
    fn purge(&self, up_to: LogId, done: Completion);

    /// Writes (`Some`) or deletes (`None`) state rows, all or none of them.
    ///
    /// Without `done` the rows are lazy: they ride with the next round and force no sync of their own.
    fn put_state(&self, rows: Vec<(StateKey, Option<Bytes>)>, done: Option<Completion>);

    /// Where the log begins and ends, writes in flight included.
    fn log_state(&self) -> LogState;

    /// The vote, writes in flight included.
    fn vote(&self) -> Option<Vote>;

    /// One state row, writes in flight included.
    ///
    /// # Errors
    /// [`Error::Quarantined`], [`Error::Removed`] or [`Error::Closed`].
    fn state(&self, key: StateKey) -> Result<Option<Bytes>, Error>;

    /// The [`StateKey::Checkpoint`] rows in index order.
    fn checkpoints(&self) -> Vec<(u64, Bytes)>;

    /// Entries from `range.start` on, without gaps, until `range.end`, the end of the log, or before the payloads
    /// exceed `max_bytes`; at least one entry if there is any.
    ///
    /// Entries in the cache are answered at once. Disk reads run on tokio's blocking threads, so the future must be
    /// polled inside a runtime. Fails with [`Error::Purged`] if `range.start` lies before the first live entry.
    fn read(&self, range: Range<u64>, max_bytes: usize)
    -> BoxFuture<'_, Result<Vec<Entry>, Error>>;

    /// As [`GroupLog::read`], but `None` unless all of the answer is in the cache.
    fn read_cached(&self, range: Range<u64>, max_bytes: usize) -> Option<Vec<Entry>>;

    /// Whether this replica may have lost something.
    fn health(&self) -> Health;

    /// Live entries that are known to be damaged: reads of them fail with [`Error::Damaged`].
    fn damaged(&self) -> Vec<LogId>;

    /// Returns once no live entry is known to be damaged, or the group has a verdict or is removed.
    fn until_mended(&self) -> BoxFuture<'_, ()>;

    /// Puts a damaged entry right, from a copy that another replica has of it: Raft gives a term and an index to one entry
    /// only. Durable when the future ends. Does nothing to an entry that can be read.
    ///
    /// Runs on tokio's blocking threads, so the future must be polled inside a runtime.
    ///
    /// # Errors
    /// [`Error::Damaged`] if `entry` isn't the one that was written here; what [`GroupLog::read`] fails with; [`Error::Read`]
    /// if the disk takes no write.
    fn mend(&self, entry: Entry) -> BoxFuture<'_, Result<(), Error>>;

    /// Puts a damaged entry right by its checksum alone, if one bit of it is wrong; says whether it was. For an entry of which
    /// nobody else has a copy.
    ///
    /// # Errors
    /// As [`GroupLog::mend`].
    fn mend_by_checksum(&self, id: LogId) -> BoxFuture<'_, Result<bool, Error>>;

    /// The entry as this log has it; `None` if it isn't in it. Also of a replica with a verdict: what can be read is what was
    /// written.
    ///
    /// Runs on tokio's blocking threads, as [`GroupLog::read`].
    ///
    /// # Errors
    /// [`Error::Damaged`] if it can't be read; [`Error::Removed`], [`Error::Closed`], [`Error::Read`] or [`Error::Index`].
    fn copy_of(&self, id: LogId) -> BoxFuture<'_, Result<Option<Entry>, Error>>;

    /// Gives the replica up, durably, as damage that can't be mended does. Waits for the disk.
    fn condemn(&self, reason: &str);

    /// How much room the disk under it has. Cheap enough to be asked for each append.
    fn disk(&self) -> DiskState;
}

/// The logs of all groups of one node.
pub trait LogStore: Send + Sync + 'static {
    /// Opens a group's log, or starts an empty one.
    ///
    /// A quarantined replica opens too; its [`GroupLog::health`] says so. After damage whose extent cannot be proven
    /// *every* group id is quarantined, also one that this store has not seen, until [`LogStore::bound_damage`].
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::Failed`].
    fn group(&self, id: GroupId) -> Result<Arc<dyn GroupLog>, Error>;

    /// Whether the store goes on. Makes nothing, as [`LogStore::group`] does of a group that it hasn't seen.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::Failed`], once it has ended.
    fn check(&self) -> Result<(), Error>;

    /// The groups that this store holds anything of, or has open, in order.
    fn groups(&self) -> Vec<GroupId>;

    /// Whether it holds anything of a group, or has it open. Makes nothing.
    fn holds(&self, id: GroupId) -> bool;

    /// The groups that have entries which are known to be damaged, in order.
    fn damaged_groups(&self) -> Vec<GroupId>;

    /// Returns when damage of an entry was found since the last call returned.
    fn until_damaged(&self) -> BoxFuture<'_, ()>;

    /// Forgets a group's log, vote, state and quarantine. From the call on, [`LogStore::group`] gives a fresh log.
    fn remove_group(&self, id: GroupId, done: Completion);

    /// Ends a verdict about every group: the groups in `existing`, and those that the store holds anything of, keep it
    /// until they are removed; every other group is healthy. Does nothing without such a verdict.
    ///
    /// `existing` must name every group of which this directory may have held a replica when the damage was found.
    ///
    /// # Errors
    /// [`Error::Failed`] if the verdicts cannot be stored; after a crash the verdict is about every group again.
    fn bound_damage(&self, existing: &BTreeSet<GroupId>) -> Result<(), Error>;

    /// Counters and sizes.
    fn stats(&self) -> Stats;

    /// How much room the disk has.
    fn disk(&self) -> DiskState;

    /// For how long the disk has made no progress with what is to be written, once that is longer than the settings
    /// allow. A disk without room isn't stalled. Never waits for the disk.
    fn stalled(&self) -> Option<Duration>;

    /// Whether the store has ended, or is about to, for damage that the next opening repairs.
    fn heals_by_restart(&self) -> bool;

    /// The life of this data directory.
    fn incarnation(&self) -> Incarnation;

    /// How often this data directory was opened, this time included; 0 if that isn't known.
    fn starts(&self) -> u64;

    /// Writes what is queued, makes lazy rows durable, and ends the store. Later calls fail with [`Error::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
