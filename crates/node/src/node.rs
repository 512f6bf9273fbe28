//! A running node: starts its parts and tasks, and is the handle to them.
//!
//! The parts, each with an owner in a file of its own: the log store, the replicas on it, the other nodes
//! (`peers.rs`), the catalog as this node has it (`catalog_view.rs`), the readiness of the node (`readiness.rs`), the
//! health of its disk (`disk_watch.rs`), and subscriptions. A task gets the parts that it needs, or the whole
//! [`Node`] if it needs most of them.
//!
//! Order of a start: the gRPC port is served first, because the nodes of a cluster that starts ask each other before
//! any of them has a catalog; then the replica of the catalog is opened (`bootstrap.rs`); then everything that
//! follows the catalog begins.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, Outcome, Start};
use anabranch_encryption::Keyring;
use anabranch_metrics::Registry;
use anabranch_replica::{CatalogReplica, Replicas, ShardReplica};
use anabranch_storage::LogStore;
use anabranch_transport::{ClockReport, Connector, Listener, Transport, TransportSettings};
use anabranch_types::{Clock, GroupId, NodeId};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::catalog_requests::{self, NewestVersion, Propose};
use crate::catalog_view::CatalogView;
use crate::disk_watch::{self, Disk, DiskFailure, DiskHealth};
use crate::error::Error;
use crate::node_health::SyncTimes;
use crate::peers::Peers;
use crate::readiness::Readiness;
use crate::remote::Remotes;
use crate::settings::NodeSettings;
use crate::subscriptions::Subscriptions;
use crate::{
    bootstrap, catalog_feed, catalog_leader, data_keys, entry_repair, gates, leader_transfer,
    metrics, node_health, readiness, reconcile, reverted, server, superseded, went_back,
};

/// A running node. Cheap to clone; it runs until [`Node::stop`].
#[derive(Clone)]
pub struct Node {
    parts: Arc<Parts>,
}

/// The components that a node is put together from.
pub struct NodeParts {
    /// The open log store.
    pub store: Arc<dyn LogStore>,
    /// Connects to the other nodes.
    pub connector: Arc<dyn Connector>,
    /// This machine's wall clock, which may be wrong. Use [`Node::clock`] instead.
    pub clock: Arc<dyn Clock>,
    /// Holds the data keys of encrypted streams.
    pub keyring: Keyring,
    /// The node registers its metrics here.
    pub registry: Registry,
}

struct Parts {
    settings: NodeSettings,
    /// This start of the node.
    start: Start,
    /// Whether the disk held no group when the node was started.
    began_empty: bool,
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    peers: Peers,
    replicas: Replicas,
    catalog: Arc<CatalogView>,
    readiness: Arc<Readiness>,
    disk: Arc<Disk>,
    sync_times: Arc<SyncTimes>,
    keyring: Keyring,
    subscriptions: Subscriptions,
    tasks: Mutex<JoinSet<()>>,
    /// Dropped to end the gRPC server.
    stop_serving: Mutex<Option<oneshot::Sender<()>>>,
}

impl Node {
    /// Starts a node on `listener`, which is bound already. Where `listener` and the connector in `parts` speak TLS,
    /// callers may do what their roles allow. Returns once it serves the native API; [`Node::ready`] waits until it
    /// takes part in the cluster. `boot` is a random number that tells this process from others on the same data
    /// directory.
    ///
    /// # Errors
    /// [`Error`] if its own replica of the catalog can't be opened.
    pub async fn start(
        settings: NodeSettings,
        listener: impl Into<Listener>,
        boot: u64,
        parts: NodeParts,
    ) -> Result<Self, Error> {
        let NodeParts { store, connector, clock, keyring, registry } = parts;
        let peers = peers(&settings, connector, clock, boot, &registry);
        // The machine's clock may be wrong. From here on it is read only through the clocks of the cluster.
        let clock: Arc<dyn Clock> = peers.clocks().clone();
        let replicas = Replicas::new(
            Arc::clone(&store),
            peers.transport().clone(),
            Arc::clone(&clock),
            settings.replicas.clone(),
            &registry,
        );
        let parts = Parts {
            start: Start { incarnation: store.incarnation(), starts: store.starts(), boot },
            began_empty: store.groups().is_empty(),
            settings,
            store,
            clock,
            peers,
            replicas,
            catalog: Arc::new(CatalogView::new()),
            readiness: Arc::default(),
            disk: Arc::default(),
            sync_times: Arc::default(),
            keyring,
            subscriptions: Subscriptions::default(),
            tasks: Mutex::default(),
            stop_serving: Mutex::default(),
        };
        let node = Self { parts: Arc::new(parts) };
        metrics::show(&node, &registry);
        node.serve(listener.into());
        node.watch_disk();
        bootstrap::join(&node).await?;
        node.follow_catalog();
        catalog_leader::start(&node);
        Ok(node)
    }

    fn serve(&self, listener: Listener) {
        let (stop, stopped) = oneshot::channel();
        *self.parts.stop_serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        self.spawn(server::serve(self, listener, stopped));
    }

    /// Starts the tasks that look after the disk.
    fn watch_disk(&self) {
        let parts = &*self.parts;
        let (disk, store) = (Arc::clone(&parts.disk), Arc::clone(&parts.store));
        let (replicas, readiness) = (parts.replicas.clone(), Arc::clone(&parts.readiness));
        self.spawn(disk_watch::follow(disk, store, replicas, readiness));
        self.spawn(entry_repair::follow(self.clone()));
    }

    /// Starts the tasks that bring the catalog here and do what it says.
    fn follow_catalog(&self) {
        let parts = &*self.parts;
        self.spawn(bootstrap::find_cluster(self.clone()));
        self.spawn(catalog_feed::follow(self.clone()));
        self.spawn(bootstrap::register(self.clone()));
        self.spawn(went_back::report(Arc::clone(&parts.catalog), self.id(), parts.start));
        self.spawn(reverted::follow(self.clone()));
        self.spawn(superseded::watch(self.clone()));
        self.spawn(reconcile::follow(self.clone()));
        self.spawn(readiness::follow(self.clone()));
        self.spawn(gates::follow(self.catalog(), parts.replicas.clone()));
        let (times, readiness) = (Arc::clone(&parts.sync_times), Arc::clone(&parts.readiness));
        self.spawn(node_health::follow(times, readiness, Arc::clone(&parts.store)));
        self.spawn(data_keys::rotate(self.clone()));
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.parts.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    /// A way to the node that does not keep it alive.
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + Send + Sync + 'static {
        let parts = Arc::downgrade(&self.parts);
        move || parts.upgrade().map(|parts| Self { parts })
    }

    pub(crate) fn settings(&self) -> &NodeSettings {
        &self.parts.settings
    }

    /// This start of the node.
    pub(crate) fn this_start(&self) -> Start {
        self.parts.start
    }

    /// Whether the disk held no group when the node was started.
    pub(crate) fn began_empty(&self) -> bool {
        self.parts.began_empty
    }

    pub(crate) fn store(&self) -> &Arc<dyn LogStore> {
        &self.parts.store
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.parts.peers
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.parts.replicas
    }

    pub(crate) fn catalog_view(&self) -> &CatalogView {
        &self.parts.catalog
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.parts.readiness
    }

    pub(crate) fn sync_times(&self) -> &SyncTimes {
        &self.parts.sync_times
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.parts.keyring
    }

    pub(crate) fn subscriptions(&self) -> &Subscriptions {
        &self.parts.subscriptions
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.parts.settings.node
    }

    /// Whether `other` counts as gone: nothing was heard of it for a second, or it says that its disk is stalled.
    pub fn is_silent(&self, other: NodeId) -> bool {
        self.parts.peers.is_silent(other)
    }

    /// The time, by the clocks of this node and of the others.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.parts.clock)
    }

    /// The clocks of all nodes, as this node knows them.
    pub fn clocks(&self) -> ClockReport {
        self.parts.peers.clocks().report()
    }

    /// Versions of the catalog as they reach this node.
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.parts.catalog.versions()
    }

    /// This node's replica of the shard that `group` holds.
    pub fn shard(&self, group: GroupId) -> Option<ShardReplica> {
        self.parts.replicas.shard(group)
    }

    /// This node's replica of the catalog, if it holds one.
    pub fn catalog_replica(&self) -> Option<Arc<CatalogReplica>> {
        self.parts.catalog.replica()
    }

    /// Whether this node's copy of the catalog is as new as the registration of this process. Before that it may be as
    /// old as when the node was stopped.
    pub fn is_current(&self) -> bool {
        self.parts.readiness.is_placed()
    }

    /// Whether [`Self::is_current`], the replicas here have caught up (`readiness.rs`), the disk works, and the node
    /// is not about to stop.
    pub fn is_ready(&self) -> bool {
        let readiness = &self.parts.readiness;
        readiness.has_caught_up() && self.disk() == DiskHealth::Works && !readiness.leaves()
    }

    /// The health of the disk under the log store.
    pub fn disk(&self) -> DiskHealth {
        self.parts.disk.health()
    }

    /// Returns at once if the disk makes no progress, else as soon as it does not.
    pub async fn stalled(&self) {
        self.parts.disk.stalled().await;
    }

    /// Returns once the log store has failed for good and the other nodes had time to hear of it. Returns why. The
    /// process should end then: nothing that it still answers is of use.
    pub async fn failed(&self) -> DiskFailure {
        self.parts.disk.failed().await
    }

    /// Returns once the catalog was recovered without this node. The process should end. It may be started again, and
    /// then takes its place in the recovered catalog.
    pub async fn superseded(&self) {
        self.parts.catalog.superseded().await;
    }

    /// Waits until [`Self::is_ready`] for the first time.
    pub async fn ready(&self) {
        self.parts.readiness.caught_up().await;
    }

    /// Has the catalog apply `command`, here or on the node that leads it.
    ///
    /// # Errors
    /// [`anabranch_replica::Error::Invalid`] for a policy that can't be parsed.
    /// [`anabranch_replica::Error::NotLeader`] if no leader was found in time: nothing was done.
    /// [`anabranch_replica::Error::Unknown`] if the command may have been applied or not.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, anabranch_replica::Error> {
        catalog_requests::ask_leader(self, Propose::new(command)?).await
    }

    /// The newest version of the catalog. Every change that was acknowledged before this call is in it.
    ///
    /// # Errors
    /// [`anabranch_replica::Error::NotLeader`] if no leader was found in time.
    pub async fn newest_catalog_version(&self) -> Result<u64, anabranch_replica::Error> {
        catalog_requests::ask_leader(self, NewestVersion).await
    }

    /// Transfers what the node leads to other nodes, before [`Self::stop`]. From now on the node is not ready, but it
    /// serves as before. Returns once it leads nothing that another node could lead, at the latest after the limit in
    /// the settings.
    pub async fn leave(&self) {
        leader_transfer::leave(self).await;
    }

    /// Stops the replicas, writes what is queued, and releases the data directory.
    pub async fn stop(&self) {
        const DRAIN: Duration = Duration::from_millis(200);
        let parts = &*self.parts;
        parts.replicas.shutdown().await;
        let stop = parts.stop_serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(stop);
        parts.peers.transport().shutdown();
        tokio::time::sleep(DRAIN).await; // for responses that are on their way
        parts.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        parts.store.close().await;
    }
}

/// The other nodes that the settings name.
fn peers(
    settings: &NodeSettings,
    connector: Arc<dyn Connector>,
    clock: Arc<dyn Clock>,
    boot: u64,
    registry: &Registry,
) -> Peers {
    let mut transport_settings =
        TransportSettings::new(settings.node, boot, settings.cluster.clone());
    transport_settings.max_clock_skew = settings.replicas.max_clock_skew;
    let transport = Transport::new(transport_settings, Arc::clone(&connector), clock, registry);
    let remotes = Remotes::new(connector, Arc::clone(transport.liveness()));
    let peers = Peers::new(settings.node, transport, remotes);
    for peer in settings.initial_nodes.iter().filter(|peer| peer.node != settings.node) {
        peers.set(peer.node, &peer.grpc_address);
    }
    // A node that joins learns from the catalog which nodes there are.
    if !settings.initial_nodes.is_empty() {
        peers.clocks().set_nodes(settings.initial_nodes.iter().map(|peer| peer.node));
    }
    peers
}

/// Binds a listener. Returns the address too, so that the caller can announce what port 0 became.
///
/// # Errors
/// [`Error::Listen`] with the error of the operating system.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error| Error::Listen { address: address.to_owned(), error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
