//! What the account has promised.

use std::time::Duration;

use anabranch_types::{Timestamp, limits};

use crate::apply::{Change, assign};
use crate::model::Catalog;

/// What an account promised to use at least: the service bills less for it and allows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Since when.
    pub started: Timestamp,
    /// Until when, once it was given up.
    pub ends: Option<Timestamp>,
}

impl Commitment {
    /// The earliest end.
    pub fn earliest_end(&self) -> Timestamp {
        self.started.plus(Duration::from_secs(limits::MIN_COMMITMENT_HOURS * 3600))
    }

    /// Whether it holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

/// A change to the settings of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    /// A user has the account promise to use so much at least, or no longer.
    SetCommitment {
        /// Whether it does.
        enabled: bool,
        /// The proposer's clock.
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
    /// A commitment that is given up goes on until its earliest end; enabling it again before takes that back.
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
    fn a_commitment_lasts_a_day_and_can_be_taken_up_again() {
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
