//! The deduplication window of a shard: recognises retries of the calls of the last two minutes (ADR-0008).
//!
//! Every replica adds each append that it applies, so a new leader knows the calls that the old leader acknowledged.
//! The leader looks up each batch before it proposes it. A record that is found is not written again: its caller
//! gets the position of the first attempt.
//!
//! The window is bounded by time and by number. A retry of a call that is no longer in the window counts as a new
//! call.
//!
//! Time is what the arrival times of the log show, but the time between two calls counts at most
//! [`DeduplicationWindow::LONGEST_STEP`]. So if the clocks of all nodes jump ahead while a call is under way, its
//! retry is still recognised.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anabranch_planted::{Bug, planted};
use anabranch_types::Timestamp;

use crate::batch::{Batch, Producer};
use crate::position::{Position, Run};

/// The calls of the last two minutes, with the positions of their records.
///
/// Bounded by [`Self::LENGTH`] and [`Self::MAX_CALLS`].
#[derive(Debug, Default)]
pub struct DeduplicationWindow {
    calls: HashMap<Producer, Vec<Known>>,
    /// Each call with the age of the window when the call was inserted.
    oldest_first: VecDeque<(Duration, Producer)>,
    /// Time since the first call, each step counted as [`Self::LONGEST_STEP`] at most.
    age: Duration,
    /// Arrival time of the newest call.
    newest: Option<Timestamp>,
}

/// One entry that holds records of a call.
#[derive(Debug)]
struct Known {
    log_index: u64,
    arrival: Timestamp,
    records: u32,
    /// For each record its index in the call. Empty if the indexes are 0, 1, 2, …
    call_indexes: Box<[u32]>,
}

impl Known {
    fn find(&self, call_index: u32) -> Option<Run> {
        let offset = if self.call_indexes.is_empty() {
            (call_index < self.records).then_some(call_index)?
        } else {
            let place = self.call_indexes.iter().position(|index| *index == call_index)?;
            u32::try_from(place).ok()?
        };
        let first = Position { log_index: self.log_index, offset: u16::try_from(offset).ok()? };
        Some(Run { first, records: 1, arrival: self.arrival })
    }
}

impl DeduplicationWindow {
    /// How long a call is remembered (ADR-0008).
    pub const LENGTH: Duration = Duration::from_secs(120);
    /// Maximum time that passes in the window between two calls. Longer than the attempts of one call take together.
    pub const LONGEST_STEP: Duration = Duration::from_secs(60);
    /// Maximum number of calls that are remembered.
    pub const MAX_CALLS: usize = 65_536;

    /// Remembers that the entry at `log_index` holds `records` records of a call. `call_indexes` are their indexes
    /// in the call, as [`Batch::call_of`] returns them.
    pub fn insert(
        &mut self,
        producer: Producer,
        call_indexes: Vec<u32>,
        records: u32,
        log_index: u64,
        arrival: Timestamp,
    ) {
        // Evict before the insert. If an earlier call of the same producer has expired, only its old records must
        // go, not the new ones.
        let step = self.newest.map_or(Duration::ZERO, |newest| arrival.since(newest));
        self.age += step.min(Self::LONGEST_STEP);
        self.newest = self.newest.max(Some(arrival));
        self.evict();
        let known = Known { log_index, arrival, records, call_indexes: call_indexes.into() };
        match self.calls.get_mut(&producer) {
            Some(call) if call.iter().any(|entry| entry.log_index == log_index) => {}
            Some(call) => call.push(known),
            None => {
                self.oldest_first.push_back((self.age, producer.clone()));
                self.calls.insert(producer, vec![known]);
            }
        }
    }

    /// For each record of `batch` its position if an earlier attempt wrote it, or `None` if it is new. `None` for
    /// the whole batch if no record is known.
    pub fn find(&self, batch: &Batch) -> Option<Vec<Option<Run>>> {
        if planted(Bug::ForgetWindow) {
            return None;
        }
        let call = self.calls.get(batch.producer()?)?;
        let known = |index| call.iter().find_map(|entry| entry.find(index));
        let found: Vec<_> = batch.call_indexes().map(known).collect();
        found.iter().any(Option::is_some).then_some(found)
    }

    /// Number of calls that are remembered.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call is remembered.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Removes the calls that are too old, and the oldest call if there are too many for one more.
    fn evict(&mut self) {
        while let Some((inserted, _)) = self.oldest_first.front() {
            if self.oldest_first.len() < Self::MAX_CALLS && self.age - *inserted <= Self::LENGTH {
                break;
            }
            if let Some((_, producer)) = self.oldest_first.pop_front() {
                self.calls.remove(&producer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::{hash_set, vec};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::batch::BatchBuilder;

    fn call(id: &'static str, indexes: &[u32]) -> Batch {
        let mut builder = BatchBuilder::new(Some(Producer {
            id: Bytes::from_static(id.as_bytes()),
            sequence: 0,
        }));
        indexes.iter().for_each(|i| builder.push(*i, b"k", b"v"));
        builder.finish().unwrap()
    }

    fn insert(window: &mut DeduplicationWindow, batch: &Batch, log_index: u64, arrival: Timestamp) {
        let (producer, indexes) = Batch::call_of(batch.bytes()).unwrap();
        window.insert(producer, indexes, batch.record_count(), log_index, arrival);
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_retry_is_recognised_record_by_record() {
        let mut window = DeduplicationWindow::default();
        insert(&mut window, &call("a", &[1, 4]), 7, at(10));
        assert_eq!(window.find(&call("b", &[1])), None);
        assert_eq!(window.find(&call("a", &[2])), None);
        let found = window.find(&call("a", &[4, 5, 1])).unwrap();
        let positions: Vec<_> = found.iter().map(|run| run.map(|r| r.first.offset)).collect();
        assert_eq!(positions, [Some(1), None, Some(0)]);
    }

    /// A call: its name, its arrival time, and the position of each of its records.
    type Call = (&'static str, Timestamp, Vec<(u32, Position)>);

    /// A simple model of the window: the list of all calls that have not expired, each with its first arrival and
    /// its records.
    #[derive(Default)]
    struct Model(Vec<Call>);

    /// Seconds between two calls, and how many of them count.
    fn step() -> impl Strategy<Value = (u64, u64)> {
        prop_oneof![4 => 0u64..=60, 1 => 61u64..100_000].prop_map(|passed| (passed, passed.min(60)))
    }

    impl Model {
        fn insert(&mut self, id: &'static str, indexes: &[u32], log_index: u64, now: Timestamp) {
            self.0.retain(|(_, came, _)| now.since(*came) <= DeduplicationWindow::LENGTH);
            let places = (0..).zip(indexes).map(|(offset, i)| (*i, Position { log_index, offset }));
            match self.0.iter_mut().find(|(known, ..)| *known == id) {
                Some((.., records)) => records.extend(places),
                None => self.0.push((id, now, places.collect())),
            }
        }

        fn find(&self, id: &str, index: u32) -> Option<Position> {
            let (.., records) = self.0.iter().find(|(known, ..)| *known == id)?;
            records.iter().find(|(known, _)| *known == index).map(|(_, position)| *position)
        }
    }

    proptest! {
        #[test]
        fn for_two_minutes_a_record_is_found_at_its_first_position(
            calls in vec((select(&["a", "b", "c"][..]), hash_set(0u32..6, 1..4), step()), 1..30),
        ) {
            let (mut window, mut model) = (DeduplicationWindow::default(), Model::default());
            let (mut now, mut counted) = (at(1000), at(1000));
            for (log_index, (id, indexes, (passed, counts))) in (1..).zip(calls) {
                now = now.plus(Duration::from_secs(passed));
                counted = counted.plus(Duration::from_secs(counts));
                let indexes: Vec<u32> = indexes.into_iter().collect();
                insert(&mut window, &call(id, &indexes), log_index, now);
                model.insert(id, &indexes, log_index, counted);
                for id in ["a", "b", "c"] {
                    let found = window.find(&call(id, &[0, 1, 2, 3, 4, 5]));
                    let found = found.unwrap_or_else(|| vec![None; 6]);
                    let found: Vec<_> = found.iter().map(|run| run.map(|run| run.first)).collect();
                    let expected: Vec<_> = (0..6).map(|index| model.find(id, index)).collect();
                    prop_assert_eq!(found, expected, "{} at {}", id, now);
                }
            }
        }
    }

    #[test]
    fn calls_are_forgotten_after_two_minutes() {
        let mut window = DeduplicationWindow::default();
        insert(&mut window, &call("a", &[0]), 1, at(10));
        insert(&mut window, &call("b", &[0]), 2, at(70));
        insert(&mut window, &call("c", &[0]), 3, at(130));
        assert!(window.find(&call("a", &[0])).is_some());
        insert(&mut window, &call("d", &[0]), 4, at(131));
        assert_eq!(window.find(&call("a", &[0])), None);
        assert_eq!(window.len(), 3);
    }

    #[test]
    fn a_jump_of_all_clocks_forgets_no_call_that_is_under_way() {
        let mut window = DeduplicationWindow::default();
        insert(&mut window, &call("a", &[0]), 1, at(10));
        insert(&mut window, &call("b", &[0]), 2, at(7 * 3600));
        insert(&mut window, &call("c", &[0]), 3, at(7 * 3600 + 60));
        assert!(window.find(&call("a", &[0])).is_some(), "a minute after the jump");
        insert(&mut window, &call("d", &[0]), 4, at(7 * 3600 + 61));
        assert_eq!(window.find(&call("a", &[0])), None);
    }

    #[test]
    fn calls_are_forgotten_beyond_the_bound() {
        let mut window = DeduplicationWindow::default();
        for i in 0..=DeduplicationWindow::MAX_CALLS as u64 {
            let producer = Producer { id: Bytes::from_static(b"p"), sequence: i };
            let mut builder = BatchBuilder::new(Some(producer));
            builder.push(0, b"k", b"");
            insert(&mut window, &builder.finish().unwrap(), i, at(1));
        }
        assert_eq!(window.len(), DeduplicationWindow::MAX_CALLS);
    }
}
