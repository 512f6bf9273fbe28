//! The gateway over real sockets: HTTP by hand or by hyper's client in front, a cluster in memory
//! behind.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

mod access;
mod frames;
mod hostile;
mod http;
mod identity;
mod limits;
mod newest;
mod operations;
mod protocol;
mod puts;
mod reads;
mod reshard;
mod service_limits;
mod tip;
mod tls;
mod unverified;
mod wording;
