//! Reads a request's body into memory, against permits of the budget for bodies.
//!
//! A body in gzip is inflated here, piece by piece: each piece needs its permit first, and none is made beyond the
//! limit for a body, so a small one that would become a huge one costs no more than any other. It is one member, and
//! others get their turn after so many bytes of either side.

use std::io::{ErrorKind, Read};

use bytes::{Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::budget::Permit;
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::rationed::Rationed;

/// A body costs its bytes and as many again for what is made of them (the decoded batch).
const COST: usize = 2;

/// What is made at once by inflating, at most, before others get their turn.
const PIECE_BYTES: usize = 256 * 1024;
/// What is looked at for that: bytes that make nothing (empty blocks) cost time too, at worst a few milliseconds.
const SENT_PIECE_BYTES: usize = 16 * 1024;
/// Room for an inflated body to begin with.
const LEAST_ROOM_BYTES: usize = 4096;

/// A body with the permit for it.
#[derive(Debug)]
pub(crate) struct ReadBody {
    /// As it was sent: what a signature is made of.
    pub sent: Bytes,
    /// What it says: [`Self::sent`] itself, or what that inflates to.
    pub bytes: Bytes,
    /// Held until the call is done.
    _permit: Option<Permit>,
}

impl ReadBody {
    /// A body as it was sent, and what was paid for it.
    pub(crate) fn new(sent: Bytes, permit: Option<Permit>) -> Self {
        Self { bytes: sent.clone(), sent, _permit: permit }
    }
}

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

/// Reads the whole body in time, as it was sent.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::BodyTimeout`]; [`Error::Serialization`] if the client breaks off; and
/// [`Error::Throughput`] if the budget is used up; the caller renames that one if it must.
pub(crate) async fn read(gateway: &Gateway, body: Incoming) -> Result<ReadBody, Error> {
    let limit = gateway.settings.max_body_bytes;
    let declared = body.size_hint();
    if declared.lower() > limit as u64 {
        return Err(Error::TooLarge { limit });
    }
    let expected = usize::try_from(declared.lower()).unwrap_or(limit);
    // Refused before the client has sent it all, if it can be.
    if !gateway.bodies.has(expected * COST) {
        return Err(Error::too_much_in_flight());
    }
    let collected = timeout(gateway.settings.body_read_timeout, collect(gateway, body, expected));
    collected.await.unwrap_or(Err(Error::BodyTimeout))
}

/// What a body in gzip says, paid for as it grows.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::Serialization`] if it is no gzip; and [`Error::Throughput`] if the budget is used up.
pub(crate) async fn inflate(gateway: &Gateway, body: ReadBody) -> Result<ReadBody, Error> {
    let ReadBody { sent, _permit: mut permit, .. } = body;
    let limit = gateway.settings.max_body_bytes;
    let mut decoder = GzDecoder::new(Rationed::new(&sent));
    let mut bytes = Vec::new();
    loop {
        if bytes.len() == bytes.capacity() {
            // As much again as there is; a byte more than is allowed tells that there is more.
            let room = bytes.len().max(LEAST_ROOM_BYTES).min(limit + 1 - bytes.len());
            let more = gateway.bodies.take(room * COST).ok_or_else(Error::too_much_in_flight)?;
            join(&mut permit, more);
            bytes.reserve_exact(room);
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
    Ok(ReadBody { sent, bytes: Bytes::from(bytes), _permit: permit })
}

fn more_than_one_member() -> Error {
    let rule = "The request body in gzip must be one member and nothing after it";
    Error::Serialization(rule.to_owned())
}

fn join(permit: &mut Option<Permit>, more: Permit) {
    match permit {
        Some(permit) => permit.join(more),
        None => *permit = Some(more),
    }
}

async fn collect(
    gateway: &Gateway,
    mut body: Incoming,
    expected: usize,
) -> Result<ReadBody, Error> {
    let limit = gateway.settings.max_body_bytes;
    let mut permit: Option<Permit> = None;
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| Error::Serialization("The request body ended early".to_owned());
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let before = if rest.is_empty() { first.len() } else { rest.len() };
        if before + data.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        let more = gateway.bodies.take(data.len() * COST).ok_or_else(Error::too_much_in_flight)?;
        join(&mut permit, more);
        if before == 0 {
            // Most bodies are one piece and are not copied.
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(expected.max(before + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(ReadBody::new(bytes, permit))
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
