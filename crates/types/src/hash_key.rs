//! Hash keys and ranges of them. A record belongs to the shard whose range contains the hash key of its partition
//! key.
//!
//! ```text
//! 0                                                                  2^128 - 1
//! [ shard 0: start ..= end ][ shard 1: start ..= end ][ shard 2: start ..= end ]
//! ```
//!
//! Both ends of a range are inclusive, as in the Kinesis API. The open shards of a stream cover the whole space
//! without gaps.

use std::fmt;
use std::str::FromStr;

use digest::Digest;
use md5::Md5;

use crate::names::ParseError;

/// A hash key: 0..=2^128-1. On the wire it is a decimal string without leading zeros.
///
/// Source: Kinesis API reference, `HashKeyRange`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u128);

/// The hash key of a partition key: the MD5 of its UTF-8 bytes, as an unsigned big-endian number (API reference,
/// `PutRecord`).
pub fn partition_key_hash(partition_key: &str) -> HashKey {
    HashKey(u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into()))
}

impl FromStr for HashKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || (text.len() > 1 && text.starts_with('0')) {
            return Err(ParseError::HashKey);
        }
        text.parse().map(Self).map_err(|_| ParseError::HashKey)
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range of hash keys, both ends inclusive. It is never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKeyRange {
    start: HashKey,
    end: HashKey,
}

impl HashKeyRange {
    /// All hash keys.
    pub const FULL: Self = Self { start: HashKey(0), end: HashKey(u128::MAX) };

    /// The range `start..=end`; `None` if `end` is below `start`.
    pub fn new(start: HashKey, end: HashKey) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// Lowest hash key of the range.
    pub const fn start(&self) -> HashKey {
        self.start
    }

    /// Highest hash key of the range.
    pub const fn end(&self) -> HashKey {
        self.end
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// Splits all hash keys into `count` ranges of width ⌊2^128 / count⌋. The last range gets the remainder. AWS
    /// splits a new stream in the same way. Empty if `count` is zero.
    pub fn split_evenly(count: u32) -> Vec<Self> {
        let Some(width) = (u128::MAX / u128::from(count.max(1))).checked_add(1) else {
            return vec![Self::FULL];
        };
        // Computes ⌊2^128 / count⌋ without 129-bit arithmetic. It is ⌊(2^128-1) / count⌋, and one more if `count`
        // divides 2^128, which means that `count` is a power of two.
        let width = if count.is_power_of_two() { width } else { width - 1 };
        (0..count)
            .map(|i| {
                let start = width * u128::from(i);
                let end = if i + 1 == count { u128::MAX } else { start + width - 1 };
                Self { start: HashKey(start), end: HashKey(end) }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_ranges_cover_all_hash_keys_without_gaps() {
        for count in [1, 2, 3, 4, 5, 7, 16, 1000, 4096] {
            let ranges = HashKeyRange::split_evenly(count);
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].start(), HashKey(0));
            assert_eq!(ranges[ranges.len() - 1].end(), HashKey(u128::MAX));
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end().0 + 1, pair[1].start().0);
            }
        }
    }

    #[test]
    fn the_ranges_of_new_streams_are_those_of_aws() {
        let ranges = HashKeyRange::split_evenly(4);
        assert_eq!(ranges[0].end().to_string(), "85070591730234615865843651857942052863");
        assert_eq!(ranges[3].end().to_string(), "340282366920938463463374607431768211455");
        let ranges = HashKeyRange::split_evenly(3);
        assert_eq!(ranges[1].start().to_string(), "113427455640312821154458202477256070485");
    }

    #[test]
    fn partition_key_hash_is_md5_as_a_big_endian_number() {
        assert_eq!(partition_key_hash("a").0, 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn text_that_is_not_a_hash_key_is_refused() {
        for bad in ["", "01", "-1", "+1", " 1", "1a", "340282366920938463463374607431768211456"] {
            assert_eq!(bad.parse::<HashKey>(), Err(ParseError::HashKey), "{bad}");
        }
        assert_eq!("0".parse(), Ok(HashKey(0)));
    }
}
