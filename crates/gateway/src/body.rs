//! Reads the body of a request into memory. Each byte is counted in the [`Reservation`] of the request before it is
//! kept.
//!
//! Order of events: [`Encoding::of`] reads the headers, [`read`] collects the body as it was sent, [`inflate`]
//! decompresses a gzip body. Inflating works in pieces. Each piece needs capacity first, and no piece is made beyond
//! the size limit, so a gzip bomb costs no more than any other body. A gzip body must be one member. The task yields
//! after a limited number of bytes of input or output.

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
use crate::platform::Platform;
use crate::trust::{BODY_COST, Reservation};
use crate::unverified::SMALL_BODY_BYTES;

/// [`discard`] stops after the client has sent nothing for this time, because then it waits for its response.
const DISCARD_PAUSE: Duration = Duration::from_millis(200);
/// [`discard`] stops after this time.
const DISCARD_LIMIT: Duration = Duration::from_secs(5);

/// Largest number of inflated bytes before the task yields.
const PIECE_BYTES: usize = 256 * 1024;
/// Largest number of compressed bytes before the task yields. Input without output, such as empty blocks, costs time
/// too: a few milliseconds at worst.
const SENT_PIECE_BYTES: usize = 16 * 1024;
/// First capacity for an inflated body.
const FIRST_CAPACITY_BYTES: usize = 4096;

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not compressed.
    Identity,
    /// Gzip (RFC 1952) of one member. Clients write one member, and thousands of empty members would cost seconds.
    Gzip,
}

impl Encoding {
    /// Reads the encoding from the headers.
    ///
    /// # Errors
    /// [`Error::Serialization`] for an encoding other than gzip or identity, and for more than one encoding.
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

/// Whether the headers declare a small body. A small body is read before its signature is checked.
pub(crate) fn is_small(body: &Incoming) -> bool {
    let declared = body.size_hint();
    declared.exact().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES as u64)
}

/// Reads and drops a body until the client pauses. If an HTTP/1.1 connection is closed while sent bytes are unread,
/// the client may lose the response too. A client whose session has expired would then never see that error.
pub(crate) async fn discard(mut body: Incoming) {
    let rest = async { while let Ok(Some(Ok(_))) = timeout(DISCARD_PAUSE, body.frame()).await {} };
    let _either_way = timeout(DISCARD_LIMIT, rest).await;
}

/// Reads the whole body as it was sent, within the time limit.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::BodyTimeout`]; [`Error::Serialization`] if the client stops early;
/// [`Error::Throttled`] if no capacity is left. The service of the call has its own code for the last one.
pub(crate) async fn read(
    platform: &Platform,
    body: Incoming,
    reservation: &mut Reservation,
) -> Result<Bytes, Error> {
    let limit = platform.settings.max_body_bytes;
    let declared = body.size_hint();
    if declared.lower() > limit as u64 {
        return Err(Error::TooLarge { limit });
    }
    let expected = usize::try_from(declared.lower()).unwrap_or(limit);
    // Refuse the call now if its declared size cannot fit. This spares the client from sending the body.
    if !platform.bodies.has(expected * BODY_COST) {
        return Err(Error::Throttled);
    }
    let collected = timeout(
        platform.settings.body_read_timeout,
        collect(platform, body, expected, reservation),
    );
    collected.await.unwrap_or(Err(Error::BodyTimeout))
}

/// Inflates a gzip body. Capacity is reserved as the result grows.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::Serialization`] if the body is not gzip; [`Error::Throttled`] if no capacity is
/// left.
pub(crate) async fn inflate(
    platform: &Platform,
    sent: &Bytes,
    reservation: &mut Reservation,
) -> Result<Bytes, Error> {
    let limit = platform.settings.max_body_bytes;
    let mut decoder = GzDecoder::new(Chunked::new(sent));
    let mut bytes = Vec::new();
    loop {
        if bytes.len() == bytes.capacity() {
            // Double the buffer. Its limit is one byte above the allowed size, because that byte proves that the body
            // is too large.
            let more = bytes.len().max(FIRST_CAPACITY_BYTES).min(limit + 1 - bytes.len());
            reservation.grow(platform, more)?;
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
    platform: &Platform,
    mut body: Incoming,
    expected: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Error> {
    let limit = platform.settings.max_body_bytes;
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| Error::Serialization("The request body ended early".to_owned());
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let before = if rest.is_empty() { first.len() } else { rest.len() };
        if before + data.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        reservation.grow(platform, data.len())?;
        if before == 0 {
            // Most bodies are one piece. They are not copied.
            first = data;
            continue;
        }
        if rest.is_empty() {
            // Reserve the whole declared size only for known callers. A stranger could declare 16 MiB and send
            // little.
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
    fn one_known_encoding_is_accepted() {
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
