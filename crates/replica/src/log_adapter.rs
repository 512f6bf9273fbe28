//! The log of a group in the form that openraft wants.
//!
//! - Writes go into the write queue of the log store in call order, and complete in that order. An append reports to
//!   openraft once it is synced. A vote is awaited until it is synced.
//! - Reads wait while a damaged entry is being repaired (`intact.rs`).
//! - The commit index is stored lazily. After a crash it may be older than what was committed, and it is limited to
//!   the last entry that survived.
//!
//! This never happens: an entry or a vote counts for openraft before it is on disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use anabranch_planted::{Bug, planted};
use anabranch_storage::{Entry, Error, GroupLog, StateKey, Vote};
use anabranch_types::LogId;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::stream::{self, Stream};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::convert::{log_id, raft_log_id, raft_vote, vote};
use crate::intact;
use crate::payload::Payload;
use crate::raft_types::{RaftEntry, RaftLogId, RaftVote, Stored, TypeConfig};

/// The log of a group with openraft's interface. Cheap to clone. A clone serves as a reader.
#[derive(Clone)]
pub struct LogAdapter {
    log: Arc<dyn GroupLog>,
}

/// How late [`Bug::ForgetVote`] writes a vote.
const FORGOTTEN_FOR: Duration = Duration::from_secs(5);
/// Bytes that one read for replication or for apply requests.
const READ_BYTES: usize = 4 << 20;
/// The same for a replica that is far behind. It is small, so that neither the message nor the round of the log that
/// carries these entries makes a live write wait.
const CATCH_UP_READ_BYTES: usize = 256 << 10;
/// A read that begins more than this many entries before the end of the log is for a replica that is far behind.
pub(crate) const CATCH_UP_ENTRIES: u64 = 1024;

/// Whether a read of the entries from `first` on is for a replica that is far behind.
pub(crate) fn is_catch_up(log: &dyn GroupLog, first: u64) -> bool {
    let last = log.log_state().last.map_or(0, |last| last.index);
    first + CATCH_UP_ENTRIES < last
}

impl LogAdapter {
    /// Wraps the log of one group.
    pub fn new(log: Arc<dyn GroupLog>) -> Self {
        Self { log }
    }

    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<RaftEntry>> {
        let from = from.max(self.log.log_state().purged.map_or(0, |purged| purged.index + 1));
        if from >= to {
            return Ok(Vec::new());
        }
        let read = intact::read(&*self.log, from..to, max_bytes, intact::GROUP_PATIENCE).await;
        let entries = read.map_err(into_io)?;
        entries.into_iter().map(raft_entry).collect()
    }
}

impl LogAdapter {
    /// For [`Bug::ForgetVote`]: writes a vote long after the answer.
    fn save_vote_later(&self, vote: Vote) {
        let log = Arc::clone(&self.log);
        tokio::spawn(async move {
            tokio::time::sleep(FORGOTTEN_FOR).await;
            let is_newer =
                |saved: Vote| (saved.term, saved.committed) < (vote.term, vote.committed);
            if log.vote().is_none_or(is_newer) {
                log.save_vote(vote, Box::new(warn_of_failure));
            }
        });
    }
}

pub(crate) fn into_io(error: Error) -> io::Error {
    io::Error::other(error)
}

fn raft_entry(entry: Entry) -> io::Result<RaftEntry> {
    let id = raft_log_id(entry.log_id);
    let payload = match Payload::decode(entry.payload.clone()).map_err(io::Error::other)? {
        Payload::Blank => EntryPayload::Blank,
        Payload::Membership(membership) => EntryPayload::Membership(membership),
        Payload::Command(_) | Payload::Checkpoint | Payload::Trim { .. } => {
            EntryPayload::Normal(Stored(entry.payload))
        }
    };
    Ok(RaftEntry { log_id: id, payload })
}

/// The stored form of an entry. The bytes of a proposal are passed on unchanged.
pub(crate) fn stored_entry(entry: RaftEntry) -> Entry {
    let log_id = log_id(&entry.log_id());
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank.encode(),
        EntryPayload::Normal(stored) => stored.0,
        EntryPayload::Membership(membership) => Payload::Membership(membership).encode(),
    };
    Entry { log_id, payload }
}

/// Converts a stored or received entry to openraft's form.
pub(crate) fn entry_from(log_id: LogId, payload: Bytes) -> io::Result<RaftEntry> {
    raft_entry(Entry { log_id, payload })
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogAdapter {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let (mut from, to) = bounds(&range);
        let mut entries = Vec::new();
        loop {
            let more = self.read(from, to, READ_BYTES).await?;
            let Some(last) = more.last() else { return Ok(entries) };
            from = last.index() + 1;
            entries.extend(more);
        }
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let is_catch_up = is_catch_up(self.log.as_ref(), start);
        let max_bytes = if is_catch_up { CATCH_UP_READ_BYTES } else { READ_BYTES };
        self.read(start, end, max_bytes).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let reader = self.clone();
        let chunks = stream::try_unfold(from, move |from| {
            let reader = reader.clone();
            async move {
                let entries = reader.read(from, to, READ_BYTES).await?;
                let next = entries.last().map(|last| last.index() + 1);
                Ok::<_, io::Error>(
                    next.map(|next| (stream::iter(entries.into_iter().map(Ok)), next)),
                )
            }
        });
        Box::pin(futures::TryStreamExt::try_flatten(chunks))
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.log.vote().map(raft_vote))
    }
}

impl RaftLogStorage<TypeConfig> for LogAdapter {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.log.log_state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(raft_log_id),
            last_log_id: state.last.map(raft_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, raft_vote: &RaftVote) -> Result<(), io::Error> {
        // Wait for the sync. Otherwise this replica could forget its vote in a crash and vote again in the same
        // term.
        if planted(Bug::ForgetVote) {
            self.save_vote_later(vote(raft_vote));
            return Ok(());
        }
        let (done, saved) = oneshot::channel();
        self.log.save_vote(vote(raft_vote), Box::new(move |result| drop(done.send(result))));
        let result = saved.await.map_err(|_| io::Error::other("the log store is gone"))?;
        result.map_err(into_io)
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        let row = committed.map(|id| {
            let id = log_id(&id);
            let mut row = BytesMut::with_capacity(16);
            row.put_u64_le(id.term);
            row.put_u64_le(id.index);
            row.freeze()
        });
        self.log.put_state(vec![(StateKey::Committed, row)], None);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        let row = self.log.state(StateKey::Committed).map_err(into_io)?;
        let Some(mut row) = row.filter(|row| row.len() == 16) else { return Ok(None) };
        let id = LogId { term: row.get_u64_le(), index: row.get_u64_le() };
        // The row is written lazily. After a crash of the machine it may name a newer entry than the last one on
        // disk.
        let last = self.log.log_state().last;
        Ok(last.map(|last| id.min(last)).map(raft_log_id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(stored_entry).collect();
        let done = move |result: Result<(), Error>| callback.io_completed(result.map_err(into_io));
        // The write queue is bounded only if its callers wait here. Meanwhile openraft takes no further proposals.
        if let Some(room) = self.log.room() {
            room.await;
        }
        self.log.append(entries, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        // Later appends complete after the truncation, because the log store works in call order. So openraft need
        // not wait.
        self.log.truncate_after(last.map(|id| id.index()), Box::new(warn_of_failure));
        Ok(())
    }

    async fn purge(&mut self, up_to: RaftLogId) -> Result<(), io::Error> {
        self.log.purge(log_id(&up_to), Box::new(warn_of_failure));
        Ok(())
    }
}

fn warn_of_failure(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::error!(%error, "log write failed");
    }
}
