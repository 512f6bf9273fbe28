use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anabranch_types::{GroupId, LogId};
use bytes::Bytes;

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

/// The writer's inbox, bounded by bytes: whatever arrives while the writer is busy becomes its next round.
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    space: Condvar,
    limit_bytes: usize,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    bytes: usize,
    /// Whether an op waits that must not wait for others.
    urgent: bool,
    writer_waits: bool,
    /// Whether the writer waits for room on the disk. Appends are refused then; what else comes is little, and
    /// must not keep its caller waiting.
    stalled: bool,
    end: Option<End>,
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
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), space: Condvar::new(), limit_bytes }
    }

    /// Blocks while the queue is full.
    pub(crate) fn wait_for_space(&self) {
        let mut state = self.lock();
        while state.bytes >= self.limit_bytes && !state.stalled && state.end.is_none() {
            state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
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
        state.urgent |= urgent || state.bytes >= self.limit_bytes;
        if state.urgent && state.writer_waits {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Everything that waits, as soon as something urgent does. `spare` becomes the next inbox.
    pub(crate) fn next(&self, spare: Vec<Op>) -> Next {
        let mut state = self.lock();
        while !state.urgent && state.end.is_none() {
            state.writer_waits = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.writer_waits = false;
        }
        let ops = std::mem::replace(&mut state.ops, spare);
        state.bytes = 0;
        state.urgent = false;
        self.space.notify_all();
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
        self.space.notify_all();
    }

    /// Ends the queue with an error, whatever ended it before.
    pub(crate) fn fail(&self, error: Error) -> Vec<Op> {
        let mut state = self.lock();
        state.end = Some(End::Failed(error));
        self.space.notify_all();
        std::mem::take(&mut state.ops)
    }

    /// The writer waits for room on the disk, or does no longer.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.lock().stalled = stalled;
        self.space.notify_all();
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
