use anabranch_types::{HashKey, HashKeyRange};

/// How many parts a shard's range is measured in. Sixty-four put the median within a hundredth of
/// the load where it is even, and cut the range of a hot key to a sixty-fourth with two splits.
pub const BUCKETS: usize = 64;

/// A hash key range cut into [`BUCKETS`] parts of one width, the last one shorter. Of a range with
/// fewer keys than that, the last parts are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    start: HashKey,
    /// Offsets are shifted right until they fit 64 bits, so that finding a bucket is one division
    /// of 64-bit numbers; widths are whole multiples of 2^shift, so it is exact.
    shift: u32,
    width_shifted: u64,
}

impl Buckets {
    /// The parts of `range`.
    pub(super) fn of(range: HashKeyRange) -> Self {
        let last_offset = range.end().0 - range.start().0;
        let bits = u128::BITS - last_offset.leading_zeros();
        let shift = bits.saturating_sub(u64::BITS);
        let width_shifted = low_64(last_offset >> shift) / BUCKETS as u64 + 1;
        Self { start: range.start(), shift, width_shifted }
    }

    /// Which part `key` lies in; the nearest one if it is outside of the range.
    pub(super) fn index(&self, key: HashKey) -> usize {
        let offset = low_64(key.0.saturating_sub(self.start.0) >> self.shift);
        usize::try_from(offset / self.width_shifted).map_or(BUCKETS - 1, |i| i.min(BUCKETS - 1))
    }

    /// First key of part `index`, below [`BUCKETS`]; beyond the range if that part is empty.
    pub(super) fn start_of(&self, index: usize) -> HashKey {
        let offset = (index as u128 * u128::from(self.width_shifted)) << self.shift;
        HashKey(self.start.0.saturating_add(offset))
    }
}

/// `value`, or the greatest number of 64 bits.
fn low_64(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_whole_space_is_cut_into_sixty_fourths() {
        let buckets = Buckets::of(HashKeyRange::FULL);
        assert_eq!(buckets.index(HashKey(0)), 0);
        assert_eq!(buckets.index(HashKey(u128::MAX)), 63);
        assert!(buckets.start_of(32).0.abs_diff(1 << 127) < 1 << 75);
    }

    proptest! {
        #[test]
        fn a_bucket_begins_where_keys_begin_to_be_in_it(
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
