use anabranch_types::Timestamp;

const MILLIS_PER_MINUTE: u64 = 60_000;

/// A token bucket for actions of one kind. It holds the tokens of one minute and starts full.
///
/// The caller passes the rate each time, because it grows with the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Tokens that were taken and not refilled yet, in units of 1/60,000 token. At a rate of n per minute, n units are
    /// refilled per millisecond.
    spent: u64,
    /// Time up to which `spent` has been refilled.
    as_of: Timestamp,
}

impl Allowance {
    /// Takes one token, if the bucket has one. Returns whether it had.
    pub(super) fn take(&mut self, now: Timestamp, per_minute: u32) -> bool {
        let rate = u64::from(per_minute);
        let elapsed = now.as_millis().saturating_sub(self.as_of.as_millis());
        self.spent = self.spent.saturating_sub(elapsed.saturating_mul(rate));
        self.as_of = now;
        let after = self.spent.saturating_add(MILLIS_PER_MINUTE);
        let allowed = after <= rate * MILLIS_PER_MINUTE;
        if allowed {
            self.spent = after;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(allowance: &mut Allowance, second: u64, per_minute: u32) -> usize {
        let now = Timestamp::from_millis(second * 1000);
        (0..100).filter(|_| allowance.take(now, per_minute)).count()
    }

    #[test]
    fn a_full_bucket_has_the_tokens_of_one_minute_and_refills_in_one_minute() {
        let mut allowance = Allowance::default();
        assert_eq!(taken(&mut allowance, 1000, 4), 4);
        assert_eq!(taken(&mut allowance, 1014, 4), 0);
        assert_eq!(taken(&mut allowance, 1015, 4), 1);
        assert_eq!(taken(&mut allowance, 1060, 4), 3);
        assert_eq!(taken(&mut allowance, 9999, 4), 4);
    }

    #[test]
    fn a_clock_that_steps_back_refills_nothing() {
        let mut allowance = Allowance::default();
        assert_eq!(taken(&mut allowance, 1000, 2), 2);
        assert_eq!(taken(&mut allowance, 900, 2), 0);
        assert_eq!(taken(&mut allowance, 929, 2), 0);
        assert_eq!(taken(&mut allowance, 930, 2), 1);
    }
}
