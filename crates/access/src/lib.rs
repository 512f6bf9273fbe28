//! Who may do what: signatures of requests, version 4, and policies. Pure: whoever calls passes time and bytes in.
//!
//! Invariants: nothing here panics on any input; secrets are shown by no `Debug` and stand in no error; signatures are
//! compared in constant time; matching takes at most the product of the lengths of pattern and text.
//!
//! Where to start: [`signature::Signature::parse`] takes a request apart, `check` and `verify` decide about it;
//! [`policy::Policy::parse`] compiles a document, [`policy::decide`] asks all that bear on a call.

pub mod calendar;
pub mod policy;
pub mod signature;
