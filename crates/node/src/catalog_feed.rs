//! Brings versions of the catalog to this node: from its own replica of the catalog, or from another node.
//!
//! Order of events: each version is published in the node's `CatalogView` if it is newer than the last. Before that,
//! the node learns the addresses of new nodes from it. A node follows another node as long as it has no replica of
//! its own, or while its own replica may not hear of the newest versions.
//!
//! Never: this node's catalog goes back to an older version; or it takes a version of a catalog that was
//! recovered away from it (`superseded.rs`).

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::Catalog;
use anabranch_types::NodeId;
use tokio::time::{sleep, timeout};

use crate::disk_watch::DiskHealth;
use crate::node::Node;

const RETRY: Duration = Duration::from_millis(200);
/// How often a node that follows another one checks that it still has to and that the other node lives.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Publishes versions for as long as the node runs.
pub(crate) async fn follow(node: Node) {
    tokio::join!(follow_own(&node), follow_others(&node));
}

async fn follow_own(node: &Node) {
    loop {
        if let Some(replica) = node.catalog_replica() {
            let mut versions = replica.watch();
            loop {
                let version = Arc::clone(&versions.borrow_and_update());
                publish(node, version);
                let same = node.catalog_replica().is_some_and(|now| Arc::ptr_eq(&now, &replica));
                if !same || versions.changed().await.is_err() {
                    break;
                }
            }
        }
        sleep(RETRY).await;
    }
}

async fn follow_others(node: &Node) {
    loop {
        if needs_others(node) {
            for other in others(node) {
                follow_another(node, other).await;
            }
        }
        sleep(RETRY).await;
    }
}

/// Whether this node has to follow another one: it has no replica of the catalog, or its replica may not hear of the
/// newest versions. The catalog's group tells nothing to a replica that is no voter, and a replica on a stalled disk
/// takes nothing.
fn needs_others(node: &Node) -> bool {
    let (view, catalog) = (node.catalog_view(), node.catalog_view().newest());
    let own = catalog.replicas.iter().find(|replica| replica.node == node.id());
    let moves = catalog.moving.is_some_and(|moving| {
        moving.to.node == node.id() || own.is_some_and(|own| moving.from == Some(own.id))
    });
    let is_stalled = node.disk() != DiskHealth::Works;
    view.replica().is_none() || moves || view.is_behind() || is_stalled
}

/// The other nodes. Nodes that hold the catalog and stay come first.
fn others(node: &Node) -> Vec<NodeId> {
    let catalog = node.catalog_view().newest();
    let leaving = catalog.moving.and_then(|moving| moving.from);
    let holds = |id: &NodeId| {
        let mut replicas = catalog.replicas.iter();
        replicas.any(|replica| replica.node == *id && Some(replica.id) != leaving)
    };
    let mut others = node.peers().others();
    others.sort_by_key(|other| !holds(other));
    others
}

/// Follows the versions of `other`, for as long as this node needs that and `other` lives.
async fn follow_another(node: &Node, other: NodeId) {
    let (known, mut users) = {
        let catalog = node.catalog_view().newest();
        (catalog.version, catalog.users.clone())
    };
    let watched =
        timeout(LOOK_AGAIN, node.peers().remotes().watch(other, known, users.version())).await;
    let Ok(Ok(mut versions)) = watched else { return };
    while needs_others(node) && !node.peers().is_silent(other) {
        match timeout(LOOK_AGAIN, versions.message()).await {
            Ok(Ok(Some(version))) => {
                match anabranch_proto::decode_catalog_after(version.catalog, &users) {
                    Ok(catalog) if !knows_own_replica(node, &catalog) => return,
                    Ok(catalog) => {
                        users = catalog.users.clone();
                        publish(node, Arc::new(catalog));
                    }
                    Err(error) => {
                        tracing::error!(%error, "catalog can't be read");
                        return;
                    }
                }
            }
            Ok(Ok(None) | Err(_)) => return,
            // The other node has nothing newer either. It may be waiting for this node, so another one is asked.
            Err(_elapsed) if node.catalog_view().is_behind() => return,
            Err(_elapsed) => {}
        }
    }
}

/// Whether `catalog` has given out the id of this node's own replica of the catalog. If it has not, it is either
/// older than that replica, or a catalog that the cluster gave up when it was recovered from here. The version of
/// such a catalog may be higher all the same, so versions alone can't tell.
fn knows_own_replica(node: &Node, catalog: &Catalog) -> bool {
    let own = node.catalog_replica().map(|replica| replica.status().replica);
    own.is_none_or(|own| own.0 < catalog.next_replica)
}

fn publish(node: &Node, catalog: Arc<Catalog>) {
    // The address in the configuration has precedence over the address in the catalog. If the addresses of all nodes
    // have changed, the catalog can't be reached to learn the new ones.
    let configured = |id| node.settings().initial_nodes.iter().any(|peer| peer.node == id);
    for (id, peer) in catalog.nodes.iter().filter(|(id, _)| **id != node.id() && !configured(**id))
    {
        node.peers().set(*id, &peer.grpc_address);
    }
    if catalog.version > node.catalog_view().newest().version {
        // Nodes that hold the catalog count before they have registered: a majority of clocks needs them.
        let holders = catalog.replicas.iter().map(|replica| replica.node);
        node.peers().clocks().set_nodes(catalog.nodes.keys().copied().chain(holders));
        node.catalog_view().publish(catalog);
    }
}
