//! The metrics of Kinesis clients: the operation PutMetricData of the CloudWatch API (version 2010-08-01), so that the
//! Kinesis Client Library, the Kinesis Producer Library and the Kinesis Agent run with their metrics switched on.
//!
//! Order of events: [`service`] is the API as a service of the gateway. `put_metric_data.rs` is its only operation, and
//! `datum.rs` checks each metric of a call. `applications.rs` adds the values to series of the node's own metrics,
//! which `GET /metrics` shows (`metrics.rs`). [`sts`] is a second, small API: the operation GetCallerIdentity of STS,
//! with which programs ask who they are.
//!
//! Invariants: the number of series is bounded, whatever clients send. A call with one wrong metric changes nothing.
//! AWS codes of this API are only in `error.rs`.
//!
//! Absent: a store of metrics. Nothing is kept over a restart, nothing is sent to other nodes, and no operation reads
//! metrics: Prometheus does. HTTP, signatures and policies are the gateway's.

mod applications;
mod cloudwatch;
mod datum;
mod error;
mod metrics;
mod put_metric_data;
pub mod service;
pub mod sts;
mod unsupported;

pub use cloudwatch::{CloudWatch, NoScope};
pub use error::Error;
pub use sts::Sts;
