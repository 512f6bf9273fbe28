//! Brings versions of the catalog to this node: from its own replica, or from another node's.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::Catalog;
use tokio::time::sleep;

use crate::node::Node;

const RETRY: Duration = Duration::from_millis(200);

/// Publishes every version that is newer than the last, for as long as the node runs.
pub(crate) async fn follow(node: Node) {
    loop {
        match node.catalog_replica() {
            Some(replica) => {
                let mut versions = replica.watch();
                loop {
                    let version = Arc::clone(&versions.borrow_and_update());
                    publish(&node, version);
                    let same =
                        node.catalog_replica().is_some_and(|now| Arc::ptr_eq(&now, &replica));
                    if !same || versions.changed().await.is_err() {
                        break;
                    }
                }
            }
            None => follow_another(&node).await,
        }
        sleep(RETRY).await;
    }
}

async fn follow_another(node: &Node) {
    for other in node.inner.remotes.nodes() {
        let known = node.inner.catalog.borrow().version;
        let Ok(mut versions) = node.inner.remotes.watch(other, known).await else { continue };
        while let Ok(Some(version)) = versions.message().await {
            match anabranch_proto::decode_catalog(version.catalog) {
                Ok(catalog) => publish(node, Arc::new(catalog)),
                Err(error) => tracing::error!(%error, "catalog can't be read"),
            }
            if node.catalog_replica().is_some() {
                return;
            }
        }
    }
}

fn publish(node: &Node, catalog: Arc<Catalog>) {
    // What the configuration says of a node goes before what the catalog last heard of it: after a
    // move of all nodes the catalog can't be reached to hear of it.
    let configured = |id| node.inner.settings.initial_nodes.iter().any(|peer| peer.node == id);
    for (id, peer) in catalog.nodes.iter().filter(|(id, _)| **id != node.id() && !configured(**id))
    {
        node.inner.transport.set_peer(*id, &peer.grpc_address);
        node.inner.remotes.set(*id, &peer.grpc_address);
    }
    node.inner.catalog.send_if_modified(|current| {
        let newer = catalog.version > current.version;
        if newer {
            *current = catalog;
        }
        newer
    });
}
