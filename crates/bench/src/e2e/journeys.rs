//! The way of each record from the writer to a reader.
//!
//! A journey is complete when the record was both acknowledged and received. The latency is the time between the two,
//! in either order; a receipt before the acknowledgement counts as zero.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::report::Latencies;

/// The first 24 bytes of a record: run, number, nanoseconds from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of the run: other runs may have written to the same stream.
    pub(crate) run: u64,
    pub(crate) number: u64,
    /// When the record should have been sent, from the start of the run.
    pub(crate) sent: Duration,
}

impl Mark {
    /// The mark, followed by bytes of `filler` up to its length.
    pub(crate) fn stamp(&self, filler: &[u8]) -> Vec<u8> {
        let nanos = u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX);
        let mut data: Vec<u8> =
            [self.run, self.number, nanos].iter().flat_map(|word| word.to_be_bytes()).collect();
        data.extend_from_slice(filler.get(data.len()..).unwrap_or_default());
        data
    }

    /// The mark of a record; `None` if the record is too short for one.
    pub(crate) fn of(data: &[u8]) -> Option<Self> {
        let mut words = data.chunks_exact(8).map(|word| {
            u64::from_be_bytes(word.try_into().expect("chunks_exact gives eight bytes"))
        });
        let (run, number) = (words.next()?, words.next()?);
        Some(Self { run, number, sent: Duration::from_nanos(words.next()?) })
    }
}

/// The records that were either acknowledged or received, but not both yet.
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

/// The sums over all journeys.
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

    /// Notes that the put of record `number` was acknowledged.
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

    /// Notes that a reader has record `number`, sent at `sent`.
    pub(crate) fn received(&self, number: u64, sent: Instant, at: Instant) {
        let mut state = self.lock();
        state.from_send.record(at.saturating_duration_since(sent));
        if let Some(Half::Acknowledged(acknowledged)) = state.half.remove(&number) {
            state.from_acknowledgement.record(at.saturating_duration_since(acknowledged));
        } else {
            state.half.insert(number, Half::Received);
        }
    }

    /// Number of records that are acknowledged and not received.
    pub(crate) fn under_way(&self) -> usize {
        self.lock().under_way()
    }

    /// Empties the table and returns the sums. Records that arrive later are not counted.
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

    /// A panic under this lock cannot leave the table half changed.
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
    fn a_mark_reads_back_from_the_data() {
        let mark = Mark { run: 1, number: 2, sent: Duration::from_micros(3) };
        let data = mark.stamp(&[9; 30]);
        assert_eq!(data.len(), 30);
        assert_eq!(Mark::of(&data), Some(mark));
        assert_eq!(Mark::of(&data[..23]), None);
    }

    #[test]
    fn the_latency_counts_from_the_acknowledgement_and_is_never_negative() {
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
    fn missing_and_unexpected_records_are_counted() {
        let journeys = Journeys::new();
        let now = Instant::now();
        journeys.acknowledged(1, now);
        journeys.received(2, now, now);
        assert_eq!(journeys.under_way(), 1);
        let totals = journeys.totals();
        assert_eq!((totals.missing, totals.unexpected), (1, 1));
    }
}
