//! The listener for metrics and health checks: `listen-metrics` in the configuration of a node.
//!
//! It has an address of its own, because callers of the Kinesis API must not see the state of the cluster. It serves
//! GET and HEAD of `/metrics`, `/healthz` and `/readyz` in plain HTTP/1.1, and closes each connection after one
//! response.
//!
//! Connections at a time, the bytes of a head and the time of a connection are bounded. The listener never reads a
//! body. An error of a connection, or of `accept`, never ends the listener or the node.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anabranch_metrics::{CONTENT_TYPE, Registry};
use anabranch_types::LogLimiter;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at a time. Further connections wait in the backlog of the system.
const CONNECTIONS: usize = 16;
/// How long a connection may take until the head of its request is complete. A silent connection holds a slot.
const HEAD_LIMIT: Duration = Duration::from_secs(2);
/// How long a connection may take in all.
const LIMIT: Duration = Duration::from_secs(10);
/// Buffer for the head of a request. A longer head is refused.
const HEAD_BYTES: usize = 16 * 1024;
/// Before `accept` is tried again after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// Sources of the responses.
pub(crate) struct Sources {
    pub(crate) registry: Registry,
    /// Returns whether the node is ready.
    pub(crate) readiness: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Serves `listener` as long as the future is polled.
pub(crate) async fn serve(listener: TcpListener, sources: Sources) -> Infallible {
    serve_within(LIMIT, listener, sources).await
}

async fn serve_within(limit: Duration, listener: TcpListener, sources: Sources) -> Infallible {
    let (sources, slots) = (Arc::new(sources), Arc::new(Semaphore::new(CONNECTIONS)));
    let complaints = LogLimiter::default();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return std::future::pending().await; // never: nobody closes the semaphore
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let sources = Arc::clone(&sources);
                tokio::spawn(async move {
                    let _late_or_broken = timeout(limit, answer(stream, sources)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                if complaints.is_due(std::time::Instant::now()) {
                    tracing::warn!(%error, "no connection accepted for metrics");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Serves the one request of a connection.
async fn answer(stream: TcpStream, sources: Arc<Sources>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let sources = Arc::clone(&sources);
        async move { Ok::<_, Infallible>(respond(&request, sources).await) }
    });
    let mut server = http1::Builder::new();
    // A connection that stays open between two scrapes would only take a slot.
    server.keep_alive(false).half_close(false).max_buf_size(HEAD_BYTES);
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    server.serve_connection(TokioIo::new(stream), service).await
}

async fn respond<B>(request: &Request<B>, sources: Arc<Sources>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" if (sources.readiness)() => plain(StatusCode::OK, "ready\n"),
        "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => metrics(sources).await,
    }
}

/// Renders on a blocking thread: with thousands of replicas it takes milliseconds.
async fn metrics(sources: Arc<Sources>) -> Response<Full<Bytes>> {
    match tokio::task::spawn_blocking(move || sources.registry.render()).await {
        Ok(text) => response(StatusCode::OK, CONTENT_TYPE, text),
        Err(error) => {
            tracing::error!(%error, "metrics can't be rendered");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics can't be rendered\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE_HEADER, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use anabranch_metrics::Metric;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A listener over a registry with one counter, which is 7, and a switch for its readiness.
    async fn listen() -> (SocketAddr, Arc<AtomicBool>) {
        listen_within(LIMIT).await
    }

    async fn listen_within(limit: Duration) -> (SocketAddr, Arc<AtomicBool>) {
        let registry = Registry::default();
        registry.counter(Metric::new("anabranch_test_total", "Test.")).add(7);
        let ready = Arc::new(AtomicBool::new(true));
        let is_ready = Arc::clone(&ready);
        let readiness = Box::new(move || is_ready.load(Ordering::Relaxed));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_within(limit, listener, Sources { registry, readiness }));
        (address, ready)
    }

    /// All bytes until the end of the connection.
    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The connection of a refused request may end with a reset.
        let _ended = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await
    }

    #[tokio::test]
    async fn a_connection_ends_after_one_response_with_the_metrics() {
        let (address, _) = listen().await;
        let answer = get(address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("content-type: {CONTENT_TYPE}\r\n")), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("anabranch_test_total 7\n"), "{answer}");
        let head = exchange(address, "HEAD /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn readiness_is_asked_at_each_call() {
        let (address, ready) = listen().await;
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
        ready.store(false, Ordering::Relaxed);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let (address, _) = listen().await;
        for path in ["/", "/cluster", "/metrics/"] {
            assert!(get(address, path).await.starts_with("HTTP/1.1 404 "), "{path}");
        }
        let post = "POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        let answer = exchange(address, post).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, _) = listen().await;
        let field = "a".repeat(HEAD_BYTES);
        let large = format!("GET /metrics HTTP/1.1\r\nhost: a\r\nx: {field}\r\n\r\n");
        let answer = exchange(address, &large).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(), "{answer}");
    }

    #[tokio::test]
    async fn silent_connections_take_their_slots_for_a_limited_time_only() {
        let (address, _) = listen_within(Duration::from_millis(200)).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let waiting = tokio::spawn(async move { get(address, "/healthz").await });
        for stream in &mut silent {
            let mut nothing = [0];
            // The read ends when the listener closes the connection.
            assert_eq!(stream.read(&mut nothing).await.unwrap(), 0);
        }
        assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200 "));
    }
}
