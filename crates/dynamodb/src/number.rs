//! Numbers of DynamoDB: decimal, at most 38 significant digits, magnitude 1E-130 to 9.99…E+125.
//!
//! A number is a coefficient without trailing zeros and a power of ten. 38 digits fit in 128 bits, so every operation
//! is exact, has a fixed cost and allocates nothing. A number of a client can never become large in memory, whatever
//! exponent the client writes.
//!
//! ```text
//! text      "-0.00123400"
//! number    negative, coefficient 1234, exponent -6
//! key       01 | complement of: 7f fd | 0d 23 | 00      sign, power of the first digit, pairs of digits, end
//! ```
//!
//! Sources: "Supported data types" of the DynamoDB Developer Guide. The tests compare the arithmetic with the crate
//! `bigdecimal`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A number in its only form: equal numbers are equal values.
///
/// Invariant: the coefficient has no trailing zero and at most 38 digits. Zero is not negative and has exponent 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Number {
    is_negative: bool,
    coefficient: u128,
    exponent: i32,
}

/// The reason why a text or a result is no number of DynamoDB. The texts are those of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberFault {
    /// The text is no decimal number.
    #[error("The parameter cannot be converted to a numeric value")]
    NotNumeric,
    /// More than 38 significant digits.
    #[error("Attempting to store more than 38 significant digits in a Number")]
    TooPrecise,
    /// The magnitude is above 9.99…E+125.
    #[error(
        "Number overflow. Attempting to store a number with magnitude larger than supported range"
    )]
    Overflow,
    /// The magnitude is below 1E-130, and the number is not zero.
    #[error(
        "Number underflow. Attempting to store a number with magnitude smaller than supported range"
    )]
    Underflow,
}

/// Most significant digits of a number.
const MAX_DIGITS: u32 = 38;
/// Highest power of ten of the first digit.
const MAX_POWER: i32 = 125;
/// Lowest power of ten of the first digit.
const MIN_POWER: i32 = -130;

/// First byte of a key: the sign.
const KEY_NEGATIVE: u8 = 1;
const KEY_ZERO: u8 = 2;
const KEY_POSITIVE: u8 = 3;
/// Added to the power of the first digit, so that it is written without a sign.
const KEY_POWER_BIAS: i32 = 0x8000;

impl Number {
    /// Zero.
    pub const ZERO: Self = Self { is_negative: false, coefficient: 0, exponent: 0 };

    /// The sum.
    ///
    /// # Errors
    /// If the exact sum has more than 38 digits or is out of range.
    pub fn plus(self, other: Self) -> Result<Self, NumberFault> {
        if self.coefficient == 0 {
            return Ok(other);
        }
        if other.coefficient == 0 {
            return Ok(self);
        }
        let (high, low) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // The lowest digit of `low` is not zero. If the exponents differ, the sum has that digit too. So a sum that
        // does not fit in 128 bits has more than 38 digits.
        let shift = high.exponent.abs_diff(low.exponent);
        let aligned = 10_u128.checked_pow(shift).and_then(|ten| high.coefficient.checked_mul(ten));
        let aligned = aligned.ok_or(NumberFault::TooPrecise)?;
        let (is_negative, coefficient) = if high.is_negative == low.is_negative {
            let sum = aligned.checked_add(low.coefficient).ok_or(NumberFault::TooPrecise)?;
            (high.is_negative, sum)
        } else if aligned >= low.coefficient {
            (high.is_negative, aligned - low.coefficient)
        } else {
            (low.is_negative, low.coefficient - aligned)
        };
        Self::normal(is_negative, coefficient, low.exponent)
    }

    /// The difference.
    ///
    /// # Errors
    /// As [`Self::plus`].
    pub fn minus(self, other: Self) -> Result<Self, NumberFault> {
        self.plus(other.negated())
    }

    /// Appends bytes that are in the order of the numbers. No key is the beginning of another key.
    pub fn append_key(self, out: &mut Vec<u8>) {
        if self.coefficient == 0 {
            out.push(KEY_ZERO);
            return;
        }
        out.push(if self.is_negative { KEY_NEGATIVE } else { KEY_POSITIVE });
        let start = out.len();
        let power = u16::try_from(self.power() + KEY_POWER_BIAS).unwrap_or(u16::MAX);
        out.extend_from_slice(&power.to_be_bytes());
        let digits = self.coefficient.to_string();
        for pair in digits.as_bytes().chunks(2) {
            let tens = pair.first().map_or(0, |digit| digit - b'0');
            let ones = pair.get(1).map_or(0, |digit| digit - b'0');
            out.push(tens * 10 + ones + 1);
        }
        out.push(0);
        if self.is_negative {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// Number of bytes that DynamoDB counts for the number: one for each two digits, and one; one more if negative.
    pub fn size(self) -> usize {
        if self.coefficient == 0 {
            return 1;
        }
        // A byte holds two digits on each side of the decimal point, so an odd exponent moves the pairs.
        let digits = self.digits() + self.exponent.rem_euclid(2).unsigned_abs();
        digits.div_ceil(2) as usize + 1 + usize::from(self.is_negative)
    }

    const fn negated(self) -> Self {
        Self { is_negative: !self.is_negative && self.coefficient != 0, ..self }
    }

    /// Number of digits of the coefficient.
    fn digits(self) -> u32 {
        self.coefficient.checked_ilog10().map_or(0, |log| log + 1)
    }

    /// Power of ten of the first digit.
    fn power(self) -> i32 {
        self.exponent + self.digits().cast_signed() - 1
    }

    /// Brings a number into its only form and checks its limits.
    fn normal(
        is_negative: bool,
        mut coefficient: u128,
        mut exponent: i32,
    ) -> Result<Self, NumberFault> {
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        while coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        let number = Self { is_negative, coefficient, exponent };
        match () {
            () if number.digits() > MAX_DIGITS => Err(NumberFault::TooPrecise),
            () if number.power() > MAX_POWER => Err(NumberFault::Overflow),
            () if number.power() < MIN_POWER => Err(NumberFault::Underflow),
            () => Ok(number),
        }
    }
}

impl FromStr for Number {
    type Err = NumberFault;

    fn from_str(text: &str) -> Result<Self, NumberFault> {
        let (is_negative, unsigned) = match text.as_bytes() {
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        let (digits, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
            return Err(NumberFault::NotNumeric);
        }
        let count = whole.len() + fraction.len();
        let leading = all().take_while(|byte| *byte == b'0').count();
        if leading == count {
            return Ok(Self::ZERO);
        }
        let trailing = fraction.bytes().rev().chain(whole.bytes().rev());
        let trailing = trailing.take_while(|byte| *byte == b'0').count();
        // The power of ten of the last digit that is not zero. Texts are shorter than 2^31 digits; a longer one is
        // out of range anyway.
        let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let zeros = i64::try_from(trailing).unwrap_or(i64::MAX);
        let exponent = exponent.saturating_sub(places).saturating_add(zeros);
        let significant = count - leading - trailing;
        let power = exponent.saturating_add(i64::try_from(significant).unwrap_or(i64::MAX) - 1);
        match () {
            () if power > i64::from(MAX_POWER) => return Err(NumberFault::Overflow),
            () if power < i64::from(MIN_POWER) => return Err(NumberFault::Underflow),
            () if significant > MAX_DIGITS as usize => return Err(NumberFault::TooPrecise),
            () => {}
        }
        let coefficient = all().skip(leading).take(significant);
        let coefficient = coefficient.fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        let exponent = i32::try_from(exponent).map_err(|_| NumberFault::Overflow)?;
        Self::normal(is_negative, coefficient, exponent)
    }
}

/// The exponent of a text. One that is too long for 64 bits counts as the largest or smallest one.
fn exponent(text: &str) -> Result<i64, NumberFault> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberFault::NotNumeric);
    }
    let saturated = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Ok(text.parse().unwrap_or(saturated))
}

/// The text that DynamoDB answers: plain digits, never an exponent. It has at most 168 characters.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_negative {
            f.write_str("-")?;
        }
        let digits = self.coefficient.to_string();
        let exponent = self.exponent;
        if self.coefficient == 0 {
            return f.write_str("0");
        }
        if exponent >= 0 {
            let zeros = exponent.unsigned_abs() as usize;
            return write!(f, "{digits}{:0<zeros$}", "");
        }
        let places = exponent.unsigned_abs() as usize;
        if digits.len() > places {
            let (whole, fraction) = digits.split_at(digits.len() - places);
            return write!(f, "{whole}.{fraction}");
        }
        write!(f, "0.{digits:0>places$}")
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match number {
            Self { coefficient: 0, .. } => 0,
            Self { is_negative: true, .. } => -1,
            Self { .. } => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            let magnitude = self.power().cmp(&other.power());
            let magnitude = magnitude.then_with(|| self.wide().cmp(&other.wide()));
            if self.is_negative { magnitude.reverse() } else { magnitude }
        })
    }
}

impl Number {
    /// The coefficient with zeros appended up to 38 digits.
    fn wide(self) -> u128 {
        self.coefficient * 10_u128.pow(MAX_DIGITS - self.digits())
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::normal(false, number.into(), 0).unwrap_or(Self::ZERO)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bigdecimal::BigDecimal;
    use proptest::prelude::*;

    use super::*;

    fn printed(text: &str) -> String {
        text.parse::<Number>()
            .map_or_else(|fault| format!("{fault:?}"), |number| number.to_string())
    }

    /// Any number of DynamoDB, with a bias to few digits and to powers that are near each other.
    pub(crate) fn number() -> impl Strategy<Value = Number> {
        let coefficient = prop_oneof![0..200_u128, 0..10_u128.pow(38)];
        let exponent = prop_oneof![-6..6_i32, -130..88_i32];
        (any::<bool>(), coefficient, exponent).prop_map(|(is_negative, coefficient, exponent)| {
            Number::normal(is_negative, coefficient, exponent).unwrap_or(Number::ZERO)
        })
    }

    #[test]
    fn numbers_are_printed_in_one_form() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.000", "0"),
            ("000123", "123"),
            ("+1.50", "1.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1000"),
            ("-1.23E-2", "-0.0123"),
            ("1E37", "10000000000000000000000000000000000000"),
            ("0E999999999999999999999", "0"),
        ] {
            assert_eq!(printed(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let nines = "9".repeat(38);
        assert_eq!(printed(&nines), nines);
        assert_eq!(printed(&format!("{nines}9")), "TooPrecise");
        assert_eq!(printed(&format!("{nines}0")), format!("{nines}0"));
        assert_eq!(printed("-1.25E125"), format!("-125{}", "0".repeat(123)));
        assert_eq!(printed("1E-130"), format!("0.{}1", "0".repeat(129)));
        assert_eq!(printed("1E126"), "Overflow");
        assert_eq!(printed("-1E126"), "Overflow");
        assert_eq!(printed("1E-131"), "Underflow");
        assert_eq!(printed("1E99999999999999999999999"), "Overflow");
        assert_eq!(printed("1E-99999999999999999999999"), "Underflow");
        for text in ["", "-", ".", "e5", "1e", "1e+", "1 ", " 1", "0x1", "NaN", "1.2.3", "--1", "١"]
        {
            assert_eq!(printed(text), "NotNumeric", "{text}");
        }
    }

    #[test]
    fn a_long_number_is_read_in_linear_time() {
        assert_eq!(printed(&"0".repeat(1_000_000)), "0");
        assert_eq!(printed(&"9".repeat(1_000_000)), "Overflow");
    }

    #[test]
    fn a_sum_that_needs_more_than_38_digits_is_refused() {
        let number = |text: &str| text.parse::<Number>().unwrap();
        assert_eq!(number("1E38").plus(number("-1")).unwrap().to_string(), "9".repeat(38));
        assert_eq!(number("1E38").plus(number("1")), Err(NumberFault::TooPrecise));
        assert_eq!(number("9E125").plus(number("9E125")), Err(NumberFault::Overflow));
        let (one, other) = (number("1.1E-130"), number("1E-130"));
        assert_eq!(one.minus(other), Err(NumberFault::Underflow));
    }

    #[test]
    fn sizes_count_pairs_of_digits() {
        let size = |text: &str| text.parse::<Number>().unwrap().size();
        assert_eq!([size("0"), size("1"), size("12"), size("123"), size("-123")], [1, 2, 2, 3, 4]);
        assert_eq!([size("100"), size("10"), size("1.5")], [2, 2, 3]);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(number in number()) {
            prop_assert_eq!(number.to_string().parse::<Number>(), Ok(number));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[-+]?[0-9]{0,45}[.]?[0-9]{0,45}([eE][-+]?[0-9]{0,4})?") {
            if let Ok(number) = text.parse::<Number>() {
                let oracle: BigDecimal = text.parse().unwrap();
                prop_assert_eq!(number.to_string().parse::<BigDecimal>().unwrap(), oracle);
            }
        }

        #[test]
        fn sums_and_order_are_those_of_an_oracle(one in number(), other in number()) {
            let oracle = |number: Number| number.to_string().parse::<BigDecimal>().unwrap();
            prop_assert_eq!(one.cmp(&other), oracle(one).cmp(&oracle(other)));
            let exact = oracle(one) + oracle(other);
            let digits = exact.normalized().digits();
            match one.plus(other) {
                Ok(sum) => prop_assert_eq!(oracle(sum), exact),
                Err(NumberFault::TooPrecise) => prop_assert!(digits > 38),
                Err(fault) => prop_assert!(fault != NumberFault::NotNumeric && digits <= 38),
            }
        }

        #[test]
        fn keys_are_in_the_order_of_numbers(one in number(), other in number()) {
            let key = |number: Number| {
                let mut key = Vec::new();
                number.append_key(&mut key);
                key
            };
            prop_assert_eq!(key(one).cmp(&key(other)), one.cmp(&other));
            prop_assert!(one == other || !key(one).starts_with(&key(other)));
        }
    }
}
