use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anabranch_metrics::Histogram;
use anabranch_types::{GroupId, LogId};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::{Completion, Entry, Error, StateKey, Vote, group::Group};

/// A write on its way to the writer.
pub(crate) struct Op {
    pub(crate) work: Work,
    pub(crate) done: Option<Completion>,
}

/// What a write does. Variants with a [`Group`] keep it alive until the write has reached the disk.
pub(crate) enum Work {
    Append {
        group: Arc<Group>,
        entries: Vec<Entry>,
        ticket: u64,
    },
    Vote {
        group: Arc<Group>,
        vote: Vote,
    },
    Truncate {
        group: Arc<Group>,
        from: u64,
    },
    Purge {
        group: Arc<Group>,
        up_to: LogId,
    },
    State {
        group: Arc<Group>,
        rows: Vec<(StateKey, Option<Bytes>)>,
        encoded: Vec<u8>,
    },
    Remove {
        group: GroupId,
    },
    /// Entries copied forward out of segment `from`.
    Move {
        group: Arc<Group>,
        from: u64,
        entries: Vec<Entry>,
    },
    /// Nothing is written; the index is brought up to here.
    Checkpoint,
    /// Nothing is written; the completion gets this, in its turn.
    Refused(Error),
}

impl Work {
    /// Whether it puts frames into the log.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self, Self::Checkpoint | Self::Refused(_))
    }
}

/// The writer's inbox: whatever arrives while the writer is busy becomes its next round.
///
/// `push` never waits, because it is called on threads of the runtime. The bytes stay bounded because callers that bring
/// records wait for room first: [`Queue::room`] without blocking, [`Queue::wait_for_space`] on a thread of their own.
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    space: Condvar,
    room: Notify,
    limit_bytes: usize,
    /// How long the oldest urgent write of each round waited.
    wait: Histogram,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    bytes: usize,
    /// Since when an op waits that must not wait for others; `None` if none does.
    urgent_since: Option<Instant>,
    writer_waits: bool,
    /// Whether the writer waits for room on the disk. Appends are refused then; what else comes is little, and
    /// must not keep its caller waiting.
    stalled: bool,
    /// Since when the writer has been at work on what it took last; `None` while it waits for work.
    busy_since: Option<Instant>,
    end: Option<End>,
}

impl State {
    fn is_full(&self, limit_bytes: usize) -> bool {
        self.bytes >= limit_bytes && !self.stalled && self.end.is_none()
    }
}

/// How the queue ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// What is queued is still written.
    Drain,
    /// What is queued is dropped, as by a crash.
    Abort,
    /// What is queued fails with this.
    Failed(Error),
}

/// What the writer has to do next.
pub(crate) enum Next {
    Round(Vec<Op>),
    End(End, Vec<Op>),
}

impl Queue {
    pub(crate) fn new(limit_bytes: usize, wait: Histogram) -> Self {
        let (state, work, space) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self { state, work, space, room: Notify::new(), limit_bytes, wait }
    }

    /// Blocks while the queue is full.
    pub(crate) fn wait_for_space(&self) {
        let mut state = self.lock();
        while state.is_full(self.limit_bytes) {
            state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().is_full(self.limit_bytes)
    }

    /// Returns once the queue isn't full.
    pub(crate) async fn room(&self) {
        loop {
            let mut changed = std::pin::pin!(self.room.notified());
            // From here on a change is noticed, so none is missed between the look and the wait.
            changed.as_mut().enable();
            if !self.is_full() {
                return;
            }
            changed.await;
        }
    }

    /// For how long the writer has been at work without coming to an end, other than for want of room on the disk.
    pub(crate) fn busy_for(&self) -> Duration {
        let state = self.lock();
        let since = state.busy_since.filter(|_| !state.stalled && state.end.is_none());
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// More may come now, or nothing ever will.
    fn announce_space(&self) {
        self.space.notify_all();
        self.room.notify_waiters();
    }

    /// Adds a write. A write without urgency wakes nobody: it rides with the next round.
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

    /// Everything that waits, as soon as something urgent does. `spare` becomes the next inbox.
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
        self.announce_space();
        match &state.end {
            Some(end) => Next::End(end.clone(), ops),
            None => Next::Round(ops),
        }
    }

    /// Ends the queue; the first end given counts.
    pub(crate) fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        self.work.notify_all();
        self.announce_space();
    }

    /// Ends the queue with an error, whatever ended it before.
    pub(crate) fn fail(&self, error: Error) -> Vec<Op> {
        let mut state = self.lock();
        state.end = Some(End::Failed(error));
        self.work.notify_all();
        self.announce_space();
        std::mem::take(&mut state.ops)
    }

    /// The writer waits for room on the disk, or does no longer.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        let mut state = self.lock();
        state.stalled = stalled;
        // What was spent waiting for room isn't the disk's fault.
        state.busy_since = Some(Instant::now());
        drop(state);
        self.announce_space();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The reason why nothing is taken any more.
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
