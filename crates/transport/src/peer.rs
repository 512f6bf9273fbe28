use std::collections::BTreeMap;
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

/// What a stream between two nodes is for. Each purpose has a stream of its own, so that large
/// requests never hold up small ones.
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

/// Who this node is and how it listens for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// This node.
    pub node: NodeId,
    /// The life of this process.
    pub boot: u64,
    /// The cluster's name; peers of another one are refused.
    pub cluster: String,
    /// How often a node says that it lives. Default: 200 ms.
    pub ping_interval: Duration,
    /// Silence after which a node is given up. Default: 1 s. Several pings long.
    pub silence: Duration,
    /// How far a node's wall clock may be from the median of a majority. Default: 1 s.
    pub max_clock_skew: Duration,
}

impl TransportSettings {
    /// The defaults for `node`.
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
    /// A transport without peers. `clock` is this node's wall clock, as it is. Its metrics are registered in `registry`.
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

    /// Who this node is.
    pub fn settings(&self) -> &TransportSettings {
        &self.inner.settings
    }

    /// What is known of the life of the others.
    pub fn liveness(&self) -> &Arc<Liveness> {
        &self.inner.liveness
    }

    /// Has pongs say from now on that this node's disk makes no progress or has failed, or that it works again. Others
    /// take over as soon as they hear it, so the caller has given up first whatever this node led.
    pub fn set_stalled(&self, stalled: bool) {
        self.inner.stalled.send_replace(stalled);
    }

    /// What pongs say of this node's disk.
    pub fn is_stalled(&self) -> bool {
        *self.inner.stalled.borrow()
    }

    /// Returns while or as soon as pongs say that this node's disk is stalled.
    pub async fn until_stalled(&self) {
        let mut stalled = self.inner.stalled.subscribe();
        let _this_transport_keeps_the_sender = stalled.wait_for(|stalled| *stalled).await;
    }

    /// The time, as this node's clock and those of the others tell it.
    pub fn clocks(&self) -> &Arc<Clocks> {
        &self.inner.clocks
    }

    /// Says where `node` is, the first time or after it moved.
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

    /// One request to the replica `to` of `group` on `node`, and its answer.
    ///
    /// # Errors
    /// [`Error`]; the receiver may have acted on the request all the same.
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

    /// A channel for a stream of appends to the replica `to` of `group` on `node`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no stream to the node is up.
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

    /// Ends every stream.
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

/// Keeps one stream to a peer up: connects, runs it until it breaks, and again.
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

    /// Returns when the peer is silent, a while after the connection began: a stream over a dead
    /// network doesn't break by itself.
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

/// What either end of a gRPC connection may send ahead on one stream.
pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// What either end may send ahead on one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// What is sent ahead to a reader that may be slow: a page.
const SLOW_STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The largest window that HTTP/2 knows.
const UNLIMITED_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// The longest HTTP/2 frame that either end takes. In frames of the default 16 KiB, a message of a megabyte
/// costs the sender and the receiver some sixty passes through their codecs.
pub const FRAME_BYTES: u32 = 1 << 20;

/// A connection on which something is awaited and nothing comes is asked for a sign of life after this.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(500);
/// A connection that gives none for so long is closed: its peer hangs, or the network lost it. TCP alone notices
/// neither within minutes.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1500);

/// A gRPC channel to `to` that connects when it is first used, and again when it broke.
pub fn channel(connector: &Arc<dyn Connector>, to: Destination) -> Channel {
    channel_with_windows(connector, to, STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES)
}

/// As [`channel`], for streams whose readers may be slow: each is sent little ahead, and none keeps another waiting.
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
        async move { connection.await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://node.anabranch")
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .connect_with_connector_lazy(connect)
}

/// The status of a call that was not sent, for `reason`.
pub fn not_sent(reason: &str) -> tonic::Status {
    let error = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, reason.to_owned());
    tonic::Status::from_error(error.into())
}

/// Whether a call failed because no connection could be made: then nobody did anything.
pub fn was_not_sent(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::TimedOut
            )
        }) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_not_sent_says_so() {
        assert!(was_not_sent(&not_sent("the node is silent")));
        assert!(!was_not_sent(&tonic::Status::unavailable("the node is silent")));
    }
}
