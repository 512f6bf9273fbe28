//! Messages on the wire and on disk, generated from `/proto`, and their conversions.
//!
//! Only the crates of layers 2 and 3, the native client, and `ctl` (for `admin`) use these types. All other crates
//! use the types of `types`, `shard` and `catalog`. A conversion inwards checks the message: the result has only
//! valid names, ranges and numbers. Fields are added to messages and never changed, so that nodes of different
//! releases understand each other.

mod catalog;
mod codec;
mod error;
mod generated;
mod log;
mod rows;

pub use catalog::{
    decode_catalog, decode_catalog_after, decode_command, decode_outcome, encode_catalog,
    encode_catalog_without_users, encode_command, encode_outcome,
};
pub use error::Error;
pub use generated::{admin, consumer, function, job, node, pb_catalog, replica, table, v1};
pub use log::{key_error_kind, key_fault};
pub use rows::{
    table_request, table_request_message, table_response, table_response_message, watch_request,
    watch_request_message, watch_response, watch_response_message,
};
