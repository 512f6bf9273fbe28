use std::time::Duration;

use anabranch_access::ClusterKey;
use anabranch_replica::ReplicaSettings;
use anabranch_types::{AccountId, NodeId};

/// Another node, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// `host:port` of its gRPC port.
    pub grpc_address: String,
}

/// What a node has to know before it knows the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// This node.
    pub node: NodeId,
    /// The cluster's name; the same on every node.
    pub cluster: String,
    /// Failure zone of this node; empty if there are none.
    pub zone: String,
    /// Where other nodes and gRPC clients reach this one.
    pub grpc_address: String,
    /// Where its Kinesis API is; empty if it serves none.
    pub api_address: String,
    /// The nodes that the cluster begins with, this one included. The first three hold the catalog.
    /// Empty for a node that joins.
    pub initial_nodes: Vec<Peer>,
    /// Where a node that joins finds some of the cluster's nodes: `host:port` of their gRPC ports.
    pub join: Vec<String>,
    /// How long a node is silent before its replicas are made anew on others.
    pub replace_after: Duration,
    /// The account of users who are created without one.
    pub account: AccountId,
    /// Seals the secrets of access keys; the same on every node.
    pub cluster_key: ClusterKey,
    /// Settings of its replicas.
    pub replicas: ReplicaSettings,
}

impl NodeSettings {
    /// Nodes that hold the catalog of a new cluster: the three with the lowest ids.
    pub(crate) fn initial_voters(&self) -> Vec<NodeId> {
        const CATALOG_VOTERS: usize = 3;
        let mut nodes: Vec<_> = self.initial_nodes.iter().map(|peer| peer.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.truncate(CATALOG_VOTERS);
        nodes
    }
}
