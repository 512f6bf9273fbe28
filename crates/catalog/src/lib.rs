//! What the cluster agrees on, pure: nodes, streams, shards and where their replicas live, and users.
//!
//! Invariants: open shards of a stream that is not CREATING cover 0..=2^128-1 exactly; a group,
//! replica or shard id is given out once; replicas of a group stand on different nodes while there
//! are nodes enough; an access key belongs to one user. [`Catalog::assert_invariants`] checks them after every command.
//!
//! Nothing here reads a clock or draws a random number: commands carry both. Nodes and gateways
//! keep read-only copies, each of one version. Start at [`Catalog::apply`].

mod apply;
mod attributes;
mod balancing;
mod births;
mod capacity;
mod command;
mod consumers;
mod encryption;
#[cfg(test)]
mod fencing;
mod model;
mod nodes;
mod placement;
mod recovery;
mod repair;
mod reshard;
pub mod scaling;
#[cfg(test)]
mod script;
mod service_limits;
mod users;

pub use attributes::{Commitment, Distribution, ShardMetrics};
pub use births::FormerNames;
pub use command::{Command, NewStream, Outcome, Refusal, ShardChange};
pub use consumers::{Consumer, ConsumerStatus};
pub use encryption::{DataKey, Encryption};
pub use model::{
    Catalog, GroupKind, GroupRef, Move, Node, NodeState, Recovered, Replica, ReshardJob, Resource,
    Shard, ShardRef, ShardStatus, Start, Stream, StreamId, StreamMode, StreamStatus,
};
pub use repair::{MoveLimits, repairs};
pub use service_limits::RecentChanges;
pub use users::{AccessKey, User, Users};
