//! Lines of error objects: one JSON document for each record that failed, and a newline.
//!
//! Each type of error has its own members, in an order and a case of its own. Programs of users read these lines, so
//! both are part of the API. Times are milliseconds since 1970. `rawData` is the record in base64, as it was when it
//! came to the stage that failed.
//!
//! Sources: Amazon Data Firehose Developer Guide, Handle data delivery failures, Troubleshoot dynamic partitioning,
//! Handling errors for data format conversion; the line of a failed function was seen in a bucket.

#[cfg(test)]
mod tests;

use anabranch_types::Timestamp;
use base64_simd::STANDARD;
use serde::{Serialize, Serializer};

use crate::record::Failure;

/// The attempts that were made with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// How many.
    pub made: u32,
    /// When the last one ended.
    pub ended: Timestamp,
}

/// Where a record failed, with the members that only such lines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details<'a> {
    /// A stage that is no function: decompression, de-aggregation, key extraction, too many partitions. Also Iceberg.
    Stage,
    /// A function.
    Function {
        /// ARN of the function.
        arn: &'a str,
    },
    /// Format conversion.
    Conversion(CatalogTable<'a>),
    /// A document of OpenSearch or Elasticsearch.
    Document {
        /// Id of the document.
        id: &'a str,
        /// Index, with its rotation.
        index: &'a str,
        /// Type of the document. Empty since Elasticsearch 7.
        type_name: &'a str,
    },
    /// A document of OpenSearch Serverless.
    ServerlessDocument {
        /// Id of the document.
        id: &'a str,
        /// Index.
        index: &'a str,
    },
    /// An HTTP endpoint.
    HttpEndpoint,
    /// Splunk.
    Splunk {
        /// Id of the event.
        event_id: &'a str,
    },
}

/// The table whose schema a record does not fit. Empty members are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogTable<'a> {
    /// Id of the catalog.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub catalog_id: &'a str,
    /// Database.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub database_name: &'a str,
    /// Table.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub table_name: &'a str,
    /// Region of the catalog.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub region: &'a str,
    /// Version of the schema, or `LATEST`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub version_id: &'a str,
    /// ARN of the catalog.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub catalog_arn: &'a str,
}

/// The line of `failure`, with its newline.
pub fn error_line(failure: &Failure, attempts: Attempts, details: &Details<'_>) -> Vec<u8> {
    let record = &failure.record;
    let values = Values {
        attempts_made: attempts.made,
        arrival: record.arrival.as_millis(),
        code: &failure.code,
        message: &failure.message,
        ended: attempts.ended.as_millis(),
        data: RawData(&record.data),
    };
    let mut line = Line::new();
    match *details {
        Details::Stage => values.usual(&mut line, "errorCode", "errorMessage"),
        Details::Function { arn } => {
            line.member("rawData", &values.data);
            line.member("errorCode", values.code);
            line.member("errorMessage", values.message);
            line.member("attemptsMade", &values.attempts_made);
            line.member("arrivalTimestamp", &values.arrival);
            line.member("attemptEndingTimestamp", &values.ended);
            line.member("lambdaARN", arn);
        }
        Details::Conversion(table) => {
            values.usual(&mut line, "lastErrorCode", "lastErrorMessage");
            line.member("sequenceNumber", &record.sequence.to_string());
            line.member("subSequenceNumber", &record.sub_sequence);
            line.member("dataCatalogTable", &table);
        }
        Details::Document { id, index, type_name } => {
            values.attempt(&mut line, "errorCode", "errorMessage");
            line.member("esDocumentId", id);
            line.member("esIndexName", index);
            line.member("esTypeName", type_name);
            line.member("rawData", &values.data);
        }
        Details::ServerlessDocument { id, index } => {
            values.attempt(&mut line, "errorCode", "errorMessage");
            line.member("osDocumentId", id);
            line.member("osIndexName", index);
            line.member("rawData", &values.data);
        }
        Details::HttpEndpoint => {
            values.usual(&mut line, "errorCode", "errorMessage");
            line.member("subsequenceNumber", &record.sub_sequence);
            line.member("dataId", &format!("{}.{}", record.sequence, record.sub_sequence));
        }
        Details::Splunk { event_id } => {
            values.usual(&mut line, "errorCode", "errorMessage");
            line.member("EventId", event_id);
        }
    }
    line.end()
}

/// The members that all lines have.
struct Values<'a> {
    attempts_made: u32,
    arrival: u64,
    code: &'a str,
    message: &'a str,
    ended: u64,
    data: RawData<'a>,
}

impl Values<'_> {
    /// All of them, in the usual order.
    fn usual(&self, line: &mut Line, code_name: &str, message_name: &str) {
        self.attempt(line, code_name, message_name);
        line.member("rawData", &self.data);
    }

    /// All but the data.
    fn attempt(&self, line: &mut Line, code_name: &str, message_name: &str) {
        line.member("attemptsMade", &self.attempts_made);
        line.member("arrivalTimestamp", &self.arrival);
        line.member(code_name, self.code);
        line.member(message_name, self.message);
        line.member("attemptEndingTimestamp", &self.ended);
    }
}

/// A JSON object that is written member by member, because the order matters.
struct Line(Vec<u8>);

impl Line {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.put(name);
        self.0.push(b':');
        self.put(value);
    }

    fn put(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.0, value).expect("texts and numbers are JSON");
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

/// Data of a record in base64.
struct RawData<'a>(&'a [u8]);

impl Serialize for RawData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode_to_string(self.0))
    }
}
