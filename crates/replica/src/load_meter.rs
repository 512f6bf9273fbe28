//! Measures the load on a shard whose stream is scaled by its load (`docs/on-demand.md`).
//!
//! The leader counts the batches that it has appended, by hash key. The count belongs to its term: in a new term it
//! begins again. For all other shards nothing is counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_catalog::scaling::{LoadHistogram, ShardLoad};
use anabranch_shard::Batch;
use anabranch_types::{HashKeyRange, Timestamp};

/// The load on a shard, as the leader of a term counts it.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    meter: Mutex<Meter>,
}

#[derive(Debug, Default)]
struct Meter {
    /// Hash keys of the shard. `None` if it is not measured.
    range: Option<HashKeyRange>,
    counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    term: u64,
    histogram: LoadHistogram,
}

impl LoadMeter {
    /// Starts the measurement, or stops it with `None`. If `range` does not change, counting goes on.
    pub(crate) fn measure(&self, range: Option<HashKeyRange>) {
        let mut meter = self.lock();
        if meter.range != range {
            *meter = Meter { range, counted: None };
        }
    }

    /// Whether the shard is measured.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().range.is_some()
    }

    /// Counts a batch that the leader of `term` appended.
    pub(crate) fn count(&self, term: u64, now: Timestamp, batch: &Batch) {
        let mut meter = self.lock();
        let Some(histogram) = meter.of(term, now) else { return };
        histogram.advance(now);
        for (key, bytes) in batch.loads() {
            histogram.record(key, bytes);
        }
    }

    /// The load as of `now`. It is measured since `term` was counted or queried for the first time. `None` if the
    /// shard is not measured.
    pub(crate) fn load(&self, term: u64, now: Timestamp) -> Option<ShardLoad> {
        Some(self.lock().of(term, now)?.load(now))
    }

    fn lock(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    fn of(&mut self, term: u64, now: Timestamp) -> Option<&mut LoadHistogram> {
        let range = self.range?;
        if self.counted.as_ref().is_none_or(|counted| counted.term < term) {
            self.counted = Some(Counted { term, histogram: LoadHistogram::new(range, now) });
        }
        self.counted.as_mut().map(|counted| &mut counted.histogram)
    }
}

#[cfg(test)]
mod tests {
    use anabranch_shard::BatchBuilder;

    use super::*;

    fn batch(keys: &[&str]) -> Batch {
        let mut builder = BatchBuilder::new(None);
        for (index, key) in (0..).zip(keys) {
            builder.push(index, key.as_bytes(), &[7; 59]);
        }
        builder.finish().unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn nothing_is_counted_while_the_measurement_is_off() {
        let meter = LoadMeter::default();
        meter.count(1, at(0), &batch(&["a"]));
        assert_eq!(meter.load(1, at(20)), None);
    }

    #[test]
    fn each_term_begins_with_an_empty_count() {
        let meter = LoadMeter::default();
        meter.measure(Some(HashKeyRange::FULL));
        assert_eq!(meter.load(1, at(0)).unwrap().records_per_second(), 0);
        for second in 0..60 {
            meter.count(1, at(second), &batch(&["a", "b"]));
            meter.measure(Some(HashKeyRange::FULL));
        }
        let load = meter.load(1, at(60)).unwrap();
        assert_eq!((load.records_per_second(), load.bytes_per_second()), (2, 120));
        assert_eq!(load.measured().as_secs(), 60);
        let next = meter.load(2, at(61)).unwrap();
        assert_eq!((next.records_per_second(), next.measured().as_secs()), (0, 0));
    }
}
