//! Metrics of a node: counters, gauges and histograms, and the text that Prometheus reads.
//!
//! Order of events: a program makes one [`Registry`] for each node and hands it to every part of that node. Each part
//! registers its metrics when it is made, in its file `metrics.rs`, and keeps the handles ([`Counter`], [`Gauge`],
//! [`Histogram`], [`Family`]). [`Registry::render`] first runs the callbacks of [`Registry::before_render`], which
//! bring gauges up to date, and then writes all metrics as text.
//!
//! An observation changes a few atomic numbers: no lock, no allocation, no lookup by name. All labels are resolved when
//! a metric is registered.
//!
//! Never: a global registry (several nodes may share a process, and their numbers must not mix), a clock, I/O.
//! ADR-0029 says why it is built on the crate `prometheus`, which only this crate names.

mod buckets;
#[cfg(test)]
mod cost;
mod handles;
mod label;
mod metric;
mod open_set;
mod registry;

pub use buckets::Buckets;
pub use handles::{
    Counter, CounterSet, Gauge, GaugeSet, Histogram, HistogramSet, OpenGaugeSet, Sum, SumSet,
};
pub use label::{Family, Label};
pub use metric::Metric;
pub use registry::{CONTENT_TYPE, Registry};
