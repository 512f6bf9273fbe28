//! Bodies: AWS JSON 1.1 and AWS CBOR 1.1, one typed model for both.
//!
//! Requests are read with serde, borrowed from the body ([`decode`]); answers are written by hand
//! ([`Writer`]). A blob is base64 text or a byte string; a timestamp is a number of seconds or tag 1
//! with whole milliseconds.

mod cbor;
mod required;
mod value;
mod writer;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use required::{Member, Required};
pub use value::{Blob, Flag, Integer, List, Map, Moment, Structure, TOO_MANY, Text};
pub use writer::Writer;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/x-amz-json-1.1`
    Json,
    /// `application/x-amz-cbor-1.1`: the dialect of the Java SDKs.
    Cbor,
}

/// Why a body is not the request that its operation takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON or CBOR at all.
    Malformed(String),
    /// Well-formed, but a member has the wrong type.
    Type(String),
    /// A list or a map is longer than any may be; what follows has not been read.
    TooMany,
}

/// Decodes a request. Members that the operation does not know are ignored. Null counts as absent.
///
/// # Errors
/// [`DecodeError`]. A body that is malformed behind a member of the wrong type is malformed.
pub fn decode<'a, T: Deserialize<'a>>(format: Format, body: &'a [u8]) -> Result<T, DecodeError> {
    let decoded: Result<Structure<T>, DecodeError> = read(format, body);
    match decoded {
        Ok(Structure(request)) => Ok(request),
        Err(DecodeError::Type(message)) if message == value::TOO_MANY => Err(DecodeError::TooMany),
        // What follows a wrong type has not been read: a malformed rest is the graver fault.
        Err(DecodeError::Type(message)) => {
            check_well_formed(format, body)?;
            Err(DecodeError::Type(message))
        }
        Err(error @ (DecodeError::Malformed(_) | DecodeError::TooMany)) => Err(error),
    }
}

/// Checks that the body is JSON or CBOR, with any content.
///
/// # Errors
/// [`DecodeError::Malformed`].
pub fn check_well_formed(format: Format, body: &[u8]) -> Result<(), DecodeError> {
    read::<IgnoredAny>(format, body).map(|_| ())
}

fn read<'a, T: Deserialize<'a>>(format: Format, body: &'a [u8]) -> Result<T, DecodeError> {
    match format {
        Format::Json => serde_json::from_slice(body).map_err(json_error),
        Format::Cbor => cbor::from_slice(body),
    }
}

fn json_error(error: serde_json::Error) -> DecodeError {
    let text = error.to_string();
    if !error.is_data() {
        return DecodeError::Malformed(text);
    }
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    DecodeError::Type(message.to_owned())
}

#[cfg(test)]
mod tests;
