//! HTTP responses: their bodies, and the headers that every one has.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anabranch_aws::fault::Fault;
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

/// A response of the port.
pub(crate) type HttpResponse = Response<Body>;

/// The body of an answer.
pub(crate) enum Body {
    /// All of it is there.
    Whole(Whole),
    /// It comes piece by piece.
    Events(Events),
}

/// Pieces of a body as they come.
pub type Events = BoxStream<'static, Bytes>;

/// The rest of a body that is all there.
pub(crate) struct Whole {
    rest: Bytes,
    /// Hears of each piece that is taken; without it the body is taken at once.
    taken: Option<Taken>,
}

/// Hears that a client took more of an answer.
pub(crate) type Taken = Arc<dyn Fn() + Send + Sync>;

/// What is taken at once of a body that somebody watches.
const PIECE_BYTES: usize = 64 * 1024;

impl Body {
    /// Whether it comes piece by piece.
    pub(crate) const fn is_events(&self) -> bool {
        matches!(self, Self::Events(_))
    }

    /// Tells `taken` of each piece that is taken, and lets go of it with the last byte of the body. One that comes piece
    /// by piece ends early when `closing` turns true.
    pub(crate) fn watched(self, taken: Taken, mut closing: watch::Receiver<bool>) -> Self {
        let events = match self {
            Self::Events(events) => events,
            Self::Whole(Whole { rest: bytes, .. }) => {
                let held = Held { bytes, _taken: Arc::clone(&taken) };
                return Self::Whole(Whole { rest: Bytes::from_owner(held), taken: Some(taken) });
            }
        };
        let closed = async move {
            let _either_way = closing.wait_for(|closing| *closing).await;
        };
        Self::Events(events.take_until(closed).inspect(move |_| taken()).boxed())
    }
}

impl Whole {
    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(taken) = &self.taken else { return Some(std::mem::take(&mut self.rest)) };
        taken();
        Some(self.rest.split_to(self.rest.len().min(PIECE_BYTES)))
    }
}

impl From<Bytes> for Body {
    fn from(rest: Bytes) -> Self {
        Self::Whole(Whole { rest, taken: None })
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

/// A result of an operation.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The body; empty for operations that answer nothing.
    pub bytes: Vec<u8>,
    /// For a body that is counted against the budget until it is sent.
    pub permit: Option<Permit>,
}

/// What came of a call.
pub(crate) enum Done {
    /// One body.
    Response(Encoded),
    /// Frames of an event stream.
    Events(Events),
}

impl Done {
    /// Bytes of the body; 0 for an event stream, which has no end yet.
    pub(crate) fn body_bytes(&self) -> usize {
        match self {
            Self::Response(encoded) => encoded.bytes.len(),
            Self::Events(_) => 0,
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

/// Bytes that are counted against the budget until the connection lets go of them.
pub fn counted(bytes: Vec<u8>, permit: Option<Permit>) -> Bytes {
    match permit {
        Some(permit) => Bytes::from_owner(Counted { bytes, _permit: permit }),
        None => Bytes::from(bytes),
    }
}

/// The response to a call that failed: the code is in a header and in the body.
pub(crate) fn failure(protocol: Protocol, fault: &Fault) -> HttpResponse {
    of(protocol.failure(fault))
}

/// The response with a body that is complete.
pub(crate) fn of(response: Response<Vec<u8>>) -> HttpResponse {
    response.map(|body| Body::from(Bytes::from(body)))
}

/// The answer to a request of HTTP/1.1 that doesn't say, or says twice, which host is meant: the end of its connection.
///
/// Source: RFC 9112, section 3.2.
pub(crate) fn without_host() -> HttpResponse {
    let mut answer = plain(StatusCode::BAD_REQUEST, "a request has exactly one Host header\n");
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A line of text: health checks.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> HttpResponse {
    build(status, "text/plain", text.into())
}

/// Metrics as text.
pub(crate) fn metrics(text: String) -> HttpResponse {
    build(StatusCode::OK, anabranch_metrics::CONTENT_TYPE, text.into())
}

/// The answer to a browser that asks what it may send.
pub(crate) fn preflight(request: &HeaderMap) -> HttpResponse {
    let mut answer = Response::new(Body::from(Bytes::new()));
    let pairs = [
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
    ];
    for (asked, allowed) in pairs {
        if let Some(value) = request.get(asked) {
            answer.headers_mut().insert(allowed, value.clone());
        }
    }
    answer.headers_mut().insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("172800"));
    answer
}

/// Adds what every answer has: ids, and the permission for the page of a browser, where one asks that may.
pub(crate) fn finish(
    answer: &mut HttpResponse,
    request: &HeaderMap,
    is_foreign: bool,
    id: uuid::Uuid,
) {
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut [0; 36])) {
        headers.insert("x-amzn-requestid", value);
    }
    // Only the answer to a preflight says how long it may be kept.
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

fn build(status: StatusCode, content_type: &'static str, body: Bytes) -> HttpResponse {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A body that somebody watches until the connection has let go of all of it.
struct Held {
    bytes: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that gives its bytes back to the budget when the connection has let go of it.
struct Counted {
    bytes: Vec<u8>,
    _permit: Permit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
