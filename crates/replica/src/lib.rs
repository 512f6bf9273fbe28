//! Replicas of Raft groups: what a node holds of each shard and of the catalog.
//!
//! The only crate that names openraft. Everyone else sees [`ShardReplica`] and [`CatalogReplica`]
//! through [`Replicas`], the registry of a node.
//!
//! What always holds:
//! - A record's bytes are in the log only; the state machine is tiny, its checkpoints are rows that
//!   travel in the same queue as the entries they cover (never durable before them).
//! - Nothing is purged but what a replicated `Trim` allowed, and only up to a checkpoint, so that a
//!   snapshot holds state and membership exactly as of the first entry that is left.
//! - A leader stamps arrivals no earlier than any it applied, so they never fall along the log.
//! - A replica that may have lost what it acknowledged neither votes nor serves.
//!
//! Start at [`Replicas::open_shard`], then `group.rs`.

mod acknowledged;
mod applier;
mod catalog_replica;
mod checkpoints;
mod convert;
#[cfg(test)]
mod cost;
mod error;
mod group;
mod intact;
mod load_meter;
mod log_adapter;
mod machine;
mod maintenance;
mod metrics;
mod network;
mod payload;
mod places;
mod progress;
mod proposer;
mod raft_types;
mod reader;
mod recovery;
mod replicas;
mod room;
mod settings;
mod shard_meter;
mod shard_replica;

pub use catalog_replica::CatalogReplica;
pub use error::Error;
pub use group::{GroupReport, GroupSpec, GroupStatus, HandOver, MemberReport};
pub use machine::Outcome;
pub use recovery::{StoredCatalog, give_up_catalog};
pub use replicas::Replicas;
pub use settings::ReplicaSettings;
pub use shard_replica::ShardReplica;

#[doc(hidden)]
pub mod fuzzing;

/// For tests of this crate against openraft's own suite.
#[doc(hidden)]
pub mod suite {
    pub use crate::log_adapter::LogAdapter;
    pub use crate::machine::Outcome;
    pub use crate::raft_types::{Member, Stored, TypeConfig};
}
