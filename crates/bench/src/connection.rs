//! One connection to a Kinesis endpoint, cheap enough for a load generator: a socket, hyper's wire code, no pool. A
//! broken connection is opened again by the next call.

use std::sync::Arc;
use std::time::Duration;

use anabranch_access::signature::{self, Credentials, Signer};
use anabranch_tls::ApiClient;
use anabranch_types::{Clock, SystemClock, dates};
use anyhow::Result;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::options::{Address, Target};

/// Attempts of one call, the first included. They last longer than the election of a new leader.
const ATTEMPTS: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An AWS API on an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AwsService {
    /// What `X-Amz-Target` begins with.
    target: &'static str,
    content_type: &'static str,
    /// Name of the service in signatures.
    name: &'static str,
}

impl AwsService {
    pub(crate) const KINESIS: Self = Self {
        target: "Kinesis_20131202",
        content_type: "application/x-amz-json-1.1",
        name: "kinesis",
    };
    pub(crate) const DYNAMODB: Self = Self {
        target: "DynamoDB_20120810",
        content_type: "application/x-amz-json-1.0",
        name: "dynamodb",
    };
}

/// Address of an endpoint and the way to call it; all connections to it share this.
#[derive(Debug)]
pub(crate) struct Endpoint {
    service: AwsService,
    host: String,
    port: u16,
    uri: Uri,
    host_header: HeaderValue,
    authorization: HeaderValue,
    date: HeaderValue,
    /// Signs requests if the environment has credentials; `None` sends a made-up signature.
    signer: Option<Signer>,
    tls: Option<ApiClient>,
    http2: bool,
    timeout: Duration,
    attempts: u32,
}

/// A connection, and the number of its failed attempts.
#[derive(Debug)]
pub(crate) struct Connection {
    endpoint: Arc<Endpoint>,
    sender: Option<Sender>,
    /// Attempts that failed so far.
    pub(crate) errors: u64,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection could not be opened, or it broke.
    #[error("no connection: {0}")]
    Connection(String),
    /// No response within the timeout.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A response with another status than 200.
    #[error("{status}: {body}")]
    Refused { status: StatusCode, body: String },
}

impl CallError {
    /// Whether an SDK would retry the call.
    fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Timeout(_) => true,
            Self::Refused { status, body } => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || body.contains("ThroughputExceeded")
                    || body.contains("Throttl")
                    || body.contains("LimitExceeded")
            }
        }
    }
}

impl Endpoint {
    /// Every endpoint of `--endpoint`. Connection `number` uses endpoint `number`, modulo their count.
    ///
    /// # Errors
    /// When an endpoint is not `http://HOST:PORT` or `https://HOST:PORT`, or an authority is missing.
    pub(crate) fn all(target: &Target) -> Result<Vec<Arc<Self>>> {
        Self::of(target, AwsService::KINESIS)
    }

    /// As [`Self::all`], for another API.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub(crate) fn of(target: &Target, service: AwsService) -> Result<Vec<Arc<Self>>> {
        let addresses = target.addresses()?.into_iter();
        addresses.map(|address| Self::new(target, service, address)).collect()
    }

    fn new(
        target: &Target,
        service: AwsService,
        Address { host, port, is_https }: Address,
    ) -> Result<Arc<Self>> {
        let authority = format!("{host}:{port}");
        let protocol = if target.http2 { "h2" } else { "http/1.1" };
        let tls = is_https.then(|| target.tls.api_client(protocol)).transpose()?;
        let scheme = if is_https { "https" } else { "http" };
        let date = dates::basic_text(SystemClock.now());
        // In HTTP/2 the request carries scheme and authority; in HTTP/1.1 it carries the path, and a Host header.
        let uri = if target.http2 { format!("{scheme}://{authority}/") } else { "/".into() };
        Ok(Arc::new(Self {
            service,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            uri: uri.parse()?,
            host_header: authority.parse()?,
            authorization: authorization(&date, service.name).parse()?,
            date: date.parse()?,
            signer: signer(service.name),
            tls,
            http2: target.http2,
            timeout: target.timeout,
            attempts: if target.no_retry { 1 } else { ATTEMPTS },
        }))
    }

    async fn connect(&self) -> Result<Sender, CallError> {
        let stream = TcpStream::connect((&*self.host, self.port)).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        match &self.tls {
            None => self.begin(stream).await,
            Some(tls) => self.begin(tls.connect(&self.host, stream).await.map_err(broken)?).await,
        }
    }

    /// Begins HTTP on an open connection.
    async fn begin<S>(&self, stream: S) -> Result<Sender, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        // The task of a connection ends when its sender is dropped. If it ends with an error, the next call fails.
        if self.http2 {
            let handshake = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = handshake.map_err(broken)?;
            tokio::spawn(connection);
            Ok(Sender::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(broken)?;
            tokio::spawn(connection);
            Ok(Sender::Http1(sender))
        }
    }

    /// The request of one attempt. All attempts of a call carry the same invocation id, as those of an SDK do.
    fn request(
        &self,
        operation: &str,
        body: Bytes,
        id: &str,
        attempt: u32,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        if !self.http2 {
            headers.insert(HOST, self.host_header.clone());
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.service.content_type));
        headers.insert(USER_AGENT, HeaderValue::from_static("anabranch-bench"));
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(HeaderName::from_static("x-amz-date"), self.date.clone());
        for (name, value) in [
            ("x-amz-target", format!("{}.{operation}", self.service.target)),
            ("amz-sdk-invocation-id", id.to_owned()),
            ("amz-sdk-request", format!("attempt={attempt}; max={}", self.attempts)),
        ] {
            let value = value.parse().expect("printable ASCII is a header value");
            headers.insert(HeaderName::from_static(name), value);
        }
        if let Some(signer) = &self.signer {
            self.sign(signer, headers, &body);
        }
        request
    }

    /// Replaces the made-up signature by a valid one.
    fn sign(&self, signer: &Signer, headers: &mut HeaderMap, body: &[u8]) {
        headers.remove(AUTHORIZATION);
        headers.remove("x-amz-date");
        let mut sent: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        if self.http2 {
            sent.push(("host", self.host_header.as_bytes()));
        }
        let headers_to_sign = sent.iter().copied();
        let request = signature::Request {
            method: "POST",
            path: "/",
            query: "",
            headers: headers_to_sign,
            body,
        };
        let signed = signer.sign(&request, SystemClock.now());
        let token = signed.token.map(|token| ("x-amz-security-token", token));
        let added = [("authorization", signed.authorization), ("x-amz-date", signed.date)];
        for (name, value) in added.into_iter().chain(token) {
            let value = value.parse().expect("printable ASCII is a header value");
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

impl Connection {
    /// A connection that is opened by its first call.
    pub(crate) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self { endpoint: Arc::clone(endpoint), sender: None, errors: 0 }
    }

    /// `count` connections, distributed over `endpoints` in turn.
    pub(crate) fn spread(endpoints: &[Arc<Endpoint>], count: u32) -> impl Iterator<Item = Self> {
        endpoints.iter().cycle().zip(0..count).map(|(endpoint, _)| Self::new(endpoint))
    }

    /// Calls `operation`, with the retries of an SDK, and returns the body of the response.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub(crate) async fn call(&mut self, operation: &str, body: Bytes) -> Result<Bytes, CallError> {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            match self.attempt(operation, body.clone(), &id, attempt).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.errors += 1;
                    if attempt >= self.endpoint.attempts || !error.is_transient() {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            attempt += 1;
        }
    }

    async fn attempt(
        &mut self,
        operation: &str,
        body: Bytes,
        id: &str,
        attempt: u32,
    ) -> Result<Bytes, CallError> {
        let limit = self.endpoint.timeout;
        let request = self.endpoint.request(operation, body, id, attempt);
        let answer = timeout(limit, self.exchange(request)).await;
        let answer = answer.unwrap_or(Err(CallError::Timeout(limit)));
        if matches!(answer, Err(CallError::Connection(_) | CallError::Timeout(_))) {
            self.sender = None;
        }
        answer
    }

    /// One attempt of an operation with a streaming response. Returns when the response begins.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn open(
        &mut self,
        operation: &str,
        body: Bytes,
    ) -> Result<Incoming, CallError> {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        let request = self.endpoint.request(operation, body, &id, 1);
        let response = self.send(request).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response.into_body());
        }
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Err(CallError::Refused { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Bytes, CallError> {
        let response = self.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(CallError::Refused { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, CallError> {
        let is_open = match &mut self.sender {
            Some(sender) => sender.is_ready().await,
            None => false,
        };
        if !is_open {
            self.sender = None;
        }
        let sender = match &mut self.sender {
            Some(sender) => sender,
            none => none.insert(self.endpoint.connect().await?),
        };
        sender.send(request).await.map_err(broken)
    }
}

impl Sender {
    /// Whether a request can be sent. A server may close a connection between two calls; that is not counted as an
    /// error.
    async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

fn broken(error: impl std::fmt::Display) -> CallError {
    CallError::Connection(error.to_string())
}

/// A signer with the credentials and the region of the environment, as SDKs read them. `None` without credentials.
fn signer(service: &str) -> Option<Signer> {
    let is_plain =
        |value: &String| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    let variable = |name: &str| std::env::var(name).ok().filter(is_plain);
    let credentials = Credentials {
        key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret: variable("AWS_SECRET_ACCESS_KEY")?,
        token: variable("AWS_SESSION_TOKEN"),
    };
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    Some(Signer::new(credentials, region.as_deref().unwrap_or("us-east-1"), service))
}

/// An Authorization header in the form of signature version 4 with a made-up key. Nothing is signed.
fn authorization(date: &str, service: &str) -> String {
    let day = date.split('T').next().unwrap_or_default();
    format!(
        "AWS4-HMAC-SHA256 Credential=ANABRANCHBENCH/{day}/us-east-1/{service}/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={}",
        "0".repeat(64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_and_failed_calls_are_retried_as_by_an_sdk() {
        let refused = |status: StatusCode, body: &str| {
            CallError::Refused { status, body: body.to_owned() }.is_transient()
        };
        assert!(refused(StatusCode::SERVICE_UNAVAILABLE, ""));
        assert!(refused(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException"));
        assert!(!refused(StatusCode::BAD_REQUEST, "ResourceNotFoundException"));
    }
}
