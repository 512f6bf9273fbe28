//! HTTP responses: their bodies, and the headers that all of them have.
//!
//! A body is whole or a sequence of events. Bytes of a body that are counted against a budget stay counted until the
//! connection drops them ([`counted`]). [`Body::watched`] reports what the client takes, so that `connection.rs` can
//! close a connection whose client takes nothing. [`finish`] adds request ids and CORS headers to each response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::query::Envelope;
use anabranch_aws::protocol::{Protocol, RPC_V2_CBOR, SMITHY_PROTOCOL};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN,
};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;

use crate::budget::Permit;
use crate::metrics::{Direction, GatewayMetrics};

/// A response of the gateway.
pub(crate) type HttpResponse = Response<Body>;

/// The body of a response.
pub(crate) enum Body {
    /// The whole body is in memory.
    Whole(Whole),
    /// The body arrives in pieces.
    Events(Events),
}

/// Pieces of a body, in order.
pub type Events = BoxStream<'static, Bytes>;

/// The unsent rest of a body that is in memory.
pub(crate) struct Whole {
    rest: Bytes,
    /// Called for each piece that the connection takes. `None`: the connection takes the whole body at once.
    on_progress: Option<OnProgress>,
}

/// Called when a client takes more of a response. Dropped when the response is over.
pub(crate) type OnProgress = Arc<dyn Fn() + Send + Sync>;

/// Largest piece of a watched body.
const PIECE_BYTES: usize = 64 * 1024;

impl Body {
    /// Whether the body arrives in pieces.
    pub(crate) const fn is_events(&self) -> bool {
        matches!(self, Self::Events(_))
    }

    /// Makes the body call `on_progress` for each piece that the connection takes. Drops `on_progress` with the last
    /// byte of the body. Events end early when `closing` turns true.
    pub(crate) fn watched(
        self,
        on_progress: OnProgress,
        mut closing: watch::Receiver<bool>,
    ) -> Self {
        let events = match self {
            Self::Events(events) => events,
            Self::Whole(Whole { rest: bytes, .. }) => {
                let held = WatchedBytes { bytes, _on_progress: Arc::clone(&on_progress) };
                return Self::Whole(Whole {
                    rest: Bytes::from_owner(held),
                    on_progress: Some(on_progress),
                });
            }
        };
        let closed = async move {
            let _either_way = closing.wait_for(|closing| *closing).await;
        };
        Self::Events(events.take_until(closed).inspect(move |_| on_progress()).boxed())
    }
}

impl Whole {
    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(on_progress) = &self.on_progress else {
            return Some(std::mem::take(&mut self.rest));
        };
        on_progress();
        Some(self.rest.split_to(self.rest.len().min(PIECE_BYTES)))
    }
}

impl From<Bytes> for Body {
    fn from(rest: Bytes) -> Self {
        Self::Whole(Whole { rest, on_progress: None })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.next().map(|piece| Ok(Frame::data(piece)))),
            Self::Events(events) => {
                events.poll_next_unpin(cx).map(|piece| Some(Ok(Frame::data(piece?))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.rest.is_empty(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.rest.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
const EXPOSED: &str =
    "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date";

/// Encoded output of an operation.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The body. Empty for an operation without output.
    pub bytes: Vec<u8>,
    /// Permit of a body that is counted against the budget until it is sent.
    pub permit: Option<Permit>,
}

/// Output of a successful call.
pub(crate) enum Done {
    /// A body in memory.
    Response(Encoded),
    /// Frames of an event stream.
    Events(Events),
}

impl Done {
    /// Puts the envelope of the query protocol around the body.
    pub(crate) fn in_envelope(self, envelope: &Envelope<'_>) -> Self {
        match self {
            Self::Response(Encoded { bytes, permit }) => {
                Self::Response(Encoded { bytes: envelope.around(&bytes), permit })
            }
            Self::Events(events) => Self::Events(events),
        }
    }

    /// Counts the bytes of the body. Frames of an event stream are counted when the connection takes them.
    pub(crate) fn counted(self, metrics: &GatewayMetrics) -> Self {
        match self {
            Self::Response(encoded) => {
                metrics.body_bytes(Direction::Out, encoded.bytes.len());
                Self::Response(encoded)
            }
            Self::Events(events) => {
                let metrics = metrics.clone();
                let count = move |frame: &Bytes| metrics.body_bytes(Direction::Out, frame.len());
                Self::Events(events.inspect(count).boxed())
            }
        }
    }
}

/// The response to a call that succeeded.
pub(crate) fn success(protocol: Protocol, done: Done) -> HttpResponse {
    let mut response = match done {
        Done::Response(encoded) => {
            let body = counted(encoded.bytes, encoded.permit);
            build(StatusCode::OK, protocol.content_type(), body)
        }
        Done::Events(events) => {
            let mut response = Response::new(Body::Events(events));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
            response
        }
    };
    if protocol == Protocol::RpcV2Cbor {
        response.headers_mut().insert(SMITHY_PROTOCOL, HeaderValue::from_static(RPC_V2_CBOR));
    }
    response
}

/// Makes bytes that stay counted against the budget until the connection drops them.
pub fn counted(bytes: Vec<u8>, permit: Option<Permit>) -> Bytes {
    match permit {
        Some(permit) => Bytes::from_owner(CountedBytes { bytes, _permit: permit }),
        None => Bytes::from(bytes),
    }
}

/// The response to a call that failed. The error code is in a header and in the body.
pub(crate) fn failure(protocol: Protocol, fault: &Fault, envelope: &Envelope<'_>) -> HttpResponse {
    of(protocol.failure(fault, envelope))
}

/// A response whose body is in memory.
pub(crate) fn of(response: Response<Vec<u8>>) -> HttpResponse {
    response.map(|body| Body::from(Bytes::from(body)))
}

/// The response to an HTTP/1.1 request without exactly one `Host` header. It ends the connection.
///
/// Source: RFC 9112, section 3.2.
pub(crate) fn without_host() -> HttpResponse {
    let mut response = plain(StatusCode::BAD_REQUEST, "a request has exactly one Host header\n");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A response with a line of text, for health checks.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> HttpResponse {
    build(status, "text/plain", text.into())
}

/// Metrics as text.
pub(crate) fn metrics(text: String, permit: Option<Permit>) -> HttpResponse {
    let body = counted(text.into_bytes(), permit);
    build(StatusCode::OK, anabranch_metrics::CONTENT_TYPE, body)
}

/// The response to a preflight request of a browser. It allows the headers and the method that the browser asks for.
pub(crate) fn preflight(request: &HeaderMap) -> HttpResponse {
    let mut response = Response::new(Body::from(Bytes::new()));
    let pairs = [
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
    ];
    for (asked, allowed) in pairs {
        if let Some(value) = request.get(asked) {
            response.headers_mut().insert(allowed, value.clone());
        }
    }
    response.headers_mut().insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("172800"));
    response
}

/// Adds the headers that all responses have: request ids, and CORS headers if the request has an `Origin` that may
/// call.
pub(crate) fn finish(
    response: &mut HttpResponse,
    request: &HeaderMap,
    is_foreign: bool,
    id: uuid::Uuid,
) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut [0; 36])) {
        headers.insert("x-amzn-requestid", value);
    }
    // Only a response to a preflight request has a maximum age. It gets no extended request id.
    let is_preflight = headers.contains_key(ACCESS_CONTROL_MAX_AGE);
    let extended = base64_simd::STANDARD.encode_to_string(rand::random::<[u8; 72]>());
    if let Ok(value) = HeaderValue::try_from(extended)
        && !is_preflight
    {
        headers.insert("x-amz-id-2", value);
    }
    if request.contains_key(ORIGIN) && !is_foreign {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// CRC-32 (IEEE) of the body as it is sent, as a decimal number. DynamoDB sends it. Without it, the Go SDK fails when
/// it closes the body.
const X_AMZ_CRC32: &str = "x-amz-crc32";

fn build(status: StatusCode, content_type: &'static str, body: Bytes) -> HttpResponse {
    let has_sum = content_type == Protocol::Json10.content_type();
    let sum = has_sum.then(|| HeaderValue::from(crc32fast::hash(&body)));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(sum) = sum {
        headers.insert(X_AMZ_CRC32, sum);
    }
    response
}

/// Bytes of a watched body. They hold the callback until the connection has dropped all of them.
struct WatchedBytes {
    bytes: Bytes,
    _on_progress: OnProgress,
}

impl AsRef<[u8]> for WatchedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that are returned to the budget when the connection drops them.
struct CountedBytes {
    bytes: Vec<u8>,
    _permit: Permit,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
