//! A simulated machine with a node: what stays when its process ends, and the start of a process.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anabranch_access::ClusterKey;
use anabranch_encryption::{EncryptionSettings, Keyring, Unprovided};
use anabranch_metrics::Registry;
use anabranch_node::{Node, NodeParts, NodeSettings, Peer};
use anabranch_replica::ReplicaSettings;
use anabranch_transport::Acceptor;
use anabranch_types::{AccountId, NodeId};

use crate::clock::WallClock;
use crate::disk::Disk;
use crate::network::{SimAcceptor, SimConnector, address_of};

/// A machine. Cheap to clone; all clones are the same machine.
#[derive(Clone)]
pub struct Machine(Rc<RefCell<State>>);

struct State {
    id: u64,
    nodes: u64,
    clock: WallClock,
    disk: Disk,
    /// Number of starts so far. It is part of the boot of each start.
    boots: u64,
    /// The node, once it has started.
    running: Option<Node>,
}

impl Machine {
    /// Machine `id` of a cluster with the nodes 1 to `nodes`.
    pub fn new(id: u64, nodes: u64, clock: WallClock, disk: Disk) -> Self {
        Self(Rc::new(RefCell::new(State { id, nodes, clock, disk, boots: 0, running: None })))
    }

    /// Number of the node.
    pub fn id(&self) -> u64 {
        self.0.borrow().id
    }

    /// Number of starts so far.
    pub fn boots(&self) -> u64 {
        self.0.borrow().boots
    }

    /// The running node; `None` while it is down or starts.
    pub fn node(&self) -> Option<Node> {
        self.0.borrow().running.clone()
    }

    /// The disk as it is now.
    pub fn disk(&self) -> Disk {
        self.0.borrow().disk.clone()
    }

    /// The wall clock.
    pub fn clock(&self) -> WallClock {
        self.0.borrow().clock.clone()
    }

    /// Ends the process, as a loss of power does. The caller ends its tasks. The next start finds `disk`.
    pub fn cut_power(&self, disk: Disk) {
        let mut state = self.0.borrow_mut();
        state.disk = disk;
        state.running = None;
    }

    /// The process of the node: starts it, and never returns.
    ///
    /// # Errors
    /// If the node can't start.
    pub async fn run(self) -> turmoil::Result {
        let (settings, boot, disk, clock) = {
            let mut state = self.0.borrow_mut();
            state.boots += 1;
            let boot = state.id << 32 | state.boots;
            (settings(state.id, state.nodes), boot, state.disk.clone(), state.clock.clone())
        };
        tokio::spawn(disk.clone().run());
        let listener: Box<dyn Acceptor> = Box::new(SimAcceptor::bind().await?);
        let parts = NodeParts {
            store: Arc::new(disk.store().clone()),
            connector: Arc::new(SimConnector),
            clock: Arc::new(clock),
            keyring: Keyring::new(Arc::new(Unprovided), EncryptionSettings::default()),
            registry: Registry::default(),
            add_services: Box::new(|_| {}),
        };
        let node = Node::start(settings, listener, boot, parts).await?;
        self.0.borrow_mut().running = Some(node.clone());
        let failure = node.failed().await;
        Err(format!("the disk of node {} failed: {}", self.id(), failure.reason).into())
    }
}

fn settings(id: u64, nodes: u64) -> NodeSettings {
    let peer = |node| Peer { node: NodeId(node), grpc_address: address_of(node) };
    NodeSettings {
        node: NodeId(id),
        cluster: "sim".into(),
        zone: String::new(),
        grpc_address: address_of(id),
        api_address: String::new(),
        initial_nodes: (1..=nodes).map(peer).collect(),
        join: Vec::new(),
        replace_after: Duration::from_secs(900),
        account: AccountId::default(),
        cluster_key: ClusterKey::new([7; 32]),
        replicas: ReplicaSettings {
            checkpoint_interval: Duration::from_secs(1),
            maintenance_interval: Duration::from_millis(200),
            append_deadline: Duration::from_secs(5),
            ..ReplicaSettings::default()
        },
    }
}
