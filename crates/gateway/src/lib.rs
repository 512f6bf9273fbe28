//! The Kinesis API: HTTP in, calls of the native client out.
//!
//! Invariants: the gateway keeps no state that a restart loses (iterators and paging tokens are
//! sealed, any gateway of the cluster opens them); heads and bodies are in memory only against a budget,
//! those of callers that are not known yet against a small one of their own (`standing.rs`, `unverified.rs`);
//! nothing that a client sends makes it panic. It never touches storage or Raft.
//!
//! `auth.rs` knows who calls, `authorization.rs` whether policies allow it.
//!
//! Where to start: [`Gateway::serve`] accepts connections (`server.rs`, `handshake.rs`, `connection.rs`),
//! `routing.rs` finds the operation, `operations.rs` runs it, and every operation is one file of
//! `operations/`. `errors.rs` is the only place that names AWS errors.

mod append;
mod aside;
mod auth;
mod authorization;
mod body;
mod budget;
mod call_limits;
mod call_name;
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
pub mod metrics;
mod newest;
mod operations;
mod origin;
mod rationed;
mod response;
mod routing;
mod server;
mod settings;
mod standing;
mod streams;
mod token;
mod unverified;
mod wire;

pub use cluster::{Cluster, Pages};
pub use gateway::Gateway;
pub use settings::{Authentication, GatewaySettings, TokenKey};
