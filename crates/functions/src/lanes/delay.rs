use std::time::Duration;

use anabranch_types::Timestamp;

use crate::lanes::random::Random;
use crate::limits::{FIRST_DELAY, LONGEST_DELAY};

/// A time to wait. It is over if the clock steps back behind its begin, so it never gets longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    pub(super) since: Timestamp,
    pub(super) length: Duration,
}

impl Delay {
    /// The delay after the failure with number `streak`, from 1, in a row.
    pub(super) fn after_failure(streak: u32, random: &mut Random, now: Timestamp) -> Self {
        let doubled = 2_u32.saturating_pow(streak.saturating_sub(1));
        let length = FIRST_DELAY.saturating_mul(doubled).min(LONGEST_DELAY);
        Self { since: now, length: random.jitter(length) }
    }

    pub(super) fn end(self) -> Timestamp {
        self.since.plus(self.length)
    }

    pub(super) fn is_over(self, now: Timestamp) -> bool {
        now < self.since || now >= self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_minute_and_at_most_half_of_them_is_random() {
        let mut random = Random::new(1);
        let now = Timestamp::from_millis(1_000_000);
        for (streak, millis) in [(1, 500), (2, 1000), (3, 2000), (8, 60_000), (u32::MAX, 60_000)] {
            for _ in 0..100 {
                let delay = Delay::after_failure(streak, &mut random, now);
                let length = delay.length.as_millis();
                assert!((millis / 2..millis).contains(&length), "{streak}: {length}");
                assert!(!delay.is_over(now) && delay.is_over(delay.end()));
                assert!(delay.is_over(Timestamp::from_millis(999_999)));
            }
        }
    }
}
