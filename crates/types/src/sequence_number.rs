//! Sequence numbers: the position of a record in its shard, in the format of Kinesis.
//!
//! A number is computed from the log index of the record's entry and the record's place in that entry, so records are
//! stored without it. Every gateway computes the same number. Only numbers of the service's version 2 are parsed;
//! every other text is refused.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::names::{ParseError, ShardId};

/// Position of a record within its shard. Numbers of a shard strictly increase in commit order.
///
/// Shape: 186 bits, written as 47 hex digits from the most significant one:
///
/// ```text
/// 2 | birth second (9) | shard number, low 4 bits (1) | position (16) | 00 | arrival second (9) | shard number (8) | 2
/// ```
///
/// The position is below 2^63. Its upper 47 bits are the log index of the record's entry, and its lower 16 bits the
/// place of the record in that entry. On the wire the number is a decimal string without leading zeros.
///
/// Source: Kinesis API reference, `SequenceNumber`. The layout is that of version 2 of the service's numbers. Compare
/// as a number, never as text ("9" > "10").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber([u64; 3]);

/// The parts of a [`SequenceNumber`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceNumberParts {
    /// Birth of the shard, in seconds since 1970, below 2^36. It identifies the shard, and is mostly the second of
    /// its creation. It is later if a former shard under the same stream name has that second already (ADR-0028).
    pub shard_born_seconds: u64,
    /// Number of the shard within its stream.
    pub shard: ShardId,
    /// Log index of the record's entry; below 2^47.
    pub log_index: u64,
    /// Place of the record in its entry, from 0.
    pub offset: u16,
    /// When the record arrived, in seconds since 1970, below 2^36.
    pub arrival_seconds: u64,
}

const SECONDS_MASK: u64 = (1 << 36) - 1;
const LOG_INDEX_MASK: u64 = (1 << 47) - 1;

impl SequenceNumber {
    /// Builds a number. Bits beyond a part's width are dropped.
    pub fn new(parts: SequenceNumberParts) -> Self {
        let created = parts.shard_born_seconds & SECONDS_MASK;
        let arrival = parts.arrival_seconds & SECONDS_MASK;
        let shard = u64::from(parts.shard.0);
        let position = (parts.log_index & LOG_INDEX_MASK) << 16 | u64::from(parts.offset);
        // Bits from the top: version mark 4 (bits 187..184, whose value 2 makes 186 bits), birth 36, nibble 4,
        // position 64, zero 8, arrival 36, shard 32, version 4. That is 188 bits in all.
        let mut bits = Bits::default();
        bits.push(2, 4);
        bits.push(created, 36);
        bits.push(shard & 0xf, 4);
        bits.push(position, 64);
        bits.push(0, 8);
        bits.push(arrival, 36);
        bits.push(shard, 32);
        bits.push(2, 4);
        Self(bits.0)
    }

    /// The number before every record of a shard: its `StartingSequenceNumber`.
    pub fn shard_start(shard: ShardId, birth: Timestamp, created: Timestamp) -> Self {
        Self::new(SequenceNumberParts {
            shard_born_seconds: birth.as_secs(),
            shard,
            log_index: 0,
            offset: 0,
            arrival_seconds: created.as_secs(),
        })
    }

    /// The number after every record of a shard: its `EndingSequenceNumber`.
    pub fn shard_end(shard: ShardId, birth: Timestamp, closed: Timestamp) -> Self {
        Self::new(SequenceNumberParts {
            shard_born_seconds: birth.as_secs(),
            shard,
            log_index: LOG_INDEX_MASK,
            offset: u16::MAX,
            arrival_seconds: closed.as_secs(),
        })
    }

    /// Whether this is the `EndingSequenceNumber` of some shard. No record has such a number, because no log gets
    /// that long.
    pub fn is_shard_end(self) -> bool {
        let SequenceNumberParts { log_index, offset, .. } = self.parts();
        (log_index, offset) == (LOG_INDEX_MASK, u16::MAX)
    }

    /// The parts that this number was built from.
    pub fn parts(self) -> SequenceNumberParts {
        let position = self.field(80, 64);
        let [shard, offset] = [self.field(4, 32), position & 0xffff];
        SequenceNumberParts {
            shard_born_seconds: self.field(148, 36),
            shard: ShardId(u32::try_from(shard).expect("a field of 32 bits")),
            log_index: position >> 16,
            offset: u16::try_from(offset).expect("masked to 16 bits"),
            arrival_seconds: self.field(36, 36),
        }
    }

    /// The `width` bits above the lowest `low` bits.
    fn field(self, low: u32, width: u32) -> u64 {
        let word = |i: usize| if i < 3 { self.0[2 - i] } else { 0 };
        let (index, shift) = ((low / 64) as usize, low % 64);
        let two = u128::from(word(index)) | u128::from(word(index + 1)) << 64;
        let masked = (two >> shift) & ((1u128 << width) - 1);
        u64::try_from(masked).expect("fields have at most 64 bits")
    }

    fn is_version_2(self) -> bool {
        let shard = self.field(4, 32);
        self.field(184, 8) == 2
            && self.field(0, 4) == 2
            && self.field(72, 8) == 0
            && self.field(143, 1) == 0
            && self.field(144, 4) == shard & 0xf
    }
}

/// 192 bits. New bits are appended at the low end.
#[derive(Default)]
struct Bits([u64; 3]);

impl Bits {
    fn push(&mut self, value: u64, width: u32) {
        let [high, middle, low] = self.0.map(u128::from);
        let value = u128::from(value);
        let low = low << width | value;
        let middle = middle << width | low >> 64;
        let high = high << width | middle >> 64;
        let word = |w: u128| u64::try_from(w & u128::from(u64::MAX)).expect("masked to 64 bits");
        self.0 = [word(high), word(middle), word(low)];
    }
}

impl FromStr for SequenceNumber {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = (1..=58).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || text.starts_with('0') {
            return Err(ParseError::SequenceNumber);
        }
        let mut words = [0u64; 3];
        for digit in text.bytes().map(|b| u128::from(b - b'0')) {
            let mut carry = digit;
            for word in words.iter_mut().rev() {
                let next = u128::from(*word) * 10 + carry;
                *word = u64::try_from(next & u128::from(u64::MAX)).expect("masked to 64 bits");
                carry = next >> 64;
            }
            if carry != 0 {
                return Err(ParseError::SequenceNumber);
            }
        }
        let number = Self(words);
        if number.is_version_2() { Ok(number) } else { Err(ParseError::SequenceNumber) }
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; 3 * CHUNK_DIGITS];
        let chunks = text.rchunks_exact_mut(CHUNK_DIGITS);
        for (chunk, digits) in self.decimal_chunks().into_iter().zip(chunks) {
            write_digits(chunk, digits);
        }
        let start = text.iter().position(|digit| *digit != b'0').unwrap_or(text.len() - 1);
        f.pad(std::str::from_utf8(&text[start..]).expect("digits are ASCII"))
    }
}

/// Number of decimal digits that always fit into 64 bits.
const CHUNK_DIGITS: usize = 19;

impl SequenceNumber {
    /// The number in base 10^19, lowest digit first.
    fn decimal_chunks(self) -> [u64; 3] {
        const BASE: u128 = 10_u128.pow(19);
        // 2^64 and 2^128 in base 10^19, lowest digit first. A number of 186 bits has three such digits.
        const MIDDLE: [u128; 3] = [8_446_744_073_709_551_616, 1, 0];
        const HIGH: [u128; 3] = [3_374_607_431_768_211_456, 4_028_236_692_093_846_346, 3];
        let [high, middle, low] = self.0.map(u128::from);
        let mut carry = low;
        std::array::from_fn(|i| {
            let sum = carry + middle * MIDDLE[i] + high * HIGH[i];
            carry = sum / BASE;
            u64::try_from(sum - carry * BASE).expect("below 10^19")
        })
    }
}

/// Fills `digits` with `number` in decimal, with leading zeros.
fn write_digits(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("below 10");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts() -> impl Strategy<Value = SequenceNumberParts> {
        (0..1u64 << 36, any::<u32>(), 0..1u64 << 47, any::<u16>(), 0..1u64 << 36).prop_map(
            |(shard_born_seconds, shard, log_index, offset, arrival_seconds)| {
                let shard = ShardId(shard);
                SequenceNumberParts {
                    shard_born_seconds,
                    shard,
                    log_index,
                    offset,
                    arrival_seconds,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_number_parses_from_its_own_text(parts in parts()) {
            let number = SequenceNumber::new(parts);
            prop_assert_eq!(number.parts(), parts);
            prop_assert_eq!(number.to_string().parse(), Ok(number));
        }

        #[test]
        fn numbers_of_a_shard_are_ordered_by_position(a in parts(), b in parts()) {
            let b = SequenceNumberParts {
                shard: a.shard,
                shard_born_seconds: a.shard_born_seconds,
                ..b
            };
            let positions = (a.log_index, a.offset).cmp(&(b.log_index, b.offset));
            prop_assume!(positions.is_ne());
            prop_assert_eq!(SequenceNumber::new(a).cmp(&SequenceNumber::new(b)), positions);
        }

        #[test]
        fn digits_are_refused_or_parse_to_the_same_number(text in "[0-9]{0,60}") {
            if let Ok(number) = text.parse::<SequenceNumber>() {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }

    #[test]
    fn numbers_have_56_digits_and_the_layout_of_aws() {
        // The first number of shard 0 created at second 1,400,000,000: hex 2 053724e00 0 0{16} 00 053724e00 00000000 2.
        let second = Timestamp::from_millis(1_400_000_000_000);
        let start = SequenceNumber::shard_start(ShardId(0), second, second);
        assert_eq!(start.to_string().len(), 56);
        let expected = num_from_hex("20537 24e00 0 0000000000000000 00 053724e00 00000000 2");
        assert_eq!(start.to_string(), expected);
    }

    #[test]
    fn a_shard_ends_after_every_record_and_before_its_children() {
        let at = |second: u64| Timestamp::from_millis(second * 1000);
        let end = SequenceNumber::shard_end(ShardId(0), at(5), at(9));
        let parts = SequenceNumberParts {
            shard_born_seconds: 5,
            shard: ShardId(0),
            log_index: LOG_INDEX_MASK - 1,
            offset: u16::MAX,
            arrival_seconds: 100,
        };
        assert!(end > SequenceNumber::new(parts) && end.is_shard_end());
        assert!(!SequenceNumber::new(parts).is_shard_end());
        assert!(end < SequenceNumber::shard_start(ShardId(1), at(6), at(6)));
        assert_eq!(end.to_string().parse(), Ok(end));
    }

    /// Decimal text of a hex number, by long multiplication. Shares no code with the codec.
    fn num_from_hex(hex: &str) -> String {
        let mut digits = vec![0u32];
        for nibble in hex.chars().filter_map(|c| c.to_digit(16)) {
            let mut carry = nibble;
            for digit in &mut digits {
                let value = *digit * 16 + carry;
                *digit = value % 10;
                carry = value / 10;
            }
            while carry > 0 {
                digits.push(carry % 10);
                carry /= 10;
            }
        }
        digits.iter().rev().map(u32::to_string).collect()
    }
}
