use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::invalid::Invalid;

/// Name of a function: 1 to 64 letters, digits, `-` and `_`.
///
/// Source: the pattern of `FunctionName` in the service model of Lambda, for a name alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(Arc<str>);

impl FunctionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.into()));
        }
        Err(Invalid::new(
            "FunctionName",
            "must be 1 to 64 letters, digits, hyphens and underscores",
        ))
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
