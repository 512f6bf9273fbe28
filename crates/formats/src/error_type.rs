//! Types of errors, each with its own key in the bucket.

use std::fmt;
use std::str::FromStr;

/// Why a record is in an error object. The name of the type is part of the object's key.
///
/// Source: Amazon Data Firehose Developer Guide, Custom Prefixes for Amazon S3 Objects, and the names that were seen
/// in buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorType {
    /// A stage before the destination failed: a function, decompression, de-aggregation, key extraction.
    ProcessingFailed,
    /// OpenSearch did not take the record.
    OpenSearchFailed,
    /// Elasticsearch did not take the record. The name of the type before OpenSearch.
    ElasticsearchFailed,
    /// Splunk did not take the record.
    SplunkFailed,
    /// The record does not fit the schema of the table.
    FormatConversionFailed,
    /// The HTTP endpoint did not take the record.
    HttpEndpointFailed,
    /// The Iceberg table did not take the record.
    IcebergFailed,
    /// The record belongs to a new partition, and there are too many active ones.
    ActivePartitionExceeded,
}

impl ErrorType {
    /// All types.
    pub const ALL: [Self; 8] = [
        Self::ProcessingFailed,
        Self::OpenSearchFailed,
        Self::ElasticsearchFailed,
        Self::SplunkFailed,
        Self::FormatConversionFailed,
        Self::HttpEndpointFailed,
        Self::IcebergFailed,
        Self::ActivePartitionExceeded,
    ];

    /// The value of `!{firehose:error-output-type}`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessingFailed => "processing-failed",
            Self::OpenSearchFailed => "AmazonOpenSearchService-failed",
            Self::ElasticsearchFailed => "elasticsearch-failed",
            Self::SplunkFailed => "splunk-failed",
            Self::FormatConversionFailed => "format-conversion-failed",
            Self::HttpEndpointFailed => "http-endpoint-failed",
            Self::IcebergFailed => "iceberg-failed",
            Self::ActivePartitionExceeded => "activePartitionExceeded",
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorType {
    type Err = ();

    /// Reads the name back, as a replay of error objects needs it.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(())
    }
}
