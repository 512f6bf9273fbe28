//! The native client: finds the leader of a shard, keeps a copy of the catalog, retries calls that are safe to retry.
//! Services use it in the process of a node, and any program in Rust can use it over gRPC.
//!
//! Invariants: a [`View`] is one version of the catalog; an append that ended with an error other than
//! [`Error::Unknown`] did not happen.
//!
//! Start at [`Client`]. Services depend on the trait [`Cluster`]. [`StreamReader`] reads a whole stream through
//! splits and merges. [`Tables`] holds rows of services, and [`WatchedRows`] is a copy of them that follows the group.
//! [`GroupConsumer`] reads a stream together with other programs.
//! [`Aggregate`] takes apart aggregated records of the Kinesis Producer Library.

mod aggregate;
mod append_stream;
mod call;
mod catalog_copy;
mod client;
mod cluster;
mod connect;
mod connections;
mod error;
mod feed;
mod group;
mod known_leaders;
mod latest;
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
// The types of the calls.
pub use anabranch_transport::Connector;
pub use call::{CallError, LocalNode, NewDataKey, Read};
pub use client::Client;
pub use cluster::{Cluster, Pages};
pub use connect::{tcp, tls};
pub use error::Error;
pub use group::{GroupBatch, GroupConsumer, GroupError, GroupSettings, GroupStart};
pub use latest::{LatestPosition, latest_positions};
pub use lineage::{end_of_shard, parents_have_ended};
pub use shard_page::{ShardPage, StreamRecord};
pub use stream_reader::{ReadError, StreamReader};
pub use tables::{Absent, Tables};
pub use view::{ShardRoute, StreamView, View};
pub use watched_rows::{ShownRows, WatchedRows};
pub use {anabranch_catalog as catalog, anabranch_shard as shard, anabranch_types as types};
