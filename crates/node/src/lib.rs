//! A cluster node: opens its log store, talks to the other nodes, holds the replicas that the catalog
//! gives it, and serves the native API.
//!
//! Invariants: a replica is opened only under the id that the catalog gave to this life of this disk;
//! data of a group is removed only if a catalog version that knows the group says so.
//! Start at [`Node::start`].

mod access;
mod admin_service;
mod balance;
mod bootstrap;
mod catalog_feed;
mod catalog_leader;
mod controller;
mod data_keys;
mod disk_watch;
mod error;
mod fail_point;
mod gates;
mod group_reports;
mod leaders;
mod mending;
mod metrics;
mod moves;
mod node;
mod node_service;
mod readiness;
mod reconcile;
mod remote;
mod reshard;
mod reverted;
mod scaling;
mod services;
mod settings;
mod subscriptions;
mod superseded;
mod went_back;

pub use disk_watch::{DiskFailure, DiskHealth};
pub use error::Error;
pub use node::{Node, NodeParts, bind};
pub use services::status_of;
pub use settings::{NodeSettings, Peer};
