//! The HTTP gateway: it receives HTTP requests and calls operations of services. It knows no service by name.
//!
//! Order of events: [`Gateway::serve`] accepts connections (`server.rs`, `handshake.rs`, `connection.rs`).
//! `handle.rs` takes a request through the checks that do not depend on the operation. `dispatch.rs` finds service
//! and operation; a form names them in its body. `auth.rs` verifies the signature. [`mod@run`] then checks, authorizes
//! and runs the operation. Its order is the same for every service.
//!
//! Invariants: the gateway keeps no state that a restart would lose. Iterators and paging tokens are sealed, and
//! every gateway of the cluster can open them (`token.rs`). Each head, body and response in memory is counted against
//! a byte budget (`platform.rs`). Requests whose signature is not verified have a small budget of their own
//! (`trust.rs`, `unverified.rs`). No bytes of a client make the gateway panic.
//!
//! Absent: operations, their limits and their errors (each service has its own), storage, Raft.
//!
//! To add a service, implement [`Service`] and pass it to [`Gateway::with_service`].

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
mod metrics;
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
