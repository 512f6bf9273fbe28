//! A node whose catalog is void: the catalog was recovered from another node's replica, as if this node had been gone
//! for good (ADR-0007).
//!
//! The operator who recovers the catalog stops the other nodes first. A node that ran on notices it here. It closes
//! its replica of the catalog at once, so that the replica never votes again, and the process ends, because what it
//! holds in memory is of the old catalog. When the node starts again, `bootstrap.rs` keeps that replica closed, and
//! the node takes its place in the recovered catalog.

use std::time::Duration;

use anabranch_proto::v1;
use anabranch_types::GroupId;
use tokio::time::{MissedTickBehavior, interval};

use crate::node::Node;

/// Time between two requests. Each goes to another node.
const ROUND: Duration = Duration::from_secs(1);

/// Runs for as long as the node does.
pub(crate) async fn watch(node: Node) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0.. {
        ticks.tick().await;
        let others = node.peers().others();
        let Some(other) = others.get(turn % others.len().max(1)) else { continue };
        let Ok(info) = node.peers().remotes().info_about(*other, node.id()).await else { continue };
        if is_superseded_by(&node, &info) {
            tracing::error!(
                by = %other,
                "the catalog was recovered from another node: what this node knows of the cluster counts no more"
            );
            node.catalog_view().remove_replica();
            node.replicas().close(GroupId::CATALOG).await;
            node.catalog_view().set_superseded();
            return;
        }
    }
}

/// Whether another node follows a catalog that was recovered after this node's catalog, and not from this node's
/// replica.
fn is_superseded_by(node: &Node, info: &v1::NodeInfoResponse) -> bool {
    let known = node.catalog_view().newest();
    let known_as = known.recovered_as().map_or(0, |replica| replica.0);
    let own = node.catalog_replica().map(|replica| replica.status().replica.0);
    info.cluster == node.settings().cluster
        && known.version > 0
        && known_as < info.catalog_recovered_as
        && own.is_none_or(|own| own < info.catalog_recovered_as)
}
