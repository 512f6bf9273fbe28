//! Stages of a delivery stream as pure functions: from records to the bytes and names of objects.
//!
//! ```text
//! records -> cloudwatch_logs -> deaggregate -> (function) -> jq -> prefix -> delimiter -> compression
//!                 |                  |                        |       |
//!                 +------------------+--------- failures -----+-------+-> error_line -> compression
//!                                                           name: names of both kinds of objects
//! ```
//!
//! - Stages take and give a [`Record`]. A record that a stage cannot take becomes a [`Failure`], and [`error_line`]
//!   makes the line of the error object from it.
//! - [`prefix`] parses, checks and evaluates the key language of S3 prefixes, with date patterns as in Java.
//! - [`name`] gives an object a name that is a function of its batch.
//! - [`compression`] encodes the records of an object as they arrive.
//!
//! Absent: records of the Kinesis Producer Library. The client takes them apart for every reader.
//!
//! Invariant: the same input gives the same output, on every node and at every attempt. Nothing here reads a clock,
//! draws a random number, does I/O or waits. Bytes from a record never cause a panic.

pub mod cloudwatch_logs;
pub mod compression;
pub mod deaggregate;
pub mod delimiter;
pub mod error_line;
mod error_type;
pub mod jq;
pub mod name;
pub mod prefix;
mod record;

pub use compression::Compression;
pub use error_type::ErrorType;
pub use jq::Query;
pub use prefix::Prefix;
pub use record::{Failure, Numbering, Record};
