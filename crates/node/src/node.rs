use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, Outcome, Start};
use anabranch_encryption::Keyring;
use anabranch_replica::{CatalogReplica, Replicas, ShardReplica};
use anabranch_storage::LogStore;
use anabranch_transport::{
    CONNECTION_WINDOW_BYTES, ClockReport, Connector, FRAME_BYTES, Listener, ReplicaServer,
    STREAM_WINDOW_BYTES, Transport, TransportSettings,
};
use anabranch_types::{Clock, GroupId, Incarnation, NodeId};
use arc_swap::ArcSwapOption;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::service::Routes;

use crate::access::Access;
use crate::catalog_requests::{self, NewestVersion, Propose};
use crate::disk_watch::{self, DiskFailure, DiskHealth};
use crate::error::Error;
use crate::remote::Remotes;
use crate::settings::NodeSettings;
use crate::subscriptions::Subscriptions;
use crate::{
    admin_service, bootstrap, catalog_feed, catalog_leader, data_keys, gates, leader_transfer,
    mending, node_health, node_service, readiness, reconcile, reverted, services, superseded,
    went_back,
};

/// A running node. Cheap to clone; it runs until [`Node::stop`].
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: NodeSettings,
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) incarnation: Incarnation,
    boot: u64,
    pub(crate) began_empty: bool,
    pub(crate) transport: Transport,
    pub(crate) replicas: Replicas,
    pub(crate) remotes: Remotes,
    pub(crate) catalog: watch::Sender<Arc<Catalog>>,
    pub(crate) catalog_replica: ArcSwapOption<CatalogReplica>,
    /// Version of the catalog that this process registered itself in.
    pub(crate) registered: watch::Sender<Option<u64>>,
    /// Version of the catalog that the replicas here are as.
    pub(crate) reconciled: watch::Sender<u64>,
    /// Whether the replicas that the catalog names for this node are open.
    pub(crate) placed: watch::Sender<bool>,
    /// Whether they have caught up.
    pub(crate) settled: watch::Sender<bool>,
    pub(crate) disk: watch::Sender<DiskHealth>,
    /// Whether the catalog was recovered without this node.
    pub(crate) superseded: watch::Sender<bool>,
    pub(crate) keyring: Keyring,
    pub(crate) bearing: node_health::Bearing,
    pub(crate) subscriptions: Subscriptions,
    tasks: Mutex<JoinSet<()>>,
    stop_serving: Mutex<Option<oneshot::Sender<()>>>,
}

/// Calls at a time on one gRPC connection. A gateway has one for each subscription whose shard this node leads.
const GRPC_STREAMS: u32 = 4096;
/// The head of a gRPC call.
const GRPC_HEAD_BYTES: u32 = 16 * 1024;
/// Calls that a client took back before they were looked at; one more ends its connection.
const PENDING_RESETS: usize = 64;
/// Calls that were refused for faults of HTTP/2; one more ends the connection.
const ERROR_RESETS: usize = 1024;

impl Inner {
    /// This start of the node.
    pub(crate) fn start(&self) -> Start {
        Start { incarnation: self.incarnation, starts: self.store.starts(), boot: self.boot }
    }
}

impl Node {
    /// Starts a node on `listener`, which is bound already, over `store`. Where `listener` and `connector` speak TLS,
    /// callers may do what their roles allow. Returns once it serves the native API; [`Node::ready`] waits until it takes
    /// part in the cluster. `clock` is this machine's; [`Node::clock`] is the one to go by. `keyring` has the data keys of
    /// encrypted streams.
    ///
    /// # Errors
    /// [`Error`] if its own replica of the catalog can't be opened.
    pub async fn start(
        settings: NodeSettings,
        store: Arc<dyn LogStore>,
        listener: impl Into<Listener>,
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
        boot: u64,
        keyring: Keyring,
    ) -> Result<Self, Error> {
        let mut transport_settings =
            TransportSettings::new(settings.node, boot, settings.cluster.clone());
        transport_settings.max_clock_skew = settings.replicas.max_clock_skew;
        let transport = Transport::new(transport_settings, Arc::clone(&connector), clock);
        // From here on nobody asks the node's own clock: it may be wrong.
        let clock: Arc<dyn Clock> = transport.clocks().clone();
        let remotes = Remotes::new(connector, Arc::clone(transport.liveness()));
        for peer in settings.initial_nodes.iter().filter(|peer| peer.node != settings.node) {
            transport.set_peer(peer.node, &peer.grpc_address);
            remotes.set(peer.node, &peer.grpc_address);
        }
        // A node that joins learns from the catalog which nodes there are.
        if !settings.initial_nodes.is_empty() {
            transport.clocks().set_nodes(settings.initial_nodes.iter().map(|peer| peer.node));
        }
        let replicas = Replicas::new(
            Arc::clone(&store),
            transport.clone(),
            Arc::clone(&clock),
            settings.replicas.clone(),
        );
        let inner = Inner {
            incarnation: store.incarnation(),
            boot,
            began_empty: store.groups().is_empty(),
            settings,
            store,
            clock,
            transport,
            replicas,
            remotes,
            catalog: watch::channel(Arc::default()).0,
            catalog_replica: ArcSwapOption::empty(),
            registered: watch::channel(None).0,
            reconciled: watch::channel(0).0,
            placed: watch::channel(false).0,
            settled: watch::channel(false).0,
            disk: watch::channel(DiskHealth::default()).0,
            superseded: watch::channel(false).0,
            keyring,
            bearing: node_health::Bearing::default(),
            subscriptions: Subscriptions::default(),
            tasks: Mutex::default(),
            stop_serving: Mutex::default(),
        };
        let node = Self { inner: Arc::new(inner) };
        node.serve(listener.into());
        node.spawn(disk_watch::follow(node.clone()));
        node.spawn(mending::follow(node.clone()));
        bootstrap::join(&node).await?;
        node.spawn(bootstrap::find_cluster(node.clone()));
        node.spawn(catalog_feed::follow(node.clone()));
        node.spawn(bootstrap::register(node.clone()));
        node.spawn(went_back::report(node.clone()));
        node.spawn(reverted::follow(node.clone()));
        node.spawn(superseded::watch(node.clone()));
        node.spawn(reconcile::follow(node.clone()));
        node.spawn(readiness::follow(node.clone()));
        node.spawn(gates::follow(node.clone()));
        node.spawn(node_health::follow(node.clone()));
        catalog_leader::start(&node);
        node.spawn(data_keys::rotate(node.clone()));
        Ok(node)
    }

    fn serve(&self, listener: Listener) {
        let (stop, stopped) = oneshot::channel();
        *self.inner.stop_serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        let handler = Arc::new(self.inner.replicas.clone());
        let mut routes = Routes::builder();
        routes
            .add_service(ReplicaServer::service(self.inner.transport.clone(), handler))
            .add_service(services::log_service(self))
            .add_service(services::catalog_service(self))
            .add_service(admin_service::admin_service(self))
            .add_service(node_service::node_service(self));
        let cluster = listener.is_mutual().then_some(&*self.inner.settings.cluster);
        let server = tonic::transport::Server::builder()
            .layer(Access::new(cluster))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_streams(GRPC_STREAMS)
            .http2_max_header_list_size(GRPC_HEAD_BYTES)
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
            .http2_max_local_error_reset_streams(Some(ERROR_RESETS))
            .add_routes(routes.routes());
        let incoming = listener.connections();
        self.spawn(async move {
            let over = async move { drop(stopped.await) };
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, over).await {
                tracing::error!(%error, "gRPC server ended");
            }
        });
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.inner.settings.node
    }

    /// Whether nothing was heard of `other` for so long that it counts as gone.
    pub fn is_silent(&self, other: NodeId) -> bool {
        self.inner.transport.liveness().is_silent(other)
    }

    /// The time, as this node's clock and those of the others tell it.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// The clocks of all nodes, as this one knows them.
    pub fn clocks(&self) -> ClockReport {
        self.inner.transport.clocks().report()
    }

    /// Versions of the catalog as they reach this node.
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.inner.catalog.subscribe()
    }

    /// This node's replica of the shard that `group` holds.
    pub fn shard(&self, group: GroupId) -> Option<ShardReplica> {
        self.inner.replicas.shard(group)
    }

    /// This node's replica of the catalog, if it holds one.
    pub fn catalog_replica(&self) -> Option<Arc<CatalogReplica>> {
        self.inner.catalog_replica.load_full()
    }

    /// Whether this node leads the catalog.
    pub(crate) async fn leads_catalog(&self) -> bool {
        match self.catalog_replica() {
            Some(replica) => replica.leads().await,
            None => false,
        }
    }

    /// Whether this node's copy of the catalog is as new as the registration of this process. Before that it may be as
    /// old as when the node was stopped.
    pub fn is_current(&self) -> bool {
        *self.inner.placed.borrow()
    }

    /// Whether [`Self::is_current`], the replicas here have caught up (`readiness.rs`), the disk works, and the node isn't about to stop.
    pub fn is_ready(&self) -> bool {
        let disk_works = *self.inner.disk.borrow() == DiskHealth::Works;
        *self.inner.settled.borrow() && disk_works && !self.inner.bearing.leaves()
    }

    /// How the disk under the log store is.
    pub fn disk(&self) -> DiskHealth {
        self.inner.disk.borrow().clone()
    }

    /// Returns while or as soon as the disk makes no progress.
    pub async fn stalled(&self) {
        let mut disk = self.inner.disk.subscribe();
        let stalled = disk.wait_for(|disk| matches!(disk, DiskHealth::Stalled { .. })).await;
        if stalled.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once the log store has failed for good and the other nodes had time to hear of it; says why. The process
    /// should end then: nothing that it still answers helps anybody.
    pub async fn failed(&self) -> DiskFailure {
        disk_watch::failed(self.inner.disk.subscribe()).await
    }

    /// Returns once the catalog was recovered without this node. The process should end: it may be started again, and then
    /// takes its place in the recovered catalog.
    pub async fn superseded(&self) {
        let mut superseded = self.inner.superseded.subscribe();
        if superseded.wait_for(|superseded| *superseded).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until [`Self::is_ready`] for the first time.
    pub async fn ready(&self) {
        let mut settled = self.inner.settled.subscribe();
        let _node_is_stopping = settled.wait_for(|settled| *settled).await;
    }

    /// Has the catalog apply `command`, here or on the node that leads it.
    ///
    /// # Errors
    /// [`anabranch_replica::Error::Invalid`] for a policy that means nothing.
    /// [`anabranch_replica::Error::NotLeader`] if no leader was found in time: nothing was done.
    /// [`anabranch_replica::Error::Unknown`] if it may have been applied or not.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, anabranch_replica::Error> {
        catalog_requests::ask_leader(self, Propose::new(command)?).await
    }

    /// The newest version of the catalog: every change acknowledged before this call is in it.
    ///
    /// # Errors
    /// [`anabranch_replica::Error::NotLeader`] if no leader was found in time.
    pub async fn newest_catalog_version(&self) -> Result<u64, anabranch_replica::Error> {
        catalog_requests::ask_leader(self, NewestVersion).await
    }

    /// Hands over what the node leads, for [`Self::stop`] to follow. It isn't ready any more from now on, but
    /// serves as before. Returns once it leads nothing that another node could, at the latest after the
    /// settings' limit.
    pub async fn leave(&self) {
        leader_transfer::leave(self).await;
    }

    /// Stops taking part, writes what is queued, and gives up the data directory.
    pub async fn stop(&self) {
        const DRAIN: Duration = Duration::from_millis(200);
        self.inner.replicas.shutdown().await;
        let stop = self.inner.stop_serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(stop);
        self.inner.transport.shutdown();
        tokio::time::sleep(DRAIN).await; // answers that are on their way out
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.inner.store.close().await;
    }
}

/// Binds a listener and says where, so that port 0 can be announced.
///
/// # Errors
/// [`Error::Listen`] with the system's answer.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error| Error::Listen { address: address.to_owned(), error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
