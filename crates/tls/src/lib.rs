//! TLS of every port: certificates from files that are read again when they change, and who their owners are.
//!
//! A port for everybody ([`ApiTls`]) shows a certificate and asks its clients ([`ApiClient`]) for none. The gRPC port and who calls it
//! ([`MutualTls`]) show one each, both of the cluster's authority, and each says in a name who its owner is ([`Identity`]).
//! [`issue`] makes such certificates.
//!
//! Invariants: connections that are there already are never touched; files that can't be used leave what was read
//! before in force; a key is never logged. What an owner may do is not decided here, but where services are served.
//! Start at [`MutualTls::load`].

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
