//! A consumer lease: the store accepts a checkpoint only from the newest epoch, and checkpoints never go back.

use super::Model;
use crate::history::CheckpointAt;

/// The model.
pub(crate) struct Fenced;

/// A call that changes a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseCall {
    /// A new owner takes the lease. `returned` is the checkpoint in the response, if there was one.
    Take {
        epoch: u64,
        returned: Option<Option<CheckpointAt>>,
    },
    Checkpoint {
        epoch: u64,
        at: CheckpointAt,
    },
}

/// The newest epoch and the last checkpoint.
type Lease = (u64, Option<CheckpointAt>);

impl Model for Fenced {
    type State = Lease;
    type Call = LeaseCall;

    fn start(&self) -> Lease {
        (0, None)
    }

    fn step(&self, &(newest, last): &Lease, call: &LeaseCall) -> Option<Lease> {
        match *call {
            LeaseCall::Take { epoch, returned } => {
                let fits = epoch > newest && returned.is_none_or(|returned| returned == last);
                fits.then_some((epoch, last))
            }
            LeaseCall::Checkpoint { epoch, at } => {
                (epoch == newest && Some(at) >= last).then_some((newest, Some(at)))
            }
        }
    }

    fn is_observation(&self, call: &LeaseCall) -> bool {
        match call {
            LeaseCall::Take { .. } | LeaseCall::Checkpoint { .. } => false,
        }
    }
}
