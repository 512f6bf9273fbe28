//! Accepts connections, at most `max_connections` at once, and waits for all of them at shutdown.
//!
//! Order of events: take a slot, accept a connection, serve it in a task that returns the slot. After the shutdown
//! signal the listener is closed first. Then each connection has `shutdown_grace` to finish its requests.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_types::LogLimiter;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::connection;
use crate::gateway::Gateway;

/// Largest head of an HTTP/2 request: sixteen times what SDKs send.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Largest number of bytes that hyper buffers for an HTTP/1.1 connection whose body is not read.
const HTTP1_BUFFER_BYTES: usize = 128 * 1024;
/// Largest number of concurrent requests on an HTTP/2 connection. Before the first valid signature fewer are allowed,
/// see `trust.rs`.
const HTTP2_STREAMS: u32 = 128;
/// Bytes that a client may send before the gateway reads them, on one HTTP/2 stream and on one connection. The bytes
/// of all connections are outside the byte budgets: the second constant times the number of connections.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Pause before the next `accept` if the process has no file descriptor or memory left.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(50);

pub(crate) type HttpBuilder = auto::Builder<TokioExecutor>;

pub(crate) async fn serve(
    gateway: &Gateway,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limit = gateway.platform.settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(limit));
    let (closing, closing_seen) = watch::channel(false);
    let builder = Arc::new(http_builder());
    let log_limiter = LogLimiter::default();
    let mut shutdown = pin!(shutdown);
    let result = loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots, &log_limiter) => accepted,
            () = shutdown.as_mut() => break Ok(()),
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => break Err(error),
        };
        let (gateway, builder, closing) = (gateway.clone(), builder.clone(), closing_seen.clone());
        tokio::spawn(async move {
            connection::drive(&gateway, &builder, stream, closing).await;
            drop(slot);
        });
    };
    drop(listener);
    closing.send_replace(true);
    // Each connection returns its slot when it ends, at the latest after the grace period.
    let all = u32::try_from(limit).unwrap_or(u32::MAX);
    drop(slots.acquire_many(all).await);
    result
}

/// Waits for a free slot and accepts the next connection.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    log_limiter: &LogLimiter,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, slot)),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if is_exhaustion(&error) => {
                if log_limiter.is_due(Instant::now()) {
                    tracing::warn!(%error, "no connection accepted");
                }
                tokio::time::sleep(EXHAUSTED_WAIT).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn is_exhaustion(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

fn http_builder() -> HttpBuilder {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `connection.rs` watches for idle connections itself. The timer of hyper would treat an idle connection as a
        // slow request.
        .header_read_timeout(None)
        .half_close(false)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES);
    builder
}
