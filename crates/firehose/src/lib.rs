//! The Firehose API: delivery streams are created, described, changed and deleted, and records are put.
//!
//! ```text
//! request --model.rs--> checked JSON --control.rs--> row of the delivery stream --job--> crate delivery
//! PutRecord, PutRecordBatch --put.rs--> internal stream, acknowledged by a majority
//! ```
//!
//! - [`Firehose`] (`service.rs`) is the API as a service of the gateway.
//! - `model.rs` checks requests against the service model; `description.rs` makes descriptions from what was sent.
//! - `control.rs` changes rows. The job of the delivery stream does the rest: it makes and drops the internal stream.
//!
//! Invariants: a call changes a row as a whole or not at all. A put is answered when a majority of disks has its
//! records. Secrets are never described.

mod control;
mod description;
mod error;
mod model;
mod put;
mod service;

pub use error::Error;
pub use service::{Firehose, NoScope};
