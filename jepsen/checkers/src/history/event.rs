//! One event of a history.

use super::calls::{Answer, Call, Function};
use super::numbers::Nanos;
use super::observations::{Nemesis, Observation};

/// One event. It is one line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Position in the history.
    pub index: u64,
    /// Time of the harness's monotonic clock.
    pub time: Nanos,
    /// What happened.
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A process begins a call.
    Invoke {
        /// The process.
        process: u64,
        /// The node that takes the call.
        gateway: Option<u64>,
        /// The call.
        call: Call,
    },
    /// The open call of the process succeeded.
    Ok {
        /// The process.
        process: u64,
        /// The node that took the call.
        gateway: Option<u64>,
        /// The result.
        answer: Answer,
    },
    /// The open call of the process failed and certainly has no effect.
    Fail {
        /// The process.
        process: u64,
        /// The node that took the call.
        gateway: Option<u64>,
        /// The call.
        function: Function,
        /// The error.
        error: String,
    },
    /// The open call of the process may have an effect, now or later.
    Info {
        /// The process.
        process: u64,
        /// The node that took the call.
        gateway: Option<u64>,
        /// The call.
        function: Function,
        /// The error.
        error: String,
    },
    /// A fault begins or ends.
    Nemesis(Nemesis),
    /// The harness observed something.
    Observation(Observation),
}

impl Kind {
    /// The process of a call. Faults and observations have none.
    pub fn process(&self) -> Option<u64> {
        match self {
            Self::Invoke { process, .. }
            | Self::Ok { process, .. }
            | Self::Fail { process, .. }
            | Self::Info { process, .. } => Some(*process),
            Self::Nemesis(_) | Self::Observation(_) => None,
        }
    }

    /// The node that took the call.
    pub fn gateway(&self) -> Option<u64> {
        match self {
            Self::Invoke { gateway, .. }
            | Self::Ok { gateway, .. }
            | Self::Fail { gateway, .. }
            | Self::Info { gateway, .. } => *gateway,
            Self::Nemesis(_) | Self::Observation(_) => None,
        }
    }
}
