//! The document about a discarded batch, which goes to the destination of the mapping. It has no data of records.
//!
//! Source: AWS Lambda Developer Guide, Retain discarded batch records; recordings of its documents.

use anabranch_types::dates::iso_8601;
use anabranch_types::{SequenceNumber, Timestamp};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::event::EventSource;

/// Why records were discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Condition {
    /// The function failed, and all retries did.
    RetryAttemptsExhausted,
    /// The records were older than the maximum age, or than the retention of the stream.
    RecordAgeExceeded,
    /// The event with this record alone is larger than an event may be. Our own value.
    RecordSizeExceeded,
}

/// Place and time of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Sequence number.
    pub number: SequenceNumber,
    /// When the record arrived at the leader.
    pub arrival: Timestamp,
}

/// Response to the last call of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseContext {
    /// Status of HTTP.
    pub status_code: u16,
    /// Version of the function.
    executed_version: &'static str,
    /// `Unhandled`, or what the function said; `None` for a response that reports failures.
    pub function_error: Option<String>,
}

/// Discarded records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discarded {
    pub(crate) condition: Condition,
    /// Id of the last call.
    pub(crate) request_id: Uuid,
    pub(crate) calls: u32,
    /// `None`: the document has none.
    pub(crate) response: Option<ResponseContext>,
    pub(crate) first: Mark,
    pub(crate) last: Mark,
    pub(crate) records: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<&'a ResponseContext>,
    version: &'static str,
    timestamp: String,
    #[serde(rename = "KinesisBatchInfo")]
    batch: BatchInfo<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: Uuid,
    function_arn: &'a str,
    condition: Condition,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo<'a> {
    shard_id: &'a str,
    start_sequence_number: String,
    end_sequence_number: String,
    approximate_arrival_of_first_record: String,
    approximate_arrival_of_last_record: String,
    batch_size: u64,
    stream_arn: &'a str,
}

impl ResponseContext {
    pub(crate) fn new(status_code: u16, function_error: Option<String>) -> Self {
        Self { status_code, executed_version: "$LATEST", function_error }
    }
}

impl Discarded {
    /// The document, as JSON.
    pub(crate) fn document(&self, source: &EventSource, now: Timestamp) -> Bytes {
        let document = Document {
            request_context: RequestContext {
                request_id: self.request_id,
                function_arn: source.function_arn(),
                condition: self.condition,
                approximate_invoke_count: self.calls.max(1),
            },
            response_context: self.response.as_ref(),
            version: "1.0",
            timestamp: iso_8601(now),
            batch: BatchInfo {
                shard_id: source.shard(),
                start_sequence_number: self.first.number.to_string(),
                end_sequence_number: self.last.number.to_string(),
                approximate_arrival_of_first_record: iso_8601(self.first.arrival),
                approximate_arrival_of_last_record: iso_8601(self.last.arrival),
                batch_size: self.records,
                stream_arn: source.stream_arn(),
            },
        };
        serde_json::to_vec(&document).expect("texts and numbers can be written").into()
    }
}

#[cfg(test)]
mod tests {
    use anabranch_types::{SequenceNumberParts, ShardId};

    use super::*;

    fn mark(log_index: u64, arrival: u64) -> Mark {
        let parts = SequenceNumberParts {
            shard_born_seconds: 1_700_000_000,
            shard: ShardId(2),
            log_index,
            offset: 0,
            arrival_seconds: arrival / 1000,
        };
        Mark { number: SequenceNumber::new(parts), arrival: Timestamp::from_millis(arrival) }
    }

    fn document(condition: Condition, response: Option<ResponseContext>) -> String {
        let account = "111122223333".parse().unwrap();
        let (stream, function) = ("meters".parse().unwrap(), "meter".parse().unwrap());
        let region = "eu-west-1".parse().unwrap();
        let source = EventSource::new(region, &account, &stream, ShardId(2), &function);
        let discarded = Discarded {
            condition,
            request_id: Uuid::from_u128(7),
            calls: 3,
            response,
            first: mark(5, 1_767_225_600_250),
            last: mark(8, 1_767_225_601_000),
            records: 4,
        };
        let json = discarded.document(&source, Timestamp::from_millis(1_767_225_612_007)).to_vec();
        let text = String::from_utf8(json).unwrap();
        let [first, last] = [discarded.first, discarded.last].map(|mark| mark.number.to_string());
        text.replace(&first, "FIRST").replace(&last, "LAST")
    }

    const BATCH: &str = r#""version":"1.0","timestamp":"2026-01-01T00:00:12.007Z","KinesisBatchInfo":{"shardId":"shardId-000000000002","startSequenceNumber":"FIRST","endSequenceNumber":"LAST","approximateArrivalOfFirstRecord":"2026-01-01T00:00:00.250Z","approximateArrivalOfLastRecord":"2026-01-01T00:00:01.000Z","batchSize":4,"streamArn":"arn:aws:kinesis:eu-west-1:111122223333:stream/meters"}}"#;

    fn request(condition: &str) -> String {
        format!(
            r#"{{"requestContext":{{"requestId":"00000000-0000-0000-0000-000000000007","functionArn":"arn:aws:lambda:eu-west-1:111122223333:function:meter","condition":"{condition}","approximateInvokeCount":3}},"#
        )
    }

    #[test]
    fn exhausted_retries_have_the_context_of_the_last_response() {
        let error = ResponseContext::new(200, Some("Unhandled".into()));
        let context = r#""responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},"#;
        assert_eq!(
            document(Condition::RetryAttemptsExhausted, Some(error)),
            format!("{}{context}{BATCH}", request("RetryAttemptsExhausted")),
        );
        let report = ResponseContext::new(200, None);
        let context = r#""responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":null},"#;
        assert_eq!(
            document(Condition::RetryAttemptsExhausted, Some(report)),
            format!("{}{context}{BATCH}", request("RetryAttemptsExhausted")),
        );
    }

    #[test]
    fn an_exceeded_age_has_no_response_context() {
        let expected = format!("{}{BATCH}", request("RecordAgeExceeded"));
        assert_eq!(document(Condition::RecordAgeExceeded, None), expected);
    }
}
