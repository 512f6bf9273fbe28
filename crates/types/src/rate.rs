use std::time::Duration;

use crate::clock::Timestamp;

/// So much a second on average, and a second's worth at once. What is more than is left is taken all the same, as long as
/// anything is left, and owed: so a single large piece passes where the average allows it.
///
/// Pure: whoever asks brings the clock. Amounts are in the caller's unit; none is above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    per_second: u64,
    /// Thousandths of a unit that are left; negative if owed.
    left_milli: i64,
    filled: Timestamp,
}

/// Callers read the clock at about the same time: what is more than this is no such difference.
const CLOCK_STEP: Duration = Duration::from_secs(1);

impl RateLimit {
    /// `per_second` units, of which a second's worth is left at `now`.
    pub fn new(per_second: u64, now: Timestamp) -> Self {
        Self { per_second, left_milli: milli(per_second), filled: now }
    }

    /// Whether anything is left.
    pub fn has_any(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        self.left_milli > 0
    }

    /// Whether so much is left.
    pub fn has(&mut self, amount: u64, now: Timestamp) -> bool {
        self.fill(now);
        self.left_milli >= milli(amount)
    }

    /// Whether a second's worth is left, as in a new one.
    pub fn is_full(&mut self, now: Timestamp) -> bool {
        self.has(self.per_second, now)
    }

    fn fill(&mut self, now: Timestamp) {
        // A clock that was ahead and has been set right must not stop everybody until that time comes.
        if self.filled.since(now) > CLOCK_STEP {
            self.filled = now;
        }
        let elapsed = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let gained = i64::try_from(elapsed.saturating_mul(self.per_second)).unwrap_or(i64::MAX);
        self.left_milli = self.left_milli.saturating_add(gained).min(milli(self.per_second));
        self.filled = self.filled.max(now);
    }

    /// Takes so much, whatever is left.
    pub fn take(&mut self, amount: u64) {
        self.left_milli = self.left_milli.saturating_sub(milli(amount));
    }
}

fn milli(amount: u64) -> i64 {
    i64::try_from(amount.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_kept_and_a_large_piece_is_owed() {
        let at = |millis: u64| Timestamp::from_millis(10_000 + millis);
        let mut limit = RateLimit::new(10, at(0));
        assert!(limit.has_any(at(0)));
        limit.take(35);
        assert!(!limit.has_any(at(2_500)), "25 owed, 25 gained");
        assert!(limit.has_any(at(2_600)));
        limit.take(1);
        assert!(!limit.has_any(at(2_600)));
        assert!(limit.has_any(at(60_000)));
        limit.take(10);
        assert!(!limit.has_any(at(60_000)), "no more than a second's worth was left");
    }

    #[test]
    fn who_owes_nothing_waits_for_whole_units() {
        let at = Timestamp::from_millis;
        let mut limit = RateLimit::new(1, at(1_000));
        assert!(limit.is_full(at(1_000)));
        limit.take(1);
        assert!(limit.has_any(at(1_999)) && !limit.has(1, at(1_999)) && !limit.is_full(at(1_999)));
        assert!(limit.has(1, at(2_000)) && limit.is_full(at(2_000)));
    }

    #[test]
    fn a_clock_that_is_read_a_little_earlier_gives_nothing() {
        let mut limit = RateLimit::new(1000, Timestamp::from_millis(5_000));
        limit.take(2000);
        assert!(!limit.has_any(Timestamp::from_millis(4_500)));
        assert!(!limit.has_any(Timestamp::from_millis(6_000)));
        assert!(limit.has_any(Timestamp::from_millis(6_001)));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_and_holds_nobody_up() {
        let at = |seconds: u64| Timestamp::from_millis(1_000_000 + seconds * 1000);
        let mut limit = RateLimit::new(5, at(3600));
        limit.take(5);
        assert!(!limit.has_any(at(0)));
        assert!(limit.is_full(at(1)));
    }
}
