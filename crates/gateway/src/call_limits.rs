//! Limits of calls per second, if the limits of the AWS services apply. Each gateway counts the calls that it
//! receives.
//!
//! Each pair of operation and subject has a token bucket. Subjects are streams, shards or consumers that exist or
//! existed, so a caller cannot fill the memory with made-up names. A full bucket is the same as a new one. Full
//! buckets are removed when there are twice as many buckets as were in use at the last removal.
//!
//! The rates of records and bytes of a shard are not counted here. The leader of the shard counts them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use anabranch_types::{Timestamp, TokenBucket};

/// Token buckets of one service. `S` is a subject of that service. `None` as subject means the account.
#[derive(Debug)]
pub(crate) struct CallLimits<S>(Mutex<Calls<S>>);

#[derive(Debug)]
struct Calls<S> {
    buckets: HashMap<(&'static str, Option<S>), TokenBucket>,
    /// Number of buckets that were left after the last removal of full buckets.
    in_use: usize,
}

/// Up to this number of buckets, none is removed.
const MIN_BUCKETS: usize = 1024;

impl<S> Default for CallLimits<S> {
    fn default() -> Self {
        Self(Mutex::new(Calls { buckets: HashMap::new(), in_use: 0 }))
    }
}

impl<S: Eq + Hash> CallLimits<S> {
    /// Counts a call. False if the token bucket of the subject is empty.
    pub(crate) fn take(
        &self,
        operation: &'static str,
        subject: Option<S>,
        per_second: u64,
        now: Timestamp,
    ) -> bool {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || TokenBucket::new(per_second, now);
        let bucket = calls.buckets.entry((operation, subject)).or_insert_with(new);
        if !bucket.has(1, now) {
            return false;
        }
        bucket.take(1);
        calls.remove_full(now);
        true
    }
}

impl<S: Eq + Hash> Calls<S> {
    fn remove_full(&mut self, now: Timestamp) {
        if self.buckets.len() > MIN_BUCKETS.max(2 * self.in_use) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.in_use = self.buckets.len();
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
    fn each_operation_and_each_subject_has_its_own_token_bucket() {
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
    fn full_buckets_are_removed_and_used_ones_are_kept() {
        let limits = CallLimits::default();
        let kept = || limits.0.lock().unwrap().buckets.len();
        for subject in 0..10_000 {
            assert!(take(&limits, Some(subject), 1_000 + subject));
            assert!(kept() <= MIN_BUCKETS + 1, "{}", kept());
        }
        let now = 20_000;
        (0..5).for_each(|_| assert!(take(&limits, Some(7), now)));
        (0..2 * MIN_BUCKETS as u64)
            .for_each(|subject| assert!(take(&limits, Some(20_000 + subject), now)));
        assert!(kept() > 2 * MIN_BUCKETS, "all buckets are in use");
        assert!(!take(&limits, Some(7), now));
        (0..4 * MIN_BUCKETS as u64).for_each(|subject| {
            assert!(take(&limits, Some(30_000 + subject), now + 5_000));
        });
        let key = ("ListStreamConsumers", Some(20_000));
        assert!(!limits.0.lock().unwrap().buckets.contains_key(&key));
    }
}
