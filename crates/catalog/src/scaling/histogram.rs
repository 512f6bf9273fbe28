use std::time::Duration;

use anabranch_types::{HashKey, HashKeyRange, Timestamp};

use super::buckets::{BUCKETS, Buckets};
use super::load::{BucketLoad, KeyLoad, ShardLoad, weight};

/// After each step everything that was counted keeps five sixths of its weight: what is counted
/// weighs for 30 s on average, and six sevenths of all weight are the last minute's.
const STEP: Duration = Duration::from_secs(5);
/// After so many steps (half an hour) nothing is left of anything.
const STEPS_UNTIL_FORGOTTEN: u128 = 360;
/// Counts carry ten bits of fraction, so that fading doesn't round small ones away.
const ONE: u64 = 1 << 10;

/// What a shard's leader keeps of the load on its hash range, about the last minute of it.
///
/// Two numbers for each of [`BUCKETS`] parts of the range, one key that may carry most of the load,
/// and how long it has listened, all fading alike; a rate is what was counted by how long. So a new
/// histogram tells right rates from its first second on, only less surely. One kilobyte.
///
/// It is told of the records that the shard accepts. [`advance`](Self::advance) once a batch, then [`record`](Self::record) each record of it.
/// Lives and dies with the leader's term: the next leader begins with an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadHistogram {
    buckets: Buckets,
    counts: [Count; BUCKETS],
    candidate: Candidate,
    started: Timestamp,
    /// When the current step began. Invariant: a whole number of steps after `started`.
    step_started: Timestamp,
    /// How long it listened before the current step, in milliseconds times [`ONE`], faded.
    listened: u64,
}

/// What one bucket got, times [`ONE`], faded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    bytes: u64,
    records: u64,
}

/// The key that may carry most of the load, found by the weighted majority vote of Boyer and Moore:
/// its own weight is voted for it, every other against it, and at zero the next key takes over.
/// `votes` is at most the key's true weight, and at least that less everybody else's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Candidate {
    key: HashKey,
    votes: u64,
}

impl LoadHistogram {
    /// Nothing counted yet on `range`, listening from `now` on.
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

    /// Fades what was counted before `now`. A clock that steps back changes nothing.
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

    /// Counts one record of `bytes`, partition key included. Keys outside of the range count in
    /// its nearest bucket.
    pub fn record(&mut self, key: HashKey, bytes: u64) {
        self.add(key, 1, bytes);
    }

    /// Counts `records` of one key with `bytes` in all: the records of a key in a batch, or a
    /// sample that stands for more.
    pub fn add(&mut self, key: HashKey, records: u64, bytes: u64) {
        let count = &mut self.counts[self.buckets.index(key)];
        count.records = count.records.saturating_add(records.saturating_mul(ONE));
        count.bytes = count.bytes.saturating_add(bytes.saturating_mul(ONE));
        self.candidate.vote(key, weight(bytes, records).saturating_mul(ONE));
    }

    /// The load as of `now`, to be sent to the controller.
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

/// Five sixths, rounded down: what nothing is added to reaches zero.
fn faded(value: u64) -> u64 {
    value - value.div_ceil(6)
}

fn millis(millis: u128) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
