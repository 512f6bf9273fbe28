//! What `anabranch-fuzz` feeds: doors to what reads the bytes of clients, without a socket. For nobody else.

use std::net::Ipv4Addr;

use bytes::Bytes;

use crate::auth::{self, Peer};
use crate::body;
use crate::call_name::Invocation;
use crate::event_stream;
use crate::gateway::Gateway;
use crate::operations::{self, Call, Operation};
use crate::standing::Room;
use crate::token::{ConsumersPage, ShardIterator, ShardsPage, StreamsPage, Token};
use crate::wire::Format;

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/kinesis/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature=00ff";

/// Carries out a signed call; the status of its answer, or nothing if there is no such operation.
pub async fn call(gateway: &Gateway, operation: &str, cbor: bool, body: &[u8]) -> Option<u16> {
    let operation = Operation::of_name(operation)?;
    let request = http::Request::post("/")
        .header(http::header::AUTHORIZATION, SIGNATURE)
        .header(http::header::DATE, "20260101T000000Z");
    let (parts, ()) = request.body(()).ok()?.into_parts();
    let peer = Peer { address: Ipv4Addr::LOCALHOST.into(), is_secure: false };
    let call = Call {
        gateway,
        operation,
        format: format(cbor),
        body,
        parts: &parts,
        peer,
        caller: auth::authenticate(gateway, &parts, body).await,
        invocation: Invocation::of(&parts.headers),
    };
    Some(match operations::perform(call).await {
        Ok(_) => 200,
        Err(error) => {
            drop(error.body(format(cbor)));
            error.wire().0.as_u16()
        }
    })
}

/// What a body in gzip says; `None` if it is refused.
pub async fn inflate(gateway: &Gateway, body: &[u8]) -> Option<Vec<u8>> {
    let sent = Bytes::copy_from_slice(body);
    let mut room = Room::Verified(gateway.bodies.take(0)?);
    let inflated = body::inflate(gateway, &sent, &mut room).await.ok()?;
    Some(inflated.to_vec())
}

/// Whether a text is opened as a token of any kind.
pub fn opens(gateway: &Gateway, text: &str) -> bool {
    let (sealer, now) = (&gateway.sealer, gateway.clock.now());
    sealer.open::<ShardIterator>(text, now).is_ok()
        || sealer.open::<ShardsPage>(text, now).is_ok()
        || sealer.open::<StreamsPage>(text, now).is_ok()
        || sealer.open::<ConsumersPage>(text, now).is_ok()
}

/// Reads bytes as the inside of tokens.
///
/// # Panics
/// When one is read as something else than it is written.
pub fn read_token(bytes: &[u8]) {
    read_as::<ShardIterator>(bytes);
    read_as::<ShardsPage>(bytes);
    read_as::<StreamsPage>(bytes);
    read_as::<ConsumersPage>(bytes);
}

fn read_as<T: Token + PartialEq>(bytes: &[u8]) {
    let Some(token) = T::read(&mut &bytes[..]) else { return };
    let mut written = Vec::new();
    token.write(&mut written);
    assert!(T::read(&mut &written[..]).is_some_and(|again| again == token), "{written:x?}");
}

/// A frame of an event stream.
pub fn event(cbor: bool, kind: &str, payload: &[u8]) -> Vec<u8> {
    event_stream::event(format(cbor), kind, payload)
}

const fn format(cbor: bool) -> Format {
    if cbor { Format::Cbor } else { Format::Json }
}
