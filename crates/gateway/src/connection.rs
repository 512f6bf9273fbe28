//! Drives one connection: decides when it was idle for too long and when it must end.
//!
//! Order of events: the TLS handshake if there is one, then requests, then a graceful end. A check runs at least once
//! in each header time limit. It closes the connection if a request head is incomplete for too long, if there was no
//! activity for too long, or if a client stopped taking a response.
//!
//! Only three things count as activity: a complete request, bytes of a response that the client took, and events that
//! it took. So the gateway closes a connection whose client sends its headers byte by byte, only sends pings, or
//! takes nothing of its response. Over HTTP/2 each response is watched on its own. A response that the client does
//! not take ends the whole connection, however active its other streams are, because the response holds memory that
//! others wait for.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anabranch_tls::Stream;
use http_body::Body as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::auth::Peer;
use crate::gateway::Gateway;
use crate::handle::{self, Admitted};
use crate::handshake::shake_hands;
use crate::response::{Body, OnProgress};
use crate::server::HttpBuilder;
use crate::settings::GatewaySettings;
use crate::trust::Trust;

/// How long an idle connection may take to close.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// HTTP/2 acknowledges pings and settings with fewer bytes than this. So such a write is no progress of a response.
const PROGRESS_BYTES: usize = 1024;

/// Serves the requests of one connection until the client closes it, until it was idle for too long, or until
/// `closing` turns true.
pub(crate) async fn drive(
    gateway: &Gateway,
    builder: &HttpBuilder,
    stream: TcpStream,
    mut closing: watch::Receiver<bool>,
) {
    let _open = gateway.platform.metrics.connection();
    // Without this, a small response would wait until the client acknowledges the response before it.
    let _ = stream.set_nodelay(true);
    let address = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
    let peer = Peer { address, is_secure: gateway.tls.is_some() };
    let stream = match &gateway.tls {
        None => Stream::Plain(stream),
        Some(tls) => {
            let limit = gateway.platform.settings.header_read_timeout;
            // Boxed, so that the memory of the handshake is freed when the handshake is done.
            match Box::pin(shake_hands(tls, stream, limit, &mut closing)).await {
                Some(stream) => stream,
                None => return,
            }
        }
    };
    let activity = Arc::new(Activity::new(Trust::new(&gateway.platform)));
    let io =
        WatchedStream::new(stream, Arc::clone(&activity), gateway.platform.settings.write_timeout);
    let closing_events = closing.clone();
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        // The guess from the first bytes may be wrong, because they may have arrived one by one. The request knows
        // its version.
        activity.is_http2.store(request.version() == http::Version::HTTP_2, Ordering::Relaxed);
        let (gateway, activity) = (gateway.clone(), Arc::clone(&activity));
        let closing = closing_events.clone();
        // This runs before the request has a task of its own. So a head without free capacity is dropped before the
        // next head is read.
        let (parts, body) = request.into_parts();
        let admitted = match activity.trust.admit(&parts) {
            Ok(reservation) => Ok((parts, body, reservation)),
            Err(error) => Err(handle::refuse(&gateway, &parts, &error)),
        };
        async move {
            let _request = activity.begin();
            let response = match admitted {
                Ok((parts, body, reservation)) => {
                    let trust = &activity.trust;
                    let request = Admitted { trust, peer, parts, body, reservation };
                    handle::handle(&gateway, request).await
                }
                Err(refused) => refused,
            };
            Ok::<_, Infallible>(response.map(|body| watched(body, &activity, closing)))
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut check = Duration::ZERO;
    let grace = loop {
        tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            () = sleep(check) => match activity.next_step(&gateway.platform.settings) {
                NextStep::CheckAgain(wait) => check = wait,
                NextStep::Close => break CLOSE_GRACE,
            },
            () = activity.trust.head_refused() => return,
            _ = closing.wait_for(|closing| *closing) => break gateway.platform.settings.shutdown_grace,
        }
    };
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(grace, connection).await {
        log_end(ended);
    }
}

/// Makes `body` report what the client takes of it. A small HTTP/2 body needs no report, because it is sent together
/// with other frames. An HTTP/1.1 body needs no report either: the connection sends nothing else, so the write time
/// limit of [`WatchedStream`] covers it.
fn watched(body: Body, activity: &Arc<Activity>, closing: watch::Receiver<bool>) -> Body {
    let is_http2 = activity.is_http2.load(Ordering::Relaxed);
    let is_large = body.size_hint().lower() > PROGRESS_BYTES as u64;
    let on_progress: OnProgress = match (is_http2, body.is_events()) {
        (true, is_events) if is_events || is_large => activity.watch_response(),
        (_, true) => {
            let activity = Arc::clone(activity);
            Arc::new(move || activity.progress())
        }
        (_, false) => return body,
    };
    body.watched(on_progress, closing)
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::info!(%error, "connection ended");
    }
}

/// Activity of one connection. Times are milliseconds since the connection was accepted.
#[derive(Debug)]
struct Activity {
    trust: Trust,
    accepted: Instant,
    requests: AtomicUsize,
    last_progress: AtomicU64,
    /// When the first byte of an unfinished head arrived. [`NEVER`] if there is no unfinished head.
    head_began: AtomicU64,
    is_http2: AtomicBool,
    /// For each response that the client is taking, the time when it last took a part. Finished responses are removed
    /// when the list is full.
    responses: Mutex<Vec<Weak<AtomicU64>>>,
}

const NEVER: u64 = u64::MAX;

enum NextStep {
    CheckAgain(Duration),
    Close,
}

/// A request whose response is not complete. It counts in [`Activity::requests`] until it is dropped.
struct Request<'a>(&'a Activity);

impl Activity {
    fn new(trust: Trust) -> Self {
        Self {
            trust,
            accepted: Instant::now(),
            requests: AtomicUsize::new(0),
            last_progress: AtomicU64::new(0),
            head_began: AtomicU64::new(NEVER),
            is_http2: AtomicBool::new(false),
            responses: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn begin(&self) -> Request<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_began.store(NEVER, Ordering::Relaxed);
        Request(self)
    }

    fn progress(&self) {
        self.last_progress.store(self.now(), Ordering::Relaxed);
    }

    /// Watches a response. The caller calls the returned function for each part that the client takes, and drops it
    /// at the end of the response.
    fn watch_response(self: &Arc<Self>) -> OnProgress {
        let last_taken = Arc::new(AtomicU64::new(self.now()));
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        if responses.len() == responses.capacity() {
            responses.retain(|response| response.strong_count() > 0);
        }
        responses.push(Arc::downgrade(&last_taken));
        let activity = Arc::clone(self);
        Arc::new(move || {
            activity.progress();
            last_taken.store(activity.now(), Ordering::Relaxed);
        })
    }

    /// Whether the client has taken nothing of some response for `limit`.
    fn has_stuck_response(&self, limit: Duration) -> bool {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        let now = self.now();
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = responses.iter().filter_map(Weak::upgrade);
        open.any(|last_taken| now.saturating_sub(last_taken.load(Ordering::Relaxed)) >= limit)
    }

    /// Counts `bytes` of a head. Fails if no capacity is left for them.
    fn bytes_received(&self, bytes: usize) -> io::Result<()> {
        let idle = self.requests.load(Ordering::Relaxed) == 0;
        if !idle || self.is_http2.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = self.now();
        let (done, busy) = (Ordering::Relaxed, Ordering::Relaxed);
        // This fails if the head began earlier. The earlier time is the right one.
        let _ = self.head_began.compare_exchange(NEVER, now, done, busy);
        self.trust.grow_head(bytes)
    }

    fn bytes_sent(&self, bytes: usize) {
        if bytes >= PROGRESS_BYTES || !self.is_http2.load(Ordering::Relaxed) {
            self.progress();
        }
    }

    /// Decides whether to close the connection, or when to check again. The checks are at most one header time limit
    /// apart, so an incomplete head exists for less than two of these limits.
    fn next_step(&self, settings: &GatewaySettings) -> NextStep {
        let interval = settings.idle_timeout.min(settings.header_read_timeout);
        if self.has_stuck_response(settings.idle_timeout) {
            return NextStep::Close;
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return NextStep::CheckAgain(interval);
        }
        let now = self.now();
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        let head_began = self.head_began.load(Ordering::Relaxed);
        if head_began != NEVER && since(head_began) >= settings.header_read_timeout {
            return NextStep::Close;
        }
        let idle = since(self.last_progress.load(Ordering::Relaxed));
        match settings.idle_timeout.checked_sub(idle) {
            None | Some(Duration::ZERO) => NextStep::Close,
            Some(left) => NextStep::CheckAgain(left.min(interval)),
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.0.progress();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream above TLS that reports to [`Activity`] and fails a write that makes no progress.
struct WatchedStream {
    stream: Stream,
    activity: Arc<Activity>,
    write_timeout: Duration,
    stuck: Option<Pin<Box<Sleep>>>,
    received_any: bool,
}

impl WatchedStream {
    fn new(stream: Stream, activity: Arc<Activity>, write_timeout: Duration) -> Self {
        Self { stream, activity, write_timeout, stuck: None, received_any: false }
    }

    /// Passes on the result of a write, but fails a write that was pending for too long.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            self.stuck = None;
            self.activity.bytes_sent(*result.as_ref().unwrap_or(&0));
            return Poll::Ready(result);
        }
        self.wait(cx)
    }

    /// Pending until nothing was written for too long. Then it fails.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let timeout = self.write_timeout;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let received = &buffer.filled()[before..];
        if !received.is_empty() {
            if !self.received_any {
                self.received_any = true;
                self.activity.is_http2.store(received.starts_with(b"PRI "), Ordering::Relaxed);
            }
            self.activity.bytes_received(received.len())?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            return self.wait(cx);
        }
        // A plain socket has no buffer, so its flush always succeeds and proves nothing about a pending write.
        if self.stream.is_buffered() {
            self.stuck = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
