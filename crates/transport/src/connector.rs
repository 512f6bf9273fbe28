//! How this node connects to other nodes: over TCP, over TLS, or over the network of a test.
//!
//! If a connector fails, the other end has seen no part of a call, so [`crate::was_not_sent`] is true. That holds for
//! every reason: no address for the name, no route, no answer, or a failed TLS handshake.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_tls::MutualTls;
use anabranch_types::{LogLimiter, NodeId};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A byte stream to another node.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Address of a connection, and the node that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `host:port`.
    pub address: String,
    /// The node that must be there. Checked with TLS only. With `None` any node of the cluster is accepted.
    pub node: Option<NodeId>,
}

impl Destination {
    /// Destination `address`, at which `node` must be.
    pub fn node(node: NodeId, address: impl Into<String>) -> Self {
        Self { address: address.into(), node: Some(node) }
    }

    /// Destination `address`, at which any node of the cluster may be.
    pub fn any(address: impl Into<String>) -> Self {
        Self { address: address.into(), node: None }
    }
}

/// Makes connections to nodes: over TCP, over TLS, or over the network of a test.
pub trait Connector: Send + Sync + 'static {
    /// Connects to `to`. An error says that no call was sent.
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;
}

/// Plain TCP without Nagle's delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

/// Maximum time to make a connection. If a packet is lost, a new attempt after this time is faster than the
/// operating system, which sends it again after one second, then two, then four.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

async fn connect_tcp(address: String) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connector for TcpConnector {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        Box::pin(async move { Ok(Box::new(connect_tcp(to.address).await?) as Box<dyn Io>) })
    }
}

/// Mutual TLS over TCP. The other end must show a certificate of the node that is wanted.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    tls: MutualTls,
    complaints: Arc<LogLimiter>,
}

impl TlsConnector {
    /// Connections on which this end shows the certificate of `tls`.
    pub fn new(tls: MutualTls) -> Self {
        Self { tls, complaints: Arc::default() }
    }
}

impl Connector for TlsConnector {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let Self { tls, complaints } = self.clone();
        Box::pin(async move {
            let Destination { address, node } = to;
            let stream = connect_tcp(address.clone()).await?;
            let shaken = timeout(HANDSHAKE_TIMEOUT, tls.connect(stream, node)).await;
            match shaken.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn Io>),
                Err(error) => {
                    if complaints.is_due(Instant::now()) {
                        tracing::warn!(address, %error, "no TLS connection");
                    }
                    Err(error)
                }
            }
        })
    }
}

/// Maximum time of a TLS handshake, on either end.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
