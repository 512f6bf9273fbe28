//! Keys of rows: bytes whose order is DynamoDB's order of the key attributes.
//!
//! ```text
//! row of an item    hash | hash key | range key
//! row of an index   hash | hash key of the index | range key of the index | primary key of the item
//!
//! hash      first 4 bytes of the MD5 of the encoded hash key
//! S, B      the bytes, each 00 as 00 FF; then 00 00
//! N         see `number.rs`
//! ```
//!
//! No encoded value is the beginning of another one. So all rows of one hash key have one prefix and follow each
//! other, in the order of the range key: strings by their UTF-8 bytes, numbers by value, bytes unsigned.
//!
//! The hash spreads the items. A segment of a parallel scan is a range of hashes, so a segment reads its own rows only.
//! The form is stored. It must never change.

use md5::{Digest, Md5};

use crate::error::Error;
use crate::value::Value;

/// Bytes of the hash at the beginning of a key.
const HASH_BYTES: usize = 4;
/// Longest hash key of DynamoDB in bytes. Source: "Quotas" of the DynamoDB Developer Guide.
pub const MAX_HASH_KEY_BYTES: usize = 2048;
/// Longest range key of DynamoDB in bytes. Source: as above.
pub const MAX_RANGE_KEY_BYTES: usize = 1024;
/// Longest key of a row in a table group.
pub const MAX_ROW_KEY_BYTES: usize = 2048;

/// The key of a row: a hash key and the values that follow it.
///
/// # Errors
/// If the values are no strings, numbers or byte strings, or are too long for a row.
pub fn encode<'v>(
    hash_key: &Value,
    rest: impl IntoIterator<Item = &'v Value>,
) -> Result<Vec<u8>, Error> {
    let mut key = prefix(hash_key)?;
    for value in rest {
        append(value, &mut key)?;
    }
    check_length(&key)?;
    Ok(key)
}

/// The beginning of the keys of all rows with a hash key.
///
/// # Errors
/// If the value is no string, number or byte string.
pub fn prefix(hash_key: &Value) -> Result<Vec<u8>, Error> {
    let mut encoded = Vec::new();
    append(hash_key, &mut encoded)?;
    let mut key = Md5::digest(&encoded)[..HASH_BYTES].to_vec();
    key.append(&mut encoded);
    Ok(key)
}

/// Appends an encoded value.
///
/// # Errors
/// If the value is no string, number or byte string.
pub fn append(value: &Value, key: &mut Vec<u8>) -> Result<(), Error> {
    append_beginning(value, key)?;
    if !matches!(value, Value::N(_)) {
        key.extend_from_slice(&[0, 0]);
    }
    Ok(())
}

/// Appends the bytes with which all encoded values begin that begin with this string or these bytes.
///
/// # Errors
/// If the value is no string, number or byte string.
pub fn append_beginning(value: &Value, key: &mut Vec<u8>) -> Result<(), Error> {
    let bytes: &[u8] = match value {
        Value::S(text) => text.as_bytes(),
        Value::B(bytes) => bytes,
        Value::N(number) => {
            number.append_key(key);
            return Ok(());
        }
        Value::Bool(_)
        | Value::Null
        | Value::L(_)
        | Value::M(_)
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_) => {
            return Err(Error::Internal {
                cause: format!("a key of type {}", value.kind().name()),
            });
        }
    };
    for byte in bytes {
        key.push(*byte);
        if *byte == 0 {
            key.push(0xff);
        }
    }
    Ok(())
}

/// The first key after all keys that begin with `key`. `None` if every byte of `key` is the highest one.
pub fn after(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}

/// The keys of one segment of a parallel scan: lowest key, and the first key behind the segment.
pub fn segment(segment: u32, total: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    let total = u64::from(total.max(1));
    let boundary = |number: u64| (number << (8 * HASH_BYTES)).div_ceil(total);
    let start = u32::try_from(boundary(segment.into())).unwrap_or(u32::MAX);
    let end = u32::try_from(boundary(u64::from(segment) + 1)).ok();
    // Segment 0 begins with the empty key, as a scan without segments does.
    let start = if start == 0 { Vec::new() } else { start.to_be_bytes().to_vec() };
    (start, end.map(|end| end.to_be_bytes().to_vec()))
}

fn check_length(key: &[u8]) -> Result<(), Error> {
    if key.len() <= MAX_ROW_KEY_BYTES {
        return Ok(());
    }
    Err(Error::unsupported(format_args!("A key of more than {MAX_ROW_KEY_BYTES} bytes")))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::number::tests::number;

    /// Two values of one type that often share a beginning.
    fn pair() -> impl Strategy<Value = (Value, Value)> {
        let text = || "[\0-\u{2}a\u{7f}é\u{ffff}]{0,4}".prop_map(Value::S);
        let bytes = || vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..4).prop_map(Value::B);
        let number = || number().prop_map(Value::N);
        prop_oneof![(text(), text()), (bytes(), bytes()), (number(), number())]
    }

    fn encoded(value: &Value) -> Vec<u8> {
        let mut key = Vec::new();
        append(value, &mut key).unwrap();
        key
    }

    #[test]
    fn the_encoding_is_frozen() {
        let key = encode(&Value::S("a\0".into()), [&Value::N("-12.5".parse().unwrap())]).unwrap();
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "f256f99c6100ff0000017ffef2ccff");
    }

    #[test]
    fn segments_cover_all_keys_once() {
        for total in [1, 2, 3, 7, 32, 1_000_000] {
            let mut next = Vec::new();
            for number in 0..total {
                let (start, end) = segment(number, total);
                assert_eq!(start, next, "{number} of {total}");
                assert_eq!(end.is_none(), number + 1 == total, "{number} of {total}");
                next = end.unwrap_or_default();
            }
        }
    }

    #[test]
    fn a_key_that_is_too_long_for_a_row_is_refused() {
        assert!(encode(&Value::S("a".repeat(2042)), []).is_ok());
        assert!(encode(&Value::S("a".repeat(2043)), []).is_err());
    }

    #[test]
    fn the_key_after_a_prefix_is_the_next_prefix() {
        assert_eq!(after(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(after(&[0xff]), None);
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_values((one, other) in pair()) {
            prop_assert_eq!(Some(encoded(&one).cmp(&encoded(&other))), one.order(&other));
            prop_assert!(one == other || !encoded(&one).starts_with(&encoded(&other)));
        }

        #[test]
        fn values_with_a_beginning_are_a_range_of_keys((value, beginning) in pair()) {
            let mut start = Vec::new();
            append_beginning(&beginning, &mut start).unwrap();
            let begins = match (&value, &beginning) {
                (Value::S(value), Value::S(beginning)) => value.starts_with(beginning),
                (Value::B(value), Value::B(beginning)) => value.starts_with(beginning),
                _ => return Ok(()),
            };
            prop_assert_eq!(encoded(&value).starts_with(&start), begins);
        }
    }
}
