//! Numbers of a history: times, sequence numbers, hash keys.
//!
//! Sequence numbers and hash keys are decimal strings in files, because JSON readers lose digits of large numbers.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::serde_as_text;

/// A time of the harness's monotonic clock, in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nanos(pub u64);

/// A time of the cluster's wall clock, or a duration, in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The same length of time in nanoseconds. The largest value stands for anything longer.
    pub fn as_nanos(self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }
}

impl Nanos {
    /// Time from `earlier` to this time. Zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time plus a duration.
    pub fn plus(self, duration: Millis) -> Self {
        Self(self.0.saturating_add(duration.as_nanos()))
    }
}

impl Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000)
    }
}

/// The text is not a decimal number without leading zeros, or the number is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most {bits} bits without leading zeros: {text:?}")]
pub struct NotADecimal {
    /// The text that was read.
    pub text: String,
    /// How many bits the type holds.
    pub bits: u32,
}

/// Position of a record in its shard.
///
/// Shape: up to 192 bits as three words, most significant first (the service uses 186 bits). In files a decimal
/// string without leading zeros. Values are compared as numbers, never as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq([u64; 3]);

/// The largest power of ten in a word, for steps of nineteen digits.
const STEP: u64 = 10_000_000_000_000_000_000;
const STEP_DIGITS: usize = 19;

impl Seq {
    /// A small number, for tests.
    pub fn small(number: u64) -> Self {
        Self([0, 0, number])
    }

    /// `self * factor + addend`, or `None` above 192 bits.
    fn scaled(self, factor: u64, addend: u64) -> Option<Self> {
        let mut carry = u128::from(addend);
        let mut words = self.0;
        for word in words.iter_mut().rev() {
            let wide = u128::from(*word) * u128::from(factor) + carry;
            *word = low_word(wide);
            carry = wide >> 64;
        }
        (carry == 0).then_some(Self(words))
    }

    /// Quotient and remainder of a division by [`STEP`].
    fn divided(self) -> (Self, u64) {
        let mut rest = 0_u128;
        let mut words = self.0;
        for word in &mut words {
            let wide = (rest << 64) | u128::from(*word);
            *word = low_word(wide / u128::from(STEP));
            rest = wide % u128::from(STEP);
        }
        (Self(words), low_word(rest))
    }
}

fn low_word(wide: u128) -> u64 {
    u64::try_from(wide & u128::from(u64::MAX)).expect("the mask leaves 64 bits")
}

fn is_decimal(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

impl FromStr for Seq {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let error = || NotADecimal { text: text.to_owned(), bits: 192 };
        if !is_decimal(text) {
            return Err(error());
        }
        let mut value = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, tail) = rest.split_at(rest.len().min(STEP_DIGITS));
            let digits = u32::try_from(step.len()).expect("a step has at most 19 digits");
            let addend = step.parse().map_err(|_| error())?;
            value = value.scaled(10_u64.pow(digits), addend).ok_or_else(error)?;
            rest = tail;
        }
        Ok(value)
    }
}

impl Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rest, low) = self.divided();
        if rest == Self::default() { write!(f, "{low}") } else { write!(f, "{rest}{low:019}") }
    }
}

/// A hash key: the MD5 of a partition key, or the explicit hash key of a record. In files a decimal string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u128);

impl FromStr for HashKey {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let error = || NotADecimal { text: text.to_owned(), bits: 128 };
        if !is_decimal(text) {
            return Err(error());
        }
        text.parse().map(Self).map_err(|_| error())
    }
}

impl Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

serde_as_text!(Seq, HashKey);

/// A range of hash keys, both ends inclusive. In files a list of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(HashKey, HashKey)", into = "(HashKey, HashKey)")]
pub struct HashRange {
    /// The first hash key of the range.
    pub start: HashKey,
    /// The last hash key of the range.
    pub end: HashKey,
}

impl HashRange {
    /// All hash keys.
    pub const ALL: Self = Self { start: HashKey(0), end: HashKey(u128::MAX) };

    /// Whether the range has this hash key.
    pub fn contains(&self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }
}

impl From<(HashKey, HashKey)> for HashRange {
    fn from((start, end): (HashKey, HashKey)) -> Self {
        Self { start, end }
    }
}

impl From<HashRange> for (HashKey, HashKey) {
    fn from(range: HashRange) -> Self {
        (range.start, range.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequence_numbers_are_ordered_as_numbers() {
        let read = |text: &str| text.parse::<Seq>().unwrap();
        assert!(read("9") < read("10"));
        let real = "49546986683135544286507457936321625675700192471156785154";
        assert!(read("18446744073709551616") < read(real));
        assert_eq!(read(real).to_string(), real);
    }

    #[test]
    fn text_that_is_not_a_sequence_number_is_refused() {
        let too_large = "9".repeat(60);
        for text in ["", "01", "-1", "+1", "1 ", "x", &too_large] {
            assert!(text.parse::<Seq>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn a_sequence_number_survives_its_text(words in any::<[u64; 3]>()) {
            let seq = Seq(words);
            prop_assert_eq!(seq.to_string().parse::<Seq>().unwrap(), seq);
        }

        #[test]
        fn order_is_by_length_then_by_text(a in any::<[u64; 3]>(), b in any::<[u64; 3]>()) {
            let (left, right) = (Seq(a).to_string(), Seq(b).to_string());
            let by_text = (left.len(), &left).cmp(&(right.len(), &right));
            prop_assert_eq!(Seq(a).cmp(&Seq(b)), by_text);
        }
    }
}
