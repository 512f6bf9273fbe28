//! Names of groups and members.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anabranch_types::StreamName;

/// A field of a request breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub(crate) struct Invalid {
    /// The field, as the message calls it.
    pub(crate) field: &'static str,
    /// The rule that it breaks.
    pub(crate) rule: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, rule: impl fmt::Display) -> Self {
        Self { field, rule: rule.to_string() }
    }
}

/// Name of a group: 1 to 128 letters, digits, `.`, `_` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupName(Arc<str>);

/// Id of a member, which the member chooses: 1 to 64 letters, digits, `.`, `_` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(Arc<str>);

/// A group: its name is unique in its stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    pub(crate) stream: StreamName,
    pub(crate) name: GroupName,
}

impl MemberId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for MemberId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        checked("group", text, 128).map(Self)
    }
}

impl FromStr for MemberId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        checked("member", text, 64).map(Self)
    }
}

impl FromStr for GroupKey {
    type Err = Invalid;

    /// Reads `STREAM/GROUP`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (stream, name) = text.split_once('/').unwrap_or((text, ""));
        let stream = stream.parse().map_err(|error| Invalid::new("stream", error))?;
        Ok(Self { stream, name: name.parse()? })
    }
}

fn checked(field: &'static str, text: &str, most: usize) -> Result<Arc<str>, Invalid> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=most).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.into());
    }
    let rule = format_args!("must be 1 to {most} letters, digits, dots, underscores and hyphens");
    Err(Invalid::new(field, rule))
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.name)
    }
}
