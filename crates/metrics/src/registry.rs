//! The registry of a node: registers metrics, and renders them as text.
//!
//! Rendering first runs the callbacks of [`Registry::before_render`], which set gauges to the present values, and
//! then writes all series in the text format of Prometheus. A name is registered once: a second registration of the
//! same name is a fault of the program and panics.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, TextEncoder};

use crate::buckets::Buckets;
use crate::handles::{
    Counter, CounterSet, Gauge, GaugeSet, Histogram, HistogramSet, OpenGaugeSet, SumSet,
};
use crate::label::{Family, Label};
use crate::metric::{Kind, Metric};
use crate::open_set::OpenSet;

/// Media type of what [`Registry::render`] returns: the text format of Prometheus.
///
/// Source: Prometheus documentation, "Exposition formats".
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Reason why a registration cannot fail: names, labels and help texts are constants of this program.
const CHECKED: &str = "a metric is registered once, under a valid name and with a help text";

/// The metrics of one node. Cheap to clone; clones are the same registry.
///
/// Each method that registers a metric panics if the name breaks the rules of [`Metric`] or is registered already.
/// Names are constants, so the first test that makes the part finds it.
#[derive(Clone, Default)]
pub struct Registry {
    metrics: prometheus::Registry,
    refreshers: Arc<Mutex<Vec<Box<Refresh>>>>,
}

type Refresh = dyn Fn() + Send + Sync;

impl Registry {
    /// Registers a counter.
    #[must_use]
    pub fn counter(&self, metric: Metric) -> Counter {
        self.counter_set(metric, &[]).with(&[])
    }

    /// Registers a counter for each value of a label.
    #[must_use]
    pub fn counters<L: Label>(&self, metric: Metric) -> Family<L, Counter> {
        let set = self.counter_set(metric, &[L::NAME]);
        Family::new(|value| set.with(&[value]))
    }

    /// Registers counters whose label values are given later. None is shown before.
    #[must_use]
    pub fn counter_set(&self, metric: Metric, labels: &[&str]) -> CounterSet {
        metric.assert_name(Kind::Counter);
        let options = Opts::new(metric.name(), metric.help());
        let set = IntCounterVec::new(options, labels).expect(CHECKED);
        self.register(set.clone());
        CounterSet(set)
    }

    /// Registers sums with a fraction whose label values come from outside. None is shown before.
    #[must_use]
    pub fn sum_set(&self, metric: Metric, labels: &[&str]) -> SumSet {
        metric.assert_name(Kind::Counter);
        let options = Opts::new(metric.name(), metric.help());
        let set = OpenSet::new(options, labels).expect(CHECKED);
        self.register(set.clone());
        SumSet(set)
    }

    /// Registers gauges whose label values come from outside. None is shown before.
    #[must_use]
    pub fn open_gauge_set(&self, metric: Metric, labels: &[&str]) -> OpenGaugeSet {
        metric.assert_name(Kind::Gauge);
        let options = Opts::new(metric.name(), metric.help());
        let set = OpenSet::new(options, labels).expect(CHECKED);
        self.register(set.clone());
        OpenGaugeSet(set)
    }

    /// Registers a gauge.
    #[must_use]
    pub fn gauge(&self, metric: Metric) -> Gauge {
        self.gauge_set(metric, &[]).with(&[])
    }

    /// Registers a gauge for each value of a label.
    #[must_use]
    pub fn gauges<L: Label>(&self, metric: Metric) -> Family<L, Gauge> {
        let set = self.gauge_set(metric, &[L::NAME]);
        Family::new(|value| set.with(&[value]))
    }

    /// Registers gauges whose label values are given later. None is shown before.
    #[must_use]
    pub fn gauge_set(&self, metric: Metric, labels: &[&str]) -> GaugeSet {
        metric.assert_name(Kind::Gauge);
        let options = Opts::new(metric.name(), metric.help());
        let set = GaugeVec::new(options, labels).expect(CHECKED);
        self.register(set.clone());
        GaugeSet(set)
    }

    /// Registers a histogram.
    #[must_use]
    pub fn histogram(&self, metric: Metric, buckets: Buckets) -> Histogram {
        self.histogram_set(metric, &[], buckets).with(&[])
    }

    /// Registers a histogram for each value of a label.
    #[must_use]
    pub fn histograms<L: Label>(&self, metric: Metric, buckets: Buckets) -> Family<L, Histogram> {
        let set = self.histogram_set(metric, &[L::NAME], buckets);
        Family::new(|value| set.with(&[value]))
    }

    /// Registers histograms whose label values are given later. None is shown before.
    #[must_use]
    pub fn histogram_set(&self, metric: Metric, labels: &[&str], buckets: Buckets) -> HistogramSet {
        metric.assert_name(Kind::Histogram);
        let options = HistogramOpts::new(metric.name(), metric.help());
        let options = options.buckets(buckets.bounds().to_vec());
        let set = HistogramVec::new(options, labels).expect(CHECKED);
        self.register(set.clone());
        HistogramSet(set)
    }

    /// Runs `refresh` at the beginning of each [`Self::render`], so that it can set gauges to their current values.
    /// One thread at a time runs it. `refresh` must be short, must not wait for a disk or another node, and must not
    /// call this method or `render`.
    ///
    /// The registry keeps `refresh` as long as the registry lives. So `refresh` should hold a part of a node by a weak
    /// reference only. Otherwise its metrics would keep the part alive.
    pub fn before_render(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.refreshers().push(Box::new(refresh));
    }

    /// All registered metrics as text, sorted by name and then by labels.
    #[must_use]
    pub fn render(&self) -> String {
        // This lock is held to the end. So many callers at a time cost the node no more than callers one after the
        // other.
        let refreshers = self.refreshers();
        refreshers.iter().for_each(|refresh| refresh());
        let mut text = String::new();
        let rendered = TextEncoder::new().encode_utf8(&self.metrics.gather(), &mut text);
        rendered.expect("what is registered is valid, and writing to a string never fails");
        text
    }

    fn register(&self, metric: impl Collector + 'static) {
        self.metrics.register(Box::new(metric)).expect(CHECKED);
    }

    fn refreshers(&self) -> MutexGuard<'_, Vec<Box<Refresh>>> {
        self.refreshers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
