//! Function mappings: an HTTP function gets the records of a stream in batches, in the event shape and by the rules of
//! AWS Lambda's Kinesis trigger.
//!
//! ```text
//! Source -> Lanes: filter -> gather -> call -> retry, bisect, discard     -> Checkpoints
//!             |  lane by partition key    |                  |
//!             |                           v                  v
//!             +-- one shard --------- Invoker           Destination
//! ```
//!
//! - [`Function`] and [`Mapping`] are the definitions, checked, with a versioned JSON form for storage.
//! - [`Lanes`] is the state machine of one shard: no I/O, no clock. Its files decide; nothing else does.
//! - [`event`], [`response`], [`filter`], [`on_failure`] and [`Checkpoint`] are the formats, pure functions.
//! - [`engine`] runs the state machine over traits. [`HttpInvoker`] calls functions over HTTP.
//!
//! Invariants: each record of the shard is processed, skipped by a filter, or discarded, and it is discarded with a
//! document if the mapping has a destination. A checkpoint never passes a record that is not finished. Records of one
//! partition key are never in two calls at the same time.
//!
//! In a cluster:
//! - [`Functions`] (`work.rs`) is the work of jobs: one job for each shard that a mapping works on. The children of a
//!   shard are worked on when the checkpoints of its parents say that they are finished. `cluster.rs` has the shard,
//!   the destination and the checkpoint of a job.
//! - [`Definitions`] (`service.rs`) keeps functions and mappings in rows (`rows.rs`), for operators.

pub mod checkpoint;
mod cluster;
pub mod engine;
pub mod event;
pub mod filter;
mod function;
mod http_invoker;
mod invalid;
mod lanes;
pub mod limits;
mod mapping;
mod message;
mod name;
pub mod on_failure;
pub mod response;
mod rows;
mod service;
mod work;

pub use checkpoint::Checkpoint;
pub use event::{EventSource, Record};
pub use function::{Function, FunctionSpec};
pub use http_invoker::HttpInvoker;
pub use invalid::Invalid;
pub use lanes::{Action, Answer, Counts, Delivery, Lanes, Ticket};
pub use mapping::{Mapping, MappingSpec, StartingPosition};
pub use name::FunctionName;
pub use service::{Definitions, ServedFunctions, function_service};
pub use work::Functions;
