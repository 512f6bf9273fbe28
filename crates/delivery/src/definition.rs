//! A delivery stream as it is stored: one row, as JSON.
//!
//! The destination is kept as it was sent. [`crate::Settings`] is its meaning for the pipeline.

use std::collections::BTreeMap;

use anabranch_types::StreamName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The name of the service in the names of internal streams.
const SERVICE: &str = "firehose";

/// A delivery stream.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Definition {
    /// Format of this row. A release refuses a higher number than it knows.
    pub format: u32,
    /// Tells the delivery stream from a later one of the same name.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// State.
    pub status: Status,
    /// Why it was not created, for status [`Status::CreatingFailed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Number of the configuration: 1, and one more with each update.
    pub version: u64,
    /// Creation, in milliseconds since 1970-01-01 UTC.
    pub created_millis: u64,
    /// Last update, in milliseconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_millis: Option<u64>,
    /// Where records come from.
    pub source: Source,
    /// Where they go.
    pub destination: Destination,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Encryption at rest that the user asked for: `KeyType`, and `KeyARN` if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Value>,
    /// Whether an operator has paused the delivery.
    #[serde(default)]
    pub paused: bool,
}

/// Where the records of a delivery stream come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Source {
    /// Users put them, into an internal stream.
    DirectPut {
        /// `ThroughputHintInMBs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<u32>,
    },
    /// A stream of the account.
    Stream {
        /// Name of the stream.
        name: String,
        /// Number of the stream, which tells it from a later one of the same name.
        id: u64,
        /// `KinesisStreamARN` as it was sent.
        arn: String,
        /// `RoleARN` as it was sent.
        role: String,
    },
}

/// Where the records of a delivery stream go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Destination {
    /// The kind.
    pub kind: Kind,
    /// The configuration as it was sent.
    pub configuration: Value,
}

/// Kinds of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Kind {
    /// `S3DestinationConfiguration`.
    S3,
    /// `ExtendedS3DestinationConfiguration`.
    ExtendedS3,
}

/// State of a delivery stream, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Its internal stream is being made.
    Creating,
    /// It could not be made.
    CreatingFailed,
    /// It takes and delivers records.
    Active,
    /// Its rows and its internal stream are being removed.
    Deleting,
}

impl Status {
    /// The word of the API.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::CreatingFailed => "CREATING_FAILED",
            Self::Active => "ACTIVE",
            Self::Deleting => "DELETING",
        }
    }
}

/// The format that this release writes.
const FORMAT: u32 = 1;

/// A row that this release can't read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the definition of a delivery stream can't be read: {0}")]
pub struct Unreadable(String);

impl Definition {
    /// A delivery stream that is about to be created.
    pub fn new(name: &str, source: Source, destination: Destination, now_millis: u64) -> Self {
        Self {
            format: FORMAT,
            id: Uuid::new_v4(),
            name: name.to_owned(),
            status: Status::Creating,
            failure: None,
            version: 1,
            created_millis: now_millis,
            updated_millis: None,
            source,
            destination,
            tags: BTreeMap::new(),
            encryption: None,
            paused: false,
        }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Unreadable`], also for a row of a later release.
    pub fn decode(row: &[u8]) -> Result<Self, Unreadable> {
        let definition: Self =
            serde_json::from_slice(row).map_err(|error| Unreadable(error.to_string()))?;
        if definition.format > FORMAT {
            return Err(Unreadable(format!("format {} is of a later release", definition.format)));
        }
        Ok(definition)
    }

    /// The row.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The stream with the records. `None` if the name is no name of a stream, which no definition has.
    pub fn stream(&self) -> Option<StreamName> {
        match &self.source {
            Source::DirectPut { .. } => internal_stream(&self.name),
            Source::Stream { name, .. } => name.parse().ok(),
        }
    }
}

/// The internal stream of a delivery stream that users put records into.
pub fn internal_stream(name: &str) -> Option<StreamName> {
    StreamName::internal(SERVICE, name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_reads_back_and_a_later_format_is_refused() {
        let destination = Destination { kind: Kind::S3, configuration: json!({"BucketARN": "b"}) };
        let definition =
            Definition::new("n", Source::DirectPut { hint: None }, destination, 1_700_000_000_000);
        assert_eq!(Definition::decode(&definition.encode()), Ok(definition.clone()));
        let later = Definition { format: 2, ..definition };
        assert!(Definition::decode(&later.encode()).is_err());
        assert!(Definition::decode(b"{}").is_err());
    }

    #[test]
    fn the_internal_stream_is_no_stream_of_users() {
        assert!(internal_stream(&"x".repeat(64)).unwrap().is_internal());
    }
}
