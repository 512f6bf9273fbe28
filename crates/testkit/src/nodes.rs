//! Real nodes in one process, which speak gRPC over the loopback interface. Their disks are in memory.
//!
//! For tests of the native client, and of what only whole nodes do: placement, moves, shutdown. Time is real. Tests of
//! faults use [`Cluster`](crate::Cluster), whose network and disks do what the test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_access::ClusterKey;
use anabranch_client::Client;
use anabranch_encryption::{EncryptionSettings, Keyring, Unprovided};
use anabranch_metrics::Registry;
use anabranch_node::{Node, NodeParts, NodeSettings, Peer, bind};
use anabranch_storage::{SimSettings, SimStore};
use anabranch_transport::TcpConnector;
use anabranch_types::{AccountId, NodeId, SystemClock};
use futures::future::join_all;
use tokio::time::timeout;

use crate::cluster::fast_settings;

/// How long the nodes may take until they are ready.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Nodes 1, 2, 3 and so on of one cluster.
pub struct Nodes {
    running: BTreeMap<u64, Running>,
}

struct Running {
    node: Node,
    registry: Registry,
    address: String,
}

impl Nodes {
    /// Starts `count` nodes, and waits until each of them is ready.
    ///
    /// # Panics
    /// If a node can't start, or is not ready in time.
    pub async fn start(count: u64) -> Self {
        let mut listeners = Vec::new();
        for id in 1..=count {
            let (listener, address) = bind("127.0.0.1:0").await.expect("a free port");
            listeners.push((id, listener, address.to_string()));
        }
        let peer = |(id, _, address): &(u64, _, String)| Peer {
            node: NodeId(*id),
            grpc_address: address.clone(),
        };
        let peers: Vec<Peer> = listeners.iter().map(peer).collect();
        // Together, because the nodes of a new cluster wait for each other.
        let starts = listeners.into_iter().map(|(id, listener, address)| {
            let settings = settings(id, &address, &peers);
            async move {
                let registry = Registry::default();
                let parts = NodeParts {
                    store: Arc::new(SimStore::new(SimSettings::default())),
                    connector: Arc::new(TcpConnector),
                    clock: Arc::new(SystemClock),
                    keyring: Keyring::new(Arc::new(Unprovided), EncryptionSettings::default()),
                    registry: registry.clone(),
                    add_services: Box::new(|_| {}),
                };
                let node = Node::start(settings, listener, id, parts).await;
                let node = node.expect("a node that starts");
                node.ready().await;
                (id, Running { node, registry, address })
            }
        });
        let running = timeout(START_PATIENCE, join_all(starts)).await;
        Self { running: running.expect("nodes that become ready").into_iter().collect() }
    }

    /// A client of the cluster.
    ///
    /// # Panics
    /// If no node sends the catalog.
    pub async fn client(&self) -> Client {
        let seeds = self.running.values().map(|running| running.address.clone()).collect();
        Client::connect(seeds, Arc::new(TcpConnector)).await.expect("a node with the catalog")
    }

    /// The node with that id, if it runs.
    pub fn node(&self, id: u64) -> Option<&Node> {
        self.running.get(&id).map(|running| &running.node)
    }

    /// The ids of the nodes that run.
    pub fn up(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    /// Metrics of a running node, as text.
    pub fn metrics(&self, id: u64) -> Option<String> {
        self.running.get(&id).map(|running| running.registry.render())
    }

    /// Stops a node at once, without a transfer of what it leads.
    pub async fn stop(&mut self, id: u64) {
        if let Some(running) = self.running.remove(&id) {
            running.node.stop().await;
        }
    }
}

fn settings(id: u64, address: &str, peers: &[Peer]) -> NodeSettings {
    NodeSettings {
        node: NodeId(id),
        cluster: "test".into(),
        zone: String::new(),
        grpc_address: address.to_owned(),
        api_address: String::new(),
        initial_nodes: peers.to_vec(),
        join: Vec::new(),
        replace_after: Duration::from_secs(900),
        account: AccountId::default(),
        cluster_key: ClusterKey::new([7; 32]),
        replicas: fast_settings(),
    }
}
