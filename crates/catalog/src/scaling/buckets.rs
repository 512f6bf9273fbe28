//! Buckets: the parts of a shard's hash key range in which its load is measured.
//!
//! ```text
//! |  0  |  1  |  2  | ... |  62  |  63 |      64 buckets of one width, in hash keys; the last one may be shorter
//! ```
//!
//! A record finds its bucket with one division of 64-bit numbers, since this is done for every record of an on-demand
//! stream.

use anabranch_types::{HashKey, HashKeyRange};

/// Number of buckets. With 64, a split of an even load is within a hundredth of the median, and two splits give a hot
/// key a shard of a sixty-fourth of the range.
pub const BUCKETS: usize = 64;

/// A hash key range, divided into [`BUCKETS`] buckets of one width; the last one may be shorter. If the range has
/// fewer keys than buckets, the last buckets are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    start: HashKey,
    /// Number of low bits that are dropped from an offset so that it fits 64 bits. The width is a multiple of
    /// `2^shift`, so the bucket is exact all the same.
    shift: u32,
    width_shifted: u64,
}

impl Buckets {
    /// The buckets of `range`.
    pub(super) fn of(range: HashKeyRange) -> Self {
        let last_offset = range.end().0 - range.start().0;
        let bits = u128::BITS - last_offset.leading_zeros();
        let shift = bits.saturating_sub(u64::BITS);
        let width_shifted = low_64(last_offset >> shift) / BUCKETS as u64 + 1;
        Self { start: range.start(), shift, width_shifted }
    }

    /// Index of the bucket of `key`; of the nearest bucket if the key is outside of the range.
    pub(super) fn index(&self, key: HashKey) -> usize {
        let offset = low_64(key.0.saturating_sub(self.start.0) >> self.shift);
        usize::try_from(offset / self.width_shifted).map_or(BUCKETS - 1, |i| i.min(BUCKETS - 1))
    }

    /// First key of bucket `index`, which is below [`BUCKETS`]. Beyond the range if the bucket is empty.
    pub(super) fn start_of(&self, index: usize) -> HashKey {
        let offset = (index as u128 * u128::from(self.width_shifted)) << self.shift;
        HashKey(self.start.0.saturating_add(offset))
    }
}

/// `value`, or the largest number of 64 bits if it is larger.
fn low_64(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_full_range_is_divided_into_sixty_fourths() {
        let buckets = Buckets::of(HashKeyRange::FULL);
        assert_eq!(buckets.index(HashKey(0)), 0);
        assert_eq!(buckets.index(HashKey(u128::MAX)), 63);
        assert!(buckets.start_of(32).0.abs_diff(1 << 127) < 1 << 75);
    }

    proptest! {
        #[test]
        fn the_first_key_of_a_bucket_is_in_it_and_the_key_before_is_not(
            start in any::<u128>(), last_offset in any::<u128>(), narrow in 0u32..128
        ) {
            let end = start.saturating_add(last_offset >> narrow);
            let range = HashKeyRange::new(HashKey(start), HashKey(end)).unwrap();
            let buckets = Buckets::of(range);
            prop_assert_eq!(buckets.index(range.start()), 0);
            for index in 1..BUCKETS {
                let first = buckets.start_of(index);
                if range.contains(first) {
                    prop_assert_eq!(buckets.index(first), index);
                    prop_assert_eq!(buckets.index(HashKey(first.0 - 1)), index - 1);
                }
            }
        }
    }
}
