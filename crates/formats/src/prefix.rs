//! The key language of S3 prefixes: text with expressions `!{namespace:value}`.
//!
//! | expression | value |
//! | --- | --- |
//! | `!{timestamp:PATTERN}` | arrival of the object's oldest record, by a date pattern of Java |
//! | `!{firehose:random-string}` | 11 characters, new at each use |
//! | `!{firehose:error-output-type}` | name of the [`ErrorType`]; only in ErrorOutputPrefix |
//! | `!{partitionKeyFromQuery:KEY}` | dynamic partitioning: a key that jq extracted; only in Prefix |
//! | `!{partitionKeyFromLambda:KEY}` | dynamic partitioning: a key that the function gave; only in Prefix |
//!
//! Order of events: [`Prefix::parse`] checks one text, [`check_pair`] checks both texts of a configuration.
//! [`Prefix::partition`] tells which records go into one object. [`Prefix::evaluate`] gives the key of an object, up
//! to the object's name.
//!
//! A Prefix without any expression gets `yyyy/MM/dd/HH/` behind it, with nothing between. The documentation says that
//! this happens also to a Prefix with expressions, but without a timestamp. The service was seen not to do that.
//!
//! Sources: Amazon Data Firehose Developer Guide, Custom Prefixes for Amazon S3 Objects; probes of the service in
//! July to September 2026.

mod date_pattern;
mod expression;
#[cfg(test)]
mod tests;
mod zone;

use std::collections::BTreeMap;

use anabranch_types::Timestamp;

pub use crate::prefix::date_pattern::PatternError;
use crate::prefix::expression::Part;
pub use crate::prefix::expression::{KeySource, PrefixError, PrefixKind};
pub use crate::prefix::zone::{Zone, ZoneError};

use crate::error_type::ErrorType;

/// Characters of an evaluated prefix.
///
/// Source: Custom Prefixes for Amazon S3 Objects, semantic rules.
pub const LONGEST_EVALUATED_PREFIX: usize = 512;

/// `errorCode` of a record of a new partition, when there are too many active ones.
///
/// Source: reports of users of the service, like [`TOO_MANY_PARTITIONS_MESSAGE`].
pub const TOO_MANY_PARTITIONS_CODE: &str = "DynamicPartitioning.ActivePartitionsLimitExceeded";
/// `errorMessage` of such a record.
pub const TOO_MANY_PARTITIONS_MESSAGE: &str =
    "The number of active partitions has exceeded the configured limit";

/// Date pattern behind a prefix without expressions.
const DEFAULT_PATTERN: &str = "yyyy/MM/dd/HH/";

/// A prefix that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    kind: PrefixKind,
    /// Without the default that [`Self::evaluate`] may append.
    parts: Vec<Part>,
    default_suffix: Vec<Part>,
}

/// Keys of a record, by their names.
pub type Keys = BTreeMap<String, String>;

/// Everything that a key depends on, except the prefix.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Arrival of the object's oldest record. All expressions of a key share it.
    pub instant: Timestamp,
    /// `CustomTimeZone`.
    pub zone: &'a Zone,
    /// Gives the value of the use number n of a random string, from 0. See
    /// [`NameHash::random_string`](crate::name::NameHash::random_string).
    pub random: &'a dyn Fn(u32) -> String,
    /// Type of an error object. `None` for objects with records.
    pub error_type: Option<ErrorType>,
    /// Keys that jq extracted.
    pub keys_from_query: &'a Keys,
    /// Keys that the function gave.
    pub keys_from_lambda: &'a Keys,
}

/// Why a prefix has no value for a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The record does not have the key, or the key is empty.
    #[error("partition key is null or empty: {0:?}:{1}")]
    NoKey(KeySource, String),
    /// The value is longer than [`LONGEST_EVALUATED_PREFIX`].
    #[error("evaluated prefix has {0} characters, at most {LONGEST_EVALUATED_PREFIX}")]
    TooLong(usize),
    /// The prefix contains the type of the error, and the object has none.
    #[error("an object without an error type has no error-output-type")]
    NoErrorType,
}

impl Prefix {
    /// Reads a prefix. An empty text is a prefix without expressions.
    ///
    /// # Errors
    ///
    /// Fails for an expression that does not exist or is not allowed in this kind of prefix. The text of the error is
    /// the message for the caller of the API.
    pub fn parse(text: &str, kind: PrefixKind) -> Result<Self, PrefixError> {
        let parts = expression::parts(text, kind)?;
        let default_suffix =
            if parts.iter().any(Part::is_expression) { Vec::new() } else { default_suffix(kind) };
        Ok(Self { kind, parts, default_suffix })
    }

    /// The prefix of error objects, if the configuration has no ErrorOutputPrefix: Prefix, the type of the error and
    /// the date. `prefix` has no expressions, which [`check_pair`] checks.
    pub fn error_default(prefix: &Self) -> Self {
        let kind = PrefixKind::Error;
        Self { kind, parts: prefix.parts.clone(), default_suffix: default_suffix(kind) }
    }

    /// Which prefix this is.
    pub fn kind(&self) -> PrefixKind {
        self.kind
    }

    /// Whether the text has an expression. A Prefix for Redshift may not have one.
    pub fn has_expressions(&self) -> bool {
        self.parts.iter().any(Part::is_expression)
    }

    /// Names of the partition keys from `source`, in the order of the text.
    pub fn keys(&self, source: KeySource) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(move |part| match part {
            Part::Key(from, name) if *from == source => Some(name.as_str()),
            Part::Key(..)
            | Part::Literal(_)
            | Part::Timestamp(_)
            | Part::RandomString
            | Part::ErrorType => None,
        })
    }

    /// The prefix with its keys filled in. Records with the same text belong into the same object. Expressions other
    /// than keys are marks: `!{0}` for the first one. A `!` in the text or in a key is doubled, so no key can look
    /// like a mark.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::NoKey`] if a key is missing or empty.
    pub fn partition(&self, query: &Keys, lambda: &Keys) -> Result<String, EvaluateError> {
        let mut text = String::new();
        for (place, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => text.push_str(&literal.replace('!', "!!")),
                Part::Key(source, name) => {
                    let value = key(*source, name, query, lambda)?;
                    text.push_str(&value.replace('!', "!!"));
                }
                Part::Timestamp(_) | Part::RandomString | Part::ErrorType => {
                    text.push_str(&format!("!{{{place}}}"));
                }
            }
        }
        Ok(text)
    }

    /// The beginning of an object's key. The name of the object follows without a slash between them.
    ///
    /// # Errors
    ///
    /// Fails if a key is missing or empty, or the value is too long.
    pub fn evaluate(&self, context: &Context<'_>) -> Result<String, EvaluateError> {
        let time = context.zone.at(context.instant);
        let (mut text, mut randoms) = (String::new(), 0..);
        for part in self.parts.iter().chain(&self.default_suffix) {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Timestamp(pattern) => pattern.print(&time, &mut text),
                Part::RandomString => {
                    let index = randoms.next().expect("a text has few expressions");
                    text.push_str(&(context.random)(index));
                }
                Part::ErrorType => {
                    let error_type = context.error_type.ok_or(EvaluateError::NoErrorType)?;
                    text.push_str(error_type.as_str());
                }
                Part::Key(source, name) => {
                    let Context { keys_from_query, keys_from_lambda, .. } = context;
                    text.push_str(key(*source, name, keys_from_query, keys_from_lambda)?);
                }
            }
        }
        let characters = text.chars().count();
        if characters > LONGEST_EVALUATED_PREFIX {
            return Err(EvaluateError::TooLong(characters));
        }
        Ok(text)
    }

    fn has_keys(&self) -> bool {
        [KeySource::Query, KeySource::Lambda].iter().any(|from| self.keys(*from).next().is_some())
    }
}

/// Checks both prefixes of a configuration. `error` is `None` if it is null or empty.
///
/// # Errors
///
/// The text of the error is the message of the `InvalidArgumentException`.
pub fn check_pair(
    prefix: Option<&Prefix>,
    error: Option<&Prefix>,
    dynamic_partitioning: bool,
) -> Result<(), PrefixError> {
    if error.is_none() {
        if prefix.is_some_and(Prefix::has_expressions) {
            return Err(PrefixError::ErrorPrefixMissing);
        }
        if dynamic_partitioning {
            return Err(PrefixError::ErrorPrefixMissingForPartitions);
        }
    }
    if error.is_some_and(|error| error.has_expressions() && !error.parts.contains(&Part::ErrorType))
    {
        return Err(PrefixError::ErrorTypeMissing);
    }
    match (prefix.is_some_and(Prefix::has_keys), dynamic_partitioning) {
        (true, false) => Err(PrefixError::KeysWithoutPartitioning),
        (false, true) => Err(PrefixError::PartitioningWithoutKeys),
        (true, true) | (false, false) => Ok(()),
    }
}

/// Parts behind a prefix without expressions.
fn default_suffix(kind: PrefixKind) -> Vec<Part> {
    let date = expression::timestamp(DEFAULT_PATTERN).expect("the pattern is a constant");
    match kind {
        PrefixKind::Data => vec![date],
        PrefixKind::Error => vec![Part::ErrorType, Part::Literal("/".to_owned()), date],
    }
}

fn key<'a>(
    source: KeySource,
    name: &str,
    query: &'a Keys,
    lambda: &'a Keys,
) -> Result<&'a str, EvaluateError> {
    let keys = match source {
        KeySource::Query => query,
        KeySource::Lambda => lambda,
    };
    let value = keys.get(name).filter(|value| !value.is_empty());
    value.map(String::as_str).ok_or_else(|| EvaluateError::NoKey(source, name.to_owned()))
}
