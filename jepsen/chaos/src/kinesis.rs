//! A client of the Kinesis API and of the DynamoDB API that makes one attempt for each call, and knows what a failure
//! means.
//!
//! The harness does not use an AWS SDK here, because every call must end as exactly one of three outcomes:
//!
//! - done: the response says so;
//! - [`Failure::Refused`]: the call certainly had no effect. No connection could be made, so no byte was sent; or the
//!   response is a refusal (a status from 400 to 499);
//! - [`Failure::Unknown`]: everything else: timeouts, resets, and statuses from 500 on.
//!
//! A wrong "refused" would hide a lost record, or accuse the server of a record that appears. In doubt the outcome is
//! unknown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) mod event_stream;

/// Region in signatures. A cluster serves every region.
const REGION: &str = "us-east-1";
/// Time to make a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Time from a request to the end of its response.
const ANSWER: Duration = Duration::from_secs(5);

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The call certainly had no effect: an AWS error code, or `not-connected`.
    Refused(String),
    /// The call may have had its effect, now or later.
    Unknown(String),
}

impl Failure {
    /// The error code or the reason.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused(reason) | Self::Unknown(reason) => reason,
        }
    }

    /// Whether another gateway may do better: no connection, or a node that is starting.
    pub(crate) fn is_about_the_gateway(&self) -> bool {
        self.reason().starts_with("not-connected")
    }

    fn not_connected(error: impl std::fmt::Display) -> Self {
        Self::Refused(format!("not-connected: {error}"))
    }

    fn unknown(error: impl std::fmt::Display) -> Self {
        Self::Unknown(error.to_string())
    }
}

/// An API of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Kinesis,
    Dynamo,
}

impl Service {
    /// The name in the scope of signatures.
    fn signing_name(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::Dynamo => "dynamodb",
        }
    }

    /// What comes before the operation in `x-amz-target`.
    fn target(self) -> &'static str {
        match self {
            Self::Kinesis => "Kinesis_20131202",
            Self::Dynamo => "DynamoDB_20120810",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Kinesis => "application/x-amz-json-1.1",
            Self::Dynamo => "application/x-amz-json-1.0",
        }
    }
}

/// A call without a result, and the body of the refusal. The body is null if there is no complete response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    pub(crate) body: Value,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, body: Value::Null }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

/// An access key, and the clock by which requests are signed. Clones share the clock.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    credentials: Credentials,
    /// Seconds by which the cluster's agreed time is ahead of this machine's.
    ahead: Arc<AtomicI64>,
}

impl Signer {
    /// A signer with this access key.
    pub(crate) fn new(key_id: &str, secret: &str, ahead: Arc<AtomicI64>) -> Self {
        let credentials = Credentials::new(key_id, secret, None, None, "chaos");
        Self { credentials, ahead }
    }

    fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let distance = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance }
    }

    /// Adds the signature's headers.
    fn sign(
        &self,
        service: Service,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
    ) -> Result<(), Failure> {
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(service.signing_name())
            .time(self.now())
            .settings(SigningSettings::default())
            .build()
            .map_err(Failure::not_connected)?
            .into();
        let headers = request.headers().iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let uri = request.uri().to_string();
        let signable = SignableRequest::new("POST", uri, headers, SignableBody::Bytes(body))
            .map_err(Failure::not_connected)?;
        let (instructions, _) =
            sign(signable, &parameters).map_err(Failure::not_connected)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// A connection to one gateway, made again when it breaks.
#[derive(Debug)]
pub(crate) struct Connection {
    gateway: SocketAddr,
    signer: Signer,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// The attempts of one SDK call share an invocation id, and the gateway recognises them by it.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// Header `amz-sdk-invocation-id`.
    pub(crate) id: String,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
}

impl Connection {
    /// A connection that is made at the first call.
    pub(crate) fn new(gateway: SocketAddr, signer: Signer) -> Self {
        Self { gateway, signer, sender: None }
    }

    /// Makes one attempt of an operation, such as `PutRecord`. Returns the JSON of the response.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn call(
        &mut self,
        operation: &str,
        body: &Value,
        invocation: Option<&Invocation>,
    ) -> Result<Value, Failure> {
        let response = self.send(operation, body, invocation).await?;
        let (status, body) = self.body(response).await?;
        Ok(answer(status, &body)?)
    }

    /// As [`Self::call`], for an operation of the DynamoDB API, such as `UpdateItem`.
    ///
    /// # Errors
    /// See [`Failure`]. A refusal has the body of the response, which may show the item.
    pub(crate) async fn dynamo(&mut self, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let request = self.request(Service::Dynamo, operation, body, None)?;
        let response = self.exchange(request).await?;
        let (status, body) = self.body(response).await?;
        answer(status, &body)
    }

    /// Status and body of a response.
    async fn body(&mut self, response: Response<Incoming>) -> Result<(u16, Bytes), Failure> {
        let status = response.status().as_u16();
        match timeout(ANSWER, response.into_body().collect()).await {
            Ok(Ok(body)) => Ok((status, body.to_bytes())),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(elapsed) => Err(self.broken(elapsed)),
        }
    }

    /// Sends a request. Returns the head of the response, with its body still to come.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn send(
        &mut self,
        operation: &str,
        body: &Value,
        invocation: Option<&Invocation>,
    ) -> Result<Response<Incoming>, Failure> {
        let request = self.request(Service::Kinesis, operation, body, invocation)?;
        self.exchange(request).await
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.sender().await?;
        match timeout(ANSWER, sender.send_request(request)).await {
            Ok(Ok(response)) => {
                self.sender = Some(sender);
                Ok(response)
            }
            Ok(Err(error)) => Err(Failure::unknown(error)),
            Err(elapsed) => Err(Failure::unknown(elapsed)),
        }
    }

    fn broken(&mut self, error: impl std::fmt::Display) -> Failure {
        self.sender = None;
        Failure::unknown(error)
    }

    fn request(
        &self,
        service: Service,
        operation: &str,
        body: &Value,
        invocation: Option<&Invocation>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let body = Bytes::from(body.to_string());
        let gateway = self.gateway;
        let mut request = Request::post(format!("http://{gateway}/"))
            .header("host", gateway.to_string())
            .header("content-type", service.content_type())
            .header("x-amz-target", format!("{}.{operation}", service.target()));
        if let Some(Invocation { id, attempt }) = invocation {
            request = request
                .header("amz-sdk-invocation-id", id)
                .header("amz-sdk-request", format!("attempt={attempt}; max=10"));
        }
        let mut request = request.body(Full::new(body.clone())).map_err(Failure::not_connected)?;
        self.signer.sign(service, &mut request, &body)?;
        // The request goes to one host, so its target is the path alone.
        *request.uri_mut() = http::Uri::from_static("/");
        Ok(request)
    }

    /// The connection that is open, or a new one. Nothing has been sent if this fails.
    async fn sender(&mut self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let connected = timeout(CONNECT, TcpStream::connect(self.gateway)).await;
        let stream = connected.map_err(Failure::not_connected)?.map_err(Failure::not_connected)?;
        stream.set_nodelay(true).map_err(Failure::not_connected)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(Failure::not_connected)?;
        // The connection's own error reaches the caller through its request.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// The outcome that a complete response means.
fn answer(status: u16, body: &[u8]) -> Result<Value, Refusal> {
    if status == 200 {
        return match body {
            [] => Ok(Value::Null),
            _ => serde_json::from_slice(body).map_err(|error| Failure::unknown(error).into()),
        };
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    // DynamoDB puts a namespace before the code.
    let code = body["__type"].as_str().unwrap_or("no error code");
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    let text = body["message"].as_str().or_else(|| body["Message"].as_str()).unwrap_or_default();
    let reason = format!("{code}: {text}");
    let failure = if (400..500).contains(&status) {
        Failure::Refused(reason)
    } else {
        Failure::Unknown(reason)
    };
    Err(Refusal { failure, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_refusal_says_that_nothing_happened() {
        let refused = br#"{"__type":"ResourceNotFoundException","message":"no stream"}"#;
        let failure = |status, body: &[u8]| Failure::from(answer(status, body).unwrap_err());
        let reason = "ResourceNotFoundException: no stream";
        assert_eq!(failure(400, refused), Failure::Refused(reason.into()));
        let internal = failure(500, br#"{"__type":"InternalFailureException"}"#);
        assert_eq!(internal, Failure::Unknown("InternalFailureException: ".into()));
        assert!(matches!(failure(503, b""), Failure::Unknown(_)));
        assert!(matches!(failure(200, b"{"), Failure::Unknown(_)));
        assert_eq!(answer(200, b""), Ok(Value::Null));
    }

    #[test]
    fn a_refusal_of_dynamo_keeps_the_item() {
        let body =
            br#"{"__type":"namespace#ConditionalCheckFailedException","Item":{"a":{"N":"1"}}}"#;
        let refusal = answer(400, body).unwrap_err();
        assert_eq!(refusal.body["Item"]["a"]["N"], "1");
        let expected = Failure::Refused("ConditionalCheckFailedException: ".into());
        assert_eq!(Failure::from(refusal), expected);
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_a_refusal() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let signer = Signer::new("AKIACHAOS", "secret", Arc::default());
        let mut connection = Connection::new(free, signer);
        let failure = connection.call("ListStreams", &Value::Null, None).await.unwrap_err();
        assert!(matches!(&failure, Failure::Refused(why) if why.starts_with("not-connected")));
    }
}
