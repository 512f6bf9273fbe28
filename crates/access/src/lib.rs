//! Authentication and authorization: request signatures, IAM policies, sealed secrets and session tokens.
//!
//! Everything is pure. The caller passes in the time, the bytes and the random nonces.
//!
//! How a request is checked:
//! 1. [`signature::Signature::parse`] takes the signature of the request apart.
//! 2. `check` compares service and time. `verify` compares the signature itself.
//! 3. [`policy::Policy::parse`] compiles policy documents. [`policy::decide`] evaluates all policies that apply to
//!    the request.
//!
//! [`SecretSealer`] encrypts the secret access keys that the catalog stores. It also encrypts session tokens, which
//! no node stores.
//!
//! Invariants: no input makes this code panic. No `Debug` output and no error contains a secret. Signatures are
//! compared in constant time. Matching a pattern takes at most time in proportion to the product of the lengths of
//! pattern and text.

pub mod policy;
mod secret;
mod session;
pub mod signature;

pub use secret::{ClusterKey, Secret, SecretSealer};
pub use session::Session;
