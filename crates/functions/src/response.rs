//! The response of a function: which records of the batch it processed.
//!
//! | response | with `ReportBatchItemFailures` |
//! | --- | --- |
//! | nothing, `null`, `""`, `[]`, `{}`; `batchItemFailures` absent, `[]` or `null` | all are processed |
//! | `{"batchItemFailures":[{"itemIdentifier":"<number>"}]}` | the records before it are processed; the lowest counts |
//! | an item identifier that is empty, null, missing, or not in the batch; anything else | none is processed |
//!
//! Without the report every response says that all are processed. With a tumbling window the response must have an
//! object `state`, else none is processed.
//!
//! Source: AWS Lambda Developer Guide, Configuring partial batch response, and its page on tumbling windows.

use std::collections::BTreeMap;

use anabranch_types::SequenceNumber;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The meaning of a response for its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first records are processed, the others are to be sent again.
    Processed {
        /// Number of records that are processed; at most all.
        records: usize,
        /// The new state, a JSON object, if the mapping has a tumbling window.
        state: Option<Bytes>,
    },
    /// No record is processed.
    Failed,
}

/// How a response is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether `batchItemFailures` counts.
    pub reports_failures: bool,
    /// Whether the response must have a `state`.
    pub has_state: bool,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "itemIdentifier")]
    item: String,
}

/// Reads the response to a batch of records with `numbers`, which rise.
pub fn read(payload: &[u8], numbers: &[SequenceNumber], reading: Reading) -> Verdict {
    let all = numbers.len();
    let members = members(payload);
    let state = match (reading.has_state, &members) {
        (false, _) => None,
        (true, Some(members)) => match members.get("state").filter(|state| is_object(state)) {
            Some(state) => Some(Bytes::copy_from_slice(state.get().as_bytes())),
            None => return Verdict::Failed,
        },
        (true, None) => return Verdict::Failed,
    };
    if !reading.reports_failures {
        return Verdict::Processed { records: all, state };
    }
    match members.and_then(|members| processed(&members, numbers)) {
        Some(records) => Verdict::Processed { records, state },
        None => Verdict::Failed,
    }
}

/// The members of the response; those of an object without any if the response is as good as empty. `None` if it is
/// anything else.
fn members(payload: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    let text = std::str::from_utf8(payload).ok()?.trim_ascii();
    match text {
        "" | "null" | r#""""# => Some(BTreeMap::new()),
        _ if text.starts_with('[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            elements.is_empty().then(BTreeMap::new)
        }
        _ => serde_json::from_str(text).ok(),
    }
}

/// How many of the first records are processed; `None` if the report is not understood.
fn processed(members: &BTreeMap<String, &RawValue>, numbers: &[SequenceNumber]) -> Option<usize> {
    let Some(report) = members.get("batchItemFailures") else { return Some(numbers.len()) };
    let failures: Option<Vec<Failure>> = serde_json::from_str(report.get()).ok()?;
    let mut first = numbers.len();
    for failure in failures.unwrap_or_default() {
        let number = failure.item.parse().ok()?;
        first = first.min(numbers.binary_search(&number).ok()?);
    }
    Some(first)
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

#[cfg(test)]
mod tests {
    use anabranch_types::{SequenceNumberParts, ShardId};

    use super::*;

    const REPORT: Reading = Reading { reports_failures: true, has_state: false };
    const PLAIN: Reading = Reading { reports_failures: false, has_state: false };
    const STATE: Reading = Reading { reports_failures: false, has_state: true };
    const BOTH: Reading = Reading { reports_failures: true, has_state: true };

    fn number(log_index: u64) -> SequenceNumber {
        SequenceNumber::new(SequenceNumberParts {
            shard_born_seconds: 1,
            shard: ShardId(0),
            log_index,
            offset: 0,
            arrival_seconds: 2,
        })
    }

    /// Reads the response to records 1 to 4, where `#n` is the sequence number of record n.
    fn read_text(response: &str, reading: Reading) -> Verdict {
        let mut response = response.to_owned();
        for n in [1, 2, 3, 4, 9] {
            response = response.replace(&format!("#{n}"), &number(n).to_string());
        }
        read(response.as_bytes(), &[1, 2, 3, 4].map(number), reading)
    }

    #[track_caller]
    fn check(reading: Reading, records: Option<usize>, responses: &[&str]) {
        for response in responses {
            let expected = match records {
                Some(records) => Verdict::Processed { records, state: None },
                None => Verdict::Failed,
            };
            assert_eq!(read_text(response, reading), expected, "{response}");
        }
    }

    #[test]
    fn an_empty_response_is_success() {
        let responses = [
            "",
            " \n",
            "null",
            r#""""#,
            "[]",
            "{}",
            r#"{"batchItemFailures":[]}"#,
            r#"{"batchItemFailures":null}"#,
            r#"{"other":1}"#,
        ];
        check(REPORT, Some(4), &responses);
    }

    #[test]
    fn records_before_the_lowest_failure_are_processed() {
        for n in 1..=4 {
            let response = format!(r##"{{"batchItemFailures":[{{"itemIdentifier":"#{n}"}}]}}"##);
            check(REPORT, Some(n - 1), &[&response]);
        }
        let several = r##"{"batchItemFailures":[{"itemIdentifier":"#4"},{"itemIdentifier":"#2","x":1},{"itemIdentifier":"#3"}],"y":{}}"##;
        check(REPORT, Some(1), &[several]);
    }

    #[test]
    fn a_report_that_is_not_understood_fails_the_batch() {
        let responses = [
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":123}]}"#,
            r##"{"batchItemFailures":[{"id":"#1"}]}"##,
            r##"{"batchItemFailures":[{"itemIdentifier":"#9"}]}"##,
            r##"{"batchItemFailures":[{"itemIdentifier":"#2"},{"itemIdentifier":"#9"}]}"##,
            r##"{"batchItemFailures":[{"itemIdentifier":"0#2"}]}"##,
            r##"{"batchItemFailures":["#1"]}"##,
            r#"{"batchItemFailures":[null]}"#,
            r#"{"batchItemFailures":{}}"#,
            r#"{"batchItemFailures":"x"}"#,
            r#"{"batchItemFailures":[],"#,
            "not JSON",
            r#""text""#,
            "true",
            "7",
            "[1]",
        ];
        check(REPORT, None, &responses);
        assert_eq!(read(&[0xff, 0xfe], &[number(1)], REPORT), Verdict::Failed);
    }

    #[test]
    fn without_the_report_every_response_is_success() {
        let failure = r##"{"batchItemFailures":[{"itemIdentifier":"#1"}]}"##;
        check(PLAIN, Some(4), &["", "null", "not JSON", "[1]", "{}", failure]);
    }

    #[test]
    fn with_a_window_the_response_must_have_a_state() {
        let with = |records, state: &str| Verdict::Processed {
            records,
            state: Some(Bytes::copy_from_slice(state.as_bytes())),
        };
        let state = r#"{"state":{"a":[1, 2]},"x":0}"#;
        assert_eq!(read_text(state, STATE), with(4, r#"{"a":[1, 2]}"#));
        assert_eq!(read_text(state, BOTH), with(4, r#"{"a":[1, 2]}"#));
        let partial = r##"{"batchItemFailures":[{"itemIdentifier":"#3"}],"state":{}}"##;
        assert_eq!(read_text(partial, BOTH), with(2, "{}"));
        assert_eq!(read_text(partial, STATE), with(4, "{}"));
        for response in [
            "",
            "null",
            "{}",
            "[]",
            r#"{"state":null}"#,
            r#"{"state":"x"}"#,
            r#"{"state":[]}"#,
            "x",
        ] {
            assert_eq!(read_text(response, STATE), Verdict::Failed, "{response}");
            assert_eq!(read_text(response, BOTH), Verdict::Failed, "{response}");
        }
    }
}
