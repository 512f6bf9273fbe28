//! Settings of the account: its commitment.
//!
//! The catalog has one commitment, for the account of the cluster. It lasts at least 24 hours, as in the service.

use std::time::Duration;

use anabranch_types::{Timestamp, limits};

use crate::apply::{Change, assign};
use crate::model::Catalog;

/// A minimum throughput billing commitment (API reference, UpdateAccountSettings). The service allows more consumers
/// with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Beginning of the commitment.
    pub started: Timestamp,
    /// End of the commitment, exclusive. `None` until a user has given it up.
    pub ends: Option<Timestamp>,
}

impl Commitment {
    /// The earliest time at which the commitment can end, if a user gives it up.
    pub fn earliest_end(&self) -> Timestamp {
        self.started.plus(Duration::from_secs(limits::MIN_COMMITMENT_HOURS * 3600))
    }

    /// Whether the commitment is in force at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

/// A change to the settings of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    /// A user makes the commitment, or gives it up.
    SetCommitment {
        /// Whether the user makes it.
        enabled: bool,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
}

impl AccountCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog) -> Change {
        match self {
            Self::SetCommitment { enabled, now } => catalog.set_commitment(enabled, now),
        }
    }
}

impl Catalog {
    /// A commitment that a user gives up lasts until its earliest end. Making it again before that end cancels the end.
    fn set_commitment(&mut self, enabled: bool, now: Timestamp) -> Change {
        let holding = self.commitment.filter(|commitment| commitment.holds(now));
        let wanted = match (holding, enabled) {
            (Some(commitment), true) => Some(Commitment { ends: None, ..commitment }),
            (None, true) => Some(Commitment { started: now, ends: None }),
            (Some(commitment), false) if commitment.ends.is_none() => {
                Some(Commitment { ends: Some(commitment.earliest_end().max(now)), ..commitment })
            }
            (_, false) => self.commitment,
        };
        assign(&mut self.commitment, wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{NOW, Script};

    #[test]
    fn a_commitment_lasts_a_day_and_can_be_made_again() {
        let mut script = Script::with_nodes(1, &["a"]);
        let hour = |hours: u64| NOW.plus(Duration::from_secs(hours * 3600));
        let mut set = |enabled, now| {
            script.done(AccountCommand::SetCommitment { enabled, now });
            script.catalog.commitment
        };
        assert_eq!(set(false, NOW), None);
        let running = Some(Commitment { started: NOW, ends: None });
        assert_eq!(set(true, NOW), running);
        let ending = Some(Commitment { started: NOW, ends: Some(hour(24)) });
        assert_eq!(set(false, hour(1)), ending);
        assert_eq!(set(false, hour(2)), ending);
        assert_eq!(set(true, hour(3)), running);
        let ended = Commitment { started: NOW, ends: Some(hour(30)) };
        assert_eq!(set(false, hour(30)), Some(ended));
        assert!(!ended.holds(hour(30)));
        assert_eq!(set(true, hour(31)), Some(Commitment { started: hour(31), ends: None }));
    }
}
