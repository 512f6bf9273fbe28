//! The native client: finds the leader of a shard, keeps a copy of the catalog, retries calls that are safe to retry.
//! Services use it in the process of a node, and any program in Rust can use it over gRPC.
//!
//! Invariants: a [`View`] is one version of the catalog; an append that ended with an error other than
//! [`Error::Unknown`] did not happen.
//!
//! Start at [`Client`]. Services depend on the trait [`Cluster`]. [`StreamReader`] reads a whole stream through
//! splits and merges. [`Tables`] holds rows of services, and [`WatchedRows`] is a copy of them that follows the group.
//! [`Aggregate`] takes apart aggregated records of the Kinesis Producer Library.

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
mod row_feed;
mod search;
mod shard_call;
mod shard_page;
mod stream_reader;
mod tables;
mod target;
mod view;
mod watched_rows;

pub use aggregate::{Aggregate, UserRecord};
pub use anabranch_shard::{Page, PageBatch};
pub use call::{CallError, LocalNode, NewDataKey, Read};
pub use client::Client;
pub use cluster::{Cluster, Pages};
pub use error::Error;
pub use lineage::parents_have_ended;
pub use shard_page::{ShardPage, StreamRecord};
pub use stream_reader::{ReadError, StreamReader};
pub use tables::{Absent, Tables};
pub use view::{ShardRoute, StreamView, View};
pub use watched_rows::{ShownRows, WatchedRows};
