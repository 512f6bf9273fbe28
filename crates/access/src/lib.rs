//! Who may do what: signatures of requests, policies, sealed secrets and sessions. Pure: whoever calls passes time,
//! bytes and nonces in.
//!
//! Invariants: nothing here panics on any input; secrets are shown by no `Debug` and stand in no error; signatures are
//! compared in constant time; matching takes at most the product of the lengths of pattern and text.
//!
//! Where to start: [`signature::Signature::parse`] takes a request apart, `check` and `verify` decide about it;
//! [`policy::Policy::parse`] compiles a document, [`policy::decide`] asks all that bear on a call. [`SecretSealer`]
//! seals what the catalog keeps of keys, and sessions, which nobody keeps.

pub mod policy;
mod secret;
mod session;
pub mod signature;

pub use secret::{ClusterKey, Secret, SecretSealer};
pub use session::Session;
