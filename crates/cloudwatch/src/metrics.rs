//! Metrics of the CloudWatch API: names and help texts.
//!
//! The label values of all but the last two come from clients. `applications.rs` bounds their number and makes them
//! safe to print.

use anabranch_metrics::{Counter, Gauge, Metric, OpenGaugeSet, Registry, SumSet};

const SAMPLES: Metric = Metric::new(
    "anabranch_cloudwatch_samples_total",
    "Values that an application has sent to this node with PutMetricData.",
);
const VALUES: Metric = Metric::new(
    "anabranch_cloudwatch_values_total",
    "Sum of the values that an application has sent to this node with PutMetricData.",
);
const SMALLEST: Metric = Metric::new(
    "anabranch_cloudwatch_smallest_value",
    "Smallest value of this minute and the last one. NaN if there was none.",
);
const LARGEST: Metric = Metric::new(
    "anabranch_cloudwatch_largest_value",
    "Largest value of this minute and the last one. NaN if there was none.",
);
const APPLICATIONS: Metric = Metric::new(
    "anabranch_cloudwatch_applications",
    "Applications that have series of their own on this node.",
);
const NEGATIVE_SUMS: Metric = Metric::new(
    "anabranch_cloudwatch_negative_sums_total",
    "Metrics whose sum was negative, and so was not added: a counter never falls.",
);

/// Labels of the series of an application.
const LABELS: [&str; 4] = ["application", "metric", "operation", "dimensions"];

/// The metrics of a node's CloudWatch API.
#[derive(Debug)]
pub(crate) struct CloudWatchMetrics {
    pub samples: SumSet,
    pub values: SumSet,
    pub smallest: OpenGaugeSet,
    pub largest: OpenGaugeSet,
    pub applications: Gauge,
    pub negative_sums: Counter,
}

impl CloudWatchMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            samples: registry.sum_set(SAMPLES, &LABELS),
            values: registry.sum_set(VALUES, &LABELS),
            smallest: registry.open_gauge_set(SMALLEST, &LABELS),
            largest: registry.open_gauge_set(LARGEST, &LABELS),
            applications: registry.gauge(APPLICATIONS),
            negative_sums: registry.counter(NEGATIVE_SUMS),
        }
    }
}
