//! The client: one POST, with a deadline for the connection, a deadline for the whole call, and a bound on the bytes of
//! the response.
//!
//! Connections are kept and used again for the same scheme, host and port. Each connection went to a checked address
//! when it was opened. A redirect is a response like any other: it is not followed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::{StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client as HyperClient};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::allow::AllowList;
use crate::connector::{Connector, InTime};
use crate::error::Error;
use crate::resolve::{Resolve, SystemResolver};
use crate::tls;

/// Idle connections are closed after this time, before most servers close them.
const IDLE: Duration = Duration::from_secs(20);
/// Idle connections to one host.
const IDLE_PER_HOST: usize = 32;

/// A client of servers outside the cluster. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    client: HyperClient<InTime<HttpsConnector<Connector>>, Full<Bytes>>,
}

/// Time limits of a client and a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For resolution, TCP and TLS together.
    pub connect: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5) }
    }
}

/// A POST.
#[derive(Clone, Debug)]
pub struct Request {
    /// `http://` or `https://`, a host, and the rest.
    pub url: Uri,
    /// Headers in addition to `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// For the whole call: connection, request, and response to its last byte.
    pub deadline: Duration,
    /// Bytes of the response's body.
    pub max_response_bytes: usize,
}

/// A complete response, of any status.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status; may be a redirect.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most as long as the request allowed.
    pub body: Bytes,
}

impl Client {
    /// A client that reaches what `allow` allows, and trusts the authorities that the operating system trusts. Without
    /// such authorities every `https://` call fails.
    pub fn new(allow: AllowList, deadlines: Deadlines) -> Self {
        let resolver = Arc::new(SystemResolver);
        match HttpsConnectorBuilder::new().with_provider_and_native_roots(tls::provider()) {
            Ok(builder) => Self::over(builder, Connector::new(allow, resolver), deadlines),
            Err(error) => {
                tracing::warn!(%error, "no trusted certificates: https to the outside fails");
                Self::with_roots(allow, deadlines, resolver, RootCertStore::empty())
            }
        }
    }

    /// As [`Self::new`], with a resolver and with the trusted authorities in `roots`.
    pub fn with_roots(
        allow: AllowList,
        deadlines: Deadlines,
        resolver: Arc<dyn Resolve>,
        roots: RootCertStore,
    ) -> Self {
        let config: ClientConfig = tls::trusting(roots);
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        Self::over(builder, Connector::new(allow, resolver), deadlines)
    }

    fn over(
        builder: HttpsConnectorBuilder<hyper_rustls::builderstates::WantsSchemes>,
        connector: Connector,
        deadlines: Deadlines,
    ) -> Self {
        let https = builder.https_or_http().enable_http1().wrap_connector(connector);
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(InTime { inner: https, limit: deadlines.connect });
        Self { client }
    }

    /// Sends `request` and reads the response to its end.
    ///
    /// # Errors
    /// Every [`Error`] but `Status`. [`Error::is_unsent`] says whether the server can have got the request.
    pub async fn post(&self, request: Request) -> Result<Response, Error> {
        let deadline = request.deadline;
        timeout(deadline, self.send(request)).await.unwrap_or(Err(Error::Timeout(deadline)))
    }

    async fn send(&self, request: Request) -> Result<Response, Error> {
        let Request { url, headers, body, max_response_bytes, .. } = request;
        check_url(&url)?;
        let mut request =
            hyper::Request::post(url).body(Full::new(body)).map_err(|_| Error::Url)?;
        *request.headers_mut() = headers;
        let response = self.client.request(request).await.map_err(|error| failure(&error))?;
        let (head, body) = response.into_parts();
        let body = read(body, max_response_bytes).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Response {
    /// This response if its status is 2xx.
    ///
    /// # Errors
    /// [`Error::Status`] for any other status.
    pub fn into_success(self) -> Result<Self, Error> {
        if self.status.is_success() { Ok(self) } else { Err(Error::Status(self.status.as_u16())) }
    }
}

fn check_url(url: &Uri) -> Result<(), Error> {
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority().ok_or(Error::Url)?;
    let has_user = authority.as_str().contains('@');
    if is_http && !has_user && !authority.host().is_empty() { Ok(()) } else { Err(Error::Url) }
}

/// The body, if it has at most `limit` bytes.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Error> {
    let too_large = Error::TooLarge { limit };
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > limit) {
        return Err(too_large);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Broken(text(&error)))?;
        let Ok(data) = frame.into_data() else { continue }; // trailers
        if data.len() > limit - read.len() {
            return Err(too_large);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// The error behind an error of hyper.
fn failure(error: &legacy::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(own) = inner.downcast_ref::<Error>() {
            return own.clone();
        }
        cause = inner.source();
    }
    if error.is_connect() { Error::Connect(text(error)) } else { Error::Broken(text(error)) }
}

/// An error with its causes, as one line.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
