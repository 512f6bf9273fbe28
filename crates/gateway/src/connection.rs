//! One connection: when it has been silent for too long, and when it must end.
//!
//! Only whole requests, bytes of answers and events that are taken count as activity, so a client that sends its headers
//! byte by byte, pings, or takes nothing of its answer is cut off. Over HTTP/2 that holds for each answer by itself: one
//! that isn't taken ends the connection, however busy the client is beside it, for it holds memory that others wait for.

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
use crate::response::{Body, Taken};
use crate::server::HttpBuilder;
use crate::settings::GatewaySettings;
use crate::trust::Trust;

/// How long a silent connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// HTTP/2 acknowledges pings and settings with less than this: not progress of an answer.
const PROGRESS_BYTES: usize = 1024;

/// Serves the requests of one connection until the client closes it, it is silent for too long, or
/// `closing` turns true.
pub(crate) async fn drive(
    gateway: &Gateway,
    builder: &HttpBuilder,
    stream: TcpStream,
    mut closing: watch::Receiver<bool>,
) {
    let _open = gateway.platform.metrics.connection();
    // Without it small answers wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let address = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
    let peer = Peer { address, is_secure: gateway.tls.is_some() };
    let stream = match &gateway.tls {
        None => Stream::Plain(stream),
        Some(tls) => {
            let limit = gateway.platform.settings.header_read_timeout;
            // Boxed, so that a connection has nothing of it once it is done.
            match Box::pin(shake_hands(tls, stream, limit, &mut closing)).await {
                Some(stream) => stream,
                None => return,
            }
        }
    };
    let activity = Arc::new(Activity::new(Trust::new(gateway)));
    let io =
        WatchedStream::new(stream, Arc::clone(&activity), gateway.platform.settings.write_timeout);
    let closing_events = closing.clone();
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        // The first bytes, which may come one by one, need not have told.
        activity.is_http2.store(request.version() == http::Version::HTTP_2, Ordering::Relaxed);
        let (gateway, activity) = (gateway.clone(), Arc::clone(&activity));
        let closing = closing_events.clone();
        // Done before the request has a task of its own: a head for which there is no room is gone before the next one
        // is read.
        let (parts, body) = request.into_parts();
        let admitted = match activity.trust.admit(&parts) {
            Ok(reservation) => Ok((parts, body, reservation)),
            Err(error) => Err(handle::refuse(&gateway, &parts, &error)),
        };
        async move {
            let _request = activity.begin();
            let answer = match admitted {
                Ok((parts, body, reservation)) => {
                    let trust = &activity.trust;
                    let request = Admitted { trust, peer, parts, body, reservation };
                    handle::handle(&gateway, request).await
                }
                Err(refused) => refused,
            };
            Ok::<_, Infallible>(answer.map(|body| watched(body, &activity, closing)))
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut check = Duration::ZERO;
    let grace = loop {
        tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            () = sleep(check) => match activity.verdict(&gateway.platform.settings) {
                Verdict::CheckIn(wait) => check = wait,
                Verdict::Close => break GOODBYE,
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

/// Has `body` tell what is taken of it. A small one is sent with what comes next, and one over HTTP/1.1 is watched by the
/// socket: nothing else is on its way there.
fn watched(body: Body, activity: &Arc<Activity>, closing: watch::Receiver<bool>) -> Body {
    let is_http2 = activity.is_http2.load(Ordering::Relaxed);
    let is_large = body.size_hint().lower() > PROGRESS_BYTES as u64;
    let taken: Taken = match (is_http2, body.is_events()) {
        (true, is_events) if is_events || is_large => activity.open_answer(),
        (_, true) => {
            let activity = Arc::clone(activity);
            Arc::new(move || activity.progress())
        }
        (_, false) => return body,
    };
    body.watched(taken, closing)
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::info!(%error, "connection ended");
    }
}

/// What a connection has been doing. Times are milliseconds since it was accepted.
#[derive(Debug)]
struct Activity {
    trust: Trust,
    accepted: Instant,
    requests: AtomicUsize,
    last_progress: AtomicU64,
    /// When the first byte of an unfinished head came; [`NEVER`] if there is none.
    head_began: AtomicU64,
    is_http2: AtomicBool,
    /// Of each answer that is being taken, when more of it was. Those that are over are left out now and then.
    answers: Mutex<Vec<Weak<AtomicU64>>>,
}

const NEVER: u64 = u64::MAX;

enum Verdict {
    CheckIn(Duration),
    Close,
}

/// A request that is being answered.
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
            answers: Mutex::default(),
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

    /// Watches an answer until what is returned is gone; it is to be called with each piece that is taken.
    fn open_answer(self: &Arc<Self>) -> Taken {
        let taken = Arc::new(AtomicU64::new(self.now()));
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() == answers.capacity() {
            answers.retain(|answer| answer.strong_count() > 0);
        }
        answers.push(Arc::downgrade(&taken));
        let activity = Arc::clone(self);
        Arc::new(move || {
            activity.progress();
            taken.store(activity.now(), Ordering::Relaxed);
        })
    }

    /// Whether nothing was taken of some answer for as long as a connection may be idle.
    fn has_stuck_answer(&self, limit: Duration) -> bool {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        let now = self.now();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = answers.iter().filter_map(Weak::upgrade);
        open.any(|taken| now.saturating_sub(taken.load(Ordering::Relaxed)) >= limit)
    }

    /// Fails if there is no room for `bytes` of a head.
    fn bytes_received(&self, bytes: usize) -> io::Result<()> {
        let idle = self.requests.load(Ordering::Relaxed) == 0;
        if !idle || self.is_http2.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = self.now();
        let (done, busy) = (Ordering::Relaxed, Ordering::Relaxed);
        // Fails if the head began earlier, which is what counts.
        let _ = self.head_began.compare_exchange(NEVER, now, done, busy);
        self.trust.grow_head(bytes)
    }

    fn bytes_sent(&self, bytes: usize) {
        if bytes >= PROGRESS_BYTES || !self.is_http2.load(Ordering::Relaxed) {
            self.progress();
        }
    }

    /// Whether to close, or when to look again. Looks at least once per header timeout, so a slow
    /// head lives for less than two of them.
    fn verdict(&self, settings: &GatewaySettings) -> Verdict {
        let interval = settings.idle_timeout.min(settings.header_read_timeout);
        if self.has_stuck_answer(settings.idle_timeout) {
            return Verdict::Close;
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Verdict::CheckIn(interval);
        }
        let now = self.now();
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        let head_began = self.head_began.load(Ordering::Relaxed);
        if head_began != NEVER && since(head_began) >= settings.header_read_timeout {
            return Verdict::Close;
        }
        let idle = since(self.last_progress.load(Ordering::Relaxed));
        match settings.idle_timeout.checked_sub(idle) {
            None | Some(Duration::ZERO) => Verdict::Close,
            Some(left) => Verdict::CheckIn(left.min(interval)),
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.0.progress();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that tells [`Activity`] what passes above TLS, and fails a write that makes no progress.
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

    /// Turns a write that has been pending for too long into an error.
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

    /// Pending until nothing has been written for too long.
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
        // A socket keeps nothing, so there it says nothing of a write that waits.
        if self.stream.is_buffered() {
            self.stuck = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
