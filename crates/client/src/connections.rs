//! The client's gRPC connections: three to each node, and one to each address that it was given.
//!
//! A connection is made when it is first used and kept. A node whose address changes gets new ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_transport::{Connector, Destination};
use anabranch_types::NodeId;
use tonic::transport::Channel;

use crate::append_stream::AppendStream;

pub(crate) struct Connections {
    connector: Arc<dyn Connector>,
    /// Each node with the address at which it was reached last.
    peers: Mutex<HashMap<NodeId, (String, Peer)>>,
    /// Connections to addresses of which it is not known which node is there.
    seeds: Mutex<HashMap<String, Channel>>,
}

/// The connections to one node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peer {
    /// For everything that has no connection of its own.
    pub(crate) channel: Channel,
    /// A connection of its own: reads of megabytes don't delay appends.
    pub(crate) appends: AppendStream,
    /// A connection of its own: a tail stops when its reader is slow, and must not stop anything else.
    pub(crate) tails: Channel,
}

impl Connections {
    pub(crate) fn new(connector: Arc<dyn Connector>) -> Self {
        Self { connector, peers: Mutex::default(), seeds: Mutex::default() }
    }

    /// To a node, or to an address.
    pub(crate) fn channel(&self, to: &Destination) -> Channel {
        match to.node {
            Some(node) => self.peer(node, &to.address).channel,
            None => {
                let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
                let connected = || anabranch_transport::channel(&self.connector, to.clone());
                seeds.entry(to.address.clone()).or_insert_with(connected).clone()
            }
        }
    }

    pub(crate) fn peer(&self, node: NodeId, address: &str) -> Peer {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, peer)) = peers.get(&node)
            && known == address
        {
            return peer.clone();
        }
        let to = Destination::node(node, address);
        let channel = anabranch_transport::channel(&self.connector, to.clone());
        let appends = anabranch_transport::channel(&self.connector, to.clone());
        let tails = anabranch_transport::channel_of_slow_readers(&self.connector, to);
        let peer = Peer { channel, appends: AppendStream::new(appends), tails };
        peers.insert(node, (address.to_owned(), peer.clone()));
        peer
    }
}
