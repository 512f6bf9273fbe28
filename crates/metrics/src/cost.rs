//! Cost tests of observations. The hot path observes once for each batch and each round of the log.

use std::time::Duration;

use anabranch_cost::counted;

use crate::{Buckets, Metric, Registry};

const OBSERVATIONS: u64 = 1000;

#[test]
fn counts() {
    let counter = Registry::default().counter(Metric::new("anabranch_test_total", "Test."));
    counted(|| (0..OBSERVATIONS).for_each(|count| counter.add(count)));
    assert_eq!(counter.get(), OBSERVATIONS * (OBSERVATIONS - 1) / 2);
}

#[test]
fn observes_times() {
    let metric = Metric::new("anabranch_test_duration_seconds", "Test.");
    let histogram = Registry::default().histogram(metric, Buckets::Latency);
    // One millisecond is in the fifth bucket, as the round trip of a batch is.
    counted(|| {
        (0..OBSERVATIONS).for_each(|_| histogram.observe_duration(Duration::from_micros(900)));
    });
    assert_eq!(histogram.count(), OBSERVATIONS);
}
