//! Reads a request's body into memory, against permits of the budget for bodies.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::budget::Permit;
use crate::errors::Error;
use crate::gateway::Gateway;

/// A body costs its bytes and as many again for what is made of them (the decoded batch).
const COST: usize = 2;

/// A body with the permit for it.
#[derive(Debug)]
pub(crate) struct ReadBody {
    /// The bytes.
    pub bytes: Bytes,
    /// Held until the call is done.
    pub _permit: Option<Permit>,
}

/// Reads the whole body in time.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::BodyTimeout`], [`Error::Serialization`] if the client breaks off, and
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
        match &mut permit {
            Some(permit) => permit.join(more),
            None => permit = Some(more),
        }
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
    Ok(ReadBody { bytes, _permit: permit })
}
