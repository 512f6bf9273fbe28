//! Reads the text of a prefix into its parts.
//!
//! ```text
//! text       = { literal | "!{" namespace ":" value "}" }
//! value      = everything up to the next "}"
//! ```
//!
//! `!{` always begins an expression. A `!` or `{` alone is text.

use crate::prefix::date_pattern::{DatePattern, PatternError};

/// Which of the two prefixes of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrefixKind {
    /// `Prefix`: objects with records.
    Data,
    /// `ErrorOutputPrefix`: objects with error lines.
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Timestamp(DatePattern),
    RandomString,
    ErrorType,
    Key(KeySource, String),
}

impl Part {
    pub(super) fn is_expression(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Timestamp(_) | Self::RandomString | Self::ErrorType | Self::Key(..) => true,
        }
    }
}

/// Where a partition key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// `partitionKeyFromQuery`: the query of MetadataExtraction.
    Query,
    /// `partitionKeyFromLambda`: the function's reply.
    Lambda,
}

/// Why a prefix, or a pair of prefixes, cannot be used.
///
/// The frame of the text, with its misspelled first word, and the text of [`Self::ErrorPrefixMissing`] are those of
/// the service. The other texts are ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Ths supplied prefix(es) do not satisfy the following constraint: {}", self.constraint())]
pub enum PrefixError {
    /// An expression has no end.
    Unterminated,
    /// An expression has no colon.
    NoNamespace(String),
    /// The namespace does not exist.
    UnknownNamespace(String),
    /// The namespace `firehose` has no such value.
    UnknownValue(String),
    /// The name of a partition key is empty.
    EmptyKey,
    /// The date pattern is not valid.
    Pattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        error: PatternError,
    },
    /// `!{firehose:error-output-type}` is in Prefix.
    ErrorTypeInPrefix,
    /// A partition key is in ErrorOutputPrefix. A record in an error object may have no keys.
    KeyInErrorPrefix,
    /// Prefix has an expression, and there is no ErrorOutputPrefix.
    ErrorPrefixMissing,
    /// Dynamic partitioning is on, and there is no ErrorOutputPrefix.
    ErrorPrefixMissingForPartitions,
    /// ErrorOutputPrefix has expressions, but not the type.
    ErrorTypeMissing,
    /// Prefix has a partition key, and dynamic partitioning is off.
    KeysWithoutPartitioning,
    /// Dynamic partitioning is on, and Prefix has no partition key.
    PartitioningWithoutKeys,
}

impl PrefixError {
    fn constraint(&self) -> String {
        let text = match self {
            Self::Unterminated => {
                "The sequence !{ can only appear in !{namespace:value} expressions"
            }
            Self::NoNamespace(inner) => {
                return format!("Expression !{{{inner}}} must have the form !{{namespace:value}}");
            }
            Self::UnknownNamespace(namespace) => {
                return format!(
                    "Namespace {namespace} must be one of timestamp, firehose, partitionKeyFromQuery, \
                     partitionKeyFromLambda"
                );
            }
            Self::UnknownValue(value) => {
                return format!(
                    "Value {value} of namespace firehose must be one of random-string, error-output-type"
                );
            }
            Self::EmptyKey => "The name of a partition key cannot be empty",
            Self::Pattern { pattern, error } => {
                return format!("Timestamp pattern {pattern} must be valid: {error}");
            }
            Self::ErrorTypeInPrefix => "Prefix cannot contain !{firehose:error-output-type}",
            Self::KeyInErrorPrefix => "ErrorOutputPrefix cannot contain partition keys",
            Self::ErrorPrefixMissing => {
                "ErrorOutputPrefix cannot be null or empty when Prefix contains expressions"
            }
            Self::ErrorPrefixMissingForPartitions => {
                "ErrorOutputPrefix cannot be null or empty when dynamic partitioning is enabled"
            }
            Self::ErrorTypeMissing => {
                "ErrorOutputPrefix with expressions must contain !{firehose:error-output-type}"
            }
            Self::KeysWithoutPartitioning => {
                "Prefix cannot contain partition keys when dynamic partitioning is not enabled"
            }
            Self::PartitioningWithoutKeys => {
                "Prefix must contain a partition key when dynamic partitioning is enabled"
            }
        };
        text.to_owned()
    }
}

pub(super) fn parts(text: &str, kind: PrefixKind) -> Result<Vec<Part>, PrefixError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once("!{") {
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        let (inner, behind) = tail.split_once('}').ok_or(PrefixError::Unterminated)?;
        parts.push(expression(inner, kind)?);
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Ok(parts)
}

pub(super) fn timestamp(pattern: &str) -> Result<Part, PrefixError> {
    let parsed = DatePattern::parse(pattern);
    parsed
        .map(Part::Timestamp)
        .map_err(|error| PrefixError::Pattern { pattern: pattern.to_owned(), error })
}

fn expression(inner: &str, kind: PrefixKind) -> Result<Part, PrefixError> {
    if inner.contains("!{") {
        return Err(PrefixError::Unterminated);
    }
    let (namespace, value) =
        inner.split_once(':').ok_or_else(|| PrefixError::NoNamespace(inner.to_owned()))?;
    match (namespace, value) {
        ("timestamp", pattern) => timestamp(pattern),
        ("firehose", "random-string") => Ok(Part::RandomString),
        ("firehose", "error-output-type") => match kind {
            PrefixKind::Data => Err(PrefixError::ErrorTypeInPrefix),
            PrefixKind::Error => Ok(Part::ErrorType),
        },
        ("firehose", unknown) => Err(PrefixError::UnknownValue(unknown.to_owned())),
        ("partitionKeyFromQuery", name) => key(KeySource::Query, name, kind),
        ("partitionKeyFromLambda", name) => key(KeySource::Lambda, name, kind),
        (unknown, _) => Err(PrefixError::UnknownNamespace(unknown.to_owned())),
    }
}

fn key(source: KeySource, name: &str, kind: PrefixKind) -> Result<Part, PrefixError> {
    match kind {
        PrefixKind::Error => Err(PrefixError::KeyInErrorPrefix),
        PrefixKind::Data if name.is_empty() => Err(PrefixError::EmptyKey),
        PrefixKind::Data => Ok(Part::Key(source, name.to_owned())),
    }
}
