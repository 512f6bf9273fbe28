//! Handles of metrics. A part of a node keeps them and observes with them. Their labels are resolved already.
//!
//! Handles are cheap to clone, and clones change the same number.

use std::fmt;
use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use crate::open_set::OpenSet;

/// A number that only rises, from 0 at the start of the process.
#[derive(Clone, Debug)]
pub struct Counter(pub(crate) prometheus::IntCounter);

impl Counter {
    /// Adds 1.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// Raises the number to `total`, which another part counts. Call it only in callbacks of
    /// [`crate::Registry::before_render`]. Two threads at a time could raise the number twice.
    pub fn raise_to(&self, total: u64) {
        self.0.inc_by(total.saturating_sub(self.0.get()));
    }

    /// Current value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A sum with a fraction that only rises, from 0 at the start of the process.
#[derive(Clone, Debug)]
pub struct Sum(pub(crate) prometheus::Counter);

impl Sum {
    /// Adds `value`. A value below 0 and one that is not a number are left out: a counter never falls.
    pub fn add(&self, value: f64) {
        if value > 0.0 {
            self.0.inc_by(value);
        }
    }

    /// Current value.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// A number that rises and falls.
#[derive(Clone, Debug)]
pub struct Gauge(pub(crate) prometheus::Gauge);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Sets the number to a count, a number of bytes or a log index. Exact below 2^53.
    pub fn set_count(&self, count: u64) {
        self.0.set(count as f64);
    }

    /// Sets the number to a time in seconds.
    pub fn set_duration(&self, time: Duration) {
        self.0.set(time.as_secs_f64());
    }

    /// Sets the number to 1 for yes and to 0 for no.
    pub fn set_flag(&self, flag: bool) {
        self.0.set(f64::from(u8::from(flag)));
    }

    /// Adds 1.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// Takes 1 away.
    pub fn decrement(&self) {
        self.0.dec();
    }

    /// Current value.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// A distribution: how many observed values fall into each bucket, and their sum.
#[derive(Clone, Debug)]
pub struct Histogram(pub(crate) prometheus::Histogram);

impl Histogram {
    /// Counts a number of bytes or of things.
    pub fn observe(&self, count: u64) {
        self.0.observe(count as f64);
    }

    /// Counts a time, in seconds.
    pub fn observe_duration(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }

    /// How many values were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}

/// Counters of one name that differ in their labels. For labels that no enum lists, such as the operations of a
/// service.
#[derive(Clone, Debug)]
pub struct CounterSet(pub(crate) IntCounterVec);

impl CounterSet {
    /// The counter with these label values, one for each label, in the order that was given at the registration. It is
    /// shown from now on.
    ///
    /// Takes a lock and allocates, so the caller should keep the handle.
    ///
    /// # Panics
    /// If there are not as many values as labels.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Counter {
        Counter(self.0.with_label_values(values))
    }
}

/// Histograms of one name that differ in their labels. For labels that no enum lists.
#[derive(Clone, Debug)]
pub struct HistogramSet(pub(crate) HistogramVec);

impl HistogramSet {
    /// As [`CounterSet::with`].
    ///
    /// # Panics
    /// If there are not as many values as labels.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Histogram {
        Histogram(self.0.with_label_values(values))
    }
}

/// Sums of one name whose label values come from outside.
#[derive(Clone)]
pub struct SumSet(pub(crate) OpenSet<prometheus::Counter>);

impl SumSet {
    /// As [`CounterSet::with`].
    ///
    /// # Panics
    /// If there are not as many values as labels.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Sum {
        Sum(self.0.with(values))
    }
}

impl fmt::Debug for SumSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SumSet").finish_non_exhaustive()
    }
}

/// Gauges of one name that differ in their labels. For labels that no enum lists.
#[derive(Clone, Debug)]
pub struct GaugeSet(pub(crate) GaugeVec);

impl GaugeSet {
    /// As [`CounterSet::with`].
    ///
    /// # Panics
    /// If there are not as many values as labels.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Gauge {
        Gauge(self.0.with_label_values(values))
    }
}

/// Gauges of one name whose label values come from outside.
#[derive(Clone)]
pub struct OpenGaugeSet(pub(crate) OpenSet<prometheus::Gauge>);

impl OpenGaugeSet {
    /// As [`CounterSet::with`].
    ///
    /// # Panics
    /// If there are not as many values as labels.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Gauge {
        Gauge(self.0.with(values))
    }
}

impl fmt::Debug for OpenGaugeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenGaugeSet").finish_non_exhaustive()
    }
}
