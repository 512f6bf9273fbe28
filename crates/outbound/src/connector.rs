//! Connects to a host whose address the allow list allows.
//!
//! Order of events: find the addresses of the host, keep the allowed ones, connect to the first that accepts. The
//! socket is opened to the checked address itself, so a second resolution cannot put another address in its place.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::addresses::canonical;
use crate::allow::AllowList;
use crate::error::Error;
use crate::resolve::Resolve;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens TCP connections to allowed addresses. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    allow: Arc<AllowList>,
    resolver: Arc<dyn Resolve>,
}

impl Connector {
    pub(crate) fn new(allow: AllowList, resolver: Arc<dyn Resolve>) -> Self {
        Self { allow: Arc::new(allow), resolver }
    }

    async fn connect(self, uri: Uri) -> Result<TcpStream, Error> {
        let host = uri.host().ok_or(Error::Url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let addresses = self.addresses(&host).await?;
        let allowed: Vec<IpAddr> =
            addresses.iter().copied().filter(|a| self.allow.allows(&host, *a)).collect();
        if allowed.is_empty() {
            return Err(Error::NotAllowed { host, addresses });
        }
        let mut last = None;
        for address in allowed {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    let _best_effort = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = Some(format!("{host} ({address}): {error}")),
            }
        }
        Err(Error::Connect(last.unwrap_or(host)))
    }

    /// Addresses of `host`, at least one. None of them is IPv4-mapped.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = host.parse() {
            return Ok(vec![canonical(address)]);
        }
        let failed = |error: io::Error| Error::Connect(format!("{host}: {error}"));
        let found = self.resolver.resolve(host.to_owned()).await.map_err(failed)?;
        if found.is_empty() {
            return Err(Error::Connect(format!("{host} has no address")));
        }
        Ok(found.into_iter().map(canonical).collect())
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.clone().connect(uri);
        async { Ok(TokioIo::new(connecting.await?)) }.boxed()
    }
}

/// A deadline for all that `inner` does to connect: resolution, TCP and TLS.
#[derive(Clone)]
pub(crate) struct InTime<C> {
    pub(crate) inner: C,
    pub(crate) limit: Duration,
}

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Response: Send,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(uri), self.limit);
        let late = move || Error::Connect(format!("not within {} ms", limit.as_millis()));
        async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_elapsed) => Err(late().into()),
            }
        }
        .boxed()
    }
}
