//! Each record's way from the writer to a reader.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::report::Latencies;

/// What a record says about itself, in its first 24 bytes: run, number, nanoseconds from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Tells this run's records from others in the same stream.
    pub(crate) run: u64,
    pub(crate) number: u64,
    /// When it should have been sent, from the start of the run.
    pub(crate) sent: Duration,
}

impl Mark {
    /// `filler` with the mark in front, of the same length.
    pub(crate) fn stamp(&self, filler: &[u8]) -> Vec<u8> {
        let nanos = u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX);
        let mut data: Vec<u8> =
            [self.run, self.number, nanos].iter().flat_map(|word| word.to_be_bytes()).collect();
        data.extend_from_slice(filler.get(data.len()..).unwrap_or_default());
        data
    }

    /// The mark of a record, if it is long enough to have one.
    pub(crate) fn of(data: &[u8]) -> Option<Self> {
        let mut words = data.chunks_exact(8).map(|word| {
            u64::from_be_bytes(word.try_into().expect("chunks_exact gives eight bytes"))
        });
        let (run, number) = (words.next()?, words.next()?);
        Some(Self { run, number, sent: Duration::from_nanos(words.next()?) })
    }
}

/// The records that were acknowledged or received, but not yet both.
#[derive(Debug)]
pub(crate) struct Journeys(Mutex<State>);

#[derive(Debug)]
struct State {
    half: HashMap<u64, Half>,
    from_acknowledgement: Latencies,
    from_send: Latencies,
}

#[derive(Clone, Copy, Debug)]
enum Half {
    Acknowledged(Instant),
    Received,
}

/// What all journeys came to.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) from_acknowledgement: Latencies,
    pub(crate) from_send: Latencies,
    pub(crate) received: u64,
    pub(crate) missing: u64,
    pub(crate) unexpected: u64,
}

impl Journeys {
    pub(crate) fn new() -> Self {
        let (from_acknowledgement, from_send) = (Latencies::new(), Latencies::new());
        Self(Mutex::new(State { half: HashMap::new(), from_acknowledgement, from_send }))
    }

    /// The put of record `number` was acknowledged.
    pub(crate) fn acknowledged(&self, number: u64, at: Instant) {
        let mut state = self.lock();
        match state.half.entry(number) {
            Entry::Vacant(entry) => {
                entry.insert(Half::Acknowledged(at));
            }
            Entry::Occupied(entry) => {
                entry.remove();
                state.from_acknowledgement.record(Duration::ZERO);
            }
        }
    }

    /// A reader has record `number`, which was sent at `sent`.
    pub(crate) fn received(&self, number: u64, sent: Instant, at: Instant) {
        let mut state = self.lock();
        state.from_send.record(at.saturating_duration_since(sent));
        if let Some(Half::Acknowledged(acknowledged)) = state.half.remove(&number) {
            state.from_acknowledgement.record(at.saturating_duration_since(acknowledged));
        } else {
            state.half.insert(number, Half::Received);
        }
    }

    /// How many records are acknowledged and not received.
    pub(crate) fn under_way(&self) -> usize {
        self.lock().under_way()
    }

    /// Empties the table. Whoever still waits for a record after this waits in vain.
    pub(crate) fn totals(&self) -> Totals {
        let mut state = self.lock();
        let missing = state.under_way();
        let unexpected = state.half.len() - missing;
        let from_send = std::mem::replace(&mut state.from_send, Latencies::new());
        let from_acknowledgement =
            std::mem::replace(&mut state.from_acknowledgement, Latencies::new());
        Totals {
            received: from_send.count(),
            from_acknowledgement,
            from_send,
            missing: missing as u64,
            unexpected: unexpected as u64,
        }
    }

    /// No one panics while holding the lock in a way that leaves the table wrong.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn under_way(&self) -> usize {
        self.half.values().filter(|half| matches!(half, Half::Acknowledged(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_journey() {
        let mark = Mark { run: 1, number: 2, sent: Duration::from_micros(3) };
        let data = mark.stamp(&[9; 30]);
        assert_eq!(data.len(), 30);
        assert_eq!(Mark::of(&data), Some(mark));
        assert_eq!(Mark::of(&data[..23]), None);
    }

    #[test]
    fn a_journey_counts_from_the_acknowledgement_or_not_at_all() {
        let journeys = Journeys::new();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        journeys.acknowledged(1, at(10));
        journeys.received(1, at(0), at(30));
        journeys.received(2, at(0), at(5));
        journeys.acknowledged(2, at(9));
        assert_eq!(journeys.under_way(), 0);
        let totals = journeys.totals();
        assert_eq!((totals.received, totals.missing, totals.unexpected), (2, 0, 0));
        assert_eq!(totals.from_acknowledgement.percentiles().p50_us, 1);
        assert_eq!(totals.from_acknowledgement.count(), 2);
    }

    #[test]
    fn losses_and_repeats_are_told_apart() {
        let journeys = Journeys::new();
        let now = Instant::now();
        journeys.acknowledged(1, now);
        journeys.received(2, now, now);
        assert_eq!(journeys.under_way(), 1);
        let totals = journeys.totals();
        assert_eq!((totals.missing, totals.unexpected), (1, 1));
    }
}
