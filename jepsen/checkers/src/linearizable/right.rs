//! The right of a user to an action: an attempt is allowed if and only if the last change was a grant.

use super::Model;

/// The model.
pub(crate) struct Right;

/// A call about a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RightCall {
    Grant,
    Revoke,
    Attempt { allowed: bool },
}

impl Model for Right {
    type State = bool;
    type Call = RightCall;

    fn start(&self) -> bool {
        false
    }

    fn step(&self, state: &bool, call: &RightCall) -> Option<bool> {
        match *call {
            RightCall::Grant => Some(true),
            RightCall::Revoke => Some(false),
            RightCall::Attempt { allowed } => (allowed == *state).then_some(*state),
        }
    }

    fn is_observation(&self, call: &RightCall) -> bool {
        matches!(call, RightCall::Attempt { .. })
    }
}
