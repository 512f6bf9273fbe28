//! The Kinesis API: HTTP in, calls of the native client out.
//!
//! Invariants: the gateway keeps no state that a restart loses (iterators and paging tokens are
//! sealed, any gateway of the cluster opens them); a body is in memory only against a permit of the
//! byte budget; nothing that a client sends makes it panic. It never touches storage or Raft.
//!
//! `auth.rs` knows who calls, `authorization.rs` whether policies allow it.
//!
//! Where to start: [`Gateway::serve`] accepts connections (`server.rs`, `handshake.rs`, `connection.rs`),
//! `routing.rs` finds the operation, `operations.rs` runs it, and every operation is one file of
//! `operations/`. `errors.rs` is the only place that names AWS errors.

mod append;
mod auth;
mod authorization;
mod body;
mod budget;
mod call_limits;
mod cluster;
mod connection;
mod constraints;
mod documents;
mod errors;
mod event_stream;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod handshake;
mod identity;
mod lineage;
mod newest;
mod operations;
mod rationed;
mod response;
mod routing;
mod server;
mod settings;
mod streams;
mod token;
mod wire;

pub use cluster::{Cluster, Pages};
pub use gateway::Gateway;
pub use settings::{Authentication, GatewaySettings, TokenKey};
