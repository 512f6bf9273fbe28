//! Messages between nodes, and the liveness of nodes.
//!
//! There is one gRPC stream per peer and purpose. Requests and responses of all groups share it and are sent in
//! batches. Requests that arrive while one message is being sent form the next message. So a busy stream carries few
//! large messages, and an idle stream delays nothing. Everything that is queued is bounded in bytes.
//!
//! Invariants: the requests of one channel are delivered and answered in order. If a stream breaks, its channels end
//! and never go on on another stream. This crate never looks into a log entry.
//!
//! Start at [`Transport`] to send, and at [`Listener`] and [`ReplicaServer`] to receive.

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
pub use listener::{Acceptor, Connection, Listener};
pub use liveness::{Liveness, PeerEvent};
pub use peer::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES, Purpose, STREAM_WINDOW_BYTES, Transport,
    TransportSettings, channel, channel_of_slow_readers, not_sent, was_not_sent,
};
pub use server::{Handler, ReplicaServer, RequestBody};

/// Why a request got no response. The receiver may or may not have acted on the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No stream to the node is connected.
    #[error("node {0} is unreachable")]
    Unreachable(anabranch_types::NodeId),
    /// The stream broke, or the receiver refused: it does not hold the group, or is stopping.
    #[error("request failed: {0}")]
    Failed(String),
    /// No response came in time.
    #[error("no answer in time")]
    Timeout,
}
