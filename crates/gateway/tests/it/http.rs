//! Starts a gateway on a loopback port and speaks HTTP to it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch_gateway::{Authentication, Gateway, GatewaySettings, TokenKey};
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
/// Longer than anything a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway that serves, with the cluster and the clock behind it.
pub(crate) struct Server {
    pub address: SocketAddr,
    pub cluster: Arc<MemoryCluster>,
    pub clock: Arc<ManualClock>,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

/// What a gateway answered.
#[derive(Debug)]
pub(crate) struct Answer {
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
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_123)));
    let cluster = Arc::new(MemoryCluster::new(Arc::clone(&clock)));
    let gateway = change(Gateway::over(cluster.clone(), settings, clock.clone()));
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
    /// A signed call in JSON.
    pub(crate) async fn call(&self, operation: &str, body: Value) -> Answer {
        self.post(operation, &[], JSON, serde_json::to_vec(&body).unwrap()).await
    }

    /// A signed call in JSON that must succeed; null for an empty body.
    pub(crate) async fn ok(&self, operation: &str, body: Value) -> Value {
        let answer = self.call(operation, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{operation}: {answer:?}");
        answer.json()
    }

    /// A signed call in JSON that must fail: its code and message.
    pub(crate) async fn error(&self, operation: &str, body: Value) -> (String, String) {
        self.call(operation, body).await.error()
    }

    pub(crate) async fn post(
        &self,
        operation: &str,
        headers: &[(&str, &str)],
        content_type: &str,
        body: Vec<u8>,
    ) -> Answer {
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
    ) -> Answer {
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

    /// Tells the server to stop, and waits until it has.
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

impl Answer {
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).unwrap() }
    }

    /// Code and message of an error, which must stand in header and body alike.
    pub(crate) fn error(&self) -> (String, String) {
        assert!(!self.status.is_success(), "{self:?}");
        let body = self.json();
        let code = body["__type"].as_str().unwrap_or_default().to_owned();
        assert_eq!(self.headers["x-amzn-errortype"], *code);
        let message = if code == "SerializationException" { "Message" } else { "message" };
        (code, body[message].as_str().unwrap_or_default().to_owned())
    }
}

pub(crate) async fn collect(response: http::Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Waits for a condition, but not for ever.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it should have come true by now")
}

/// Sends bytes and reads what comes back until the server closes.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(stream).await
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `end` has come.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(end) {
        let read = within(stream.read_buf(&mut answer)).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}
