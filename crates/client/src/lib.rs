//! The native client: finds the leader of a shard, keeps a copy of the catalog, retries what is
//! safe to retry. The gateway uses it, and so does any gRPC program in Rust.
//!
//! Invariants: a [`View`] is one version of the catalog; an append that was answered with an error
//! other than [`Error::Unknown`] did not happen.
//! Start at [`Client`]. [`StreamReader`] reads a whole stream through splits and merges. [`Aggregate`] takes apart what the
//! Kinesis Producer Library put together.

mod aggregate;
mod append_stream;
mod call;
mod catalog_copy;
mod client;
mod cluster;
mod connections;
mod error;
mod feed;
mod known_leaders;
mod lineage;
mod search;
mod shard_call;
mod shard_page;
mod stream_reader;
mod target;
mod view;

pub use aggregate::{Aggregate, UserRecord};
pub use anabranch_shard::{Page, PageBatch};
pub use call::{CallError, LocalNode, NewDataKey, Read};
pub use client::Client;
pub use cluster::{Cluster, Pages};
pub use error::Error;
pub use shard_page::{ShardPage, StreamRecord};
pub use stream_reader::{ReadError, StreamReader};
pub use view::{ShardRoute, StreamView, View};
