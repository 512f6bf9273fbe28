//! Decides how much memory a connection may use, depending on whether its client has proved who it is.
//!
//! A connection becomes trusted with its first valid signature and is no longer trusted after an invalid one:
//!
//! ```text
//!              valid signature
//!   untrusted ----------------> trusted
//!             <----------------
//!             invalid signature
//! ```
//!
//! Requests on a trusted connection are counted against the budget of bodies. All others are counted as unverified
//! ([`crate::unverified`]): only a few at a time per connection, and the unfinished head of an HTTP/1.1 request
//! counts as well. When the signature of an unverified request turns out valid, [`Reservation::verified`] moves the
//! request to the budget of bodies.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use http::request::Parts;
use tokio::sync::Notify;

use crate::budget::{Budget, Permit};
use crate::error::Error;
use crate::platform::Platform;
use crate::unverified::{Claim, Share, Unverified};

/// A body costs its bytes once, and once more for the decoded batch.
pub(crate) const BODY_COST: usize = 2;
/// Largest number of concurrent requests on an untrusted connection.
const UNTRUSTED_REQUESTS: usize = 32;
/// Bytes that an untrusted connection may use in addition to one body of the largest size, for heads and small
/// bodies.
const UNTRUSTED_BYTES_BESIDE: usize = 1024 * 1024;
/// Memory for a request besides its head and its body: its tasks, the state of its stream, and the buffer that holds
/// the first piece of its body.
const REQUEST_BYTES: usize = 8192;
/// Memory for a header field besides its name and its value.
const FIELD_BYTES: usize = 128;

/// The trust of one connection, and its claims.
#[derive(Debug)]
pub(crate) struct Trust {
    is_trusted: AtomicBool,
    share: Arc<Share>,
    unverified: Unverified,
    bodies: Budget,
    /// Claim for the unfinished head of an HTTP/1.1 request.
    head: Mutex<Option<Claim>>,
    /// Notified when another request takes the capacity of [`Self::head`].
    head_refused: Arc<Notify>,
}

/// Capacity that one request holds for its head and its body. It is returned on drop.
#[derive(Debug)]
pub(crate) enum Reservation {
    /// Counted against the budget of bodies. The caller is known.
    Verified(Permit),
    /// Counted as unverified. The caller is not known yet.
    Unverified(Claim),
}

impl Trust {
    /// The trust of a new connection: untrusted.
    pub(crate) fn new(platform: &Platform) -> Self {
        let max_bytes = platform.settings.max_body_bytes + UNTRUSTED_BYTES_BESIDE;
        Self {
            is_trusted: AtomicBool::new(false),
            share: Arc::new(Share::new(max_bytes, UNTRUSTED_REQUESTS)),
            unverified: platform.unverified.clone(),
            bodies: platform.bodies.clone(),
            head: Mutex::default(),
            head_refused: Arc::default(),
        }
    }

    /// Reserves capacity for the head of a request.
    ///
    /// # Errors
    /// [`Error::Throttled`] if no capacity is left.
    pub(crate) fn admit(&self, parts: &Parts) -> Result<Reservation, Error> {
        drop(self.take_head());
        // Only POST requests are calls. Other requests, such as health checks, get a response at once, even without
        // free capacity.
        let bytes = if parts.method == Method::POST { head_bytes(parts) } else { 0 };
        let reserved = if self.is_trusted() || bytes == 0 {
            self.bodies.take(bytes).map(Reservation::Verified)
        } else {
            let claim = self.unverified.claim(&self.share, bytes, Arc::default());
            claim.ok().map(Reservation::Unverified)
        };
        reserved.ok_or(Error::Throttled)
    }

    /// Records whether the last signature on the connection was valid.
    pub(crate) fn set(&self, is_valid: bool) {
        if self.is_trusted() != is_valid {
            self.is_trusted.store(is_valid, Ordering::Relaxed);
        }
    }

    /// Counts `bytes` of an HTTP/1.1 head that is not complete yet.
    ///
    /// # Errors
    /// If no capacity is left. The caller must close the connection.
    pub(crate) fn grow_head(&self, bytes: usize) -> io::Result<()> {
        if self.is_trusted() {
            return Ok(());
        }
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = match &mut *head {
            Some(claim) => claim.grow(bytes),
            None => {
                let refusal = Arc::clone(&self.head_refused);
                self.unverified.claim(&self.share, bytes, refusal).map(|claim| *head = Some(claim))
            }
        };
        grown.map_err(|_refused| io::ErrorKind::OutOfMemory.into())
    }

    /// Completes when another request takes the capacity of the unfinished head.
    pub(crate) async fn head_refused(&self) {
        self.head_refused.notified().await;
    }

    fn is_trusted(&self) -> bool {
        self.is_trusted.load(Ordering::Relaxed)
    }

    fn take_head(&self) -> Option<Claim> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Reservation {
    /// Reserves capacity for `bytes` more of the body.
    ///
    /// # Errors
    /// [`Error::Throttled`] if no capacity is left.
    pub(crate) fn grow(&mut self, platform: &Platform, bytes: usize) -> Result<(), Error> {
        match self {
            Self::Verified(permit) => {
                let more = platform.bodies.take(bytes * BODY_COST);
                permit.join(more.ok_or(Error::Throttled)?);
            }
            Self::Unverified(claim) => {
                claim.grow(bytes).map_err(|_refused| Error::Throttled)?;
            }
        }
        Ok(())
    }

    /// Whether the bytes are counted against the budget of bodies.
    pub(crate) const fn is_verified(&self) -> bool {
        matches!(self, Self::Verified(_))
    }

    /// Notified once if another request takes the capacity. `None` if that cannot happen.
    pub(crate) fn refusal(&self) -> Option<Arc<Notify>> {
        match self {
            Self::Verified(_) => None,
            Self::Unverified(claim) => Some(claim.refusal()),
        }
    }

    /// Moves the reservation to the budget of bodies. The signature must be valid and the body complete, with `bytes`
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Throttled`] if no capacity is left.
    pub(crate) fn verified(self, platform: &Platform, bytes: usize) -> Result<Self, Error> {
        match self {
            Self::Verified(_) => Ok(self),
            Self::Unverified(claim) => {
                let cost = claim.bytes() + bytes * (BODY_COST - 1);
                let permit = platform.bodies.take(cost).ok_or(Error::Throttled)?;
                Ok(Self::Verified(permit))
            }
        }
    }
}

/// Memory for the head of a request, rounded up.
fn head_bytes(parts: &Parts) -> usize {
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    REQUEST_BYTES + path + fields.sum::<usize>()
}
