//! Bodies: AWS JSON, AWS CBOR 1.1, Smithy RPC v2 CBOR and AWS query, one typed model for all.
//!
//! Requests are decoded with serde and borrow from the body ([`decode`]). Responses are written by hand ([`Writer`]).
//!
//! | type | JSON | CBOR 1.1 | RPC v2 CBOR | form in requests, XML in responses |
//! | --- | --- | --- | --- | --- |
//! | blob | base64 text | byte string | byte string | base64 text |
//! | timestamp | number of seconds | tag 1 and whole milliseconds | tag 1 and seconds | ISO 8601 |
//! | list | array | array | array | `Name.member.1=…`, `<Name><member>…` |

mod cbor;
mod form;
mod required;
mod value;
mod writer;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use form::field as form_field;
pub use required::{Member, Required};
pub use value::{Blob, Flag, Integer, List, Map, Moment, Real, Structure, TOO_MANY, Text};
pub use writer::Writer;
pub(crate) use writer::escaped;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/x-amz-json-1.1`
    Json,
    /// `application/x-amz-cbor-1.1`: the dialect of the Java SDKs.
    Cbor,
    /// `application/cbor`: Smithy RPC v2 CBOR.
    RpcCbor,
    /// AWS query: a form in requests, XML in responses.
    Query,
}

/// The reason why a body cannot be decoded as the request of its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The body is not in the format.
    Malformed(String),
    /// The body is well-formed, but a member has the wrong type.
    Type(String),
    /// A list or a map has more than 10,000 members, or a form has too many fields. The text says which. The rest of
    /// the body was not read.
    TooMany(&'static str),
}

/// Decodes a request. Members that the operation does not know are ignored. Null counts as absent.
///
/// # Errors
/// [`DecodeError`]. A body can have a member of the wrong type and be malformed behind it. Then it counts as
/// malformed.
pub fn decode<'a, T: Deserialize<'a>>(format: Format, body: &'a [u8]) -> Result<T, DecodeError> {
    let decoded: Result<Structure<T>, DecodeError> = read(format, body);
    match decoded {
        Ok(Structure(request)) => Ok(request),
        Err(DecodeError::Type(message)) if message == value::TOO_MANY => {
            Err(DecodeError::TooMany(TOO_MANY))
        }
        // The decoder stopped at the wrong type and has not read the rest. A malformed rest is the more serious fault
        // and is reported first.
        Err(DecodeError::Type(message)) => {
            check_well_formed(format, body)?;
            Err(DecodeError::Type(message))
        }
        Err(error @ (DecodeError::Malformed(_) | DecodeError::TooMany(_))) => Err(error),
    }
}

/// Checks that the body is in the format. The content may be anything.
///
/// # Errors
/// [`DecodeError::Malformed`].
pub fn check_well_formed(format: Format, body: &[u8]) -> Result<(), DecodeError> {
    read::<IgnoredAny>(format, body).map(|_| ())
}

fn read<'a, T: Deserialize<'a>>(format: Format, body: &'a [u8]) -> Result<T, DecodeError> {
    match format {
        Format::Json => serde_json::from_slice(body).map_err(json_error),
        Format::Cbor => cbor::from_slice(body, cbor::Time::Milliseconds),
        Format::RpcCbor => cbor::from_slice(body, cbor::Time::Seconds),
        Format::Query => form::from_slice(body),
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
