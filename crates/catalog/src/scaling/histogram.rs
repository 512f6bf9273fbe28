//! The measurement of a shard's load, on its leader.
//!
//! Counts fade exponentially instead of being kept per second, so a histogram is one kilobyte and a record costs two
//! additions. Every 5 s each count keeps five sixths. The time that the histogram has listened fades in the same way,
//! and a rate is the count divided by that time. So a new histogram has right rates from its first second on, only
//! less certain.
//!
//! No floating point: all counts are whole numbers with ten bits of fraction.

use std::time::Duration;

use anabranch_types::{HashKey, HashKeyRange, Timestamp};

use super::buckets::{BUCKETS, Buckets};
use super::load::{BucketLoad, KeyLoad, ShardLoad, weight};

/// Time after which all counts keep five sixths of their weight. A count weighs for 30 s on average, and six sevenths
/// of the weight are from the last minute.
const STEP: Duration = Duration::from_secs(5);
/// Number of steps (half an hour) after which every count has faded to zero.
const STEPS_UNTIL_FORGOTTEN: u128 = 360;
/// One, as a count: counts have ten bits of fraction, so that fading does not round small ones to zero.
const ONE: u64 = 1 << 10;

/// The load on a shard in about the last minute: bytes and records for each of [`BUCKETS`] buckets, and one key that
/// may have most of the load.
///
/// Counts the records that the shard accepts. The caller calls [`advance`](Self::advance) once per batch, then
/// [`record`](Self::record) for each record. The next leader of the shard begins with an empty histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadHistogram {
    buckets: Buckets,
    counts: [Count; BUCKETS],
    candidate: Candidate,
    started: Timestamp,
    /// Beginning of the current step. Invariant: a whole number of steps after `started`.
    step_started: Timestamp,
    /// Time before the current step, faded, in milliseconds times [`ONE`].
    listened: u64,
}

/// Counts of one bucket, faded, times [`ONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    bytes: u64,
    records: u64,
}

/// The key that may have most of the load, found with the weighted majority vote of Boyer and Moore.
///
/// The weight of a record with this key is a vote for it, and the weight of any other record is a vote against it. At
/// zero votes the next key becomes the candidate. `votes` is at most the weight of the key, and at least that weight
/// minus the weight of all other keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Candidate {
    key: HashKey,
    votes: u64,
}

impl LoadHistogram {
    /// An empty histogram of `range`, which begins to listen at `now`.
    pub fn new(range: HashKeyRange, now: Timestamp) -> Self {
        Self {
            buckets: Buckets::of(range),
            counts: [Count::default(); BUCKETS],
            candidate: Candidate::default(),
            started: now,
            step_started: now,
            listened: 0,
        }
    }

    /// Fades all counts by the steps that have passed until `now`. A clock that steps back changes nothing.
    pub fn advance(&mut self, now: Timestamp) {
        let steps = now.since(self.step_started).as_millis() / STEP.as_millis();
        if steps == 0 {
            return;
        }
        for _ in 0..steps.min(STEPS_UNTIL_FORGOTTEN) {
            self.fade();
        }
        let into_step = now.since(self.step_started).as_millis() % STEP.as_millis();
        self.step_started = now.minus(millis(into_step));
    }

    /// Counts one record of `bytes`, partition key included. A key outside of the range counts in the nearest bucket.
    pub fn record(&mut self, key: HashKey, bytes: u64) {
        self.add(key, 1, bytes);
    }

    /// Counts `records` records of one key, with `bytes` bytes together.
    pub fn add(&mut self, key: HashKey, records: u64, bytes: u64) {
        let count = &mut self.counts[self.buckets.index(key)];
        count.records = count.records.saturating_add(records.saturating_mul(ONE));
        count.bytes = count.bytes.saturating_add(bytes.saturating_mul(ONE));
        self.candidate.vote(key, weight(bytes, records).saturating_mul(ONE));
    }

    /// The load at `now`, to be sent to the controller.
    pub fn load(&mut self, now: Timestamp) -> ShardLoad {
        self.advance(now);
        let in_step = now.since(self.step_started).as_millis();
        let listened = (u128::from(self.listened) + in_step * u128::from(ONE)).max(1);
        let per_minute = |count: u64| {
            let rounded = (u128::from(count) * 60_000 + listened / 2) / listened;
            u64::try_from(rounded).unwrap_or(u64::MAX)
        };
        let buckets = self.counts.map(|count| BucketLoad {
            bytes_per_minute: per_minute(count.bytes),
            records_per_minute: per_minute(count.records),
        });
        let votes = per_minute(self.candidate.votes);
        let candidate = KeyLoad { key: self.candidate.key, weight_per_minute: votes };
        ShardLoad::new(now.since(self.started), Box::new(buckets), (votes > 0).then_some(candidate))
    }

    fn fade(&mut self) {
        self.listened = faded(self.listened + ONE * STEP.as_secs() * 1000);
        self.candidate.votes = faded(self.candidate.votes);
        for count in &mut self.counts {
            count.bytes = faded(count.bytes);
            count.records = faded(count.records);
        }
    }
}

impl Candidate {
    fn vote(&mut self, key: HashKey, weight: u64) {
        if key == self.key {
            self.votes = self.votes.saturating_add(weight);
        } else if weight > self.votes {
            *self = Self { key, votes: weight - self.votes };
        } else {
            self.votes -= weight;
        }
    }
}

/// Five sixths, rounded down, so that a count to which nothing is added reaches zero.
fn faded(value: u64) -> u64 {
    value - value.div_ceil(6)
}

fn millis(millis: u128) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
