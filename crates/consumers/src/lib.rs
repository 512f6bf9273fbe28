//! Consumer groups: programs that read one stream together. Each shard is read by one member at a time, its children
//! after it, and the group keeps a checkpoint of each shard.
//!
//! ```text
//! member --gRPC--> service.rs --> coordinator.rs: calls, one after another --> group.rs: state and rules, pure
//!                                      |                                         |
//!                                      +-- Job::commit: changed rows <-----------+-- assign.rs: members of shards
//! ```
//!
//! - A group is a row, and its coordinator is a job (`anabranch_jobs`). So each group has one coordinator, which goes
//!   on elsewhere when its node is lost, and a former coordinator can store nothing.
//! - Members and shards are rows too. A new coordinator reads them, so members keep their shards.
//! - A coordinator answers a call when the change is stored. Heartbeats store nothing.
//! - Each ownership of a shard has an epoch. A checkpoint with another epoch is refused.
//! - A shard goes from a living member to another one in order: the owner sees `leaving`, ends its work, stores its
//!   checkpoint and gives the shard back.
//!
//! Start at [`ConsumerGroups`].

mod admin;
mod assign;
mod coordinator;
mod definitions;
mod group;
mod message;
mod name;
mod rows;
mod service;
mod status;
mod work;

pub use admin::{ServedAdmin, admin_service};
pub use service::{ServedGroups, group_service};
pub use work::ConsumerGroups;
