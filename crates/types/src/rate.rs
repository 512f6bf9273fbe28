//! A token bucket, as a value without a clock.
//!
//! The bucket refills at `per_second` and holds at most one second's worth. `take` may take more than the bucket
//! holds: the bucket is then in debt, and refills from there. So one large piece passes, and the average holds all
//! the same.
//!
//! ```text
//! per_second = 10:   10  --take(35)-->  -25  --2.5 s-->  0  --0.1 s-->  1: has_any
//! ```
//!
//! The bucket never refuses by itself: the caller asks `has_any` or `has` first.

use std::time::Duration;

use crate::clock::Timestamp;

/// A token bucket. Amounts are in the caller's unit, and none is above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    per_second: u64,
    /// Thousandths of a unit in the bucket; negative if it is in debt.
    left_milli: i64,
    filled: Timestamp,
}

/// Largest step back of the clock that counts as normal: threads read the clock at slightly different times. A larger
/// step means that the clock was corrected.
const CLOCK_STEP: Duration = Duration::from_secs(1);

impl TokenBucket {
    /// A bucket that refills at `per_second` and is full at `now`.
    pub fn new(per_second: u64, now: Timestamp) -> Self {
        Self { per_second, left_milli: milli(per_second), filled: now }
    }

    /// Whether the bucket is not empty.
    pub fn has_any(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        self.left_milli > 0
    }

    /// Whether the bucket holds `amount`.
    pub fn has(&mut self, amount: u64, now: Timestamp) -> bool {
        self.fill(now);
        self.left_milli >= milli(amount)
    }

    /// Whether the bucket is full. A full bucket behaves like a new one, so it need not be kept.
    pub fn is_full(&mut self, now: Timestamp) -> bool {
        self.has(self.per_second, now)
    }

    fn fill(&mut self, now: Timestamp) {
        // The clock was ahead and has been corrected. Without this the bucket would not refill until the clock
        // reaches `filled` again.
        if self.filled.since(now) > CLOCK_STEP {
            self.filled = now;
        }
        let elapsed = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let gained = i64::try_from(elapsed.saturating_mul(self.per_second)).unwrap_or(i64::MAX);
        self.left_milli = self.left_milli.saturating_add(gained).min(milli(self.per_second));
        self.filled = self.filled.max(now);
    }

    /// Takes `amount` out, also if the bucket holds less.
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
    fn a_large_amount_is_taken_at_once_and_the_average_holds() {
        let at = |millis: u64| Timestamp::from_millis(10_000 + millis);
        let mut limit = TokenBucket::new(10, at(0));
        assert!(limit.has_any(at(0)));
        limit.take(35);
        assert!(!limit.has_any(at(2_500)), "25 owed, 25 gained");
        assert!(limit.has_any(at(2_600)));
        limit.take(1);
        assert!(!limit.has_any(at(2_600)));
        assert!(limit.has_any(at(60_000)));
        limit.take(10);
        assert!(!limit.has_any(at(60_000)), "the bucket held one second's worth");
    }

    #[test]
    fn a_bucket_without_debt_refills_to_whole_units() {
        let at = Timestamp::from_millis;
        let mut limit = TokenBucket::new(1, at(1_000));
        assert!(limit.is_full(at(1_000)));
        limit.take(1);
        assert!(limit.has_any(at(1_999)) && !limit.has(1, at(1_999)) && !limit.is_full(at(1_999)));
        assert!(limit.has(1, at(2_000)) && limit.is_full(at(2_000)));
    }

    #[test]
    fn a_slightly_earlier_reading_of_the_clock_refills_nothing() {
        let mut limit = TokenBucket::new(1000, Timestamp::from_millis(5_000));
        limit.take(2000);
        assert!(!limit.has_any(Timestamp::from_millis(4_500)));
        assert!(!limit.has_any(Timestamp::from_millis(6_000)));
        assert!(limit.has_any(Timestamp::from_millis(6_001)));
    }

    #[test]
    fn after_the_clock_was_set_back_the_bucket_refills_at_the_same_rate() {
        let at = |seconds: u64| Timestamp::from_millis(1_000_000 + seconds * 1000);
        let mut limit = TokenBucket::new(5, at(3600));
        limit.take(5);
        assert!(!limit.has_any(at(0)));
        assert!(limit.is_full(at(1)));
    }
}
