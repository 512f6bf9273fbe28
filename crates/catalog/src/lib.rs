//! What the cluster agrees on, pure: nodes, streams, shards and where their replicas live, and users.
//!
//! Invariants: open shards of a stream that is not CREATING cover 0..=2^128-1 exactly; a group,
//! replica or shard id is given out once; replicas of a group stand on different nodes while there
//! are nodes enough; an access key belongs to one user. [`Catalog::assert_invariants`] checks them after every command.
//!
//! Nothing here reads a clock or draws a random number: commands carry both. Nodes and gateways
//! keep read-only copies, each of one version. Start at [`Catalog::apply`].

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
mod users;

pub use account::{AccountCommand, Commitment};
pub use births::FormerNames;
pub use command::Command;
pub use consumers::{Consumer, ConsumerCommand, ConsumerStatus};
pub use encryption::{DataKey, Encryption, EncryptionCommand};
pub use groups::{GroupCommand, GroupKind, GroupRef, Move, Recovered, Replica, ShardRef};
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
pub use users::{AccessKey, User, UserCommand, Users};
