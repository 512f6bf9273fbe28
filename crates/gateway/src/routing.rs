//! From an HTTP request to an operation, in the order in which the service checks things: method,
//! content type, body, operation, signature, types of members, constraints, policies, meaning.
//!
//! One thing comes earlier than there: a body that is large, or in gzip, is neither read nor decoded for a caller that
//! would be refused. Before it is read, its head must name a key that is known; before it is decoded, its signature
//! must be right. A request whose signature has not been looked at may lose its room to others, see
//! [`crate::unverified`]; it is answered then, and forgotten.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::body::Incoming;

use crate::aside::aside;
use crate::auth::{self, Caller, Peer};
use crate::body::{self, Encoding};
use crate::call_name::Invocation;
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::operations::{self, Call, Operation, throttled_as};
use crate::origin;
use crate::response::{self, Answer, Done};
use crate::standing::{Room, Standing};
use crate::unverified::SMALL_BODY_BYTES;
use crate::wire::{self, Format};

const TARGET: &str = "x-amz-target";
const TARGET_PREFIX: &str = "Kinesis_20131202.";

/// A request that has room for its head, on a connection of this standing.
pub(crate) struct Admitted<'a> {
    pub standing: &'a Standing,
    pub peer: Peer,
    pub parts: Parts,
    pub body: Incoming,
    pub room: Room,
}

/// Answers one HTTP request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(gateway: &Gateway, request: Admitted<'_>) -> Answer {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let Admitted { standing, peer, parts, body, room } = request;
    let call = Received { gateway, standing, peer, parts: &parts };
    let routed = AssertUnwindSafe(call.route(body, room)).catch_unwind().await;
    let mut answer = routed.unwrap_or_else(|_| {
        tracing::error!(request_id = %id, "call panicked");
        response::failure(format_of(&parts.headers).unwrap_or(Format::Json), &Error::Internal)
    });
    finish(gateway, &mut answer, &parts, id);
    answer
}

/// Answers a request that there is no room for.
pub(crate) fn refuse(gateway: &Gateway, parts: &Parts, error: Error) -> Answer {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let operation = target(&parts.headers).and_then(Operation::of_name);
    let format = format_of(&parts.headers).unwrap_or(Format::Json);
    let mut answer = response::failure(format, &throttled_as(operation, error));
    finish(gateway, &mut answer, parts, id);
    answer
}

fn finish(gateway: &Gateway, answer: &mut Answer, parts: &Parts, id: uuid::Uuid) {
    response::finish(answer, &parts.headers, origin::is_foreign(gateway, &parts.headers), id);
    tracing::info!(
        request_id = %id,
        operation = target(&parts.headers).unwrap_or_default(),
        status = answer.status().as_u16(),
        "request answered"
    );
}

/// A request as it came, but for its body.
#[derive(Clone, Copy)]
struct Received<'a> {
    gateway: &'a Gateway,
    standing: &'a Standing,
    peer: Peer,
    parts: &'a Parts,
}

fn readiness(gateway: &Gateway) -> Answer {
    if (gateway.readiness)() {
        response::plain(StatusCode::OK, "ready\n")
    } else {
        response::plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

impl Received<'_> {
    async fn route(self, body: Incoming, room: Room) -> Answer {
        let Self { gateway, parts, .. } = self;
        if parts.version == Version::HTTP_11 && parts.headers.get_all(HOST).iter().count() != 1 {
            return response::without_host();
        }
        if origin::is_foreign(gateway, &parts.headers) {
            return response::plain(StatusCode::FORBIDDEN, "pages of this origin may not call\n");
        }
        match (&parts.method, parts.uri.path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => response::plain(StatusCode::OK, "ok\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => readiness(gateway),
            // It names every stream: where callers must say who they are, operators ask `anabranch ctl`.
            (&Method::GET, "/cluster") if gateway.authenticator.is_none() => {
                response::plain(StatusCode::OK, (gateway.report)())
            }
            // Its numbers tell what others do: where callers must say who they are, it has a listener of its own.
            (&Method::GET | &Method::HEAD, "/metrics") if gateway.authenticator.is_none() => {
                response::metrics(gateway.registry.render())
            }
            (&Method::OPTIONS, _) if parts.headers.contains_key(ORIGIN) => {
                response::preflight(&parts.headers)
            }
            (&Method::POST, _) => self.post(body, room).await,
            _ => response::xml_failure(&Error::NotPost),
        }
    }

    async fn post(self, body: Incoming, room: Room) -> Answer {
        let Some(format) = format_of(&self.parts.headers) else {
            return match target(&self.parts.headers) {
                // The format in which the service answers what has none.
                Some(_) => response::failure(Format::Cbor, &Error::UnknownOperation),
                None => response::xml_failure(&Error::UnknownOperation),
            };
        };
        match self.call(format, body, room).await {
            Ok(done) => response::success(format, done),
            Err(error) => response::failure(format, &error),
        }
    }

    async fn call(self, format: Format, body: Incoming, room: Room) -> Result<Done, Error> {
        let Self { gateway, peer, parts, .. } = self;
        if !(gateway.currency)() {
            return Err(Error::Starting);
        }
        let operation = target(&parts.headers).and_then(Operation::of_name);
        let encoding = Encoding::of(&parts.headers)?;
        let throttled = |error| throttled_as(operation, error);
        let Arrived { sent, caller, mut room } =
            self.arrive_unless_refused(body, room, encoding).await.map_err(throttled)?;
        if sent.is_empty() {
            return Err(operation.map_or(Error::UnknownOperation, |_| Error::Malformed));
        }
        let bytes = match encoding {
            Encoding::Identity => sent.clone(),
            Encoding::Gzip => body::inflate(gateway, &sent, &mut room).await.map_err(throttled)?,
        };
        let Some(operation) = operation else {
            aside(bytes.len(), || wire::check_well_formed(format, &bytes))?;
            return Err(Error::UnknownOperation);
        };
        let call = Call {
            gateway,
            operation,
            format,
            body: &bytes,
            parts,
            peer,
            caller,
            invocation: Invocation::of(&parts.headers),
        };
        // The room is held until the answer is made.
        operations::perform(call).await
    }

    async fn arrive_unless_refused(
        self,
        body: Incoming,
        room: Room,
        encoding: Encoding,
    ) -> Result<Arrived, Error> {
        let Some(refusal) = room.refusal() else { return self.arrive(body, room, encoding).await };
        tokio::select! {
            biased;
            () = refusal.notified() => Err(Error::too_much_in_flight()),
            arrived = self.arrive(body, room, encoding) => arrived,
        }
    }

    /// Reads the body and looks at the signature. If the signature is wrong, a small body is handed on all the same: the
    /// service looks for faults of the body first.
    async fn arrive(
        self,
        body: Incoming,
        mut room: Room,
        encoding: Encoding,
    ) -> Result<Arrived, Error> {
        let Self { gateway, standing, parts, .. } = self;
        if !body::is_small(&body)
            && let Err(error) = auth::judge_head(gateway, parts).await
        {
            if parts.version < Version::HTTP_2 {
                body::discard(body).await;
            }
            return Err(error);
        }
        let sent = body::read(gateway, body, &mut room).await?;
        let caller = auth::authenticate(gateway, parts, &sent).await;
        standing.judge(caller.is_ok());
        match &caller {
            Ok(_) => room = room.verified(gateway, sent.len())?,
            Err(error) if sent.len() > SMALL_BODY_BYTES || encoding == Encoding::Gzip => {
                return Err(error.clone());
            }
            Err(_) => {}
        }
        Ok(Arrived { sent, caller, room })
    }
}

/// A request that is all there.
struct Arrived {
    /// The body as it was sent.
    sent: Bytes,
    caller: Result<Caller, Error>,
    room: Room,
}

fn format_of(headers: &HeaderMap) -> Option<Format> {
    Format::of_content_type(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

/// The operation's name in the `X-Amz-Target` header.
fn target(headers: &HeaderMap) -> Option<&str> {
    headers.get(TARGET)?.to_str().ok()?.strip_prefix(TARGET_PREFIX)
}
