//! HTTP to the outside: the way in which all services reach servers that users name.
//!
//! - [`AllowList`] says which hosts and networks may be reached. It is a setting, and a value of it has been checked.
//! - [`Client`] sends a POST with deadlines and a bound on the response, and follows no redirect.
//! - [`Error`] says whether the server can have seen the request.
//!
//! ```text
//! URL -> host -> resolve -> addresses -> allow list -> allowed addresses -> connect -> TLS -> POST
//!                                            |
//!                                            +-- none is allowed: Error::NotAllowed
//! ```
//!
//! Invariants: the check is about the address after name resolution, and the connection goes to a checked address. So
//! a name that resolves to another address later gains nothing. Loopback, link-local and metadata addresses are
//! refused unless the list names them, whatever host name led there.
//!
//! Absent: retries, signatures, redirects, proxies. Start at [`Client::post`].

mod addresses;
mod allow;
mod client;
mod connector;
mod error;
mod network;
mod resolve;
mod tls;

pub use allow::{AllowList, InvalidEntry};
pub use client::{Client, Deadlines, Request, Response};
pub use error::Error;
pub use resolve::{Resolve, SystemResolver};
