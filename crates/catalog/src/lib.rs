//! The catalog: nodes, streams, shards, table groups, the places of their replicas, and users. All nodes agree on it.
//!
//! The catalog is the state machine of one Raft group. A [`Command`] is an entry of its log; [`Catalog::apply`]
//! applies it, equally on every replica. Nodes and gateways keep read-only copies, each of one version.
//!
//! Invariants, which [`Catalog::assert_invariants`] checks after every command:
//!
//! - The open shards of a stream cover the hash keys 0..=2^128-1 exactly once.
//! - An id of a group, a replica or a shard is given out once.
//! - No two replicas of a group are on the same node.
//! - An access key belongs to one user.
//!
//! Nothing here reads a clock or draws a random number: commands carry both. Nothing here knows which replica leads.

mod account;
mod apply;
mod births;
mod command;
mod consumers;
mod encryption;
#[cfg(test)]
mod fencing;
mod groups;
mod model;
mod nodes;
mod outcome;
mod placement;
mod replica_moves;
mod resources;
#[doc(hidden)]
pub mod samples;
pub mod scaling;
#[cfg(test)]
mod script;
mod service_limits;
mod shards;
mod streams;
mod tables;
mod users;

pub use account::{AccountCommand, Commitment};
pub use births::FormerNames;
pub use command::Command;
pub use consumers::{Consumer, ConsumerCommand, ConsumerStatus};
pub use encryption::{DataKey, Encryption, EncryptionCommand};
pub use groups::{
    GroupCommand, GroupKind, GroupRef, Move, Recovered, Replica, ShardRef, newest_group,
};
pub use model::{
    Catalog, ReshardJob, Shard, ShardStatus, Stream, StreamId, StreamMode, StreamStatus,
};
pub use nodes::{Node, NodeCommand, NodeRegistration, NodeState, Start};
pub use outcome::{Outcome, Refusal};
pub use replica_moves::{MoveLimits, plan_moves};
pub use resources::{Resource, ResourceCommand};
pub use service_limits::RecentChanges;
pub use shards::{ShardChange, ShardsCommand};
pub use streams::{Distribution, NewStream, ShardMetrics, StreamCommand};
pub use tables::{TableCommand, TableGroup, TableGroupStatus};
pub use users::{AccessKey, User, UserCommand, Users};
