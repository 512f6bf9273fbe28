//! Brings versions of the catalog to this node: from its own replica, or from another node's.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::Catalog;
use anabranch_types::NodeId;
use tokio::time::{sleep, timeout};

use crate::disk_watch::DiskHealth;
use crate::node::Node;

const RETRY: Duration = Duration::from_millis(200);
/// Until a node that follows another one looks whether it still has to, and whether that one lives.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Publishes every version that is newer than the last, for as long as the node runs.
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

/// Whether this node has no replica of the catalog, or one that may not hear of the newest versions: who isn't a
/// voter any more, or never came to be one, isn't told so by its group, and a replica on a stalled disk takes nothing.
fn needs_others(node: &Node) -> bool {
    let (view, catalog) = (node.catalog_view(), node.catalog_view().newest());
    let own = catalog.replicas.iter().find(|replica| replica.node == node.id());
    let moves = catalog.moving.is_some_and(|moving| {
        moving.to.node == node.id() || own.is_some_and(|own| moving.from == Some(own.id))
    });
    let is_stalled = node.disk() != DiskHealth::Works;
    view.replica().is_none() || moves || view.is_behind() || is_stalled
}

/// The other nodes, those first that hold the catalog and stay.
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

/// Follows the versions that `other` has, for as long as this node needs that and `other` lives.
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
            // It has nothing newer either, and waits perhaps for this node to tell it: another one is asked.
            Err(_elapsed) if node.catalog_view().is_behind() => return,
            Err(_elapsed) => {}
        }
    }
}

/// Whether `catalog` has given out the id of this node's own replica of it. Another catalog is of before that, or counts no more
/// since the catalog was recovered here; its versions may be higher all the same.
fn knows_own_replica(node: &Node, catalog: &Catalog) -> bool {
    let own = node.catalog_replica().map(|replica| replica.status().replica);
    own.is_none_or(|own| own.0 < catalog.next_replica)
}

fn publish(node: &Node, catalog: Arc<Catalog>) {
    // What the configuration says of a node goes before what the catalog last heard of it: after a
    // move of all nodes the catalog can't be reached to hear of it.
    let configured = |id| node.settings().initial_nodes.iter().any(|peer| peer.node == id);
    for (id, peer) in catalog.nodes.iter().filter(|(id, _)| **id != node.id() && !configured(**id))
    {
        node.peers().set(*id, &peer.grpc_address);
    }
    if catalog.version > node.catalog_view().newest().version {
        // Nodes that hold the catalog count before they have registered.
        let holders = catalog.replicas.iter().map(|replica| replica.node);
        node.peers().clocks().set_nodes(catalog.nodes.keys().copied().chain(holders));
        node.catalog_view().publish(catalog);
    }
}
