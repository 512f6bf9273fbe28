//! The series of applications: what clients have sent, by application, metric, operation and names of dimensions.
//!
//! An application is a namespace of PutMetricData. A Kinesis Client Library uses its application name. Of the
//! dimensions a series has the value of `Operation` and the names of all. The values of the others, such as `ShardId`,
//! `WorkerIdentifier` and `StreamName`, would make a series for each shard and each worker. The names are a label,
//! because the Kinesis Producer Library sends each value several times, once for each set of dimensions: such series
//! must not be added up.
//!
//! ```text
//! the first 100 applications   each with up to 256 series; further ones count in one series, metric ":other"
//! all other applications       together one application, ":other", with the same bound
//! ```
//!
//! No namespace begins with a colon. Invariants: there are never more than [`MAX_SERIES`] series and one more for each
//! application. Label values have at most 255 bytes, none of them a control character. Two series have different
//! labels.
//!
//! Order of events: a call adds its samples under one lock. When the metrics are rendered, extremes that are older than
//! the last minute are forgotten first.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_metrics::{Gauge, Registry, Sum};
use anabranch_types::{Clock, Timestamp};

use crate::datum::{Sample, Statistics};
use crate::metrics::CloudWatchMetrics;

/// Applications with series of their own.
const MAX_APPLICATIONS: usize = 100;
/// Series of one application. The Kinesis Client Library 3 makes about a hundred.
const MAX_SERIES_OF_APPLICATION: usize = 256;
/// Series of all applications together.
const MAX_SERIES: usize = 8192;
/// Stands for everything beyond a bound.
const OTHER: &str = ":other";
const MAX_LABEL_BYTES: usize = 255;
/// The dimension whose value is a label.
const OPERATION: &str = "Operation";

/// All series of a node.
#[derive(Debug)]
pub(crate) struct Applications {
    metrics: CloudWatchMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_name: HashMap<String, Application>,
    /// The application [`OTHER`].
    others: Application,
    /// Number of series of all applications, without those of the metric [`OTHER`].
    series: usize,
}

#[derive(Debug, Default)]
struct Application {
    /// That of the metric [`OTHER`] is beyond all bounds.
    series: HashMap<SeriesName, Series>,
}

/// Labels of a series besides its application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SeriesName {
    metric: String,
    operation: String,
    dimensions: String,
}

#[derive(Debug)]
struct Series {
    samples: Sum,
    values: Sum,
    smallest: Gauge,
    largest: Gauge,
    minute: u64,
    /// Values of [`Self::minute`].
    present: Statistics,
    /// Values of the minute before.
    past: Statistics,
}

impl Applications {
    /// The series of a node, which `registry` shows.
    pub(crate) fn new(registry: &Registry, clock: &Arc<dyn Clock>) -> Arc<Self> {
        let metrics = CloudWatchMetrics::new(registry);
        let applications = Arc::new(Self { metrics, state: Mutex::default() });
        let (weak, clock) = (Arc::downgrade(&applications), Arc::clone(clock));
        registry.before_render(move || {
            if let Some(applications) = weak.upgrade() {
                applications.refresh(clock.now());
            }
        });
        applications
    }

    /// Adds the samples of one call.
    pub(crate) fn add(&self, application: &str, samples: &[Sample<'_>], now: Timestamp) {
        let mut state = self.lock();
        for sample in samples {
            if sample.statistics.sum < 0.0 {
                self.metrics.negative_sums.increment();
            }
            state.series(&self.metrics, application, sample).add(&sample.statistics, now);
        }
        self.metrics.applications.set_count(state.by_name.len() as u64);
    }

    fn refresh(&self, now: Timestamp) {
        let mut state = self.lock();
        let State { by_name, others, .. } = &mut *state;
        for application in by_name.values_mut().chain([others]) {
            for series in application.series.values_mut() {
                series.advance(now);
                series.show();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The series that counts a sample.
    fn series(
        &mut self,
        metrics: &CloudWatchMetrics,
        application: &str,
        sample: &Sample<'_>,
    ) -> &mut Series {
        let label = label_value(application);
        let is_known = self.by_name.contains_key(&*label);
        let has_capacity = self.by_name.len() < MAX_APPLICATIONS && label != OTHER;
        let (label, found) = if is_known || has_capacity {
            let found = self.by_name.entry(label.clone().into_owned()).or_default();
            (label, found)
        } else {
            (OTHER.into(), &mut self.others)
        };
        let mut name = SeriesName::of(sample);
        let has_capacity =
            found.series.len() < MAX_SERIES_OF_APPLICATION && self.series < MAX_SERIES;
        if !has_capacity && !found.series.contains_key(&name) {
            name = SeriesName::other();
        }
        found.series.entry(name).or_insert_with_key(|name| {
            self.series += usize::from(name.metric != OTHER);
            Series::new(metrics, [&*label, &name.metric, &name.operation, &name.dimensions])
        })
    }
}

impl SeriesName {
    fn other() -> Self {
        Self { metric: OTHER.into(), operation: String::new(), dimensions: String::new() }
    }

    fn of(sample: &Sample<'_>) -> Self {
        let mut names: Vec<_> = sample.dimensions.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let operation = sample.dimensions.iter().find(|(name, _)| *name == OPERATION);
        Self {
            metric: label_value(sample.metric).into_owned(),
            operation: label_value(operation.map_or("", |(_, value)| value)).into_owned(),
            dimensions: label_value(&names.join(",")).into_owned(),
        }
    }
}

impl Series {
    fn new(metrics: &CloudWatchMetrics, labels: [&str; 4]) -> Self {
        Self {
            samples: metrics.samples.with(&labels),
            values: metrics.values.with(&labels),
            smallest: metrics.smallest.with(&labels),
            largest: metrics.largest.with(&labels),
            minute: 0,
            present: Statistics::NONE,
            past: Statistics::NONE,
        }
    }

    fn add(&mut self, statistics: &Statistics, now: Timestamp) {
        self.samples.add(statistics.count);
        self.values.add(statistics.sum);
        self.advance(now);
        self.present.add(statistics);
        self.show();
    }

    /// Begins a new minute if it is time. A clock that goes back begins none.
    fn advance(&mut self, now: Timestamp) {
        let minute = now.as_secs() / 60;
        if minute > self.minute {
            let is_next = minute == self.minute + 1;
            self.past = if is_next { self.present } else { Statistics::NONE };
            (self.minute, self.present) = (minute, Statistics::NONE);
        }
    }

    /// Sets the gauges to the extremes of this minute and the last one.
    fn show(&self) {
        let mut both = self.past;
        both.add(&self.present);
        let is_empty = both.minimum > both.maximum;
        self.smallest.set(if is_empty { f64::NAN } else { both.minimum });
        self.largest.set(if is_empty { f64::NAN } else { both.maximum });
    }
}

/// A text of a client as the value of a label. A line end or another control character becomes U+FFFD, because some
/// readers of the text format end a line at each of them. The registry escapes quotes and backslashes.
fn label_value(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.len() > MAX_LABEL_BYTES {
        return OTHER.into();
    }
    if text.contains(is_unsafe) { text.replace(is_unsafe, "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests;
