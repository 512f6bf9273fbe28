//! The binary form of attributes in rows. It is stored, so a tag is never reused and a version never changes.
//!
//! ```text
//! row        = [version, attributes]                version is 1
//! attributes = { name: value, … }                   names in ascending order
//! value      = [kind, content]
//! kind 0 S: text      1 N: decimal text   2 B: bytes     3 BOOL: bool    4 NULL: null
//! kind 5 L: [value]   6 M: attributes     7 SS: [text]   8 NS: [text]    9 BS: [bytes]
//! ```

use std::collections::BTreeSet;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder};

use super::json::MAX_DEPTH;
use super::{Attributes, Value};
use crate::number::Number;

/// The version of the form.
const VERSION: u8 = 1;

/// The stored bytes are not a row of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored attributes cannot be read: {0}")]
pub struct Damaged(pub String);

/// Encodes the attributes of a row.
pub fn encode(attributes: &Attributes) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    let written = encoder.array(2).and_then(|e| e.u8(VERSION)).map(|_| ());
    let written = written.and_then(|()| write_attributes(&mut encoder, attributes));
    debug_assert!(written.is_ok(), "a vector takes every write");
    encoder.into_writer()
}

/// Decodes the attributes of a row.
///
/// # Errors
/// [`Damaged`] if the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Result<Attributes, Damaged> {
    let mut decoder = Decoder::new(bytes);
    let attributes = row(&mut decoder).map_err(|error| Damaged(error.to_string()))?;
    if decoder.position() != bytes.len() {
        return Err(Damaged("bytes follow the attributes".to_owned()));
    }
    Ok(attributes)
}

type Written = Result<(), EncodeError<std::convert::Infallible>>;

fn write_attributes(e: &mut Encoder<Vec<u8>>, attributes: &Attributes) -> Written {
    e.map(attributes.len() as u64)?;
    for (name, value) in attributes {
        e.str(name)?;
        write_value(e, value)?;
    }
    Ok(())
}

fn write_value(e: &mut Encoder<Vec<u8>>, value: &Value) -> Written {
    e.array(2)?;
    match value {
        Value::S(text) => e.u8(0)?.str(text).map(|_| ()),
        Value::N(number) => e.u8(1)?.str(&number.to_string()).map(|_| ()),
        Value::B(bytes) => e.u8(2)?.bytes(bytes).map(|_| ()),
        Value::Bool(flag) => e.u8(3)?.bool(*flag).map(|_| ()),
        Value::Null => e.u8(4)?.null().map(|_| ()),
        Value::L(members) => {
            e.u8(5)?.array(members.len() as u64)?;
            members.iter().try_for_each(|member| write_value(e, member))
        }
        Value::M(members) => {
            e.u8(6)?;
            write_attributes(e, members)
        }
        Value::Ss(members) => {
            e.u8(7)?.array(members.len() as u64)?;
            members.iter().try_for_each(|text| e.str(text).map(|_| ()))
        }
        Value::Ns(members) => {
            e.u8(8)?.array(members.len() as u64)?;
            members.iter().try_for_each(|number| e.str(&number.to_string()).map(|_| ()))
        }
        Value::Bs(members) => {
            e.u8(9)?.array(members.len() as u64)?;
            members.iter().try_for_each(|bytes| e.bytes(bytes).map(|_| ()))
        }
    }
}

fn row(d: &mut Decoder<'_>) -> Result<Attributes, DecodeError> {
    count(d.array()?, 2)?;
    match d.u8()? {
        VERSION => attributes(d, MAX_DEPTH + 1),
        _ => Err(DecodeError::message("unknown version")),
    }
}

fn attributes(d: &mut Decoder<'_>, depth: usize) -> Result<Attributes, DecodeError> {
    let members = length(d.map()?)?;
    (0..members).map(|_| Ok((d.str()?.to_owned(), value(d, depth)?))).collect()
}

fn value(d: &mut Decoder<'_>, depth: usize) -> Result<Value, DecodeError> {
    let below = depth.checked_sub(1).ok_or_else(|| DecodeError::message("nested too deep"))?;
    count(d.array()?, 2)?;
    Ok(match d.u8()? {
        0 => Value::S(d.str()?.to_owned()),
        1 => Value::N(number(d)?),
        2 => Value::B(d.bytes()?.to_vec()),
        3 => Value::Bool(d.bool()?),
        4 => {
            d.null()?;
            Value::Null
        }
        5 => {
            let members = length(d.array()?)?;
            Value::L((0..members).map(|_| value(d, below)).collect::<Result<_, _>>()?)
        }
        6 => Value::M(attributes(d, below)?),
        7 => Value::Ss(set(d, |d| Ok(d.str()?.to_owned()))?),
        8 => Value::Ns(set(d, number)?),
        9 => Value::Bs(set(d, |d| Ok(d.bytes()?.to_vec()))?),
        _ => return Err(DecodeError::message("unknown kind")),
    })
}

fn number(d: &mut Decoder<'_>) -> Result<Number, DecodeError> {
    d.str()?.parse().map_err(|_| DecodeError::message("no number"))
}

fn set<T: Ord>(
    d: &mut Decoder<'_>,
    member: impl Fn(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<BTreeSet<T>, DecodeError> {
    let members = length(d.array()?)?;
    (0..members).map(|_| member(d)).collect()
}

/// [`encode`] writes no indefinite length.
fn length(length: Option<u64>) -> Result<u64, DecodeError> {
    length.ok_or_else(|| DecodeError::message("indefinite length"))
}

fn count(found: Option<u64>, expected: u64) -> Result<(), DecodeError> {
    if found == Some(expected) { Ok(()) } else { Err(DecodeError::message("wrong length")) }
}
