//! Promises under random histories: pages, answers, failures, time and restarts in any order.
//!
//! - Every record is processed or discarded at least once; with a destination, a discard has a document.
//! - A checkpoint never passes a record that is not finished, and never falls.
//! - Two calls in flight never have records of one key. The first calls of a key's records are in order.
//! - A restart from any checkpoint, also from an old one, loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::tests::{BEGIN, lanes, number, record};
use super::*;
use crate::mapping::MappingSpec;

const RECORDS: u64 = 40;

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    Page {
        records: usize,
    },
    Wait {
        millis: u64,
    },
    /// One of the calls or deliveries in flight ends.
    Report {
        which: usize,
        how: How,
    },
    /// The work goes on elsewhere, from one of the checkpoints that were taken.
    Restart {
        checkpoint: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum How {
    Success,
    Failure,
    Partial { at: usize },
    NotCalled,
    Nonsense,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        4 => Just(How::Success),
        2 => Just(How::Failure),
        2 => (0..8_usize).prop_map(|at| How::Partial { at }),
        1 => Just(How::NotCalled),
        1 => Just(How::Nonsense),
    ];
    prop_oneof![
        3 => (1..6_usize).prop_map(|records| Step::Page { records }),
        2 => (1..70_000_u64).prop_map(|millis| Step::Wait { millis }),
        6 => (any::<usize>(), how).prop_map(|(which, how)| Step::Report { which, how }),
        1 => any::<usize>().prop_map(|checkpoint| Step::Restart { checkpoint }),
    ]
}

fn settings() -> impl Strategy<Value = MappingSpec> {
    let numbers = (1..6_i64, 0..3_i64, 1..4_i64, -1..3_i64);
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (numbers, switches).prop_map(|((size, window, factor, retries), switches)| {
        let (bisect, reports, destination, ages, tumbles) = switches;
        let mut spec = MappingSpec::new(Uuid::nil(), "meters", "sum");
        spec.batch_size = size;
        spec.maximum_batching_window_in_seconds = window;
        spec.maximum_retry_attempts = retries;
        spec.bisect_batch_on_function_error = bisect;
        if reports {
            spec.function_response_types.push("ReportBatchItemFailures".into());
        }
        if destination {
            spec.destination_config.on_failure.destination = Some("failed".into());
        }
        if ages {
            spec.maximum_record_age_in_seconds = 120;
        }
        if tumbles {
            spec.tumbling_window_in_seconds = 30;
        } else {
            spec.parallelization_factor = factor;
        }
        spec
    })
}

/// A stream, a function, a destination and one worker.
struct World {
    spec: MappingSpec,
    records: Vec<Record>,
    lanes: Lanes,
    now: Timestamp,
    flights: Vec<Flight>,
    checkpoints: Vec<Checkpoint>,
    /// Log indexes of records that the function has processed.
    processed: BTreeSet<u64>,
    /// Log indexes of records in documents that the destination has.
    documented: BTreeSet<u64>,
    /// Log indexes of records that were in a call.
    called: BTreeSet<u64>,
    seed: u64,
}

struct Flight {
    ticket: Ticket,
    kind: Kind,
}

enum Kind {
    Call(Vec<u64>),
    Delivery(Vec<u64>),
}

fn key(index: u64) -> String {
    format!("key-{}", index % 5)
}

impl World {
    fn new(spec: MappingSpec) -> Self {
        let arrival = |index: u64| BEGIN.plus(Duration::from_millis(index * 3000));
        let record = |index| record(index, &key(index), b"data", arrival(index));
        let start = Checkpoint::at(Position::entry(1));
        Self {
            lanes: lanes(&spec, start.clone(), 1),
            spec,
            records: (1..=RECORDS).map(record).collect(),
            now: BEGIN,
            flights: Vec::new(),
            checkpoints: vec![start],
            processed: BTreeSet::new(),
            documented: BTreeSet::new(),
            called: BTreeSet::new(),
            seed: 1,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Page { records } => self.page(records),
            Step::Wait { millis } => self.now = self.now.plus(Duration::from_millis(millis)),
            Step::Report { which, how } if !self.flights.is_empty() => {
                let flight = self.flights.remove(which % self.flights.len());
                self.report(flight, how);
            }
            Step::Report { .. } => {}
            Step::Restart { checkpoint } => {
                let from = self.checkpoints[checkpoint % self.checkpoints.len()].clone();
                let stored = Checkpoint::decode(&from.encode()).unwrap();
                assert_eq!(stored, from);
                self.seed += 1;
                self.lanes = lanes(&self.spec, stored, self.seed);
                self.flights.clear();
            }
        }
        self.start();
        self.check();
    }

    fn page(&mut self, count: usize) {
        let from = self.lanes.read_to();
        let unread = self.records.iter().filter(|record| Position::of(record.number) >= from);
        let page: Vec<Record> = unread.take(count).cloned().collect();
        if let Some(last) = page.last() {
            self.now = self.now.max(last.arrival);
            let next = Position::entry(Position::of(last.number).log_index + 1);
            self.lanes.offer(&page, next);
        }
    }

    fn start(&mut self) {
        while let Some(action) = self.lanes.next(self.now) {
            let (ticket, kind) = match action {
                Action::Call { ticket, event, .. } => {
                    let indexes = called(&event);
                    self.check_call(&indexes);
                    self.called.extend(&indexes);
                    (ticket, Kind::Call(indexes))
                }
                Action::Deliver { ticket, document } => (ticket, Kind::Delivery(range(&document))),
            };
            self.flights.push(Flight { ticket, kind });
        }
    }

    fn check_call(&self, indexes: &[u64]) {
        assert!(indexes.len() as i64 <= self.spec.batch_size);
        assert!(indexes.is_sorted());
        let keys: BTreeSet<String> = indexes.iter().copied().map(key).collect();
        for flight in &self.flights {
            if let Kind::Call(others) = &flight.kind {
                assert!(
                    !others.iter().any(|other| keys.contains(&key(*other))),
                    "two calls, one key"
                );
            }
        }
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for index in &self.called {
            newest.insert(key(*index), *index);
        }
        for index in indexes.iter().filter(|index| !self.called.contains(index)) {
            let before = newest.insert(key(*index), *index);
            assert!(before.is_none_or(|before| before < *index), "first pass out of order");
        }
    }

    fn report(&mut self, Flight { ticket, kind }: Flight, how: How) {
        match kind {
            Kind::Delivery(records) => {
                let delivery = match how {
                    How::Success | How::Partial { .. } => Delivery::Done,
                    How::Failure | How::NotCalled | How::Nonsense => Delivery::Unavailable,
                };
                if delivery == Delivery::Done {
                    self.documented.extend(records);
                }
                self.lanes.delivered(ticket, delivery, self.now);
            }
            Kind::Call(indexes) => {
                let answer = self.answer(&indexes, how);
                self.lanes.answered(ticket, answer, self.now);
            }
        }
    }

    fn answer(&mut self, indexes: &[u64], how: How) -> Answer {
        let reports = !self.spec.function_response_types.is_empty();
        let returned = |payload: String| Answer::Returned { status: 200, payload: payload.into() };
        match how {
            How::Partial { at } if reports && !indexes.is_empty() => {
                let at = at % indexes.len();
                self.processed.extend(&indexes[..at]);
                let failed = number(indexes[at]);
                returned(format!(
                    r#"{{"state":{{}},"batchItemFailures":[{{"itemIdentifier":"{failed}"}}]}}"#
                ))
            }
            How::Nonsense if reports && !indexes.is_empty() => {
                returned(r#"{"state":{},"batchItemFailures":7}"#.into())
            }
            How::Success | How::Partial { .. } | How::Nonsense => {
                self.processed.extend(indexes);
                returned(r#"{"state":{}}"#.into())
            }
            How::Failure => Answer::Failed { status: 200, error: "Unhandled".into() },
            How::NotCalled => Answer::NotCalled,
        }
    }

    fn is_finished(&self, index: u64) -> bool {
        let lost_silently = self.spec.destination_config.on_failure.destination.is_none()
            && (self.spec.maximum_retry_attempts >= 0
                || self.spec.maximum_record_age_in_seconds > 0);
        self.processed.contains(&index) || self.documented.contains(&index) || lost_silently
    }

    fn check(&mut self) {
        let checkpoint = self.lanes.checkpoint();
        for index in 1..checkpoint.next.log_index {
            assert!(self.is_finished(index), "the checkpoint passed record {index}");
        }
        if checkpoint.is_finished {
            assert_eq!(checkpoint.next.log_index, RECORDS + 1);
        }
        self.checkpoints.push(checkpoint);
    }

    /// Everything succeeds from now on.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.lanes.read_to().log_index > RECORDS {
                self.lanes.end();
            }
            if self.lanes.is_finished() {
                return;
            }
            self.run(Step::Page { records: 3 });
            while let Some(flight) = self.flights.pop() {
                self.report(flight, How::Success);
            }
            if let Some(due) = self.lanes.wake_at() {
                self.now = self.now.max(due);
            }
            self.start();
        }
        panic!("the shard is never finished");
    }
}

/// Log indexes of the records in an event.
fn called(event: &[u8]) -> Vec<u64> {
    let event: Value = serde_json::from_slice(event).unwrap();
    let numbers = event["Records"].as_array().unwrap().iter();
    numbers.map(|record| log_index(&record["kinesis"]["sequenceNumber"])).collect()
}

/// Log indexes of the records in a document.
fn range(document: &[u8]) -> Vec<u64> {
    let document: Value = serde_json::from_slice(document).unwrap();
    let batch = &document["KinesisBatchInfo"];
    (log_index(&batch["startSequenceNumber"])..=log_index(&batch["endSequenceNumber"])).collect()
}

fn log_index(number: &Value) -> u64 {
    let number: anabranch_types::SequenceNumber = number.as_str().unwrap().parse().unwrap();
    number.parts().log_index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_record_is_processed_or_discarded_and_no_checkpoint_passes_it(
        spec in settings(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(spec);
        let mut last = Position::default();
        for step in steps {
            let restarts = matches!(step, Step::Restart { .. });
            world.run(step);
            let next = world.lanes.checkpoint().next;
            prop_assert!(restarts || next >= last, "the checkpoint fell from {last:?} to {next:?}");
            last = next;
        }
        world.drain();
        for index in 1..=RECORDS {
            prop_assert!(world.is_finished(index), "record {index} is lost");
        }
        let counts = world.lanes.counts();
        prop_assert!(counts.polled <= RECORDS);
    }

    #[test]
    fn without_limits_every_record_is_processed(
        size in 1..6_i64,
        factor in 1..4_i64,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut spec = MappingSpec::new(Uuid::nil(), "meters", "sum");
        (spec.batch_size, spec.parallelization_factor) = (size, factor);
        let mut world = World::new(spec);
        steps.into_iter().for_each(|step| world.run(step));
        world.drain();
        prop_assert_eq!(world.processed, (1..=RECORDS).collect::<BTreeSet<u64>>());
    }
}
