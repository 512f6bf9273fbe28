//! A running node: the handle to its parts.
//!
//! The parts, each with an owner in a file of its own: the log store, the replicas on it, the other nodes
//! (`peers.rs`), the catalog as this node has it (`catalog_view.rs`), the readiness of the node (`readiness.rs`), the
//! health of its disk (`disk_watch.rs`), and subscriptions. A task gets the parts that it needs, or the whole
//! [`Node`] if it needs most of them.
//!
//! Order of events: [`Node::start`] (`node/start.rs`) makes the parts and starts the tasks. [`Node::stop`] ends them.
//! This file knows no task, so every task may know the [`Node`].

pub(crate) mod start;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{Catalog, Start};
use anabranch_encryption::Keyring;
use anabranch_replica::{CatalogReplica, GroupReport, Replicas, ShardReplica, TableReplica};
use anabranch_storage::LogStore;
use anabranch_transport::ClockReport;
use anabranch_types::{Clock, GroupId, NodeId};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::catalog_view::CatalogView;
use crate::disk_watch::{Disk, DiskFailure, DiskHealth};
use crate::node_health::SyncTimes;
use crate::peers::Peers;
use crate::readiness::Readiness;
use crate::settings::NodeSettings;
use crate::subscriptions::Subscriptions;

/// A running node. Cheap to clone; it runs until [`Node::stop`].
#[derive(Clone)]
pub struct Node {
    parts: Arc<Parts>,
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

    /// This node's replica of the table group.
    pub fn table(&self, group: GroupId) -> Option<TableReplica> {
        self.parts.replicas.table(group)
    }

    /// State of `group` as this node's replica of it knows it. `None` if the node has no open replica of it.
    pub fn report(&self, group: GroupId) -> Option<GroupReport> {
        self.parts.replicas.report(group)
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

    /// Whether [`Self::is_current`], the replicas here have caught up (`catching_up.rs`), the disk works, and the node
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
