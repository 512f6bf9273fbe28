//! The part of the DynamoDB API (`DynamoDB_20120810`) that the Kinesis Client Library 1.x, 2.x and 3.x needs: pure
//! functions over rows, and a service that runs them on a table group of the cluster.
//!
//! - [`service`] is the API as a service of the gateway, and [`rows`] runs its operations on a table group.
//! - [`operations`] has one file for each operation: the request, its checks, what it reads, what it decides.
//! - [`store`] is the seam: the rows that an operation reads and writes. It has the order of events.
//! - [`value`], [`number`] and [`item`] are the data model, [`expression`] the languages of conditions and updates.
//! - [`table`] and [`index`] are definitions of tables, and the rows of global secondary indexes.
//! - [`key`] encodes keys, so that the order of the rows is DynamoDB's order.
//! - [`error`] is the only place with the AWS codes of this API.
//!
//! Invariants: bytes of a client never cause a panic, and take memory in proportion to their number. An operation
//! decides only from the rows that it was given. Every write of an item expects the version that was read.
//!
//! Absent: HTTP, signatures, and the evaluation of policies, which are the gateway's. I/O, a clock and randomness are
//! only in `service.rs` and `rows.rs`. Absent too: features that no Kinesis Client Library uses. A request for such a
//! feature gets a `ValidationException` that names it.

pub mod error;
pub mod expression;
pub mod index;
pub mod item;
pub mod key;
mod legacy;
pub mod limits;
pub mod number;
pub mod operations;
pub mod rows;
mod rules;
pub mod service;
pub mod store;
mod style;
pub mod table;
#[cfg(test)]
mod testing;
pub mod token;
pub mod value;

pub use error::Error;
pub use operations::{Context, Operation, Output, Plan};
pub use service::DynamoDb;
