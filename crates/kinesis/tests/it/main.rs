//! The gateway with the Kinesis API over real sockets. The tests send HTTP by hand or with the client of hyper. The
//! cluster behind the gateway is in memory.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod access;
mod frames;
mod hostile;
mod http;
mod identity;
mod limits;
mod metrics;
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
