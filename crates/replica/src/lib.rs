//! Raft replicas of a node: one for each shard and each table group that the node holds, and one for the catalog.
//!
//! This is the only crate that names openraft. Other crates see [`ShardReplica`], [`TableReplica`] and
//! [`CatalogReplica`], and get them from [`Replicas`], the registry of a node.
//!
//! Order of events on the leader: `shard_replica.rs` checks an append and gives it to `proposer.rs`, which proposes
//! it to openraft. openraft writes the entry to the log (`log_adapter.rs`) and sends it to the followers
//! (`network.rs`). Once a majority has synced the entry, `applier.rs` applies it, on the followers too. Then the
//! caller gets its response.
//!
//! Invariants:
//! - The bytes of a record are in the log only. The state machine is small. Its checkpoints are rows that go through
//!   the same write queue as the entries, so a checkpoint is never durable before the entries that it covers.
//! - An entry is purged only after a replicated `Trim` allowed it, and only up to a checkpoint. So a snapshot holds
//!   state and membership exactly as of the last purged entry.
//! - A leader stamps a batch with an arrival time that is not earlier than any it has applied. So arrival times
//!   never fall along the log.
//! - A replica that may have lost what it acknowledged is quarantined: it neither votes nor serves.
//!
//! Start at [`Replicas::open_shard`], then `group.rs`.

mod acknowledged;
mod applier;
mod catalog_replica;
mod checkpoint_log;
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
mod table_replica;
mod table_watch;

pub use catalog_replica::CatalogReplica;
pub use error::Error;
pub use group::{GroupReport, GroupSpec, GroupStatus, LeadershipTransfer, MemberReport};
pub use machine::Outcome;
pub use recovery::{StoredCatalog, give_up_catalog};
pub use replicas::{DamagedLog, Replicas};
pub use settings::ReplicaSettings;
pub use shard_replica::ShardReplica;
pub use table_replica::{SpaceUse, TableReplica};

#[doc(hidden)]
pub mod fuzzing;

/// For the tests of this crate with openraft's own suite.
#[doc(hidden)]
pub mod suite {
    pub use crate::log_adapter::LogAdapter;
    pub use crate::machine::Outcome;
    pub use crate::raft_types::{Member, Stored, TypeConfig};
}
