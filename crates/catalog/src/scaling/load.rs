//! The load on a shard, as its leader reports it, and the best place to split the shard.
//!
//! The load is measured in 64 buckets of the hash key range, so a split is at the boundary of two buckets:
//!
//! ```text
//! load   | 3 | 1 | 2 | 9 | 2 | 1 | ...
//!                    ^ the boundary that leaves the least load on the heavier side
//! ```
//!
//! If one bucket has nearly all of the load, two splits give it a shard of its own, whose 64 buckets show more
//! detail. That goes on until the load can be divided, or one key has most of it: then no split helps.

use std::time::Duration;

use anabranch_types::{HashKey, HashKeyRange};

use super::buckets::{BUCKETS, Buckets};
use super::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND, WORTH_CUTTING_OFF_PERMILLE};

/// The load on a shard, as its leader measured it. Only whole numbers, so it can be sent without loss.
///
/// Rates are per minute, because small rates per second would round to zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLoad {
    measured: Duration,
    buckets: Box<[BucketLoad; BUCKETS]>,
    candidate: Option<KeyLoad>,
    bytes_per_minute: u64,
    records_per_minute: u64,
}

/// The load on one bucket of a shard's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketLoad {
    /// Bytes per minute, partition keys included.
    pub bytes_per_minute: u64,
    /// Records per minute.
    pub records_per_minute: u64,
}

/// A key that has much of a shard's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLoad {
    /// Hash of the partition key, or the explicit hash key.
    pub key: HashKey,
    /// Lower bound of the key's weight: its bytes, and 1,048 for each record, so that both limits of a shard have the
    /// same weight.
    pub weight_per_minute: u64,
}

/// The best place to split a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitPoint {
    /// First key of the upper child.
    At(HashKey),
    /// No split helps: one key, alone in its bucket, has most of the load.
    OneKey(HashKey),
    /// The range has too few keys to be split.
    TooNarrow,
}

impl ShardLoad {
    /// Builds the load of which [`Self::measured`], [`Self::buckets`] and [`Self::candidate`] are the parts.
    pub fn new(
        measured: Duration,
        buckets: Box<[BucketLoad; BUCKETS]>,
        candidate: Option<KeyLoad>,
    ) -> Self {
        let total =
            |part: fn(&BucketLoad) -> u64| buckets.iter().map(part).fold(0, u64::saturating_add);
        let bytes_per_minute = total(|bucket| bucket.bytes_per_minute);
        let records_per_minute = total(|bucket| bucket.records_per_minute);
        Self { measured, buckets, candidate, bytes_per_minute, records_per_minute }
    }

    /// Time for which this leader has measured.
    pub fn measured(&self) -> Duration {
        self.measured
    }

    /// Loads of the buckets, lowest keys first.
    pub fn buckets(&self) -> &[BucketLoad; BUCKETS] {
        &self.buckets
    }

    /// The key that may have most of the load, with a lower bound of its weight.
    pub fn candidate(&self) -> Option<KeyLoad> {
        self.candidate
    }

    /// Bytes per second, partition keys included, rounded to the nearest number.
    pub fn bytes_per_second(&self) -> u64 {
        per_second(self.bytes_per_minute)
    }

    /// Records per second, rounded to the nearest number.
    pub fn records_per_second(&self) -> u64 {
        per_second(self.records_per_minute)
    }

    /// The share of the shard's limit that is used, in thousandths: of the limit of bytes or of records, whichever is
    /// higher.
    pub fn permille(&self) -> u64 {
        let bytes = share(self.bytes_per_minute, SHARD_BYTES_PER_SECOND * 60);
        bytes.max(share(self.records_per_minute, SHARD_RECORDS_PER_SECOND * 60))
    }

    /// The place to split `range`, which is the range of this shard: the boundary of two buckets that leaves the
    /// least load on the heavier side. This is the weighted median.
    ///
    /// If one bucket has nearly all of the load, both its boundaries leave the same load on the heavier side. Then
    /// the boundary that leaves fewer keys there is taken. The next split takes the other boundary, and the bucket
    /// has a shard of its own.
    pub fn split_point(&self, range: HashKeyRange) -> SplitPoint {
        let total = self.weight();
        let best = self.cuts(range).min_by_key(|cut| (cut.heavier_weight, cut.heavier_keys));
        let Some(cut) = best else { return SplitPoint::TooNarrow };
        let cut_off = share(total - cut.heavier_weight, total);
        match self.candidate {
            Some(most)
                if cut_off < WORTH_CUTTING_OFF_PERMILLE
                    && u128::from(most.weight_per_minute) * 2 >= total =>
            {
                SplitPoint::OneKey(most.key)
            }
            Some(_) | None => SplitPoint::At(cut.at),
        }
    }

    /// All boundaries between buckets at which the shard may be split.
    fn cuts(&self, range: HashKeyRange) -> impl Iterator<Item = Cut> {
        let (total, parts) = (self.weight(), Buckets::of(range));
        let mut below = 0;
        (1..BUCKETS)
            .map(move |index| {
                below += self.buckets[index - 1].weight();
                Cut::new(range, parts.start_of(index), below, total - below)
            })
            .filter(move |cut| may_split_at(range, cut.at))
    }

    fn weight(&self) -> u128 {
        self.buckets.iter().map(BucketLoad::weight).sum()
    }
}

impl BucketLoad {
    fn weight(&self) -> u128 {
        weight(self.bytes_per_minute, self.records_per_minute).into()
    }
}

/// A place to split, and the load and the keys on its heavier side.
struct Cut {
    at: HashKey,
    heavier_weight: u128,
    heavier_keys: u128,
}

impl Cut {
    fn new(range: HashKeyRange, at: HashKey, below: u128, above: u128) -> Self {
        let keys_below = at.0.saturating_sub(range.start().0);
        let keys_above = range.end().0.saturating_sub(at.0);
        let heavier_keys = match below.cmp(&above) {
            std::cmp::Ordering::Greater => keys_below,
            std::cmp::Ordering::Less => keys_above,
            std::cmp::Ordering::Equal => keys_below.max(keys_above),
        };
        Self { at, heavier_weight: below.max(above), heavier_keys }
    }
}

/// Whether SplitShard accepts `at` as the first key of the upper child: it must be above the second key of the range
/// and below the last, so that each child has at least two keys.
pub(super) fn may_split_at(range: HashKeyRange, at: HashKey) -> bool {
    range.start().0.saturating_add(1) < at.0 && at < range.end()
}

/// The weight of a load: its bytes, and 1,048 for each record. So a shard at its limit of bytes and a shard at its
/// limit of records have about the same weight.
pub(super) fn weight(bytes: u64, records: u64) -> u64 {
    let of_records = records.saturating_mul(SHARD_BYTES_PER_SECOND / SHARD_RECORDS_PER_SECOND);
    bytes.saturating_add(of_records)
}

/// Rounds to the nearest whole number.
fn per_second(per_minute: u64) -> u64 {
    per_minute / 60 + u64::from(per_minute % 60 >= 30)
}

/// `part` of `whole` in thousandths; 0 if both are 0.
fn share(part: impl Into<u128>, whole: impl Into<u128>) -> u64 {
    let permille = part.into().saturating_mul(1000) / whole.into().max(1);
    u64::try_from(permille).unwrap_or(u64::MAX)
}
