//! The other nodes: their addresses, whether they are heard, and calls to them.
//!
//! Replicas talk to other nodes through the transport, everything else through gRPC channels (`remote.rs`). Both learn
//! addresses here, so they always know the same nodes.

use std::sync::Arc;

use anabranch_transport::{Clocks, Liveness, Transport};
use anabranch_types::NodeId;

use crate::remote::Remotes;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    own: NodeId,
    transport: Transport,
    remotes: Remotes,
}

impl Peers {
    pub(crate) fn new(own: NodeId, transport: Transport, remotes: Remotes) -> Self {
        Self { own, transport, remotes }
    }

    /// Reaches `node` at `address` from now on.
    pub(crate) fn set(&self, node: NodeId, address: &str) {
        self.transport.set_peer(node, address);
        self.remotes.set(node, address);
    }

    /// The other nodes of which an address is known.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        let mut nodes = self.remotes.nodes();
        nodes.retain(|node| *node != self.own);
        nodes
    }

    pub(crate) fn remotes(&self) -> &Remotes {
        &self.remotes
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn liveness(&self) -> &Arc<Liveness> {
        self.transport.liveness()
    }

    /// Whether `node` counts as gone: nothing was heard of it for a second, or it says that its disk is stalled.
    pub(crate) fn is_silent(&self, node: NodeId) -> bool {
        self.liveness().is_silent(node)
    }

    pub(crate) fn clocks(&self) -> &Arc<Clocks> {
        self.transport.clocks()
    }
}
