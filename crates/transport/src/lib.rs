//! What nodes say to each other: one gRPC stream per peer and purpose, requests and answers of all
//! groups multiplexed and batched on it, and the liveness of nodes.
//!
//! What arrives while one message is under way makes the next, so a busy stream carries few large
//! messages and an idle one delays nothing. Everything queued is bounded in bytes.
//!
//! Invariants: requests of one channel are delivered and answered in order; a channel whose stream
//! broke never continues on another one. This crate never looks into a log entry.
//! Start at [`Transport`] (to send), [`Listener`] and [`ReplicaServer`] (to receive).

mod clocks;
mod connector;
mod lane;
mod listener;
mod liveness;
mod metrics;
mod peer;
mod server;

pub use anabranch_proto::replica as pb;
pub use clocks::{ClockReport, Clocks};
pub use connector::{Connector, Destination, Io, TcpConnector, TlsConnector};
pub use lane::{AppendChannel, AppendRequests, ResponseBody};
pub use listener::{Connection, Listener};
pub use liveness::{Liveness, PeerEvent};
pub use peer::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES, Purpose, STREAM_WINDOW_BYTES, Transport,
    TransportSettings, channel, channel_of_slow_readers, not_sent, was_not_sent,
};
pub use server::{Handler, ReplicaServer, RequestBody};

/// Why a request got no answer. The receiver may have acted on it or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No stream to the node is up.
    #[error("node {0} is unreachable")]
    Unreachable(anabranch_types::NodeId),
    /// The stream broke, or the receiver refused: it doesn't hold the group, or is stopping.
    #[error("request failed: {0}")]
    Failed(String),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
}
