//! Connections between simulated machines: turmoil's TCP in the place of the operating system's.
//!
//! turmoil delays, holds and drops segments. It never sends a dropped segment again, so a connection that lost one hangs
//! until an end of it gives up.

use std::io;
use std::time::Duration;

use anabranch_transport::{Acceptor, Connector, Destination, Io};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;
use turmoil::net::{TcpListener, TcpStream};

/// The gRPC port of every node.
const PORT: u16 = 9000;
/// Longest time to make a connection, as for real ones.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Name of the machine of a node.
pub fn host_of(node: u64) -> String {
    format!("node{node}")
}

/// `host:port` of a node.
pub fn address_of(node: u64) -> String {
    format!("{}:{PORT}", host_of(node))
}

/// Connects from the machine on which the caller runs.
#[derive(Clone, Copy, Debug)]
pub struct SimConnector;

impl Connector for SimConnector {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        async move {
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(to.address)).await??;
            Ok(Box::new(stream) as Box<dyn Io>)
        }
        .boxed()
    }
}

/// The gRPC port of the machine on which the caller runs.
pub struct SimAcceptor(TcpListener);

impl SimAcceptor {
    /// Opens the port.
    ///
    /// # Errors
    /// If it is open already.
    pub async fn bind() -> io::Result<Self> {
        Ok(Self(TcpListener::bind(("0.0.0.0", PORT)).await?))
    }
}

impl std::fmt::Debug for SimAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimAcceptor")
    }
}

impl Acceptor for SimAcceptor {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        async { Ok(Box::new(self.0.accept().await?.0) as Box<dyn Io>) }.boxed()
    }
}
