//! Starts a gateway on a loopback port and speaks HTTP to it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch_gateway::{Authentication, Gateway, GatewaySettings, Platform, TokenKey};
use anabranch_kinesis::{Kinesis, KinesisSettings};
use anabranch_metrics::Registry;
use anabranch_testkit::MemoryCluster;
use anabranch_types::{ManualClock, Timestamp};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const JSON: &str = "application/x-amz-json-1.1";
pub(crate) const CBOR: &str = "application/x-amz-cbor-1.1";
pub(crate) const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/kinesis/aws4_request, \
                                    SignedHeaders=host;x-amz-date, Signature=00ff";
/// Longer than any test waits for a condition.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A running gateway with its cluster and its clock.
pub(crate) struct Server {
    pub address: SocketAddr,
    pub cluster: Arc<MemoryCluster>,
    pub clock: Arc<ManualClock>,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

/// A response of the gateway, with its whole body.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub(crate) fn settings() -> GatewaySettings {
    let mut settings = GatewaySettings::new(TokenKey::new([7; 32]));
    settings.authentication = Authentication::Any;
    settings
}

pub(crate) async fn start() -> Server {
    start_with(settings(), |gateway| gateway).await
}

pub(crate) async fn start_with(
    settings: GatewaySettings,
    change: impl FnOnce(Gateway) -> Gateway,
) -> Server {
    start_kinesis(settings, KinesisSettings::default(), change).await
}

pub(crate) async fn start_kinesis(
    settings: GatewaySettings,
    kinesis: KinesisSettings,
    change: impl FnOnce(Gateway) -> Gateway,
) -> Server {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_123)));
    let cluster = Arc::new(MemoryCluster::new(Arc::clone(&clock)));
    let platform = Platform::new(cluster.clone(), settings, clock.clone(), Registry::default());
    let kinesis = Kinesis::new(&platform, kinesis);
    let gateway = change(Gateway::new(platform).with_service(kinesis));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        gateway.serve(listener, shutdown).await
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    Server { address, cluster, clock, client, stop: Some(stop), serving }
}

impl Server {
    /// Sends a signed call in JSON.
    pub(crate) async fn call(&self, operation: &str, body: Value) -> Response {
        self.post(operation, &[], JSON, serde_json::to_vec(&body).unwrap()).await
    }

    /// Sends a signed call in JSON that must succeed. Returns the body, or null for an empty body.
    pub(crate) async fn ok(&self, operation: &str, body: Value) -> Value {
        let response = self.call(operation, body).await;
        assert_eq!(response.status, StatusCode::OK, "{operation}: {response:?}");
        response.json()
    }

    /// Sends a signed call in JSON that must fail. Returns code and message.
    pub(crate) async fn error(&self, operation: &str, body: Value) -> (String, String) {
        self.call(operation, body).await.error()
    }

    pub(crate) async fn post(
        &self,
        operation: &str,
        headers: &[(&str, &str)],
        content_type: &str,
        body: Vec<u8>,
    ) -> Response {
        let target = format!("Kinesis_20131202.{operation}");
        let mut all = vec![
            ("content-type", content_type),
            ("x-amz-target", &target),
            ("authorization", SIGNATURE),
            ("x-amz-date", "20260101T000000Z"),
        ];
        all.extend(headers);
        self.request(Method::POST, "/", &all, body).await
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap();
        collect(self.client.request(request).await.unwrap()).await
    }

    /// Creates an ACTIVE stream of `shards` shards.
    pub(crate) async fn create(&self, name: &str, shards: u32) {
        self.ok("CreateStream", json!({"StreamName": name, "ShardCount": shards})).await;
        self.cluster.activate();
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Stops the server and waits until it has stopped.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        within(&mut self.serving).await.unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).unwrap() }
    }

    /// Code and message of an error. Header and body must have the same code.
    pub(crate) fn error(&self) -> (String, String) {
        assert!(!self.status.is_success(), "{self:?}");
        let body = self.json();
        let code = body["__type"].as_str().unwrap_or_default().to_owned();
        assert_eq!(self.headers["x-amzn-errortype"], *code);
        let message = if code == "SerializationException" { "Message" } else { "message" };
        (code, body[message].as_str().unwrap_or_default().to_owned())
    }
}

pub(crate) async fn collect(response: http::Response<hyper::body::Incoming>) -> Response {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response { status: parts.status, headers: parts.headers, body }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Waits for a future, but fails the test after [`TEST_TIMEOUT`].
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(TEST_TIMEOUT, future).await.expect("the condition came true in time")
}

/// Sends a request and reads until the server closes the connection.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(stream).await
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    // A reset after the response counts as a close.
    let _ = within(stream.read_to_end(&mut response)).await;
    String::from_utf8_lossy(&response).into_owned()
}

/// Reads until `end` has arrived.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut response = Vec::new();
    while !String::from_utf8_lossy(&response).contains(end) {
        let read = within(stream.read_buf(&mut response)).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&response));
    }
    String::from_utf8_lossy(&response).into_owned()
}
