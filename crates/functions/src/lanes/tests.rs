//! The rules of section "Batching, order, retry, discard", as short histories.
//!
//! A record is a letter. Its data is the letter, its partition key too, and its log index is its place in the alphabet
//! from 1. A batch is written as its letters, and a document as its letters and its condition.

use std::time::Duration;

use anabranch_types::{SequenceNumber, SequenceNumberParts, ShardId};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::limits::STATE_BYTES;
use crate::mapping::MappingSpec;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// A moment at which windows of a minute begin.
pub(super) const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(super) fn number(log_index: u64) -> SequenceNumber {
    SequenceNumber::new(SequenceNumberParts {
        shard_born_seconds: 1_700_000_000,
        shard: ShardId(0),
        log_index,
        offset: 0,
        arrival_seconds: 0,
    })
}

pub(super) fn record(log_index: u64, key: &str, data: &[u8], arrival: Timestamp) -> Record {
    Record {
        number: number(log_index),
        arrival,
        partition_key: Bytes::copy_from_slice(key.as_bytes()),
        data: Bytes::copy_from_slice(data),
    }
}

pub(super) fn lanes(spec: &MappingSpec, checkpoint: Checkpoint, seed: u64) -> Lanes {
    let mapping = Mapping::check(spec).unwrap();
    let source = EventSource::new(
        Default::default(),
        &Default::default(),
        &mapping.stream,
        ShardId(0),
        &mapping.function,
    );
    Lanes::new(Arc::new(mapping), source, checkpoint, DAY, seed)
}

/// A shard, its function and its destination, in one place.
struct Shard {
    lanes: Lanes,
    now: Timestamp,
    /// Calls and deliveries in flight, oldest first.
    open: Vec<(Ticket, String)>,
    /// The events of the last calls, newest last.
    events: Vec<Value>,
    documents: Vec<Value>,
}

fn spec() -> MappingSpec {
    MappingSpec::new(Uuid::nil(), "meters", "sum")
}

fn shard(change: impl FnOnce(&mut MappingSpec)) -> Shard {
    let mut spec = spec();
    change(&mut spec);
    Shard {
        lanes: lanes(&spec, Checkpoint::at(Position::entry(1)), 7),
        now: BEGIN,
        open: Vec::new(),
        events: Vec::new(),
        documents: Vec::new(),
    }
}

fn letter(log_index: u64) -> char {
    char::from(b'`' + u8::try_from(log_index).unwrap())
}

fn log_index(letter: char) -> u64 {
    u64::from(u32::from(letter)) - 96
}

impl Shard {
    /// The records arrive now.
    fn put(&mut self, letters: &str) -> &mut Self {
        let put = |letter: char| {
            record(log_index(letter), &letter.to_string(), letter.to_string().as_bytes(), self.now)
        };
        let records: Vec<Record> = letters.chars().map(put).collect();
        let next = letters.chars().map(|letter| Position::entry(log_index(letter) + 1)).max();
        self.lanes.offer(&records, next.unwrap_or_default());
        self
    }

    fn after(&mut self, seconds: f64) -> &mut Self {
        self.now = self.now.plus(Duration::from_secs_f64(seconds));
        self
    }

    /// Waits until something may be due without a report.
    fn until_due(&mut self) -> &mut Self {
        self.now = self.now.max(self.lanes.wake_at().unwrap());
        self
    }

    /// Starts everything that is due.
    fn start(&mut self) -> String {
        let mut started = Vec::new();
        while let Some(action) = self.lanes.next(self.now) {
            let (ticket, text) = match action {
                Action::Call { ticket, event, .. } => {
                    let event: Value = serde_json::from_slice(&event).unwrap();
                    let text = event_text(&event);
                    self.events.push(event);
                    (ticket, text)
                }
                Action::Deliver { ticket, document } => {
                    let document: Value = serde_json::from_slice(&document).unwrap();
                    let text = document_text(&document);
                    self.documents.push(document);
                    (ticket, text)
                }
            };
            self.open.push((ticket, text.clone()));
            started.push(text);
        }
        started.join(" ")
    }

    /// The oldest call ends; returns what starts then.
    fn answer(&mut self, answer: Answer) -> String {
        let (ticket, _) = self.open.remove(0);
        self.lanes.answered(ticket, answer, self.now);
        self.start()
    }

    fn ok(&mut self) -> String {
        self.returned("")
    }

    fn returned(&mut self, payload: &str) -> String {
        let mut payload = payload.to_owned();
        for index in 1..=26 {
            let identifier = format!(r#"{{"itemIdentifier":"{}"}}"#, number(index));
            payload = payload.replace(&format!("#{}", letter(index)), &identifier);
        }
        self.answer(Answer::Returned { status: 200, payload: payload.into() })
    }

    /// The call fails. Returns what starts once the delay is over.
    fn fail(&mut self) -> String {
        let started = self.answer(Answer::Failed { status: 200, error: "Unhandled".into() });
        if started.is_empty() { self.until_due().start() } else { started }
    }

    /// Records `#letter` fail. Returns what starts once the delay is over.
    fn partly(&mut self, letter: &str) -> String {
        let started = self.returned(&format!(r#"{{"batchItemFailures":[{letter}]}}"#));
        if started.is_empty() { self.until_due().start() } else { started }
    }

    fn throttled(&mut self) -> String {
        assert_eq!(self.answer(Answer::NotCalled), "");
        self.until_due().start()
    }

    fn deliver(&mut self, delivery: Delivery) -> String {
        let (ticket, _) = self.open.remove(0);
        self.lanes.delivered(ticket, delivery, self.now);
        self.start()
    }

    /// The first record that is not finished.
    fn next(&self) -> char {
        letter(self.lanes.checkpoint().next.log_index)
    }

    /// A new node goes on from the checkpoint, which it reads from a table.
    fn restart(&mut self, change: impl FnOnce(&mut MappingSpec)) -> &mut Self {
        let mut spec = spec();
        change(&mut spec);
        let stored = self.lanes.checkpoint().encode();
        self.lanes = lanes(&spec, Checkpoint::decode(&stored).unwrap(), 8);
        self.open.clear();
        self
    }
}

fn event_text(event: &Value) -> String {
    let records = event["Records"].as_array().unwrap();
    let mut text: String =
        records.iter().map(|r| r["kinesis"]["partitionKey"].as_str().unwrap()).collect();
    if let Some(state) = event.get("state") {
        let mark = |name: &str, mark| if event[name] == true { mark } else { "" };
        let end = mark("isFinalInvokeForWindow", "!");
        let early = mark("isWindowTerminatedEarly", "early");
        let state = state["s"].as_str().unwrap_or("");
        text = format!("{text}[{}]{end}{early}", &state[..state.len().min(9)]);
    }
    text
}

fn document_text(document: &Value) -> String {
    let batch = &document["KinesisBatchInfo"];
    let letter = |name: &str| {
        let number: SequenceNumber = batch[name].as_str().unwrap().parse().unwrap();
        letter(number.parts().log_index)
    };
    let (first, last) = (letter("startSequenceNumber"), letter("endSequenceNumber"));
    let condition = document["requestContext"]["condition"].as_str().unwrap();
    format!("{first}-{last}:{condition}")
}

fn destination(spec: &mut MappingSpec) {
    spec.destination_config.on_failure.destination = Some("failed".into());
}

#[test]
fn without_a_window_the_records_of_a_read_are_sent_at_once() {
    let mut shard = shard(|_| {});
    assert_eq!(shard.put("abc").start(), "abc");
    assert_eq!(shard.next(), 'a');
    assert_eq!(shard.put("de").start(), "");
    assert_eq!(shard.ok(), "de");
    assert_eq!(shard.next(), 'd');
    assert_eq!(shard.ok(), "");
    assert_eq!(shard.next(), 'f');
}

#[test]
fn a_batch_has_at_most_the_batch_size() {
    let mut shard = shard(|spec| spec.batch_size = 2);
    assert_eq!(shard.put("abcde").start(), "ab");
    assert_eq!(shard.ok(), "cd");
    assert_eq!(shard.ok(), "e");
}

#[test]
fn a_batch_is_gathered_until_the_window_is_over_or_the_batch_is_full() {
    let mut shard =
        shard(|spec| (spec.batch_size, spec.maximum_batching_window_in_seconds) = (3, 10));
    assert_eq!(shard.put("a").start(), "");
    assert_eq!(shard.after(9.9).put("b").start(), "");
    assert_eq!(shard.lanes.wake_at(), Some(BEGIN.plus(Duration::from_secs(10))));
    assert_eq!(shard.after(0.1).start(), "ab");
    // The next window begins when the call ends.
    assert_eq!(shard.put("c").after(20.0).start(), "");
    assert_eq!(shard.ok(), "");
    assert_eq!(shard.after(9.0).start(), "");
    assert_eq!(shard.put("de").start(), "cde");
}

#[test]
fn a_clock_that_steps_back_makes_no_window_longer() {
    let mut shard = shard(|spec| spec.maximum_batching_window_in_seconds = 10);
    assert_eq!(shard.put("a").start(), "");
    shard.now = shard.now.minus(Duration::from_secs(3600));
    assert_eq!(shard.start(), "a");
}

#[test]
fn an_event_has_at_most_six_megabytes_and_a_larger_record_is_discarded() {
    let mut shard = shard(|spec| {
        spec.maximum_batching_window_in_seconds = 300;
        destination(spec);
    });
    let put = |index: u64, bytes: usize| {
        record(index, &letter(index).to_string(), &vec![0; bytes], BEGIN)
    };
    let (third, large) = (2 << 20, 5 << 20);
    let records = [put(1, third), put(2, third), put(3, third), put(4, large), put(5, 1)];
    shard.lanes.offer(&records, Position::default());
    assert_eq!(shard.start(), "ab");
    assert_eq!(shard.ok(), "c");
    assert_eq!(shard.ok(), "d-d:RecordSizeExceeded");
    assert!(shard.documents[0].get("responseContext").is_none());
    assert_eq!(shard.deliver(Delivery::Done), "");
    assert_eq!(shard.after(300.0).start(), "e");
}

#[test]
fn reading_pauses_while_the_buffer_is_full() {
    let mut shard = shard(|_| {});
    assert!(shard.lanes.wants_records());
    shard.lanes.offer(&[record(1, "a", &vec![0; 5 << 20], BEGIN)], Position::default());
    assert!(!shard.lanes.wants_records());
    let many: Vec<Record> = (1..=1000).map(|index| record(index, "a", b"", BEGIN)).collect();
    let mut other = self::shard(|_| {});
    other.lanes.offer(&many, Position::default());
    assert!(!other.lanes.wants_records());
}

#[test]
fn keys_of_different_lanes_run_at_the_same_time_and_a_key_never_twice() {
    let mut shard = shard(|spec| spec.parallelization_factor = 2);
    let hash = |letter: char| partition_key_hash(&letter.to_string()).0 % 2;
    let (even, odd): (Vec<char>, Vec<char>) = ('a'..='h').partition(|letter| hash(*letter) == 0);
    let text = |letters: &[char]| letters.iter().collect::<String>();
    assert_eq!(shard.put("abcdefgh").start(), format!("{} {}", text(&even), text(&odd)));
    assert_eq!(shard.put("ijkl").start(), "");
    // The checkpoint waits for the slower lane.
    shard.open.swap(0, 1);
    shard.ok();
    assert_eq!(shard.next(), even[0]);
}

#[test]
fn a_failed_batch_is_repeated_whole_with_growing_delays() {
    let mut shard = shard(|_| {});
    assert_eq!(shard.put("ab").start(), "ab");
    let mut delays = Vec::new();
    for _ in 0..12 {
        let before = shard.now;
        assert_eq!(shard.put("").fail(), "ab");
        delays.push(shard.now.since(before).as_millis());
    }
    assert!((250..500).contains(&delays[0]), "{delays:?}");
    assert!((500..1000).contains(&delays[1]), "{delays:?}");
    assert!((30_000..60_000).contains(&delays[11]), "{delays:?}");
    assert_eq!(shard.next(), 'a');
    assert_eq!(shard.put("c").ok(), "c");
}

#[test]
fn a_limit_of_n_retries_gives_n_plus_1_calls() {
    for retries in 0..4 {
        let mut shard = shard(|spec| {
            spec.maximum_retry_attempts = retries;
            destination(spec);
        });
        assert_eq!(shard.put("abc").start(), "abc");
        for _ in 0..retries {
            assert_eq!(shard.fail(), "abc");
        }
        assert_eq!(shard.fail(), "a-c:RetryAttemptsExhausted");
        let document = &shard.documents[0];
        assert_eq!(document["requestContext"]["approximateInvokeCount"], retries + 1);
        assert_eq!(document["responseContext"]["functionError"], "Unhandled");
        assert_eq!(document["KinesisBatchInfo"]["batchSize"], 3);
        assert_eq!(shard.next(), 'a');
        assert_eq!(shard.put("d").deliver(Delivery::Done), "d");
        assert_eq!(shard.next(), 'd');
    }
}

#[test]
fn without_a_destination_the_records_are_discarded_silently() {
    let mut shard = shard(|spec| spec.maximum_retry_attempts = 0);
    assert_eq!(shard.put("ab").start(), "ab");
    assert_eq!(shard.put("c").fail(), "c");
    assert_eq!(shard.next(), 'c');
    assert_eq!(shard.lanes.counts().discarded, 2);
}

#[test]
fn a_document_is_delivered_again_until_the_destination_has_it() {
    let mut shard = shard(|spec| {
        spec.maximum_retry_attempts = 0;
        destination(spec);
    });
    assert_eq!(shard.put("ab").start(), "ab");
    let document = "a-b:RetryAttemptsExhausted";
    assert_eq!(shard.fail(), document);
    assert_eq!(shard.deliver(Delivery::Unavailable), "");
    assert_eq!(shard.next(), 'a');
    assert_eq!(shard.until_due().start(), document);
    assert_eq!(shard.documents[0], shard.documents[1]);
    assert_eq!(shard.put("c").deliver(Delivery::Refused), "c");
    let counts = shard.lanes.counts();
    assert_eq!((counts.undelivered, counts.delivered, counts.discarded), (1, 0, 2));
}

#[test]
fn a_call_that_did_not_reach_the_function_is_no_attempt() {
    let mut shard = shard(|spec| {
        spec.maximum_retry_attempts = 0;
        spec.bisect_batch_on_function_error = true;
    });
    assert_eq!(shard.put("ab").start(), "ab");
    for _ in 0..20 {
        assert_eq!(shard.throttled(), "ab");
    }
    assert_eq!(shard.ok(), "");
    let counts = shard.lanes.counts();
    assert_eq!((counts.calls, counts.throttled, counts.processed), (1, 20, 2));
}

#[test]
fn records_above_the_maximum_age_are_discarded_and_younger_ones_are_sent() {
    let mut shard = shard(|spec| {
        spec.maximum_record_age_in_seconds = 60;
        destination(spec);
    });
    shard.put("ab").after(30.0).put("c").after(30.001);
    assert_eq!(shard.start(), "a-b:RecordAgeExceeded");
    let document = &shard.documents[0];
    assert_eq!(document["requestContext"]["approximateInvokeCount"], 1);
    assert!(document.get("responseContext").is_none());
    assert_eq!(shard.deliver(Delivery::Done), "c");
    assert_eq!(shard.next(), 'c');
    // A batch that fails gets old too.
    while shard.fail() == "c" {}
    assert_eq!(shard.open[0].1, "c-c:RecordAgeExceeded");
}

#[test]
fn a_record_that_is_no_longer_retained_is_discarded() {
    let mut shard = shard(|_| {});
    assert_eq!(shard.put("a").start(), "a");
    shard.after(DAY.as_secs_f64() + 1.0).put("b");
    assert_eq!(shard.fail(), "b");
    shard.lanes.set_retention(Duration::from_secs(1));
    shard.after(2.0);
    assert_eq!(shard.answer(Answer::NotCalled), "");
    assert_eq!(shard.until_due().start(), "");
    assert_eq!(shard.lanes.counts().discarded, 2);
}

#[test]
fn bisecting_isolates_the_bad_record_and_uses_no_retries() {
    let mut shard = shard(|spec| {
        spec.bisect_batch_on_function_error = true;
        spec.maximum_retry_attempts = 1;
        destination(spec);
    });
    // c is bad
    assert_eq!(shard.put("abcde").start(), "abcde");
    assert_eq!(shard.fail(), "abc");
    assert_eq!(shard.fail(), "ab");
    assert_eq!(shard.ok(), "c");
    assert_eq!(shard.next(), 'c');
    assert_eq!(shard.fail(), "c");
    assert_eq!(shard.fail(), "c-c:RetryAttemptsExhausted");
    assert_eq!(shard.documents[0]["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(shard.deliver(Delivery::Done), "de");
    assert_eq!(shard.ok(), "");
    assert_eq!(shard.next(), 'f');
}

#[test]
fn a_partial_failure_repeats_that_record_and_all_after_it() {
    let mut shard =
        shard(|spec| spec.function_response_types = vec!["ReportBatchItemFailures".into()]);
    assert_eq!(shard.put("abcd").start(), "abcd");
    assert_eq!(shard.partly("#d,#c"), "cd");
    assert_eq!(shard.next(), 'c');
    assert_eq!(shard.partly("#c"), "cd");
    assert_eq!(shard.partly("#d"), "d");
    assert_eq!(shard.ok(), "");
    assert_eq!(shard.next(), 'e');
}

#[test]
fn progress_of_a_partial_failure_begins_the_retries_anew() {
    let mut shard = shard(|spec| {
        spec.function_response_types = vec!["ReportBatchItemFailures".into()];
        spec.maximum_retry_attempts = 1;
        destination(spec);
    });
    assert_eq!(shard.put("abc").start(), "abc");
    assert_eq!(shard.partly("#b"), "bc");
    assert_eq!(shard.partly("#c"), "c");
    assert_eq!(shard.partly("#c"), "c-c:RetryAttemptsExhausted");
    let document = &shard.documents[0];
    assert_eq!(document["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(document["responseContext"]["functionError"], Value::Null);
}

#[test]
fn with_bisecting_a_partial_failure_cuts_at_the_reported_record() {
    let mut shard = shard(|spec| {
        spec.function_response_types = vec!["ReportBatchItemFailures".into()];
        spec.bisect_batch_on_function_error = true;
        spec.maximum_retry_attempts = 0;
    });
    assert_eq!(shard.put("abcde").start(), "abcde");
    assert_eq!(shard.partly("#b"), "bcde");
    // Nothing before b is left to cut off: the batch is cut in two.
    assert_eq!(shard.partly("#b"), "bc");
    assert_eq!(shard.partly("#b"), "b");
    assert_eq!(shard.partly("#b"), "c");
    assert_eq!(shard.ok(), "de");
    assert_eq!(shard.lanes.counts().discarded, 1);
}

#[test]
fn filtered_records_move_the_checkpoint() {
    let mut shard = shard(|spec| {
        let pattern = r#"{"partitionKey":["b","d"]}"#.into();
        spec.filter_criteria.filters.push(crate::mapping::FilterSpec { pattern });
    });
    assert_eq!(shard.put("a").start(), "");
    assert_eq!(shard.next(), 'b');
    assert_eq!(shard.put("bcde").start(), "bd");
    assert_eq!(shard.ok(), "");
    assert_eq!(shard.next(), 'f');
    assert_eq!(shard.lanes.counts().filtered_out, 3);
}

#[test]
fn a_record_that_comes_twice_is_taken_once() {
    let mut shard = shard(|_| {});
    assert_eq!(shard.put("abc").start(), "abc");
    assert_eq!(shard.put("bcd").ok(), "d");
}

#[test]
fn a_report_about_something_else_has_no_effect() {
    let mut shard = shard(|_| {});
    shard.put("a").start();
    let (ticket, _) = shard.open[0];
    shard.lanes.delivered(ticket, Delivery::Done, BEGIN);
    let ok = Answer::Returned { status: 200, payload: Bytes::new() };
    shard.lanes.answered(Ticket { serial: 99, ..ticket }, ok.clone(), BEGIN);
    shard.lanes.answered(Ticket { lane: 9, ..ticket }, ok.clone(), BEGIN);
    assert_eq!(shard.next(), 'a');
    shard.lanes.answered(ticket, ok.clone(), BEGIN);
    shard.lanes.answered(ticket, ok, BEGIN);
    assert_eq!((shard.next(), shard.lanes.counts().processed), ('b', 1));
}

#[test]
fn a_shard_is_finished_when_it_has_ended_and_its_records_are_finished() {
    let mut shard = shard(|spec| spec.maximum_batching_window_in_seconds = 300);
    assert_eq!(shard.put("ab").start(), "");
    shard.lanes.end();
    assert!(!shard.lanes.wants_records());
    // No record comes any more, so the window has no use.
    assert_eq!(shard.start(), "ab");
    assert!(!shard.lanes.checkpoint().is_finished);
    assert_eq!(shard.ok(), "");
    assert!(shard.lanes.checkpoint().is_finished);
    assert!(shard.restart(|_| {}).lanes.is_finished());
}

fn tumbling(spec: &mut MappingSpec) {
    spec.tumbling_window_in_seconds = 60;
}

#[test]
fn each_call_of_a_window_gets_the_state_that_the_last_one_returned() {
    let mut shard = shard(tumbling);
    assert_eq!(shard.put("ab").start(), "ab[]");
    let event = &shard.events[0];
    assert_eq!(event["window"]["start"], "2026-01-01T00:00:00Z");
    assert_eq!(event["window"]["end"], "2026-01-01T00:01:00Z");
    assert_eq!(event["shardId"], "shardId-000000000000");
    assert_eq!(event["state"], serde_json::json!({}));
    assert_eq!(shard.returned(r#"{"state":{"s":"1"}}"#), "");
    assert_eq!(shard.after(30.0).put("c").start(), "c[1]");
    // The record of the next window ends this one.
    shard.after(40.0).put("d");
    assert_eq!(shard.returned(r#"{"state":{"s":"2"}}"#), "[2]!");
    assert_eq!(shard.ok(), "d[]");
    assert_eq!(shard.events[3]["window"]["start"], "2026-01-01T00:01:00Z");
}

#[test]
fn a_batch_does_not_cross_the_edge_of_a_window() {
    let mut shard = shard(|spec| {
        tumbling(spec);
        spec.maximum_batching_window_in_seconds = 300;
    });
    assert_eq!(shard.put("ab").start(), "");
    assert_eq!(shard.after(60.0).put("cd").start(), "ab[]");
    assert_eq!(shard.returned(r#"{"state":{}}"#), "[]!");
    assert_eq!(shard.ok(), "");
    // A window of a minute that is over does not wait five minutes for its batch.
    assert_eq!(shard.until_due().start(), "cd[]");
    assert_eq!(shard.now, BEGIN.plus(Duration::from_secs(122)));
}

#[test]
fn a_window_ends_by_the_clock_after_its_grace() {
    let mut shard = shard(tumbling);
    assert_eq!(shard.put("a").start(), "a[]");
    assert_eq!(shard.returned(r#"{"state":{"s":"1"}}"#), "");
    assert_eq!(shard.after(61.9).start(), "");
    assert_eq!(shard.after(0.1).start(), "[1]!");
    assert_eq!(shard.ok(), "");
    assert_eq!(shard.lanes.wake_at(), None);
    assert_eq!(shard.lanes.checkpoint().window, None);
}

#[test]
fn a_response_without_a_state_is_a_failure() {
    let mut shard = shard(|spec| {
        tumbling(spec);
        spec.maximum_retry_attempts = 0;
        destination(spec);
    });
    assert_eq!(shard.put("ab").start(), "ab[]");
    assert_eq!(shard.ok(), "a-b:RetryAttemptsExhausted");
    shard.deliver(Delivery::Done);
    // Nothing of the window was processed, so there is no last call.
    assert_eq!(shard.until_due().start(), "");
    assert_eq!(shard.lanes.wake_at(), None);
}

#[test]
fn the_last_call_is_repeated_and_a_lost_one_is_documented_with_all_records() {
    let mut shard = shard(|spec| {
        tumbling(spec);
        spec.maximum_retry_attempts = 1;
        destination(spec);
    });
    assert_eq!(shard.put("ab").start(), "ab[]");
    assert_eq!(shard.returned(r#"{"state":{"s":"1"}}"#), "");
    assert_eq!(shard.put("c").start(), "c[1]");
    assert_eq!(shard.returned(r#"{"state":{"s":"2"}}"#), "");
    assert_eq!(shard.after(60.0).put("d").start(), "[2]!");
    assert_eq!(shard.fail(), "[2]!");
    assert_eq!(shard.fail(), "a-c:RetryAttemptsExhausted");
    assert_eq!(shard.documents[0]["KinesisBatchInfo"]["batchSize"], 3);
    assert_eq!(shard.deliver(Delivery::Done), "d[]");
}

#[test]
fn a_window_survives_a_restart() {
    let mut shard = shard(tumbling);
    assert_eq!(shard.put("ab").start(), "ab[]");
    assert_eq!(shard.returned(r#"{"state":{"s":"1"}}"#), "");
    assert_eq!(shard.put("c").start(), "c[1]");
    assert_eq!(shard.restart(tumbling).put("cd").start(), "cd[1]");
    assert_eq!(shard.returned(r#"{"state":{"s":"2"}}"#), "");
    assert_eq!(shard.after(62.0).start(), "[2]!");
    // A mapping without windows ends the open window.
    assert_eq!(shard.restart(|_| {}).put("e").start(), "[2]!");
    assert_eq!(shard.ok(), "e");
}

#[test]
fn a_state_that_is_too_large_ends_the_window_and_a_restart_repeats_the_batch() {
    let mut shard = shard(|spec| {
        tumbling(spec);
        spec.batch_size = 2;
    });
    assert_eq!(shard.put("ab").start(), "ab[]");
    assert_eq!(shard.returned(r#"{"state":{"s":"1"}}"#), "");
    assert_eq!(shard.put("cdef").start(), "cd[1]");
    let large = format!(r#"{{"state":{{"s":"{}"}}}}"#, "x".repeat(STATE_BYTES));
    assert_eq!(shard.returned(&large), "[xxxxxxxxx]!early");
    let held = shard.lanes.checkpoint();
    assert_eq!(letter(held.next.log_index), 'c');
    assert_eq!(held.window.unwrap().state, r#"{"s":"1"}"#);
    // The rest of the same minute begins anew.
    assert_eq!(shard.ok(), "ef[]");
    assert_eq!(shard.next(), 'e');
    assert_eq!(shard.lanes.checkpoint().window, None);

    shard.returned(&large);
    assert_eq!(shard.next(), 'e');
    assert_eq!(shard.restart(tumbling).put("ef").start(), "ef[]");
}

#[test]
fn a_partial_failure_keeps_the_state_of_the_processed_records() {
    let mut shard = shard(|spec| {
        tumbling(spec);
        spec.function_response_types = vec!["ReportBatchItemFailures".into()];
    });
    assert_eq!(shard.put("abc").start(), "abc[]");
    assert_eq!(shard.returned(r#"{"batchItemFailures":[#b],"state":{"s":"1"}}"#), "");
    let checkpoint = shard.lanes.checkpoint();
    assert_eq!(letter(checkpoint.next.log_index), 'b');
    assert_eq!(checkpoint.window.unwrap().records, 1);
    assert_eq!(shard.until_due().start(), "bc[1]");
}

#[test]
fn the_end_of_a_shard_closes_its_window() {
    let mut shard = shard(tumbling);
    assert_eq!(shard.put("a").start(), "a[]");
    shard.lanes.end();
    assert_eq!(shard.returned(r#"{"state":{"s":"1"}}"#), "[1]!");
    assert!(!shard.lanes.is_finished());
    assert_eq!(shard.ok(), "");
    assert!(shard.lanes.checkpoint().is_finished);
}
