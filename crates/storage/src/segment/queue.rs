//! The write queue: callers push writes, and the writer takes all of them at once as its next round (group commit).
//!
//! `push` never waits, because callers run on threads of the runtime. The queue stays bounded because callers that
//! bring records first wait for capacity: [`Queue::until_capacity`] without blocking, [`Queue::wait_for_capacity`] on
//! a thread of its own. Lazy writes wake nobody. They wait for the next urgent write.
//!
//! The queue also measures how long the writer has been busy, and it decides how the store ends ([`End`]).

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anabranch_metrics::Histogram;
use anabranch_types::{GroupId, LogId};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::{Completion, Entry, Error, StateKey, Vote, group::OpenGroup};

/// A write on its way to the writer.
pub(crate) struct Op {
    pub(crate) work: Work,
    pub(crate) done: Option<Completion>,
}

/// Effect of a write. Variants with a [`OpenGroup`] keep the group alive until the write is on the disk.
pub(crate) enum Work {
    Append {
        group: Arc<OpenGroup>,
        entries: Vec<Entry>,
        ticket: u64,
    },
    Vote {
        group: Arc<OpenGroup>,
        vote: Vote,
    },
    Truncate {
        group: Arc<OpenGroup>,
        from: u64,
    },
    Purge {
        group: Arc<OpenGroup>,
        up_to: LogId,
    },
    State {
        group: Arc<OpenGroup>,
        rows: Vec<(StateKey, Option<Bytes>)>,
        encoded: Vec<u8>,
    },
    Remove {
        group: GroupId,
    },
    /// Entries that were copied forward from segment `from`.
    Move {
        group: Arc<OpenGroup>,
        from: u64,
        entries: Vec<Entry>,
    },
    /// Brings the index up to this point. Writes no frames.
    Checkpoint,
    /// A refused write. Its completion gets the error in the order of the queue. Writes no frames.
    Refused(Error),
}

impl Work {
    /// Whether this work writes frames to the log.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self, Self::Checkpoint | Self::Refused(_))
    }
}

/// The inbox of the writer. Everything that arrives while the writer is busy becomes its next round.
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    capacity: Condvar,
    capacity_changed: Notify,
    limit_bytes: usize,
    /// Time that the oldest urgent write of each round waited.
    wait: Histogram,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    bytes: usize,
    /// When the oldest urgent op arrived. `None` if no op in the queue is urgent.
    urgent_since: Option<Instant>,
    writer_waits: bool,
    /// Whether the writer waits for disk space. Appends are refused then. Other writes are small, and their callers
    /// must not wait.
    waits_for_disk_space: bool,
    /// Since when the writer has been busy with the ops that it took last. `None` while it waits for work.
    busy_since: Option<Instant>,
    end: Option<End>,
}

impl State {
    fn is_full(&self, limit_bytes: usize) -> bool {
        self.bytes >= limit_bytes && !self.waits_for_disk_space && self.end.is_none()
    }
}

/// How the queue ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Queued writes are still written.
    Drain,
    /// Queued writes are dropped, as in a crash.
    Abort,
    /// Queued writes fail with this error.
    Failed(Error),
}

/// The next work of the writer.
pub(crate) enum Next {
    Round(Vec<Op>),
    End(End, Vec<Op>),
}

impl Queue {
    pub(crate) fn new(limit_bytes: usize, wait: Histogram) -> Self {
        let (state, work, capacity) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self { state, work, capacity, capacity_changed: Notify::new(), limit_bytes, wait }
    }

    /// Blocks the thread while the queue is full.
    pub(crate) fn wait_for_capacity(&self) {
        let mut state = self.lock();
        while state.is_full(self.limit_bytes) {
            state = self.capacity.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().is_full(self.limit_bytes)
    }

    /// Returns once the queue is not full.
    pub(crate) async fn until_capacity(&self) {
        loop {
            let mut changed = std::pin::pin!(self.capacity_changed.notified());
            // `enable` registers for notifications before the check, so a change between the check and the wait is
            // not missed.
            changed.as_mut().enable();
            if !self.is_full() {
                return;
            }
            changed.await;
        }
    }

    /// How long the writer has been busy with one round. Zero while it waits for disk space.
    pub(crate) fn busy_for(&self) -> Duration {
        let state = self.lock();
        let since = state.busy_since.filter(|_| !state.waits_for_disk_space && state.end.is_none());
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Wakes the callers that wait for capacity: the queue has capacity, or it has ended.
    fn announce_capacity(&self) {
        self.capacity.notify_all();
        self.capacity_changed.notify_waiters();
    }

    /// Adds a write. A write that is not urgent does not wake the writer. It is written with the next round.
    pub(crate) fn push(&self, op: Op, bytes: usize, urgent: bool) -> Result<(), (Op, Error)> {
        let mut state = self.lock();
        match &state.end {
            None => {}
            Some(End::Failed(error)) => return Err((op, error.clone())),
            Some(End::Drain | End::Abort) => return Err((op, Error::Closed)),
        }
        state.ops.push(op);
        state.bytes += bytes;
        if state.urgent_since.is_none() && (urgent || state.bytes >= self.limit_bytes) {
            state.urgent_since = Some(Instant::now());
        }
        if state.urgent_since.is_some() && state.writer_waits {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Returns all queued writes as soon as an urgent one arrives. `spare` becomes the next inbox.
    pub(crate) fn next(&self, spare: Vec<Op>) -> Next {
        let mut state = self.lock();
        state.busy_since = None;
        while state.urgent_since.is_none() && state.end.is_none() {
            state.writer_waits = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.writer_waits = false;
        }
        let ops = std::mem::replace(&mut state.ops, spare);
        state.bytes = 0;
        let now = Instant::now();
        if let Some(since) = state.urgent_since.take() {
            self.wait.observe_duration(now - since);
        }
        state.busy_since = Some(now);
        self.announce_capacity();
        match &state.end {
            Some(end) => Next::End(end.clone(), ops),
            None => Next::Round(ops),
        }
    }

    /// Ends the queue. Only the first call has an effect.
    pub(crate) fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        self.work.notify_all();
        self.announce_capacity();
    }

    /// Ends the queue with an error, even if it has ended before. Returns the queued writes.
    pub(crate) fn fail(&self, error: Error) -> Vec<Op> {
        let mut state = self.lock();
        state.end = Some(End::Failed(error));
        self.work.notify_all();
        self.announce_capacity();
        std::mem::take(&mut state.ops)
    }

    /// Called when the writer begins or stops to wait for disk space.
    pub(crate) fn set_waits_for_disk_space(&self, waits: bool) {
        let mut state = self.lock();
        state.waits_for_disk_space = waits;
        // The time that was spent waiting for space does not count as a hanging disk.
        state.busy_since = Some(Instant::now());
        drop(state);
        self.announce_capacity();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The error of every new write, once the queue has ended.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match &self.lock().end {
            None => None,
            Some(End::Failed(error)) => Some(error.clone()),
            Some(End::Drain | End::Abort) => Some(Error::Closed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
