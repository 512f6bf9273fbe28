//! The common state of all clients of a run: the history, the gateways, the keys, and the sign to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use chaos_lab::{Node, NodeNumber};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use crate::certificates::Certificates;
use crate::kinesis::Signer;
use crate::recorder::Recorder;
use crate::session::Session;

/// A handle to the run, for its clients.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) recorder: Recorder,
    /// Nodes whose gateways clients call.
    pub(crate) gateways: Arc<[NodeNumber]>,
    /// The access key of the user `root`.
    pub(crate) signer: Signer,
    /// Seconds by which the clocks of all nodes are ahead of the machine's.
    pub(crate) ahead: Arc<AtomicI64>,
    pub(crate) seed: u64,
    /// The certificates of a run whose gRPC ports use mutual TLS.
    pub(crate) certificates: Option<Certificates>,
    /// The network of the sessions.
    pub(crate) network: Network,
    stop: watch::Receiver<bool>,
}

/// A network by which sessions reach the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The one with faults.
    Clients,
    /// That of the harness.
    Management,
}

impl Network {
    /// Kinesis API of a node.
    pub(crate) fn api(self, node: NodeNumber) -> SocketAddr {
        match self {
            Self::Clients => Node::api(node),
            Self::Management => Node::management_api(node),
        }
    }

    /// gRPC port of a node.
    pub(crate) fn grpc(self, node: NodeNumber) -> SocketAddr {
        match self {
            Self::Clients => Node::grpc(node),
            Self::Management => Node::management_grpc(node),
        }
    }
}

impl Scene {
    pub(crate) fn new(
        recorder: Recorder,
        gateways: impl Iterator<Item = NodeNumber>,
        signer: Signer,
        ahead: Arc<AtomicI64>,
        seed: u64,
        certificates: Option<Certificates>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            recorder,
            gateways: gateways.collect(),
            signer,
            ahead,
            seed,
            certificates,
            network: Network::Management,
            stop,
        }
    }

    /// The same scene in the network with faults, for clients.
    pub(crate) fn for_clients(&self) -> Self {
        Self { network: Network::Clients, ..self.clone() }
    }

    /// The same scene with other gateways.
    pub(crate) fn with_gateways(&self, gateways: &[NodeNumber]) -> Self {
        Self { gateways: gateways.into(), ..self.clone() }
    }

    /// Whether clients go on.
    pub(crate) fn goes_on(&self) -> bool {
        !*self.stop.borrow()
    }

    /// Waits until clients are to stop.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // The sender lives as long as the run.
        let _stopped = stop.wait_for(|stop| *stop).await;
    }

    /// A random generator for the client with this name and number.
    pub(crate) fn random(&self, name: &str, number: u64) -> StdRng {
        let mut seed = self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in name.bytes() {
            seed = seed.rotate_left(7) ^ u64::from(byte);
        }
        StdRng::seed_from_u64(seed)
    }

    /// A new process that calls as `root`.
    pub(crate) fn session(&self, name: &str, number: u64) -> Session {
        self.session_as(self.signer.clone(), name, number)
    }

    /// A new process that calls with another key.
    pub(crate) fn session_as(&self, signer: Signer, name: &str, number: u64) -> Session {
        Session::new(self.clone(), signer, self.random(name, number))
    }
}
