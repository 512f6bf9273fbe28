//! Pairs each call with its outcome.

use std::collections::HashMap;

use super::calls::{Answer, Call, Function};
use super::event::{Event, Kind};
use super::numbers::Nanos;

/// A call and its outcome.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// The index of the invocation.
    pub index: u64,
    /// The process.
    pub process: u64,
    /// The node that took the call.
    pub gateway: Option<u64>,
    /// The time of the invocation.
    pub invoked: Nanos,
    /// The call.
    pub call: &'a Call,
    /// How it ended.
    pub outcome: Outcome<'a>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The call succeeded.
    Ok {
        /// The index of the event.
        index: u64,
        /// The time of the event.
        at: Nanos,
        /// The result.
        answer: &'a Answer,
    },
    /// The call failed and certainly has no effect.
    Failed {
        /// The index of the event.
        index: u64,
        /// The time of the event.
        at: Nanos,
        /// The error.
        error: &'a str,
    },
    /// The call may have an effect, now or later. The history may lack an event for its end.
    Unknown,
}

/// Why events are not a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The index is not above that of the event before.
    #[error("event {0}: the index is not above that of the event before")]
    Index(u64),
    /// The time is before that of the event before.
    #[error("event {0}: the time is before that of the event before")]
    Time(u64),
    /// The process begins a call while its last call is open.
    #[error("event {index}: process {process} begins a call while its last call is open")]
    Busy {
        /// The index of the event.
        index: u64,
        /// The process.
        process: u64,
    },
    /// The outcome does not belong to an open call of the process.
    #[error("event {index}: process {process} has no open call {function:?}")]
    NotOpen {
        /// The index of the event.
        index: u64,
        /// The process.
        process: u64,
        /// The call that the outcome names.
        function: Function,
    },
}

/// Checks that the events are a history.
pub(super) fn check(events: &[Event]) -> Result<(), Malformed> {
    let mut open: HashMap<u64, Function> = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        if let Some(before) = place.checked_sub(1).and_then(|before| events.get(before)) {
            check_order(before, event)?;
        }
        check_process(&mut open, event)?;
    }
    Ok(())
}

fn check_order(before: &Event, event: &Event) -> Result<(), Malformed> {
    if event.index <= before.index {
        return Err(Malformed::Index(event.index));
    }
    if event.time < before.time {
        return Err(Malformed::Time(event.index));
    }
    Ok(())
}

fn check_process(open: &mut HashMap<u64, Function>, event: &Event) -> Result<(), Malformed> {
    let index = event.index;
    let (process, function) = match &event.kind {
        Kind::Invoke { process, call, .. } => {
            let busy = open.insert(*process, call.function()).is_some();
            let process = *process;
            return if busy { Err(Malformed::Busy { index, process }) } else { Ok(()) };
        }
        Kind::Ok { process, answer, .. } => (*process, answer.function()),
        Kind::Fail { process, function, .. } | Kind::Info { process, function, .. } => {
            (*process, *function)
        }
        Kind::Nemesis(_) | Kind::Observation(_) => return Ok(()),
    };
    if open.remove(&process) == Some(function) {
        Ok(())
    } else {
        Err(Malformed::NotOpen { index, process, function })
    }
}

/// Pairs the events of a checked history.
pub(super) fn pair(events: &[Event]) -> Vec<Operation<'_>> {
    let mut operations: Vec<Operation<'_>> = Vec::with_capacity(events.len() / 2);
    let mut open: HashMap<u64, usize> = HashMap::new();
    for event in events {
        let (index, at) = (event.index, event.time);
        let (process, outcome) = match &event.kind {
            Kind::Invoke { process, gateway, call } => {
                open.insert(*process, operations.len());
                operations.push(Operation {
                    index,
                    process: *process,
                    gateway: *gateway,
                    invoked: at,
                    call,
                    outcome: Outcome::Unknown,
                });
                continue;
            }
            Kind::Ok { process, answer, .. } => (process, Outcome::Ok { index, at, answer }),
            Kind::Fail { process, error, .. } => (process, Outcome::Failed { index, at, error }),
            Kind::Info { process, .. } => (process, Outcome::Unknown),
            Kind::Nemesis(_) | Kind::Observation(_) => continue,
        };
        if let Some(place) = open.remove(process) {
            operations[place].outcome = outcome;
        }
    }
    operations
}
