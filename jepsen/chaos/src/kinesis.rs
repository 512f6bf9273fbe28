//! A client of the Kinesis API that makes one attempt for each call, and knows what a failure means.
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
    fn sign(&self, request: &mut Request<Full<Bytes>>, body: &[u8]) -> Result<(), Failure> {
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("kinesis")
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
        let status = response.status().as_u16();
        let body = timeout(ANSWER, response.into_body().collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(self.broken(error)),
            Err(elapsed) => return Err(self.broken(elapsed)),
        };
        answer(status, &body)
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
        let request = self.request(operation, body, invocation)?;
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
        operation: &str,
        body: &Value,
        invocation: Option<&Invocation>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let body = Bytes::from(body.to_string());
        let gateway = self.gateway;
        let mut request = Request::post(format!("http://{gateway}/"))
            .header("host", gateway.to_string())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Kinesis_20131202.{operation}"));
        if let Some(Invocation { id, attempt }) = invocation {
            request = request
                .header("amz-sdk-invocation-id", id)
                .header("amz-sdk-request", format!("attempt={attempt}; max=10"));
        }
        let mut request = request.body(Full::new(body.clone())).map_err(Failure::not_connected)?;
        self.signer.sign(&mut request, &body)?;
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
fn answer(status: u16, body: &[u8]) -> Result<Value, Failure> {
    if status == 200 {
        return match body {
            [] => Ok(Value::Null),
            _ => serde_json::from_slice(body).map_err(Failure::unknown),
        };
    }
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = error["__type"].as_str().unwrap_or("no error code");
    let text = error["message"].as_str().or_else(|| error["Message"].as_str()).unwrap_or_default();
    let reason = format!("{code}: {text}");
    Err(if (400..500).contains(&status) {
        Failure::Refused(reason)
    } else {
        Failure::Unknown(reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_refusal_says_that_nothing_happened() {
        let refused = br#"{"__type":"ResourceNotFoundException","message":"no stream"}"#;
        let failure = answer(400, refused).unwrap_err();
        assert_eq!(failure, Failure::Refused("ResourceNotFoundException: no stream".into()));
        let failure = answer(500, br#"{"__type":"InternalFailureException"}"#).unwrap_err();
        assert_eq!(failure, Failure::Unknown("InternalFailureException: ".into()));
        assert!(matches!(answer(503, b""), Err(Failure::Unknown(_))));
        assert!(matches!(answer(200, b"{"), Err(Failure::Unknown(_))));
        assert_eq!(answer(200, b""), Ok(Value::Null));
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
