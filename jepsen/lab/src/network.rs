//! The two networks by which nodes are reached: the one with faults, and that of the harness.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::node::NodeNumber;

/// Port of the Kinesis API of every node.
const API_PORT: u16 = 4567;
/// gRPC port of every node.
const GRPC_PORT: u16 = 4568;

/// A network. The addresses of the nodes differ only in their last byte, which is the number of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network([u8; 3]);

impl Network {
    pub(crate) const fn new(beginning: [u8; 3]) -> Self {
        Self(beginning)
    }

    /// The host with this last byte.
    pub(crate) fn host(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Address of a node.
    #[must_use]
    pub fn address(self, node: NodeNumber) -> Ipv4Addr {
        self.host(node.0)
    }

    /// Kinesis API of a node.
    #[must_use]
    pub fn api(self, node: NodeNumber) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address(node)), API_PORT)
    }

    /// gRPC port of a node.
    #[must_use]
    pub fn grpc(self, node: NodeNumber) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address(node)), GRPC_PORT)
    }
}
