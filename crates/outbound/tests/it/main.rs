//! The client against real servers on this machine.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod calls;
mod names;
mod server;
mod tls;
