//! Limits of calls per second, where the limits of the AWS services hold. Each gateway counts the calls that it gets.
//!
//! Every pair of operation and subject has a token bucket. Subjects are streams, shards or consumers that exist or
//! existed, so a caller cannot fill the memory with made-up names. A bucket that is full again is as good as a new one:
//! such buckets are forgotten as soon as there are twice as many buckets as were in use at the last look.
//!
//! The rates of records and bytes of a shard are not counted here but by the leader of the shard.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use anabranch_types::{RateLimit, Timestamp};

/// Token buckets of one service. `S` is a subject of that service; no subject means the account.
#[derive(Debug)]
pub(crate) struct CallLimits<S>(Mutex<Calls<S>>);

#[derive(Debug)]
struct Calls<S> {
    left: HashMap<(&'static str, Option<S>), RateLimit>,
    /// Buckets in use when full ones were last forgotten.
    in_use: usize,
}

/// So many buckets are kept without a look at which are full.
const FEW: usize = 1024;

impl<S> Default for CallLimits<S> {
    fn default() -> Self {
        Self(Mutex::new(Calls { left: HashMap::new(), in_use: 0 }))
    }
}

impl<S: Eq + Hash> CallLimits<S> {
    /// Counts a call. False if the subject used up its calls of this second.
    pub(crate) fn take(
        &self,
        operation: &'static str,
        subject: Option<S>,
        per_second: u64,
        now: Timestamp,
    ) -> bool {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || RateLimit::new(per_second, now);
        let left = calls.left.entry((operation, subject)).or_insert_with(new);
        if !left.has(1, now) {
            return false;
        }
        left.take(1);
        calls.forget_full(now);
        true
    }
}

impl<S: Eq + Hash> Calls<S> {
    fn forget_full(&mut self, now: Timestamp) {
        if self.left.len() > FEW.max(2 * self.in_use) {
            self.left.retain(|_, left| !left.is_full(now));
            self.in_use = self.left.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(limits: &CallLimits<u64>, subject: Option<u64>, now: u64) -> bool {
        limits.take("ListStreamConsumers", subject, 5, Timestamp::from_millis(now))
    }

    #[test]
    fn each_operation_and_each_subject_has_its_own_calls() {
        let limits = CallLimits::default();
        (0..5).for_each(|_| assert!(take(&limits, Some(1), 1_000)));
        assert!(!take(&limits, Some(1), 1_000));
        assert!(take(&limits, Some(2), 1_000) && take(&limits, None, 1_000));
        let other = |now| limits.take("DescribeLimits", Some(1), 1, Timestamp::from_millis(now));
        assert!(other(1_000) && !other(1_999) && other(2_000));
        assert!(take(&limits, Some(1), 1_200), "a fifth of a second gives one call back");
        assert!(!take(&limits, Some(1), 1_200));
    }

    #[test]
    fn full_buckets_are_forgotten_and_used_up_ones_are_kept() {
        let limits = CallLimits::default();
        let remembered = || limits.0.lock().unwrap().left.len();
        for subject in 0..10_000 {
            assert!(take(&limits, Some(subject), 1_000 + subject));
            assert!(remembered() <= FEW + 1, "{}", remembered());
        }
        let now = 20_000;
        (0..5).for_each(|_| assert!(take(&limits, Some(7), now)));
        (0..2 * FEW as u64).for_each(|subject| assert!(take(&limits, Some(20_000 + subject), now)));
        assert!(remembered() > 2 * FEW, "all of them are in use");
        assert!(!take(&limits, Some(7), now));
        (0..4 * FEW as u64).for_each(|subject| {
            assert!(take(&limits, Some(30_000 + subject), now + 5_000));
        });
        let key = ("ListStreamConsumers", Some(20_000));
        assert!(!limits.0.lock().unwrap().left.contains_key(&key));
    }
}
