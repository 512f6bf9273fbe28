//! What one connection may hold, by what is known of its client.
//!
//! A connection is trusted from its first right signature on, until a wrong one. Requests on a trusted connection are
//! counted against the budget of bodies. Before that they are counted as unverified ([`crate::unverified`]), few at a
//! time, and the unfinished head of an HTTP/1.1 request is counted too.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use http::request::Parts;
use tokio::sync::Notify;

use crate::body::COST;
use crate::budget::{Budget, Permit};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::unverified::{Claim, Share, Unverified};

/// Requests at a time on a connection that is not trusted.
const UNTRUSTED_REQUESTS: usize = 32;
/// What a connection that is not trusted may hold beside one body of the largest size: heads and small bodies.
const UNTRUSTED_BYTES_BESIDE: usize = 1024 * 1024;
/// What a request costs beside its head and its body: its tasks, the state of its stream, and the buffer that the first
/// piece of its body is part of.
const REQUEST_BYTES: usize = 8192;
/// What a header field costs beside its name and its value.
const FIELD_BYTES: usize = 128;

/// Of one connection.
#[derive(Debug)]
pub(crate) struct Trust {
    is_trusted: AtomicBool,
    share: Arc<Share>,
    unverified: Unverified,
    bodies: Budget,
    /// The unfinished head of an HTTP/1.1 request.
    head: Mutex<Option<Claim>>,
    /// Told when the room of [`Self::head`] is given to others.
    head_refused: Arc<Notify>,
}

/// Reservation of one request for its head and its body, given back when dropped.
#[derive(Debug)]
pub(crate) enum Reservation {
    /// Against the budget of bodies: the caller is known.
    Verified(Permit),
    /// The caller is not known yet.
    Unverified(Claim),
}

impl Trust {
    /// Of a new connection.
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let max_bytes = gateway.platform.settings.max_body_bytes + UNTRUSTED_BYTES_BESIDE;
        Self {
            is_trusted: AtomicBool::new(false),
            share: Arc::new(Share::new(max_bytes, UNTRUSTED_REQUESTS)),
            unverified: gateway.platform.unverified.clone(),
            bodies: gateway.platform.bodies.clone(),
            head: Mutex::default(),
            head_refused: Arc::default(),
        }
    }

    /// Reservation for the head of a request.
    ///
    /// # Errors
    /// [`Error::Throttled`] if there is none.
    pub(crate) fn admit(&self, parts: &Parts) -> Result<Reservation, Error> {
        drop(self.take_head());
        // What is no call is answered at once, also when there is no room.
        let bytes = if parts.method == Method::POST { head_bytes(parts) } else { 0 };
        let room = if self.is_trusted() || bytes == 0 {
            self.bodies.take(bytes).map(Reservation::Verified)
        } else {
            let claim = self.unverified.claim(&self.share, bytes, Arc::default());
            claim.ok().map(Reservation::Unverified)
        };
        room.ok_or(Error::Throttled)
    }

    /// Takes the result of a signature into account.
    pub(crate) fn set(&self, is_right: bool) {
        if self.is_trusted() != is_right {
            self.is_trusted.store(is_right, Ordering::Relaxed);
        }
    }

    /// Counts `bytes` of an HTTP/1.1 head that is not whole yet.
    ///
    /// # Errors
    /// If there is no room for them: then the connection must end.
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

    /// Ends when the room of an unfinished head is given to others.
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
    /// Reservation for `bytes` more of the body.
    ///
    /// # Errors
    /// [`Error::Throttled`] if there is none.
    pub(crate) fn grow(&mut self, gateway: &Gateway, bytes: usize) -> Result<(), Error> {
        match self {
            Self::Verified(permit) => {
                let more = gateway.platform.bodies.take(bytes * COST);
                permit.join(more.ok_or(Error::Throttled)?);
            }
            Self::Unverified(claim) => {
                claim.grow(bytes).map_err(|_refused| Error::Throttled)?;
            }
        }
        Ok(())
    }

    /// Whether the caller is known.
    pub(crate) const fn is_verified(&self) -> bool {
        matches!(self, Self::Verified(_))
    }

    /// Is told once if the room is given to others. `None` if that can't be.
    pub(crate) fn refusal(&self) -> Option<Arc<Notify>> {
        match self {
            Self::Verified(_) => None,
            Self::Unverified(claim) => Some(claim.refusal()),
        }
    }

    /// The room of a call whose signature is right and whose body has `bytes`.
    ///
    /// # Errors
    /// [`Error::Throttled`] if there is none.
    pub(crate) fn verified(self, gateway: &Gateway, bytes: usize) -> Result<Self, Error> {
        match self {
            Self::Verified(_) => Ok(self),
            Self::Unverified(claim) => {
                let cost = claim.bytes() + bytes * (COST - 1);
                let permit = gateway.platform.bodies.take(cost).ok_or(Error::Throttled)?;
                Ok(Self::Verified(permit))
            }
        }
    }
}

/// What the head of a request costs in memory, or somewhat more.
fn head_bytes(parts: &Parts) -> usize {
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    REQUEST_BYTES + path + fields.sum::<usize>()
}
