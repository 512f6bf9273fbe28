//! The common state of all clients of a run: the history, the gateways, the keys, and the sign to stop.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use chaos_lab::{Network, NodeNumber};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use crate::certificates::Certificates;
use crate::cluster::Cluster;
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
    /// The network with faults.
    network_of_clients: Network,
    stop: watch::Receiver<bool>,
}

impl Scene {
    /// The scene of a cluster, in the network of the harness.
    pub(crate) fn new(
        recorder: Recorder,
        cluster: &Cluster,
        signer: Signer,
        ahead: Arc<AtomicI64>,
        seed: u64,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let Cluster { lab, template, .. } = cluster;
        Self {
            recorder,
            gateways: template.members.as_slice().into(),
            signer,
            ahead,
            seed,
            certificates: template.certificates.clone(),
            network: lab.management(),
            network_of_clients: lab.network(),
            stop,
        }
    }

    /// The same scene in the network with faults, for clients.
    pub(crate) fn for_clients(&self) -> Self {
        Self { network: self.network_of_clients, ..self.clone() }
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
