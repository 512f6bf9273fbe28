use std::time::Duration;

use anabranch_access::ClusterKey;
use anabranch_replica::ReplicaSettings;
use anabranch_types::{AccountId, NodeId};

/// Another node, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Id of the node.
    pub node: NodeId,
    /// `host:port` of the node's gRPC port.
    pub grpc_address: String,
}

/// Settings that a node needs before it knows the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Id of this node.
    pub node: NodeId,
    /// Name of the cluster; the same on every node.
    pub cluster: String,
    /// Failure zone of this node; empty if the cluster has none.
    pub zone: String,
    /// `host:port` at which other nodes and gRPC clients reach this node.
    pub grpc_address: String,
    /// `host:port` of its Kinesis API; empty if it serves none.
    pub api_address: String,
    /// The nodes that a new cluster begins with, this node included. The three with the lowest ids hold the catalog.
    /// Empty for a node that joins.
    pub initial_nodes: Vec<Peer>,
    /// Where a node that joins finds nodes of the cluster: `host:port` of their gRPC ports.
    pub join: Vec<String>,
    /// How long a node may be silent before its replicas are made anew on other nodes.
    pub replace_after: Duration,
    /// Account of users that are created without one.
    pub account: AccountId,
    /// Key that seals the secrets of access keys; the same on every node.
    pub cluster_key: ClusterKey,
    /// Settings of the replicas on this node.
    pub replicas: ReplicaSettings,
}

impl NodeSettings {
    /// The nodes that hold the catalog of a new cluster: the three with the lowest ids.
    pub(crate) fn initial_voters(&self) -> Vec<NodeId> {
        const CATALOG_VOTERS: usize = 3;
        let mut nodes: Vec<_> = self.initial_nodes.iter().map(|peer| peer.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.truncate(CATALOG_VOTERS);
        nodes
    }
}
