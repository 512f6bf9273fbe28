//! The streams from this node to all other nodes.
//!
//! ```text
//! Transport --- peer 2 --- lane Control   pings, votes, heartbeats
//!           |          --- lane Append    new log entries
//!           |          --- lane CatchUp   old log entries, snapshots
//!           +-- peer 3 ---     ...
//! ```
//!
//! Each lane has a task, its keeper, that connects, runs the stream until it breaks, and connects again after 20 to
//! 500 ms. A keeper also ends a stream whose peer is silent, because a stream over a dead network does not break by
//! itself. Another task for each peer sends pings on the control lane. The pongs feed liveness (`liveness.rs`) and
//! clocks (`clocks.rs`).
//!
//! This never happens: a request is sent again. A retry is the caller's decision.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_metrics::Registry;
use anabranch_proto::replica as pb;
use anabranch_types::{Clock, GroupId, NodeId, ReplicaId};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::Error;
use crate::clocks::Clocks;
use crate::connector::{Connector, Destination};
use crate::lane::{AppendChannel, Lane, ResponseBody};
use crate::liveness::Liveness;
use crate::metrics::{self, Metrics};
use crate::server::RequestBody;

/// Purpose of a stream between two nodes. Each purpose has a stream of its own, so that large requests do not delay
/// small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Pings, votes and heartbeats.
    Control,
    /// New log entries.
    Append,
    /// Old log entries and snapshots for replicas that are behind.
    CatchUp,
}

const PURPOSES: [Purpose; 3] = [Purpose::Control, Purpose::Append, Purpose::CatchUp];

/// Identity of this node, and how it watches the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// Id of this node.
    pub node: NodeId,
    /// Identifies this process. A restarted node has another boot.
    pub boot: u64,
    /// Name of the cluster. Streams of nodes of another cluster are refused.
    pub cluster: String,
    /// Time between two pings to each node. Default: 200 ms.
    pub ping_interval: Duration,
    /// A node that was not heard for this time is declared silent. Default: 1 s. Must be several ping intervals.
    pub silence: Duration,
    /// Maximum difference of a node's wall clock from the median of a majority. Default: 1 s.
    pub max_clock_skew: Duration,
}

impl TransportSettings {
    /// Default times for `node`.
    pub fn new(node: NodeId, boot: u64, cluster: String) -> Self {
        let (ping_interval, silence) = (Duration::from_millis(200), Duration::from_secs(1));
        let max_clock_skew = Duration::from_secs(1);
        Self { node, boot, cluster, ping_interval, silence, max_clock_skew }
    }
}

/// This node's streams to all others. Cheap to clone; the streams end with the last clone.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    settings: TransportSettings,
    connector: Arc<dyn Connector>,
    liveness: Arc<Liveness>,
    metrics: Arc<Metrics>,
    /// Whether pongs say that the disk is stalled.
    stalled: watch::Sender<bool>,
    clocks: Arc<Clocks>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    monitor: Mutex<JoinSet<()>>,
}

struct Peer {
    address: String,
    lanes: BTreeMap<Purpose, Arc<Lane>>,
    _tasks: JoinSet<()>, // aborted when dropped
}

impl Transport {
    /// A transport without peers. `clock` is this node's own wall clock, uncorrected. Its metrics are registered in
    /// `registry`.
    pub fn new(
        settings: TransportSettings,
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Self {
        let liveness = Arc::new(Liveness::new(settings.silence));
        let clocks = Arc::new(Clocks::new(settings.node, clock, settings.max_clock_skew));
        let metrics = Arc::new(Metrics::new(registry));
        metrics::show(registry, &liveness, &clocks);
        let mut monitor = JoinSet::new();
        let every = settings.silence / 10;
        monitor.spawn(watch_over(Arc::clone(&liveness), Arc::clone(&clocks), every));
        let (peers, monitor) = (Mutex::default(), Mutex::new(monitor));
        let stalled = watch::channel(false).0;
        let inner =
            Inner { settings, connector, liveness, metrics, stalled, clocks, peers, monitor };
        Self { inner: Arc::new(inner) }
    }

    /// Settings of this transport.
    pub fn settings(&self) -> &TransportSettings {
        &self.inner.settings
    }

    /// Liveness of the other nodes.
    pub fn liveness(&self) -> &Arc<Liveness> {
        &self.inner.liveness
    }

    /// Sets what pongs say about this node's disk: stalled (it makes no progress or has failed), or working. The
    /// other nodes take over as soon as they hear of a stall. So the caller must have renounced the leadership of
    /// all groups before.
    pub fn set_stalled(&self, stalled: bool) {
        self.inner.stalled.send_replace(stalled);
    }

    /// Whether pongs say that this node's disk is stalled.
    pub fn is_stalled(&self) -> bool {
        *self.inner.stalled.borrow()
    }

    /// Returns at once if pongs say that this node's disk is stalled. Otherwise waits until they do.
    pub async fn until_stalled(&self) {
        let mut stalled = self.inner.stalled.subscribe();
        let _this_transport_keeps_the_sender = stalled.wait_for(|stalled| *stalled).await;
    }

    /// The time of the cluster, from the clocks of this node and of the others.
    pub fn clocks(&self) -> &Arc<Clocks> {
        &self.inner.clocks
    }

    /// Sets the address of `node`. If it is new or has changed, the old streams to `node` end and new ones are
    /// opened.
    pub fn set_peer(&self, node: NodeId, address: &str) {
        let mut peers = self.inner.lock();
        if node == self.inner.settings.node
            || peers.get(&node).is_some_and(|peer| peer.address == address)
        {
            return;
        }
        self.inner.liveness.watch(node);
        let mut tasks = JoinSet::new();
        let lanes = PURPOSES.map(|purpose| {
            let sent_bytes = self.inner.metrics.sent_bytes.of(purpose).clone();
            let lane = Arc::new(Lane::new(node, sent_bytes));
            let keeper = Keeper {
                lane: Arc::clone(&lane),
                to: node,
                address: address.to_owned(),
                settings: self.inner.settings.clone(),
                connector: Arc::clone(&self.inner.connector),
                liveness: Arc::clone(&self.inner.liveness),
                metrics: Arc::clone(&self.inner.metrics),
            };
            tasks.spawn(keeper.run());
            if purpose == Purpose::Control {
                let (lane, inner) = (Arc::clone(&lane), &self.inner);
                let pinger = Pinger {
                    lane,
                    liveness: Arc::clone(&inner.liveness),
                    clocks: Arc::clone(&inner.clocks),
                    metrics: Arc::clone(&inner.metrics),
                    node,
                    every: inner.settings.ping_interval,
                };
                tasks.spawn(pinger.run());
            }
            (purpose, lane)
        });
        let peer = Peer { address: address.to_owned(), lanes: lanes.into(), _tasks: tasks };
        peers.insert(node, peer);
    }

    /// Sends one request to the replica `to` of `group` on `node`, and returns the response.
    ///
    /// # Errors
    /// [`Error`]. The receiver may have acted on the request even so.
    pub async fn call(
        &self,
        node: NodeId,
        purpose: Purpose,
        group: GroupId,
        to: ReplicaId,
        body: RequestBody,
        deadline: Duration,
    ) -> Result<ResponseBody, Error> {
        self.lane(node, purpose)?.call(group, to, body, deadline).await
    }

    /// Opens a channel for a stream of appends to the replica `to` of `group` on `node`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no stream to the node is connected.
    pub fn open(
        &self,
        node: NodeId,
        purpose: Purpose,
        group: GroupId,
        to: ReplicaId,
    ) -> Result<AppendChannel, Error> {
        self.lane(node, purpose)?.open(group, to)
    }

    fn lane(&self, node: NodeId, purpose: Purpose) -> Result<Arc<Lane>, Error> {
        let peers = self.inner.lock();
        let lane = peers.get(&node).and_then(|peer| peer.lanes.get(&purpose));
        lane.cloned().ok_or(Error::Unreachable(node))
    }

    /// Ends all streams and stops watching the other nodes.
    pub fn shutdown(&self) {
        self.inner.lock().clear();
        self.inner.monitor.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch_over(liveness: Arc<Liveness>, clocks: Arc<Clocks>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        liveness.check();
        clocks.check();
    }
}

/// Pings one other node.
struct Pinger {
    lane: Arc<Lane>,
    liveness: Arc<Liveness>,
    clocks: Arc<Clocks>,
    metrics: Arc<Metrics>,
    node: NodeId,
    every: Duration,
}

impl Pinger {
    async fn run(self) {
        let Self { lane, liveness, clocks, metrics, node, every } = self;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for sequence in 0.. {
            ticks.tick().await;
            let sent = Instant::now();
            let body = RequestBody::Ping(pb::Ping { sequence, ..pb::Ping::default() });
            // A ping is for the node. The server reads neither group nor replica.
            let answer = lane.call(GroupId::CATALOG, ReplicaId(0), body, 5 * every).await;
            if let Ok(ResponseBody::Pong(pong)) = answer {
                metrics.ping_round_trip.observe_duration(sent.elapsed());
                clocks.read(node, sent, pong.clock_millis);
                liveness.ping_answered(node, sent, &pong);
            } else {
                metrics.unanswered_pings.increment();
            }
        }
    }
}

/// Keeps one stream to a peer connected: connects, runs the stream until it breaks, and connects again.
struct Keeper {
    lane: Arc<Lane>,
    to: NodeId,
    address: String,
    settings: TransportSettings,
    connector: Arc<dyn Connector>,
    liveness: Arc<Liveness>,
    metrics: Arc<Metrics>,
}

const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_LONGEST: Duration = Duration::from_millis(500);

impl Keeper {
    async fn run(self) {
        let mut pause = RECONNECT_FIRST;
        loop {
            let began = Instant::now();
            let hello = pb::Hello {
                node: self.settings.node.0,
                boot: self.settings.boot,
                cluster: self.settings.cluster.clone(),
                to_node: self.to.0,
            };
            let heard = |_: &ResponseBody| self.liveness.heard(self.to, None);
            let over = tokio::select! {
                over = self.lane.run(self.channel(), hello, heard) => over,
                () = self.silent() => Err(tonic::Status::unavailable("peer is silent")),
            };
            if let Err(status) = over {
                self.metrics.failed_streams.increment();
                tracing::info!(node = %self.to, %status, "stream to peer is down");
            }
            let lasted = began.elapsed() > RECONNECT_LONGEST;
            pause = if lasted { RECONNECT_FIRST } else { (pause * 2).min(RECONNECT_LONGEST) };
            sleep(pause).await;
        }
    }

    /// Returns when the peer is silent, because a stream over a dead network does not break by itself. Looks for the
    /// first time two silence limits after the connection began, so that there is time to hear the peer.
    async fn silent(&self) {
        loop {
            sleep(2 * self.settings.silence).await;
            if self.liveness.is_unheard(self.to) {
                return;
            }
        }
    }

    fn channel(&self) -> Channel {
        channel(&self.connector, Destination::node(self.to, &*self.address))
    }
}

/// Bytes that either end of a gRPC connection may send on one stream before the other end has read them.
pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes that either end may send on one connection before the other end has read them.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// The window of a stream whose reader may be slow: about one page.
const SLOW_STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The largest window that HTTP/2 allows.
const UNLIMITED_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// The longest HTTP/2 frame that either end accepts. The default is 16 KiB. In frames of that size, a message of one
/// megabyte costs the sender and the receiver some sixty passes through their codecs.
pub const FRAME_BYTES: u32 = 1 << 20;

/// If a connection with open calls receives nothing for this time, an HTTP/2 ping is sent on it.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(500);
/// If that ping is not answered within this time, the connection is closed: its peer hangs, or the network lost it.
/// TCP alone would take minutes to notice either.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1500);

/// A gRPC channel to `to`. It connects at the first use, and again after it broke.
pub fn channel(connector: &Arc<dyn Connector>, to: Destination) -> Channel {
    channel_with_windows(connector, to, STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES)
}

/// As [`channel`], for streams whose readers may be slow. Each stream has a small window and the connection has an
/// unlimited one. So little is sent ahead to each reader, and a slow reader does not make the others wait.
pub fn channel_of_slow_readers(connector: &Arc<dyn Connector>, to: Destination) -> Channel {
    channel_with_windows(connector, to, SLOW_STREAM_WINDOW_BYTES, UNLIMITED_WINDOW_BYTES)
}

fn channel_with_windows(
    connector: &Arc<dyn Connector>,
    to: Destination,
    stream: u32,
    connection: u32,
) -> Channel {
    let connector = Arc::clone(connector);
    let connect = service_fn(move |_: Uri| {
        let connection = connector.connect(to.clone());
        async move { connection.await.map(TokioIo::new).map_err(NoConnection) }
    });
    Endpoint::from_static("http://node.anabranch")
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .connect_with_connector_lazy(connect)
}

/// No connection could be made. This type marks the error of a [`Connector`], because the kind of an `io::Error` does
/// not tell whether a call was sent: a connection that was made may break with the same kind, for example "timed out".
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct NoConnection(io::Error);

/// The status of a call that was not sent because of `reason`.
pub fn not_sent(reason: &str) -> tonic::Status {
    tonic::Status::from_error(NoConnection(io::Error::other(reason)).into())
}

/// Whether a call failed because no connection could be made, for whatever reason. Then no node has acted on it.
pub fn was_not_sent(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<NoConnection>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use anabranch_proto::replica::replica_service_client::ReplicaServiceClient;
    use futures::future::BoxFuture;
    use futures::stream;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;
    use crate::connector::Io;

    /// Connections of which each fails, or ends without a response.
    struct Fake(fn() -> io::Result<Box<dyn Io>>);

    impl Connector for Fake {
        fn connect(&self, _: Destination) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
            Box::pin(std::future::ready((self.0)()))
        }
    }

    /// A connection that takes every byte. The first read fails as TCP does if the peer acknowledges nothing.
    struct Unanswered;

    impl AsyncRead for Unanswered {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        }
    }

    impl AsyncWrite for Unanswered {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Makes a call over such a connection, and returns its status and whether the status says "not sent".
    async fn call_over(connect: fn() -> io::Result<Box<dyn Io>>) -> (bool, tonic::Status) {
        let connector: Arc<dyn Connector> = Arc::new(Fake(connect));
        let channel = channel(&connector, Destination::any("node:1"));
        let call = ReplicaServiceClient::new(channel)
            .exchange(stream::pending::<pb::ExchangeRequest>())
            .await;
        let status = call.map(|_| ()).unwrap_err();
        (was_not_sent(&status), status)
    }

    async fn check_was_not_sent(connect: fn() -> io::Result<Box<dyn Io>>) {
        let (was_not_sent, status) = call_over(connect).await;
        assert!(was_not_sent, "{status:?}");
    }

    #[tokio::test]
    async fn a_call_to_a_node_that_refuses_connections_was_not_sent() {
        check_was_not_sent(|| Err(io::ErrorKind::ConnectionRefused.into())).await;
    }

    #[tokio::test]
    async fn a_call_that_waited_for_a_connection_in_vain_was_not_sent() {
        check_was_not_sent(|| Err(io::ErrorKind::TimedOut.into())).await;
    }

    #[tokio::test]
    async fn a_call_to_an_unreachable_host_was_not_sent() {
        check_was_not_sent(|| Err(io::ErrorKind::HostUnreachable.into())).await;
    }

    #[tokio::test]
    async fn a_call_to_an_unreachable_network_was_not_sent() {
        check_was_not_sent(|| Err(io::ErrorKind::NetworkUnreachable.into())).await;
    }

    #[tokio::test]
    async fn a_call_to_a_name_without_an_address_was_not_sent() {
        // The standard library gives this error no kind that a program could match.
        check_was_not_sent(|| Err(io::Error::other("failed to lookup address information"))).await;
    }

    #[tokio::test]
    async fn a_call_over_a_connection_that_breaks_may_have_been_sent() {
        let (was_not_sent, status) = call_over(|| Ok(Box::new(Unanswered))).await;
        assert!(!was_not_sent, "{status:?}");
    }

    #[test]
    fn a_call_that_was_not_sent_is_recognised() {
        assert!(was_not_sent(&not_sent("the node is silent")));
        assert!(!was_not_sent(&tonic::Status::unavailable("the node is silent")));
        let broken = io::Error::from(io::ErrorKind::TimedOut);
        assert!(!was_not_sent(&tonic::Status::from_error(broken.into())), "after a connection");
    }
}
