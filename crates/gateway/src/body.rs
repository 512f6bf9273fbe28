//! Reads a request's body into memory, into the room that the request has ([`Reservation`]).
//!
//! A body in gzip is inflated here, piece by piece: each piece needs its permit first, and none is made beyond the
//! limit for a body, so a small one that would become a huge one costs no more than any other. It is one member, and
//! others get their turn after so many bytes of either side.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::chunked::Chunked;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::trust::Reservation;
use crate::unverified::SMALL_BODY_BYTES;

/// A body costs its bytes and as many again for what is made of them (the decoded batch).
pub(crate) const COST: usize = 2;

/// A client that sends nothing for so long waits for its answer.
const DISCARD_PAUSE: Duration = Duration::from_millis(200);
/// How long a body is taken that nobody reads.
const DISCARD_LIMIT: Duration = Duration::from_secs(5);

/// What is made at once by inflating, at most, before others get their turn.
const PIECE_BYTES: usize = 256 * 1024;
/// What is looked at for that: bytes that make nothing (empty blocks) cost time too, at worst a few milliseconds.
const SENT_PIECE_BYTES: usize = 16 * 1024;
/// Reservation for an inflated body to begin with.
const LEAST_ROOM_BYTES: usize = 4096;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952, of one member: that is what clients write, and thousands of empty ones cost seconds.
    Gzip,
}

impl Encoding {
    /// What the headers say.
    ///
    /// # Errors
    /// [`Error::Serialization`] for anything but gzip, and for more than one encoding.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut named = headers.get_all(CONTENT_ENCODING).iter();
        let encoding = match named.next().map(|value| value.as_bytes().trim_ascii()) {
            None => Self::Identity,
            Some(name) if name.eq_ignore_ascii_case(b"identity") => Self::Identity,
            Some(name) if is_gzip(name) => Self::Gzip,
            Some(_) => return Err(unknown_encoding()),
        };
        if named.next().is_some() { Err(unknown_encoding()) } else { Ok(encoding) }
    }
}

fn is_gzip(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip")
}

fn unknown_encoding() -> Error {
    Error::Serialization("Content-Encoding must be gzip or identity, and only one".to_owned())
}

/// Whether the whole body is said to be small: then it is read before its signature is looked at.
pub(crate) fn is_small(body: &Incoming) -> bool {
    let declared = body.size_hint();
    declared.exact().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES as u64)
}

/// Takes and forgets what a client is sending, until it pauses. A connection of HTTP/1.1 that is closed over unread bytes
/// loses the answer too, and a client whose session has ended would never hear of it.
pub(crate) async fn discard(mut body: Incoming) {
    let rest = async { while let Ok(Some(Ok(_))) = timeout(DISCARD_PAUSE, body.frame()).await {} };
    let _either_way = timeout(DISCARD_LIMIT, rest).await;
}

/// Reads the whole body in time, as it was sent, into `room`.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::BodyTimeout`]; [`Error::Serialization`] if the client breaks off; and
/// [`Error::Throttled`] if there is no room; the caller renames that one if it must.
pub(crate) async fn read(
    gateway: &Gateway,
    body: Incoming,
    reservation: &mut Reservation,
) -> Result<Bytes, Error> {
    let limit = gateway.platform.settings.max_body_bytes;
    let declared = body.size_hint();
    if declared.lower() > limit as u64 {
        return Err(Error::TooLarge { limit });
    }
    let expected = usize::try_from(declared.lower()).unwrap_or(limit);
    // Refused before the client has sent it all, if it can be.
    if !gateway.platform.bodies.has(expected * COST) {
        return Err(Error::Throttled);
    }
    let collected = timeout(
        gateway.platform.settings.body_read_timeout,
        collect(gateway, body, expected, reservation),
    );
    collected.await.unwrap_or(Err(Error::BodyTimeout))
}

/// What a body in gzip says, paid for as it grows.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::Serialization`] if it is no gzip; and [`Error::Throttled`] if the budget is used up.
pub(crate) async fn inflate(
    gateway: &Gateway,
    sent: &Bytes,
    reservation: &mut Reservation,
) -> Result<Bytes, Error> {
    let limit = gateway.platform.settings.max_body_bytes;
    let mut decoder = GzDecoder::new(Chunked::new(sent));
    let mut bytes = Vec::new();
    loop {
        if bytes.len() == bytes.capacity() {
            // As much again as there is; a byte more than is allowed tells that there is more.
            let more = bytes.len().max(LEAST_ROOM_BYTES).min(limit + 1 - bytes.len());
            reservation.grow(gateway, more)?;
            bytes.reserve_exact(more);
        }
        let wanted = (bytes.capacity() - bytes.len()).min(PIECE_BYTES);
        decoder.get_mut().allow(SENT_PIECE_BYTES);
        let inflated = decoder.by_ref().take(wanted as u64).read_to_end(&mut bytes);
        if bytes.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        match inflated {
            Ok(inflated) if inflated < wanted => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                return Err(Error::Serialization(format!("The request body is no gzip: {error}")));
            }
        }
        yield_now().await;
    }
    if !decoder.into_inner().rest().is_empty() {
        return Err(more_than_one_member());
    }
    Ok(Bytes::from(bytes))
}

fn more_than_one_member() -> Error {
    let rule = "The request body in gzip must be one member and nothing after it";
    Error::Serialization(rule.to_owned())
}

async fn collect(
    gateway: &Gateway,
    mut body: Incoming,
    expected: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Error> {
    let limit = gateway.platform.settings.max_body_bytes;
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| Error::Serialization("The request body ended early".to_owned());
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let before = if rest.is_empty() { first.len() } else { rest.len() };
        if before + data.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        reservation.grow(gateway, data.len())?;
        if before == 0 {
            // Most bodies are one piece and are not copied.
            first = data;
            continue;
        }
        if rest.is_empty() {
            // Reservation for all that is declared is made only for callers that are known.
            let expected = if reservation.is_verified() { expected } else { 0 };
            rest.reserve(expected.max(before + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(values: &[&'static str]) -> Result<Encoding, Error> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, http::HeaderValue::from_static(value));
        }
        Encoding::of(&headers)
    }

    #[test]
    fn one_encoding_is_taken_if_it_is_known() {
        assert_eq!(encoding(&[]), Ok(Encoding::Identity));
        assert_eq!(encoding(&["Identity"]), Ok(Encoding::Identity));
        assert_eq!(encoding(&["gzip"]), Ok(Encoding::Gzip));
        assert_eq!(encoding(&[" X-GZIP "]), Ok(Encoding::Gzip));
        let refused: [&[&'static str]; 5] =
            [&["br"], &["gzip, gzip"], &["gzip", "gzip"], &["identity", "gzip"], &[""]];
        for values in refused {
            assert_eq!(encoding(values), Err(unknown_encoding()), "{values:?}");
        }
    }
}
