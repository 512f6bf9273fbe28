//! The client's copy of the catalog, and the task that keeps it up to date.
//!
//! Order of events: the task follows the versions of the catalog on the node of this process, or on one node after
//! the other over gRPC. Each version becomes a [`View`], and then the callers that wait for a version are woken. A
//! version that is older than the newest one is ignored: a client that changes from one node to another never goes
//! back.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::Catalog;
use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::call::{self, LocalNode};
use crate::client::Inner;
use crate::view::View;

/// How long the task waits before it asks the nodes again, once none of them had the catalog.
const FOLLOW_AGAIN: Duration = Duration::from_millis(25);

pub(crate) struct CatalogCopy {
    view: ArcSwap<View>,
    versions: watch::Sender<u64>,
}

impl CatalogCopy {
    pub(crate) fn new() -> Self {
        Self { view: ArcSwap::from_pointee(View::default()), versions: watch::channel(0).0 }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// As [`Self::view`], for a short look: cheaper.
    pub(crate) fn load(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    pub(crate) fn publish(&self, catalog: Catalog) {
        let version = catalog.version;
        if version < self.view.load().catalog().version {
            return; // from a node that is behind
        }
        self.view.store(Arc::new(View::new(catalog)));
        self.versions.send_replace(version);
    }

    /// Waits until the copy is at `version` or later, at most for `longest`. Says whether it is.
    pub(crate) async fn reaches(&self, version: u64, longest: Duration) -> bool {
        let mut versions = self.versions.subscribe();
        let reached = timeout(longest, versions.wait_for(|seen| *seen >= version)).await;
        matches!(reached, Ok(Ok(_)))
    }
}

/// Follows the catalog on the node in this process, until the node stops.
pub(crate) async fn follow_local(inner: Arc<Inner>, local: Arc<dyn LocalNode>) {
    let mut versions = local.catalog();
    loop {
        let catalog = Arc::clone(&versions.borrow_and_update());
        inner.catalog.publish(catalog.as_ref().clone());
        if versions.changed().await.is_err() {
            return;
        }
    }
}

/// Follows the catalog over gRPC, on one node after the other.
pub(crate) async fn follow_remote(inner: Arc<Inner>) {
    loop {
        for to in inner.destinations() {
            let view = inner.catalog.view();
            let (known, mut users) = (view.catalog().version, view.catalog().users.clone());
            let watched = call::watch(inner.channel(&to), known, users.version()).await;
            let Ok(mut versions) = watched else { continue };
            while let Ok(Some(version)) = versions.message().await {
                match anabranch_proto::decode_catalog_after(version.catalog, &users) {
                    Ok(catalog) => {
                        users = catalog.users.clone();
                        inner.catalog.publish(catalog);
                    }
                    Err(error) => {
                        tracing::error!(%error, "catalog can't be read");
                        break;
                    }
                }
            }
        }
        sleep(FOLLOW_AGAIN).await;
    }
}
