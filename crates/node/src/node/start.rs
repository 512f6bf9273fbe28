//! The start of a node: makes its parts and starts its tasks.
//!
//! Order of events: the gRPC port is served first, because the nodes of a cluster that starts ask each other before
//! any of them has a catalog. Then the replica of the catalog is opened (`bootstrap.rs`). Then everything that
//! follows the catalog begins.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_catalog::Start;
use anabranch_encryption::Keyring;
use anabranch_metrics::Registry;
use anabranch_replica::Replicas;
use anabranch_storage::LogStore;
use anabranch_transport::{Connector, Listener, Transport, TransportSettings};
use anabranch_types::Clock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{Node, Parts};
use crate::catalog_view::CatalogView;
use crate::error::Error;
use crate::peers::Peers;
use crate::remote::Remotes;
use crate::server::AddServices;
use crate::settings::NodeSettings;
use crate::subscriptions::Subscriptions;
use crate::{
    bootstrap, catalog_feed, catalog_leader, catching_up, data_keys, disk_watch, entry_repair,
    gates, metrics, node_health, reconcile, reverted, server, superseded, went_back,
};

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
    /// Adds services of other crates to the gRPC port.
    pub add_services: AddServices,
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
        let NodeParts { store, connector, clock, keyring, registry, add_services } = parts;
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
        node.serve(listener.into(), add_services);
        node.watch_disk();
        bootstrap::join(&node).await?;
        node.follow_catalog();
        catalog_leader::start(&node);
        Ok(node)
    }

    fn serve(&self, listener: Listener, add_services: AddServices) {
        let (stop, stopped) = oneshot::channel();
        *self.parts.stop_serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        self.spawn(server::serve(self, listener, add_services, stopped));
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
        self.spawn(catching_up::follow(self.clone()));
        self.spawn(gates::follow(self.catalog(), parts.replicas.clone()));
        let (times, readiness) = (Arc::clone(&parts.sync_times), Arc::clone(&parts.readiness));
        self.spawn(node_health::follow(times, readiness, Arc::clone(&parts.store)));
        self.spawn(data_keys::rotate(self.clone()));
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
