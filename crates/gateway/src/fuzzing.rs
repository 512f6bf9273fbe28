//! Entry points for `anabranch-fuzz`: code that parses bytes of clients, without a socket. Nothing else may use them.

use std::net::Ipv4Addr;

use anabranch_aws::protocol::query::Envelope;
use bytes::Bytes;

use crate::auth::{self, Peer, SigningNames};
use crate::body;
use crate::dispatch::{Destination, FormAction, Route};
use crate::gateway::Gateway;
use crate::run::Received;
use crate::trust::Reservation;

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/kinesis/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature=00ff";

/// Performs a signed call of `target`, such as `Kinesis_20131202.PutRecord`. Returns the HTTP status of its response.
/// `None` if the operation does not exist.
pub async fn call(gateway: &Gateway, target: &str, content_type: &str, body: &[u8]) -> Option<u16> {
    let request = http::Request::post("/")
        .header("x-amz-target", target)
        .header(http::header::CONTENT_TYPE, content_type)
        .header(http::header::AUTHORIZATION, SIGNATURE)
        .header(http::header::DATE, "20260101T000000Z");
    let (parts, ()) = request.body(()).ok()?.into_parts();
    let Route::Call(destination) = Route::of(&gateway.services, &parts) else { return None };
    perform(gateway, destination, &parts, body).await
}

/// Performs a signed call in the query protocol. Returns as [`call`].
pub async fn form(gateway: &Gateway, body: &[u8]) -> Option<u16> {
    let action = FormAction::of(body);
    let destination = action.destination(&gateway.services);
    let request = http::Request::post("/")
        .header(http::header::AUTHORIZATION, SIGNATURE)
        .header(http::header::DATE, "20260101T000000Z");
    let (parts, ()) = request.body(()).ok()?.into_parts();
    perform(gateway, destination, &parts, body).await
}

async fn perform(
    gateway: &Gateway,
    destination: Destination<'_>,
    parts: &http::request::Parts,
    body: &[u8],
) -> Option<u16> {
    let (service, operation) = destination.service.zip(destination.operation)?;
    let protocol = destination.protocol;
    let signing = SigningNames { called: None, hosted: &gateway.signing_names };
    let caller =
        auth::authenticate(&gateway.platform, gateway.port().authenticator, parts, signing, body)
            .await;
    let peer = Peer { address: Ipv4Addr::LOCALHOST.into(), is_secure: false };
    let id = [0; 16];
    let received = Received { id, protocol, body, parts, peer, caller, stages: None };
    Some(match service.perform(gateway.port(), operation, received).await {
        Ok(_) => 200,
        Err(fault) => protocol.failure(&fault, &Envelope::default()).status().as_u16(),
    })
}

/// Inflates a gzip body. `None` if the body is refused.
pub async fn inflate(gateway: &Gateway, body: &[u8]) -> Option<Vec<u8>> {
    let sent = Bytes::copy_from_slice(body);
    let mut reservation = Reservation::Verified(gateway.platform.bodies.take(0)?);
    let inflated = body::inflate(&gateway.platform, &sent, &mut reservation).await.ok()?;
    Some(inflated.to_vec())
}
