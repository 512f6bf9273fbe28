//! Numbers as jq 1.6 prints and compares them.

use std::cmp::Ordering;

/// Decimal text with the fewest digits that give the number back: `3`, `0.1`, `1e+17`, `1e-05`.
///
/// A number that is not a number is `null`, and an infinite one is the largest number, because JSON has neither.
pub(super) fn text(number: f64) -> String {
    if number.is_nan() {
        return "null".to_owned();
    }
    let number = number.clamp(f64::MIN, f64::MAX);
    // `d.ddde-7`: the digits and their exponent, without a rule about when to use one.
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().expect("the format has a number there");
    let sign = if number.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}", unsigned(&digits, exponent))
}

/// `digits` are the significant ones, of which the first counts `10^exponent`.
fn unsigned(digits: &str, exponent: i32) -> String {
    let count = i32::try_from(digits.len()).expect("a number has at most 17 digits");
    let whole_digits = exponent + 1;
    if whole_digits <= -4 || whole_digits > count + 15 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{first}{point}{rest}e{sign}{:02}", exponent.unsigned_abs());
    }
    if whole_digits <= 0 {
        let zeros = "0".repeat(whole_digits.unsigned_abs() as usize);
        return format!("0.{zeros}{digits}");
    }
    let whole_digits = whole_digits.unsigned_abs() as usize;
    if digits.len() <= whole_digits {
        return format!("{digits}{}", "0".repeat(whole_digits - digits.len()));
    }
    let (whole, fraction) = digits.split_at(whole_digits);
    format!("{whole}.{fraction}")
}

/// Order of numbers, in which what is not a number comes first. -0 equals 0.
pub(super) fn order(one: f64, two: f64) -> Ordering {
    one.partial_cmp(&two).unwrap_or_else(|| two.is_nan().cmp(&one.is_nan()))
}

/// The number as an index, with the fraction cut off. Beyond the range it is the nearest index.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as it must")]
pub(super) fn index(number: f64) -> i64 {
    number as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_those_of_jq_1_6() {
        let cases = [
            (0.1, "0.1"),
            (1.1, "1.1"),
            (1e15, "1000000000000000"),
            (1e16, "1e+16"),
            (123_456_789_012_345_678.0, "123456789012345680"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            (1e19, "1e+19"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (0.000_012_34, "1.234e-05"),
            (1e100, "1e+100"),
            (1.234e25, "1.234e+25"),
            (f64::INFINITY, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-1.7976931348623157e+308"),
            (f64::NAN, "null"),
            (-0.0, "-0"),
            (0.0, "0"),
            (3.0, "3"),
            (123_456.789, "123456.789"),
            (5e-324, "5e-324"),
            (0.000_12, "0.00012"),
            (1.234_567_890_123_456_8e22, "12345678901234568000000"),
            (1.7e18, "1.7e+18"),
            (9_007_199_254_740_992.0, "9007199254740992"),
        ];
        for (number, expected) in cases {
            assert_eq!(text(number), expected);
        }
    }

    proptest! {
        #[test]
        fn texts_give_the_number_back(number in prop::num::f64::NORMAL | prop::num::f64::ZERO) {
            prop_assert_eq!(text(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }
}
