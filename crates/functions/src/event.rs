//! The event that a function gets: records of one shard, in the shape of Lambda's Kinesis trigger.
//!
//! A record is encoded once, when it is gathered (`Item`). An event joins the encoded records, so a retry encodes
//! nothing, and the size of an event is known before it is made.
//!
//! Source: AWS Lambda Developer Guide, Using Lambda with Kinesis, and its page on tumbling windows.

use anabranch_types::dates::iso_8601_text;
use anabranch_types::{
    AccountId, Region, SequenceNumber, ShardId, StreamArn, StreamName, Timestamp,
};
use base64_simd::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use crate::name::FunctionName;

/// A record of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Sequence number, which has the position.
    pub number: SequenceNumber,
    /// When the record arrived at the leader.
    pub arrival: Timestamp,
    /// Partition key, UTF-8.
    pub partition_key: Bytes,
    /// Data.
    pub data: Bytes,
}

/// The names in events and documents of one mapping and shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSource {
    region: Region,
    shard: String,
    stream_arn: String,
    function_arn: String,
    role_arn: String,
}

/// A record as JSON, with what the lanes need of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) number: SequenceNumber,
    pub(crate) arrival: Timestamp,
    /// Element of `Records`.
    pub(crate) json: Bytes,
}

/// The members of an event with a tumbling window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowPart<'a> {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// JSON object.
    pub(crate) state: &'a [u8],
    pub(crate) is_final: bool,
    pub(crate) ends_early: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'a> {
    kinesis: KinesisPart<'a>,
    event_source: &'static str,
    event_version: &'static str,
    #[serde(rename = "eventID")]
    event_id: String,
    event_name: &'static str,
    invoke_identity_arn: &'a str,
    aws_region: &'a str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KinesisPart<'a> {
    kinesis_schema_version: &'static str,
    partition_key: &'a str,
    sequence_number: String,
    data: String,
    approximate_arrival_timestamp: f64,
}

impl EventSource {
    /// The names for `shard` of `stream`, which belongs to `account`, and for `function`.
    pub fn new(
        region: Region,
        account: &AccountId,
        stream: &StreamName,
        shard: ShardId,
        function: &FunctionName,
    ) -> Self {
        let (account, stream) = (account.clone(), stream.clone());
        let function_arn = format!("arn:aws:lambda:{region}:{account}:function:{function}");
        let role_arn = format!("arn:aws:iam::{account}:role/{function}");
        let stream_arn = StreamArn { region: region.clone(), account, stream }.to_string();
        Self { region, shard: shard.to_string(), stream_arn, function_arn, role_arn }
    }

    /// ARN of the function.
    pub fn function_arn(&self) -> &str {
        &self.function_arn
    }

    /// ARN of the stream.
    pub fn stream_arn(&self) -> &str {
        &self.stream_arn
    }

    /// Id of the shard, as `shardId-000000000000`.
    pub fn shard(&self) -> &str {
        &self.shard
    }

    /// Encodes a record.
    pub(crate) fn item(&self, record: &Record) -> Item {
        let number = record.number.to_string();
        let encoded = EventRecord {
            kinesis: KinesisPart {
                kinesis_schema_version: "1.0",
                partition_key: &String::from_utf8_lossy(&record.partition_key),
                data: STANDARD.encode_to_string(&record.data),
                approximate_arrival_timestamp: record.arrival.as_secs_f64(),
                sequence_number: number.clone(),
            },
            event_source: "aws:kinesis",
            event_version: "1.0",
            event_id: format!("{}:{number}", self.shard),
            event_name: "aws:kinesis:record",
            invoke_identity_arn: &self.role_arn,
            aws_region: self.region.as_str(),
            event_source_arn: &self.stream_arn,
        };
        let json = serde_json::to_vec(&encoded).expect("texts and numbers can be written");
        Item { number: record.number, arrival: record.arrival, json: json.into() }
    }

    /// The event with `items`.
    pub(crate) fn event(&self, items: &[Item], window: Option<WindowPart<'_>>) -> Bytes {
        let mut event = Vec::with_capacity(self.bytes(items, window));
        event.extend_from_slice(BEGIN);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                event.push(b',');
            }
            event.extend_from_slice(&item.json);
        }
        event.push(b']');
        if let Some(window) = window {
            self.write_window(&mut event, window);
        }
        event.push(b'}');
        event.into()
    }

    /// How many of the first `items` fit into an event of at most `limit` bytes.
    pub(crate) fn fitting(
        &self,
        items: &[Item],
        window: Option<WindowPart<'_>>,
        limit: usize,
    ) -> usize {
        let mut bytes = self.bytes(&[], window);
        let fits = |item: &&Item| {
            bytes += item.json.len() + 1;
            bytes <= limit + 1 // there is a comma less than records
        };
        items.iter().take_while(fits).count()
    }

    /// Bytes of the event.
    fn bytes(&self, items: &[Item], window: Option<WindowPart<'_>>) -> usize {
        let records: usize = items.iter().map(|item| item.json.len() + 1).sum();
        let mut tail = Vec::new();
        if let Some(window) = window {
            self.write_window(&mut tail, WindowPart { state: b"", ..window });
        }
        let state = window.map_or(0, |window| window.state.len());
        BEGIN.len() + records.saturating_sub(1) + END.len() + tail.len() + state
    }

    fn write_window(&self, event: &mut Vec<u8>, window: WindowPart<'_>) {
        let (start, end) = (iso_8601_text(window.start), iso_8601_text(window.end));
        event.extend_from_slice(
            format!(r#","window":{{"start":"{start}","end":"{end}"}},"state":"#).as_bytes(),
        );
        event.extend_from_slice(window.state);
        let (shard, stream) = (&self.shard, &self.stream_arn);
        let (is_final, ends_early) = (window.is_final, window.ends_early);
        event.extend_from_slice(
            format!(
                r#","shardId":"{shard}","eventSourceARN":"{stream}","isFinalInvokeForWindow":{is_final},"isWindowTerminatedEarly":{ends_early}"#
            )
            .as_bytes(),
        );
    }
}

const BEGIN: &[u8] = br#"{"Records":["#;
const END: &[u8] = b"]}";

#[cfg(test)]
mod tests {
    use anabranch_types::SequenceNumberParts;
    use proptest::prelude::*;

    use super::*;

    fn source() -> EventSource {
        let account = "111122223333".parse().unwrap();
        let (stream, function) = ("meters".parse().unwrap(), "meter".parse().unwrap());
        EventSource::new("eu-west-1".parse().unwrap(), &account, &stream, ShardId(2), &function)
    }

    fn record(log_index: u64, key: &str, data: &[u8], arrival: u64) -> Record {
        let parts = SequenceNumberParts {
            shard_born_seconds: 1_700_000_000,
            shard: ShardId(2),
            log_index,
            offset: 0,
            arrival_seconds: arrival / 1000,
        };
        Record {
            number: SequenceNumber::new(parts),
            arrival: Timestamp::from_millis(arrival),
            partition_key: Bytes::copy_from_slice(key.as_bytes()),
            data: Bytes::copy_from_slice(data),
        }
    }

    #[test]
    fn an_event_has_the_shape_of_lambda() {
        let source = source();
        let items = [
            source.item(&record(5, "m-7", br#"{"kwh":3}"#, 1_767_225_612_250)),
            source.item(&record(6, "a\"\\\u{e9}\n", &[0xff, 0, 0xfe, 1], 1_545_084_650_987)),
        ];
        let event = String::from_utf8(source.event(&items, None).to_vec()).unwrap();
        let [first, second] = items.each_ref().map(|item| item.number.to_string());
        let expected = [
            r#"{"Records":[{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"m-7","sequenceNumber":"FIRST","data":"eyJrd2giOjN9","approximateArrivalTimestamp":1767225612.25},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000002:FIRST","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::111122223333:role/meter","awsRegion":"eu-west-1","eventSourceARN":"arn:aws:kinesis:eu-west-1:111122223333:stream/meters"},"#,
            r#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"a\"\\é\n","sequenceNumber":"SECOND","data":"/wD+AQ==","approximateArrivalTimestamp":1545084650.987},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000002:SECOND","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::111122223333:role/meter","awsRegion":"eu-west-1","eventSourceARN":"arn:aws:kinesis:eu-west-1:111122223333:stream/meters"}]}"#,
        ];
        let expected = expected.concat().replace("FIRST", &first).replace("SECOND", &second);
        assert_eq!(event, expected);
        assert!(serde_json::from_str::<serde_json::Value>(&event).is_ok());
    }

    #[test]
    fn a_tumbling_window_adds_six_members() {
        let source = source();
        let window = WindowPart {
            start: Timestamp::from_millis(1_767_225_600_000),
            end: Timestamp::from_millis(1_767_225_660_000),
            state: br#"{"m-7":12}"#,
            is_final: true,
            ends_early: false,
        };
        let event = source.event(&[], Some(window));
        let expected = r#"{"Records":[],"window":{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:01:00Z"},"state":{"m-7":12},"shardId":"shardId-000000000002","eventSourceARN":"arn:aws:kinesis:eu-west-1:111122223333:stream/meters","isFinalInvokeForWindow":true,"isWindowTerminatedEarly":false}"#;
        assert_eq!(event, expected.as_bytes());
    }

    proptest! {
        #[test]
        fn as_many_records_fit_as_an_event_of_the_limit_can_have(
            sizes in prop::collection::vec(0..200_usize, 0..8),
            limit in 0..4000_usize,
            has_window: bool,
        ) {
            let source = source();
            let item = |size: &usize| source.item(&record(1, "k", &vec![7; *size], 1));
            let items: Vec<Item> = sizes.iter().map(item).collect();
            let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(60_000));
            let window = WindowPart { start, end, state: b"{}", is_final: false, ends_early: true };
            let window = has_window.then_some(window);
            prop_assert_eq!(source.event(&items, window).len(), source.bytes(&items, window));
            let fitting = source.fitting(&items, window, limit);
            if fitting > 0 {
                prop_assert!(source.event(&items[..fitting], window).len() <= limit);
            }
            if fitting < items.len() {
                prop_assert!(source.event(&items[..=fitting], window).len() > limit);
            }
        }
    }
}
