//! The port: HTTP in, calls of services out. The gateway knows no service.
//!
//! Order of events: [`Gateway::serve`] accepts connections (`server.rs`, `handshake.rs`, `connection.rs`). `handle.rs` takes
//! one request through the checks that need no operation, `dispatch.rs` finds service and operation, `auth.rs` verifies the
//! signature. [`run`] then checks, authorizes and runs the operation; its order holds for every service.
//!
//! Invariants: the gateway keeps no state that a restart loses: iterators and paging tokens are sealed, and every gateway
//! of the cluster opens them (`token.rs`). Heads, bodies and responses are in memory only against a byte budget
//! (`platform.rs`); requests whose signature was not verified have a small one of their own (`trust.rs`,
//! `unverified.rs`). Nothing that a client sends makes the gateway panic.
//!
//! Absent: operations, their limits and errors (services have them), storage, Raft.
//!
//! A new service implements [`Service`]; [`Gateway::with_service`] hosts it.

mod auth;
mod authorization;
mod body;
mod budget;
mod call_limits;
mod chunked;
mod connection;
mod cooperative;
mod dispatch;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod handle;
mod handshake;
mod host;
mod identity;
pub mod metrics;
mod newest;
mod origin;
mod platform;
mod policy_cache;
mod response;
pub mod run;
mod server;
pub mod service;
mod settings;
pub mod token;
mod trust;
mod unverified;

pub use budget::{Budget, Permit};
pub use error::{Error, TOO_MUCH_IN_FLIGHT};
pub use gateway::Gateway;
pub use identity::Identity;
pub use platform::Platform;
pub use response::{Events, counted};
pub use run::{run, run_events};
pub use service::Service;
pub use settings::{Authentication, GatewaySettings, TokenKey};
