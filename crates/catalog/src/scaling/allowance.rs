use anabranch_types::Timestamp;

const MILLIS_PER_MINUTE: u64 = 60_000;

/// How many actions of one kind may be taken now: a token bucket that holds a minute's worth.
///
/// Starts full. The rate is handed in each time, because it grows with the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowance {
    /// What was used of a full bucket and has not come back, in parts of 1/60,000 of an action:
    /// with a rate of n a minute, n parts come back in each millisecond.
    spent: u64,
    as_of: Timestamp,
}

impl Allowance {
    /// Takes one action if there is one left of `per_minute`.
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
    fn a_full_bucket_is_a_minutes_worth_and_comes_back_in_a_minute() {
        let mut allowance = Allowance::default();
        assert_eq!(taken(&mut allowance, 1000, 4), 4);
        assert_eq!(taken(&mut allowance, 1014, 4), 0);
        assert_eq!(taken(&mut allowance, 1015, 4), 1);
        assert_eq!(taken(&mut allowance, 1060, 4), 3);
        assert_eq!(taken(&mut allowance, 9999, 4), 4);
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let mut allowance = Allowance::default();
        assert_eq!(taken(&mut allowance, 1000, 2), 2);
        assert_eq!(taken(&mut allowance, 900, 2), 0);
        assert_eq!(taken(&mut allowance, 929, 2), 0);
        assert_eq!(taken(&mut allowance, 930, 2), 1);
    }
}
