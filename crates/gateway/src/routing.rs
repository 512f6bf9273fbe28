//! From an HTTP request to an operation, in the order in which the service checks things: method,
//! content type, body, operation, signature, types of members, constraints, policies, meaning.

use std::panic::AssertUnwindSafe;

use anabranch_shard::Producer;
use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::auth::{self, Peer};
use crate::body::{self, Encoding};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::operations::{self, Call, Operation};
use crate::response::{self, Answer, Done};
use crate::wire::{self, Format};

const TARGET: &str = "x-amz-target";
const TARGET_PREFIX: &str = "Kinesis_20131202.";
/// The same for every attempt of one call of an SDK.
const INVOCATION_ID: &str = "amz-sdk-invocation-id";
/// Which attempt of a call this is.
const SDK_REQUEST: &str = "amz-sdk-request";
const MAX_PRODUCER_ID_BYTES: usize = 64;

/// Answers one HTTP request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(gateway: &Gateway, peer: Peer, request: Request<Incoming>) -> Answer {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let (parts, body) = request.into_parts();
    let routed = AssertUnwindSafe(route(gateway, peer, &parts, body)).catch_unwind().await;
    let mut answer = routed.unwrap_or_else(|_| {
        tracing::error!(request_id = %id, "call panicked");
        response::failure(format_of(&parts.headers).unwrap_or(Format::Json), &Error::Internal)
    });
    response::finish(&mut answer, &parts.headers, id);
    tracing::info!(
        request_id = %id,
        operation = target(&parts.headers).unwrap_or_default(),
        status = answer.status().as_u16(),
        "request answered"
    );
    answer
}

async fn route(gateway: &Gateway, peer: Peer, parts: &Parts, body: Incoming) -> Answer {
    match (&parts.method, parts.uri.path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => response::plain(StatusCode::OK, "ok\n"),
        (&Method::GET | &Method::HEAD, "/readyz") => readiness(gateway),
        // It names every stream: where callers must say who they are, operators ask `anabranch ctl`.
        (&Method::GET, "/cluster") if gateway.authenticator.is_none() => {
            response::plain(StatusCode::OK, (gateway.report)())
        }
        (&Method::OPTIONS, _) if parts.headers.contains_key(ORIGIN) => {
            response::preflight(&parts.headers)
        }
        (&Method::POST, _) => post(gateway, peer, parts, body).await,
        _ => response::xml_failure(&Error::NotPost),
    }
}

fn readiness(gateway: &Gateway) -> Answer {
    if (gateway.readiness)() {
        response::plain(StatusCode::OK, "ready\n")
    } else {
        response::plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn post(gateway: &Gateway, peer: Peer, parts: &Parts, body: Incoming) -> Answer {
    let Some(format) = format_of(&parts.headers) else {
        return match target(&parts.headers) {
            // The format in which the service answers what has none.
            Some(_) => response::failure(Format::Cbor, &Error::UnknownOperation),
            None => response::xml_failure(&Error::UnknownOperation),
        };
    };
    match call(gateway, peer, format, parts, body).await {
        Ok(done) => response::success(format, done),
        Err(error) => response::failure(format, &error),
    }
}

async fn call(
    gateway: &Gateway,
    peer: Peer,
    format: Format,
    parts: &Parts,
    body: Incoming,
) -> Result<Done, Error> {
    let operation = target(&parts.headers).and_then(Operation::of_name);
    let encoding = Encoding::of(&parts.headers)?;
    let throttled = |error| throttled_as(operation, error);
    let mut body = body::read(gateway, body).await.map_err(throttled)?;
    if body.sent.is_empty() {
        return Err(operation.map_or(Error::UnknownOperation, |_| Error::Malformed));
    }
    let mut caller = None;
    if encoding == Encoding::Gzip {
        // Inflating may take a second or two: not for who wouldn't be let in.
        caller = Some(auth::authenticate(gateway, parts, &body.sent).await?);
        body = body::inflate(gateway, body).await.map_err(throttled)?;
    }
    let Some(operation) = operation else {
        wire::check_well_formed(format, &body.bytes)?;
        return Err(Error::UnknownOperation);
    };
    let call = Call {
        gateway,
        operation,
        format,
        body: &body.bytes,
        sent: &body.sent,
        parts,
        peer,
        caller,
        producer: Some(producer(&parts.headers)),
        may_repeat: may_repeat(&parts.headers),
    };
    // The permit is held until the answer is made.
    operations::perform(call).await
}

fn format_of(headers: &HeaderMap) -> Option<Format> {
    Format::of_content_type(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

/// The operation's name in the `X-Amz-Target` header.
fn target(headers: &HeaderMap) -> Option<&str> {
    headers.get(TARGET)?.to_str().ok()?.strip_prefix(TARGET_PREFIX)
}

/// Operations on streams know no throughput error: for them a full gateway is a limit.
fn throttled_as(operation: Option<Operation>, error: Error) -> Error {
    let knows_throughput = operation.is_some_and(Operation::is_of_data);
    if let (Error::Throughput(message), false) = (&error, knows_throughput) {
        return Error::Limit(message.clone());
    }
    error
}

/// Who repeats this call, if it is repeated: the SDK says so. A call that says nothing gets an id of
/// its own, so that the cluster itself may send it again when an answer is lost.
fn producer(headers: &HeaderMap) -> Producer {
    let named = headers.get(INVOCATION_ID).map(HeaderValue::as_bytes);
    let named = named.filter(|id| (1..=MAX_PRODUCER_ID_BYTES).contains(&id.len()));
    let id = match named {
        Some(id) => Bytes::copy_from_slice(id),
        None => Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
    };
    Producer { id, sequence: 0 }
}

/// Whether an SDK may have sent this call before: it names the call, and doesn't say that this is the
/// first attempt (`amz-sdk-request: attempt=1; max=3`).
fn may_repeat(headers: &HeaderMap) -> bool {
    let attempt = headers.get(SDK_REQUEST).and_then(|value| value.to_str().ok());
    let is_first = attempt.is_some_and(|text| {
        text.split(';').any(|part| part.trim().eq_ignore_ascii_case("attempt=1"))
    });
    headers.contains_key(INVOCATION_ID) && !is_first
}
