//! A consumer lease: the store accepts a checkpoint only from the newest epoch, and checkpoints never go back unless
//! their owner says so.

use super::Model;
use crate::history::CheckpointAt;

/// The model.
pub(crate) struct Fenced;

/// A call that changes a lease, or that saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseCall {
    /// A new owner takes the lease. `returned` is the checkpoint in the response, if there was one.
    Take { epoch: u64, returned: Option<Option<CheckpointAt>> },
    Checkpoint {
        epoch: u64,
        at: CheckpointAt,
        /// Whether the owner goes back on purpose.
        back: bool,
        /// Whether the epoch ends with it.
        release: bool,
    },
    /// The owner keeps the lease.
    Renew { epoch: u64 },
    /// A list showed this checkpoint.
    Saw(Option<CheckpointAt>),
}

/// The state of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The newest epoch.
    epoch: u64,
    /// Whether its owner gave the lease back.
    is_over: bool,
    checkpoint: Option<CheckpointAt>,
}

impl Model for Fenced {
    type State = State;
    type Call = LeaseCall;

    fn start(&self) -> State {
        State { epoch: 0, is_over: false, checkpoint: None }
    }

    fn step(&self, state: &State, call: &LeaseCall) -> Option<State> {
        let owns = |epoch: u64| epoch == state.epoch && !state.is_over;
        match *call {
            LeaseCall::Take { epoch, returned } => {
                let fits = epoch > state.epoch
                    && returned.is_none_or(|returned| returned == state.checkpoint);
                fits.then_some(State { epoch, is_over: false, checkpoint: state.checkpoint })
            }
            LeaseCall::Checkpoint { epoch, at, back, release } => {
                let fits = owns(epoch) && (back || Some(at) >= state.checkpoint);
                fits.then_some(State { epoch, is_over: release, checkpoint: Some(at) })
            }
            LeaseCall::Renew { epoch } => owns(epoch).then(|| state.clone()),
            LeaseCall::Saw(checkpoint) => (checkpoint == state.checkpoint).then(|| state.clone()),
        }
    }

    fn is_observation(&self, call: &LeaseCall) -> bool {
        match call {
            LeaseCall::Take { .. } | LeaseCall::Checkpoint { .. } => false,
            LeaseCall::Renew { .. } | LeaseCall::Saw(_) => true,
        }
    }
}
