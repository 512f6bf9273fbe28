//! A node over real sockets, called with certificates of every kind.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

mod bounds;
mod roles;
