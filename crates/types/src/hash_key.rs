use std::fmt;
use std::str::FromStr;

use digest::Digest;
use md5::Md5;

use crate::names::ParseError;

/// A point of the hash key space 0..=2^128-1; on the wire a decimal string without leading zeros.
///
/// Source: Kinesis API reference, `HashKeyRange`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u128);

/// MD5 of the partition key's UTF-8 bytes, as an unsigned big-endian number (API reference, `PutRecord`).
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

/// `[start, end]` of the hash key space, both ends inclusive, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKeyRange {
    start: HashKey,
    end: HashKey,
}

impl HashKeyRange {
    /// The whole space.
    pub const FULL: Self = Self { start: HashKey(0), end: HashKey(u128::MAX) };

    /// `start..=end`; `None` if `end` is below `start`.
    pub fn new(start: HashKey, end: HashKey) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// Lowest key of the range.
    pub const fn start(&self) -> HashKey {
        self.start
    }

    /// Highest key of the range.
    pub const fn end(&self) -> HashKey {
        self.end
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// The whole space cut into `count` ranges of width ⌊2^128 / count⌋, the last one taking the
    /// rest, as the service cuts a new stream. Empty for a `count` of zero.
    pub fn split_evenly(count: u32) -> Vec<Self> {
        let Some(width) = (u128::MAX / u128::from(count.max(1))).checked_add(1) else {
            return vec![Self::FULL];
        };
        // ⌊2^128 / count⌋ without 129-bit arithmetic: one more than ⌊(2^128-1) / count⌋ only
        // where count divides 2^128, which is where it is a power of two.
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
    fn even_ranges_tile_the_whole_space() {
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
    fn four_shards_have_the_ranges_of_the_service() {
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
    fn hash_keys_refuse_what_the_pattern_refuses() {
        for bad in ["", "01", "-1", "+1", " 1", "1a", "340282366920938463463374607431768211456"] {
            assert_eq!(bad.parse::<HashKey>(), Err(ParseError::HashKey), "{bad}");
        }
        assert_eq!("0".parse(), Ok(HashKey(0)));
    }
}
