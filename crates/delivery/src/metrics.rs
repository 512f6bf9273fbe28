//! Metrics of delivery: what this node delivers, all delivery streams together.

use anabranch_metrics::{Buckets, Counter, Histogram, Metric, Registry};

const RECORDS: Metric = Metric::new(
    "anabranch_delivery_records_total",
    "Records in objects that this node put, with error lines and copies of the source.",
);
const BYTES: Metric = Metric::new(
    "anabranch_delivery_bytes_total",
    "Bytes of objects that this node put, as they are stored.",
);
const OBJECTS: Metric =
    Metric::new("anabranch_delivery_objects_total", "Objects that this node put.");
const FAILED_RECORDS: Metric = Metric::new(
    "anabranch_delivery_failed_records_total",
    "Records that a processor refused. They are in error objects.",
);
const FAILED_PUTS: Metric = Metric::new(
    "anabranch_delivery_failed_puts_total",
    "Attempts to put an object that failed. The object is tried again.",
);
const REMADE_BATCHES: Metric = Metric::new(
    "anabranch_delivery_remade_batches_total",
    "Batches of which a second attempt made other objects. Their records may be in the store twice.",
);
const PUT_DURATION: Metric = Metric::new(
    "anabranch_delivery_put_duration_seconds",
    "Time of an attempt to put an object that was successful.",
);

/// The metrics of a node.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) objects: Counter,
    pub(crate) failed_records: Counter,
    pub(crate) failed_puts: Counter,
    pub(crate) remade_batches: Counter,
    pub(crate) put_duration: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            records: registry.counter(RECORDS),
            bytes: registry.counter(BYTES),
            objects: registry.counter(OBJECTS),
            failed_records: registry.counter(FAILED_RECORDS),
            failed_puts: registry.counter(FAILED_PUTS),
            remade_batches: registry.counter(REMADE_BATCHES),
            put_duration: registry.histogram(PUT_DURATION, Buckets::Latency),
        }
    }
}
