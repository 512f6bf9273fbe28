//! The catalog as this node has it.
//!
//! ```text
//! versions: 0 ........ reconciled ........ newest        registered: somewhere, None until this process has registered
//! ```
//!
//! `newest` is the version that `catalog_feed.rs` published last. `registered` is the version in which this process
//! registered itself; a version below it may be as old as when the node was stopped. `reconciled` is the version that
//! the replicas on this node have been made to match (`reconcile.rs`). Each of them only rises.

use std::sync::Arc;

use anabranch_catalog::Catalog;
use anabranch_replica::CatalogReplica;
use arc_swap::ArcSwapOption;
use tokio::sync::watch;

pub(crate) struct CatalogView {
    versions: watch::Sender<Arc<Catalog>>,
    /// This node's replica of the catalog, while it is open.
    replica: ArcSwapOption<CatalogReplica>,
    registered: watch::Sender<Option<u64>>,
    reconciled: watch::Sender<u64>,
    /// Whether the catalog was recovered without this node.
    superseded: watch::Sender<bool>,
}

impl CatalogView {
    pub(crate) fn new() -> Self {
        Self {
            versions: watch::channel(Arc::default()).0,
            replica: ArcSwapOption::empty(),
            registered: watch::channel(None).0,
            reconciled: watch::channel(0).0,
            superseded: watch::channel(false).0,
        }
    }

    /// The newest version that has reached this node; version 0 before the first one.
    pub(crate) fn newest(&self) -> Arc<Catalog> {
        Arc::clone(&self.versions.borrow())
    }

    pub(crate) fn versions(&self) -> watch::Receiver<Arc<Catalog>> {
        self.versions.subscribe()
    }

    /// Shows `catalog` to the whole node, unless a version that is as new is there.
    pub(crate) fn publish(&self, catalog: Arc<Catalog>) {
        self.versions.send_if_modified(|newest| {
            let is_newer = catalog.version > newest.version;
            if is_newer {
                *newest = catalog;
            }
            is_newer
        });
    }

    pub(crate) fn replica(&self) -> Option<Arc<CatalogReplica>> {
        self.replica.load_full()
    }

    pub(crate) fn set_replica(&self, replica: CatalogReplica) {
        self.replica.store(Some(Arc::new(replica)));
    }

    pub(crate) fn remove_replica(&self) {
        self.replica.store(None);
    }

    /// Whether this node leads the catalog.
    pub(crate) async fn leads(&self) -> bool {
        match self.replica() {
            Some(replica) => replica.leads().await,
            None => false,
        }
    }

    /// The version in which this process registered itself, once it has.
    pub(crate) fn registered(&self) -> watch::Receiver<Option<u64>> {
        self.registered.subscribe()
    }

    pub(crate) fn set_registered(&self, version: u64) {
        self.registered.send_replace(Some(version));
    }

    /// Whether this node knows that a newer version than its newest exists: that in which it registered.
    pub(crate) fn is_behind(&self) -> bool {
        self.registered.borrow().is_some_and(|since| self.versions.borrow().version < since)
    }

    pub(crate) fn reconciled(&self) -> u64 {
        *self.reconciled.borrow()
    }

    pub(crate) fn set_reconciled(&self, version: u64) {
        self.reconciled.send_replace(version);
    }

    pub(crate) fn set_superseded(&self) {
        self.superseded.send_replace(true);
    }

    /// Returns once the catalog was recovered without this node.
    pub(crate) async fn superseded(&self) {
        let mut superseded = self.superseded.subscribe();
        // There is no error: the sender is borrowed while this waits.
        drop(superseded.wait_for(|superseded| *superseded).await);
    }
}
