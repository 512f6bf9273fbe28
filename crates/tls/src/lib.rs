//! TLS of every port: reads certificates from files, reads them again when they change, and identifies the owner of a
//! certificate.
//!
//! - The Kinesis API ([`ApiTls`]) shows a certificate and asks its clients ([`ApiClient`]) for none. Clients sign
//!   their requests instead.
//! - The gRPC port ([`MutualTls`]) uses mutual TLS. Both ends show a certificate of the cluster's authority. A name
//!   in the certificate says who its owner is ([`Identity`]).
//! - [`issue`] makes certificates for `anabranch ctl certs`.
//!
//! Invariants: open connections are never touched. If files cannot be used, the certificates that were read before
//! stay in use. A key is never logged. This crate does not decide what an owner may do: the services decide that
//! (`node/src/access.rs`). Start at [`MutualTls::load`].

mod api;
mod api_client;
mod error;
mod expiry;
mod files;
mod identity;
pub mod issue;
mod mutual;
mod reloading;
mod stream;
mod verifier;

pub use api::ApiTls;
pub use api_client::ApiClient;
pub use error::Error;
pub use expiry::remind;
pub use files::{KeyFiles, MutualFiles};
pub use identity::{Identity, IdentityError, Role, is_name};
pub use mutual::{MutualTls, Peer};
pub use reloading::{RELOAD_INTERVAL, Reloading};
pub use stream::{ClientStream, Stream};
