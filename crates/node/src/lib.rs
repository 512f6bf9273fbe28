//! A cluster node: opens its log store, talks to the other nodes, holds the replicas that the catalog gives it, and
//! serves the native API.
//!
//! Invariants: a replica is opened only under the id that the catalog gave to this incarnation of the disk; the data
//! of a group is removed only if a version of the catalog that knows the group says so. A node keeps no state on disk
//! beside the log store.
//!
//! Start at [`Node::start`] (`node/start.rs`). `reconcile.rs` makes the replicas match the catalog, `catalog_leader.rs`
//! lists what the leader of the catalog does, `node_request.rs` is how nodes ask each other.

mod access;
mod admin_service;
mod bootstrap;
mod catalog_feed;
mod catalog_leader;
mod catalog_requests;
mod catalog_service;
mod catalog_view;
mod catching_up;
mod data_keys;
mod disk_watch;
mod entry_repair;
mod error;
mod fail_point;
mod gates;
mod group_reports;
mod health_reports;
mod leader_transfer;
mod log_service;
mod metrics;
mod node;
mod node_health;
mod node_messages;
mod node_request;
mod node_service;
mod peers;
mod readiness;
mod reconcile;
mod remote;
mod reverted;
mod server;
mod settings;
mod shard_leaders;
mod status;
mod subscriptions;
mod superseded;
mod table_service;
mod went_back;

pub use disk_watch::{DiskFailure, DiskHealth};
pub use error::Error;
pub use node::Node;
pub use node::start::{NodeParts, bind};
pub use server::AddServices;
pub use settings::{NodeSettings, Peer};
pub use status::status_of;
