//! The gRPC port of a node: accepts connections, and does the TLS handshakes if TLS is on. The simulation puts an
//! [`Acceptor`] in the place of the TCP port.
//!
//! Handshakes run side by side, so a slow client does not make the others wait. At most 1,024 handshakes and 4,096
//! connections are open. A connection that is too many is closed at once. A failure of one connection is logged, at
//! a limited rate, and never ends the listener.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anabranch_tls::{MutualTls, Peer, Stream};
use anabranch_types::LogLimiter;
use futures::future::BoxFuture;
use futures::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::server::Connected;

use crate::connector::{HANDSHAKE_TIMEOUT, Io};

/// A bound gRPC port, plain or with mutual TLS.
#[derive(Debug)]
pub struct Listener {
    port: Port,
    tls: Option<MutualTls>,
}

/// Accepts connections in the place of a TCP port. The counterpart of [`crate::Connector`].
pub trait Acceptor: fmt::Debug + Send + Sync + 'static {
    /// Waits for the next connection. A call that is dropped loses no connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>>;
}

#[derive(Debug)]
enum Port {
    Tcp(TcpListener),
    Other(Box<dyn Acceptor>),
}

enum Accepted {
    Tcp(TcpStream),
    Other(Box<dyn Io>),
}

impl Port {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => Ok(Accepted::Tcp(listener.accept().await?.0)),
            Self::Other(acceptor) => Ok(Accepted::Other(acceptor.accept().await?)),
        }
    }
}

impl From<TcpListener> for Listener {
    /// Without TLS: anybody may connect and call anything.
    fn from(listener: TcpListener) -> Self {
        Self { port: Port::Tcp(listener), tls: None }
    }
}

impl From<Box<dyn Acceptor>> for Listener {
    /// Without TLS: anybody may connect and call anything.
    fn from(acceptor: Box<dyn Acceptor>) -> Self {
        Self { port: Port::Other(acceptor), tls: None }
    }
}

impl Listener {
    /// With mutual TLS: only a client with a certificate of the cluster's authority may connect.
    pub fn mutual(listener: TcpListener, tls: MutualTls) -> Self {
        Self { port: Port::Tcp(listener), tls: Some(tls) }
    }

    /// Whether connections use mutual TLS, so that the caller of each call is known.
    pub fn is_mutual(&self) -> bool {
        self.tls.is_some()
    }

    /// The connections, each once its handshake is done. The stream never ends.
    pub fn connections(self) -> impl futures::Stream<Item = Result<Connection, Infallible>> {
        let accepting = Accepting {
            port: self.port,
            tls: self.tls,
            handshakes: JoinSet::new(),
            slots: Arc::new(Semaphore::new(CONNECTIONS)),
            complaints: LogLimiter::default(),
        };
        stream::unfold(accepting, |mut accepting| async move {
            Some((Ok(accepting.next().await), accepting))
        })
    }
}

/// A connection to this node. Its bytes are decrypted if TLS is on.
pub struct Connection {
    bytes: Bytes,
    peer: Peer,
    _slot: OwnedSemaphorePermit,
}

enum Bytes {
    Socket(Stream),
    Other(Box<dyn Io>),
}

/// Maximum number of handshakes at a time. Further connections wait in the queue of the port.
const HANDSHAKES: usize = 1024;
/// Maximum number of connections at a time. Three come from each other node, and the rest from clients and
/// operators. A further connection is closed at once.
const CONNECTIONS: usize = 4096;
/// Pause before the next `accept` after a failure, for example because the process has no file descriptor or memory
/// left.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(50);

struct Accepting {
    port: Port,
    tls: Option<MutualTls>,
    handshakes: JoinSet<io::Result<(Stream, Peer)>>,
    slots: Arc<Semaphore>,
    complaints: LogLimiter,
}

impl Accepting {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Ok((stream, peer))) => {
                        if let Some(connection) = self.connection(Bytes::Socket(stream), peer) {
                            return connection;
                        }
                    }
                    Ok(Err(error)) if self.complaints.is_due(Instant::now()) => {
                        tracing::warn!(%error, "no TLS connection with a client");
                    }
                    Ok(Err(_)) | Err(_) => {}
                },
                accepted = self.port.accept(), if self.handshakes.len() < HANDSHAKES => {
                    match accepted {
                        Ok(accepted) => {
                            if let Some(connection) = self.take(accepted) {
                                return connection;
                            }
                        }
                        Err(error) => {
                            if self.complaints.is_due(Instant::now()) {
                                tracing::warn!(%error, "no connection accepted");
                            }
                            sleep(EXHAUSTED_WAIT).await;
                        }
                    }
                }
            }
        }
    }
}

async fn shake_hands(tls: MutualTls, stream: TcpStream) -> io::Result<(Stream, Peer)> {
    let shaken = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
    shaken.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
}

impl Accepting {
    /// The connection, or `None` if there are too many or its handshake begins only now.
    fn take(&mut self, accepted: Accepted) -> Option<Connection> {
        match (accepted, &self.tls) {
            (Accepted::Tcp(stream), tls) => {
                // Without this, a small response waits for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                let Some(tls) = tls else {
                    return self.connection(Bytes::Socket(Stream::Plain(stream)), Peer::Anybody);
                };
                self.handshakes.spawn(shake_hands(tls.clone(), stream));
                None
            }
            (Accepted::Other(io), _) => self.connection(Bytes::Other(io), Peer::Anybody),
        }
    }

    /// The connection, or `None` if there are too many.
    fn connection(&self, bytes: Bytes, peer: Peer) -> Option<Connection> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(Connection { bytes, peer, _slot: slot });
        }
        if self.complaints.is_due(Instant::now()) {
            tracing::warn!(connections = CONNECTIONS, "too many gRPC connections: one is closed");
        }
        None
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().bytes {
            Bytes::Socket(stream) => Pin::new(stream).poll_read(cx, buffer),
            Bytes::Other(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().bytes {
            Bytes::Socket(stream) => Pin::new(stream).poll_write(cx, bytes),
            Bytes::Other(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().bytes {
            Bytes::Socket(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Bytes::Other(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Socket(stream) => stream.is_write_vectored(),
            Bytes::Other(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().bytes {
            Bytes::Socket(stream) => Pin::new(stream).poll_flush(cx),
            Bytes::Other(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().bytes {
            Bytes::Socket(stream) => Pin::new(stream).poll_shutdown(cx),
            Bytes::Other(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
