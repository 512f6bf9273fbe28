//! The life of a stream: created, changed, described, deleted.
//!
//! The service responds to a resharding when it begins. Until a response says that the stream is ACTIVE, the number
//! of open shards may be the old or the new one. So the state has all numbers that are possible.

use std::collections::{BTreeMap, BTreeSet};

use super::Model;
use super::search::Timed;
use crate::history::{Answer, Call, Operation, Outcome, Status, StreamName, StreamStatus};
use crate::run::Run;

/// The error of a call about a stream that is not there.
const NOT_FOUND: &str = "ResourceNotFound";

/// The model.
pub(crate) struct Stream {
    /// Whether the history has the call that creates the stream.
    is_created: bool,
}

/// A call about a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamCall {
    Create {
        shards: u32,
        hours: u64,
    },
    Delete,
    /// A split adds an open shard.
    Split,
    /// A merge takes one away.
    Merge,
    /// A change to a number of shards. It may take several steps.
    Scale,
    Retention {
        hours: u64,
    },
    Saw {
        status: Status,
        open: u32,
        hours: u64,
    },
    SawNothing,
}

/// The state of a stream.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Absent,
    Deleting,
    /// The stream is older than the history, and nothing was seen of it yet.
    Unseen,
    Live(Live),
}

/// A stream that is there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Live {
    /// Whether the stream may still be CREATING.
    is_new: bool,
    /// All numbers of open shards that are possible. `None` means any.
    open: Option<BTreeSet<u32>>,
    hours: u64,
}

impl Model for Stream {
    type State = State;
    type Call = StreamCall;

    fn start(&self) -> State {
        if self.is_created { State::Absent } else { State::Unseen }
    }

    fn step(&self, state: &State, call: &StreamCall) -> Option<State> {
        match (state, *call) {
            (State::Absent | State::Deleting, StreamCall::Create { shards, hours }) => {
                let open = Some(BTreeSet::from([shards]));
                Some(State::Live(Live { is_new: true, open, hours }))
            }
            (State::Absent | State::Deleting, StreamCall::SawNothing) => Some(State::Absent),
            (State::Deleting, StreamCall::Saw { status: Status::Deleting, .. }) => {
                Some(State::Deleting)
            }
            (State::Absent | State::Deleting, _) => None,
            (_, StreamCall::Create { .. } | StreamCall::SawNothing) => None,
            (State::Unseen | State::Live(_), StreamCall::Delete) => Some(State::Deleting),
            (State::Unseen, StreamCall::Saw { status, open, hours }) => {
                let is_new = status == Status::Creating;
                let open = (status == Status::Active).then(|| BTreeSet::from([open]));
                Some(State::Live(Live { is_new, open, hours }))
            }
            (State::Unseen, _) => Some(State::Unseen),
            (State::Live(live), call) => live.step(call).map(State::Live),
        }
    }

    fn is_observation(&self, call: &StreamCall) -> bool {
        matches!(call, StreamCall::Saw { .. } | StreamCall::SawNothing)
    }
}

impl Live {
    fn step(&self, call: StreamCall) -> Option<Self> {
        let mut next = self.clone();
        match call {
            StreamCall::Split => next.reshard(1),
            StreamCall::Merge => next.reshard(-1),
            StreamCall::Scale => next.open = None,
            StreamCall::Retention { hours } => next.hours = hours,
            StreamCall::Saw { status, open, hours } => return next.see(status, open, hours),
            StreamCall::Create { .. } | StreamCall::Delete | StreamCall::SawNothing => return None,
        }
        Some(next)
    }

    /// Adds the numbers that are possible when the resharding is done. It may also be given up.
    fn reshard(&mut self, change: i32) {
        if let Some(open) = &mut self.open {
            let after: Vec<u32> =
                open.iter().filter_map(|count| count.checked_add_signed(change)).collect();
            open.extend(after);
        }
    }

    fn see(mut self, status: Status, count: u32, hours: u64) -> Option<Self> {
        let is_possible = self.open.as_ref().is_none_or(|open| open.contains(&count));
        let fits = hours == self.hours && is_possible;
        match status {
            Status::Creating => (self.is_new && hours == self.hours).then_some(self),
            Status::Deleting => None,
            Status::Updating => fits.then_some(self),
            Status::Active => {
                self.is_new = false;
                self.open = Some(BTreeSet::from([count]));
                fits.then_some(self)
            }
        }
    }
}

type Streams<'a> = BTreeMap<&'a StreamName, (Stream, Vec<Timed<StreamCall>>)>;

/// The calls about each stream that was described at least once.
pub(super) fn streams<'a>(run: &Run<'a>) -> Streams<'a> {
    let mut streams = Streams::new();
    for operation in &run.operations {
        let Some((name, call)) = call_of(operation, run.header.default_retention_hours) else {
            continue;
        };
        let end = match operation.outcome {
            Outcome::Ok { index, .. } => Some(index),
            Outcome::Failed { index, .. } if matches!(call, StreamCall::SawNothing) => Some(index),
            Outcome::Failed { .. } => continue,
            Outcome::Unknown => None,
        };
        let (model, calls) =
            streams.entry(name).or_insert_with(|| (Stream { is_created: false }, Vec::new()));
        model.is_created |= matches!(call, StreamCall::Create { .. });
        calls.push(Timed { begin: operation.index, end, call });
    }
    let is_seen = |call: &Timed<StreamCall>| {
        matches!(call.call, StreamCall::Saw { .. } | StreamCall::SawNothing)
    };
    streams.retain(|_, (_, calls)| calls.iter().any(is_seen));
    streams
}

fn call_of<'a>(operation: &Operation<'a>, default: u64) -> Option<(&'a StreamName, StreamCall)> {
    Some(match operation.call {
        Call::Create(call) => {
            let hours = call.retention_hours.unwrap_or(default);
            (&call.stream, StreamCall::Create { shards: call.shards, hours })
        }
        Call::Delete(call) => (&call.stream, StreamCall::Delete),
        Call::Split(call) => (&call.stream, StreamCall::Split),
        Call::Merge(call) => (&call.stream, StreamCall::Merge),
        Call::Scale(call) => (&call.stream, StreamCall::Scale),
        Call::Retention(call) => (&call.stream, StreamCall::Retention { hours: call.hours }),
        Call::Describe(call) => (&call.stream, seen(operation)?),
        _ => return None,
    })
}

fn seen(operation: &Operation<'_>) -> Option<StreamCall> {
    match operation.outcome {
        Outcome::Ok { answer: Answer::Describe(answer), .. } => {
            let StreamStatus { status, open_shards: open, retention_hours: hours } = *answer;
            Some(StreamCall::Saw { status, open, hours })
        }
        Outcome::Failed { error, .. } if error.contains(NOT_FOUND) => Some(StreamCall::SawNothing),
        Outcome::Ok { .. } | Outcome::Failed { .. } | Outcome::Unknown => None,
    }
}
