use std::time::Duration;

use anabranch_types::{HashKey, HashKeyRange};

use super::buckets::{BUCKETS, Buckets};
use super::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND, WORTH_CUTTING_OFF_PERMILLE};

/// The load on a shard as its leader measured it: plain numbers, made to be sent.
///
/// Rates are per minute, because per second the small ones would round to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLoad {
    measured: Duration,
    buckets: Box<[BucketLoad; BUCKETS]>,
    candidate: Option<KeyLoad>,
    bytes_per_minute: u64,
    records_per_minute: u64,
}

/// The load on one of the equal parts of a shard's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketLoad {
    /// Bytes, partition keys included.
    pub bytes_per_minute: u64,
    /// Records.
    pub records_per_minute: u64,
}

/// A key that carries much of a shard's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLoad {
    /// Hash of the partition key, or the explicit hash key.
    pub key: HashKey,
    /// It weighs at least this: bytes, and a thousand-odd for each record, so that both limits of
    /// a shard weigh the same.
    pub weight_per_minute: u64,
}

/// Where to cut a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitPoint {
    /// First key of the upper child.
    At(HashKey),
    /// One key carries the load, alone in its part of the range: no cut would help.
    OneKey(HashKey),
    /// The range is too narrow to be cut.
    TooNarrow,
}

impl ShardLoad {
    /// From the numbers of [`Self::measured`], [`Self::buckets`] and [`Self::candidate`].
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

    /// How long this leader has measured.
    pub fn measured(&self) -> Duration {
        self.measured
    }

    /// The parts of the range, lowest keys first.
    pub fn buckets(&self) -> &[BucketLoad; BUCKETS] {
        &self.buckets
    }

    /// The key that may carry most of the load, with what it surely carries.
    pub fn candidate(&self) -> Option<KeyLoad> {
        self.candidate
    }

    /// Bytes a second, partition keys included.
    pub fn bytes_per_second(&self) -> u64 {
        per_second(self.bytes_per_minute)
    }

    /// Records a second.
    pub fn records_per_second(&self) -> u64 {
        per_second(self.records_per_minute)
    }

    /// How much of the shard's limit it takes, in thousandths: of bytes or of records, whichever
    /// is more.
    pub fn permille(&self) -> u64 {
        let bytes = share(self.bytes_per_minute, SHARD_BYTES_PER_SECOND * 60);
        bytes.max(share(self.records_per_minute, SHARD_RECORDS_PER_SECOND * 60))
    }

    /// Where to cut `range`, on which this load is: at the boundary of two buckets that leaves the
    /// least on the heavier side, which is the weighted median.
    ///
    /// If one bucket carries nearly everything, that boundary is one of its own, and of those the
    /// one that leaves it with fewer keys: the next split takes the other one, and then the bucket
    /// has a shard, and sixty-four buckets, for itself. This goes on until a part is found that has
    /// weight worth cutting off, or one key is known to carry most of what is left.
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

    /// All cuts between buckets that a shard may be split at.
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

/// A place to cut, and what stays on its heavier side.
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

/// Whether SplitShard takes `at` as the first key of the upper child: above the second key of the
/// range and below its last, so that each child has two keys or more.
pub(super) fn may_split_at(range: HashKeyRange, at: HashKey) -> bool {
    range.start().0.saturating_add(1) < at.0 && at < range.end()
}

/// Bytes, and for each record as many as make both limits of a shard weigh the same.
pub(super) fn weight(bytes: u64, records: u64) -> u64 {
    let of_records = records.saturating_mul(SHARD_BYTES_PER_SECOND / SHARD_RECORDS_PER_SECOND);
    bytes.saturating_add(of_records)
}

/// To the nearest whole number.
fn per_second(per_minute: u64) -> u64 {
    per_minute / 60 + u64::from(per_minute % 60 >= 30)
}

/// `part` of `whole` in thousandths; nothing of nothing.
fn share(part: impl Into<u128>, whole: impl Into<u128>) -> u64 {
    let permille = part.into().saturating_mul(1000) / whole.into().max(1);
    u64::try_from(permille).unwrap_or(u64::MAX)
}
