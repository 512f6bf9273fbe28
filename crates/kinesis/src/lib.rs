//! The Kinesis API (`Kinesis_20131202`): its operations, and what they share.
//!
//! [`Kinesis`] is the service; [`anabranch_gateway::Gateway::with_service`] hosts it. `service.rs` has the table of
//! operations: a new operation needs one file in `operations/` and one row there. `error.rs` is the only place with
//! the AWS codes of this API. `targets.rs` defines what a request can be about. `rules.rs` has the constraints of
//! members.
//!
//! Invariants: an operation works only on the target that was authorized. It answers "not found" only from the newest
//! version of the catalog (`anabranch_gateway::run`). It keeps no state that a restart would lose.
//!
//! Absent: HTTP, signatures and policies, which are in the gateway; storage; Raft.

mod append;
mod call_name;
mod error;
mod event_stream;
#[doc(hidden)]
pub mod fuzzing;
mod kinesis;
mod lineage;
mod operations;
mod rules;
mod service;
mod streams;
mod targets;
mod tokens;

pub use kinesis::{Kinesis, KinesisSettings};
