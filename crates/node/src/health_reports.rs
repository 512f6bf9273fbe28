//! Asks nodes for their health: the catalog's leader does it to balance leaders, a node that stops to find nodes that
//! stay, and an operator's program to show it.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::Catalog;
use anabranch_types::NodeId;
use tonic::Status;

use crate::node::Node;
use crate::node_health::NodeHealth;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;

/// Asks a node for its health.
pub(crate) struct ReportHealth;

impl NodeRequest for ReportHealth {
    type Response = NodeHealth;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<NodeHealth, Status> {
        Ok(health_of(node))
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<NodeHealth, Status> {
        remotes.health(to).await
    }
}

/// The health of the nodes of the catalog that answer, and of this node.
pub(crate) async fn all_nodes(node: &Node, catalog: &Catalog) -> BTreeMap<NodeId, NodeHealth> {
    let mut health = other_nodes(node, catalog).await;
    health.insert(node.id(), health_of(node));
    health
}

/// The health of the other nodes that answer.
pub(crate) async fn other_nodes(node: &Node, catalog: &Catalog) -> BTreeMap<NodeId, NodeHealth> {
    let others = catalog.nodes.keys().copied().filter(|other| *other != node.id());
    node.ask_each(others.map(|other| (other, ReportHealth))).await
}

/// The health of this node.
fn health_of(node: &Node) -> NodeHealth {
    let stalled = node.disk().stalled_for();
    let ready = node.readiness().ready_for();
    NodeHealth {
        groups: node.replicas().leading(),
        ready: if stalled.is_none() { ready } else { Duration::ZERO },
        sync: node.sync_times().mean(),
        round_trips: node.peers().liveness().round_trips(),
        stalled,
        scrub: node.store().stats().scrub,
    }
}
