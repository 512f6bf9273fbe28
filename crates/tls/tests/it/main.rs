//! TLS over real sockets, with certificates from files that change.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

mod api;
mod mutual;
mod reload;
mod set;
