//! Names of streams, consumers and users, and ids of shards, as users send them.
//!
//! A value can only be made by parsing, so it is always valid. [`ParseError`] says which rule a text breaks, and
//! never repeats the text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits;

/// A text is not the name, id or number that was expected. The error does not contain the user's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not 1 to 128 of `[a-zA-Z0-9_.-]`.
    #[error("a stream name has 1 to 128 characters of [a-zA-Z0-9_.-]")]
    StreamName,
    /// Not 1 to 128 of `[a-zA-Z0-9_.-]`.
    #[error("a consumer name has 1 to 128 characters of [a-zA-Z0-9_.-]")]
    ConsumerName,
    /// Not 1 to 64 of `[A-Za-z0-9+=,.@_-]`.
    #[error("a user name has 1 to 64 characters of [A-Za-z0-9+=,.@_-]")]
    UserName,
    /// Not `shardId-` and a number of at most twelve digits that fits 32 bits.
    #[error("a shard id is shardId- and twelve digits")]
    ShardId,
    /// Not a decimal number from 0 to 2^128-1 without leading zeros.
    #[error("a hash key is a decimal number from 0 to 2^128-1 without leading zeros")]
    HashKey,
    /// Not a sequence number of version 2.
    #[error("not a sequence number of this service")]
    SequenceNumber,
    /// Not `arn:<partition>:kinesis:<region>:<account>:stream/<name>`.
    #[error("a stream ARN is arn:aws:kinesis:<region>:<12 digits>:stream/<name>")]
    StreamArn,
    /// Not a stream's ARN followed by `/consumer/<name>:<seconds>`.
    #[error("a consumer ARN is a stream ARN and /consumer/<name>:<creation time in seconds>")]
    ConsumerArn,
    /// Not twelve digits.
    #[error("an account id has twelve digits")]
    AccountId,
    /// Not 1 to 64 of `[a-z0-9-]`.
    #[error("a region has 1 to 64 characters of [a-z0-9-]")]
    Region,
}

/// Name of a stream: 1 to 128 characters of `[a-zA-Z0-9_.-]`. Cheap to clone.
///
/// Source: Kinesis API reference, `CreateStream`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

/// What the names of internal streams begin with.
const INTERNAL: &str = ".anabranch.";

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The internal stream `name` of a service. `None` if the whole name is too long or has other characters than names
    /// of streams have.
    pub fn internal(service: &str, name: &str) -> Option<Self> {
        let text = format!("{INTERNAL}{service}.{name}");
        is_name(&text).then(|| Self(text.into()))
    }

    /// Whether the stream belongs to a service of this cluster, not to a user. The stream API does not show it.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with(INTERNAL)
    }
}

impl FromStr for StreamName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(ParseError::StreamName) }
    }
}

fn is_name(text: &str) -> bool {
    let length = 1..=limits::STREAM_NAME_MAX_CHARACTERS;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    length.contains(&text.len()) && text.bytes().all(allowed)
}

/// Name of a consumer with enhanced fan-out: 1 to 128 characters of `[a-zA-Z0-9_.-]`, unique within its stream. Cheap
/// to clone.
///
/// Source: the service model, `ConsumerName`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(Arc<str>);

impl ConsumerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConsumerName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(ParseError::ConsumerName) }
    }
}

/// Name of a user: 1 to 64 characters of `[A-Za-z0-9+=,.@_-]`. Cheap to clone.
///
/// Source: IAM API reference, `CreateUser`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

impl UserName {
    /// Name of the root user. The root user may do everything in its own account.
    pub const ROOT: &'static str = "root";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is [`Self::ROOT`].
    pub fn is_root(&self) -> bool {
        self.as_str() == Self::ROOT
    }
}

impl FromStr for UserName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let length = 1..=limits::USER_NAME_MAX_CHARACTERS;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
        let valid = length.contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.into())).ok_or(ParseError::UserName)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a shard within its stream, in order of creation. On the wire: `shardId-` and twelve digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl FromStr for ShardId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix("shardId-").ok_or(ParseError::ShardId)?;
        if digits.is_empty() || digits.len() > 12 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseError::ShardId);
        }
        digits.parse().map(Self).map_err(|_| ParseError::ShardId)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_ids_are_padded_to_twelve_digits() {
        assert_eq!(ShardId(3).to_string(), "shardId-000000000003");
        assert_eq!("shardId-000000000003".parse(), Ok(ShardId(3)));
        assert_eq!("shardId-3".parse(), Ok(ShardId(3)));
        for bad in ["", "3", "shardId-", "shardId-x", "shardId-999999999999", "shardId--1"] {
            assert_eq!(bad.parse::<ShardId>(), Err(ParseError::ShardId), "{bad}");
        }
    }

    #[test]
    fn user_names_match_the_pattern_of_iam() {
        assert!("a.B+c=d,e@f_g-9".parse::<UserName>().is_ok_and(|name| !name.is_root()));
        assert!("x".repeat(64).parse::<UserName>().is_ok());
        assert!("root".parse::<UserName>().is_ok_and(|name| name.is_root()));
        for bad in ["", "a b", "ä", "a/b", "a:b", &"x".repeat(65)] {
            assert_eq!(bad.parse::<UserName>(), Err(ParseError::UserName), "{bad}");
        }
    }

    #[test]
    fn stream_names_match_the_pattern_of_the_api() {
        assert!("a_B.c-9".parse::<StreamName>().is_ok());
        assert!("x".repeat(128).parse::<StreamName>().is_ok());
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(129)] {
            assert_eq!(bad.parse::<StreamName>(), Err(ParseError::StreamName), "{bad}");
        }
    }
}
