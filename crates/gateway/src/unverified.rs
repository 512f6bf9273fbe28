//! Memory of requests before their signature is verified: heads, and bodies while they arrive.
//!
//! Order of events: [`Unverified::claim`] counts the head of a request. [`Claim::grow`] counts each piece of its body
//! before the piece is kept. When the signature is valid, the call is counted against the budget of bodies and its
//! claim is dropped. So callers without a key never take memory from callers with a key.
//!
//! When a new byte does not fit, an older claim is refused. Its request gets an error response and its memory is
//! freed. The oldest claim that is larger than a small body comes first. If there is none, the oldest claim of all
//! comes first:
//!
//! ```text
//!   refused first                                   refused last
//!   large, oldest .. large, newest   small, oldest .. small, newest
//! ```
//!
//! So large bodies never take the capacity of small ones, and an honest request is never the oldest for long. No
//! connection holds more than its share. Beyond its share, the connection's own new request is refused, and no other
//! request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Largest size of a small claim: a body of [`SMALL_BODY_BYTES`] and its head.
const SMALL_CLAIM_BYTES: usize = SMALL_BODY_BYTES + 32 * 1024;

/// The largest body that the gateway reads before it checks the signature.
pub(crate) const SMALL_BODY_BYTES: usize = 64 * 1024;

/// Budget for bytes of requests whose signature is not verified. Cheap to clone. Never waits.
#[derive(Clone, Debug)]
pub(crate) struct Unverified {
    limit: usize,
    claims: Arc<Mutex<Claims>>,
}

/// Bytes and requests that one connection holds, and their limits.
#[derive(Debug)]
pub(crate) struct Share {
    max_bytes: usize,
    max_requests: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    requests: usize,
}

/// Bytes that one request holds. They are returned on drop.
#[derive(Debug)]
pub(crate) struct Claim {
    unverified: Unverified,
    share: Arc<Share>,
    key: Key,
    bytes: usize,
    refusal: Arc<Notify>,
}

/// No capacity is left, or another request took the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[derive(Debug, Default)]
struct Claims {
    /// Invariant: the sum of `bytes` of `open`, at most the limit between two calls.
    used: usize,
    next: u64,
    /// Ordered: the first claim is refused first.
    open: BTreeMap<Key, Open>,
}

/// Order in which claims are refused. `false` is before `true`, so large claims come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    is_small: bool,
    number: u64,
}

#[derive(Debug)]
struct Open {
    bytes: usize,
    /// Notified when the claim is refused.
    refusal: Arc<Notify>,
}

impl Unverified {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, claims: Arc::default() }
    }

    /// Bytes that are claimed.
    pub(crate) fn used(&self) -> usize {
        self.lock().used
    }

    /// Reserves `bytes` for a request on the connection of `share`. `refusal` is notified if another request takes
    /// the capacity.
    ///
    /// # Errors
    /// [`Refused`] if the connection has used up its share, or if `bytes` alone is above the limit.
    pub(crate) fn claim(
        &self,
        share: &Arc<Share>,
        bytes: usize,
        refusal: Arc<Notify>,
    ) -> Result<Claim, Refused> {
        share.begin()?;
        let key = {
            let mut claims = self.lock();
            claims.next += 1;
            let key = Key { is_small: true, number: claims.next };
            claims.open.insert(key, Open { bytes: 0, refusal: Arc::clone(&refusal) });
            key
        };
        let (unverified, share) = (self.clone(), Arc::clone(share));
        let mut claim = Claim { unverified, share, key, bytes: 0, refusal };
        claim.grow(bytes)?;
        Ok(claim)
    }

    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    pub(crate) fn new(max_bytes: usize, max_requests: usize) -> Self {
        Self { max_bytes, max_requests, held: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Result<(), Refused> {
        let mut held = self.lock();
        if held.requests == self.max_requests {
            return Err(Refused);
        }
        held.requests += 1;
        Ok(())
    }

    fn grow(&self, bytes: usize) -> Result<(), Refused> {
        let mut held = self.lock();
        if held.bytes + bytes > self.max_bytes {
            return Err(Refused);
        }
        held.bytes += bytes;
        Ok(())
    }

    fn end(&self, bytes: usize) {
        let mut held = self.lock();
        held.bytes -= bytes;
        held.requests -= 1;
    }
}

impl Claim {
    /// Counts `bytes` more.
    ///
    /// # Errors
    /// [`Refused`]. The claim cannot be used any more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        self.share.grow(bytes)?;
        self.bytes += bytes;
        let mut claims = self.unverified.lock();
        let mut open = claims.open.remove(&self.key).ok_or(Refused)?;
        open.bytes = self.bytes;
        claims.used += bytes;
        self.key.is_small = self.bytes <= SMALL_CLAIM_BYTES;
        claims.open.insert(self.key, open);
        claims.evict(self.unverified.limit);
        if claims.open.contains_key(&self.key) { Ok(()) } else { Err(Refused) }
    }

    /// Number of bytes that the claim counts.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notified once if another request takes the capacity.
    pub(crate) fn refusal(&self) -> Arc<Notify> {
        Arc::clone(&self.refusal)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.share.end(self.bytes);
        let mut claims = self.unverified.lock();
        if let Some(open) = claims.open.remove(&self.key) {
            claims.used -= open.bytes;
        }
    }
}

impl Claims {
    fn evict(&mut self, limit: usize) {
        while self.used > limit
            && let Some((_, refused)) = self.open.pop_first()
        {
            self.used -= refused.bytes;
            refused.refusal.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LARGE: usize = SMALL_CLAIM_BYTES + 1;

    fn claim(unverified: &Unverified, bytes: usize) -> Result<Claim, Refused> {
        let share = Arc::new(Share::new(usize::MAX, 1));
        unverified.claim(&share, bytes, Arc::default())
    }

    fn is_refused(claim: &Claim) -> bool {
        claim.refusal().notified().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_large_claim_is_refused_first_and_small_claims_last() {
        let unverified = Unverified::new(3 * LARGE);
        let small = claim(&unverified, 10).unwrap();
        let old = claim(&unverified, LARGE).unwrap();
        let new = claim(&unverified, LARGE).unwrap();
        let newest = claim(&unverified, LARGE).unwrap();
        assert_eq!([&small, &old, &new, &newest].map(is_refused), [false, true, false, false]);
        let _small: Vec<_> = (0..2).map(|_| claim(&unverified, LARGE - 1).unwrap()).collect();
        assert_eq!([&small, &new, &newest].map(is_refused), [false, true, true]);
    }

    #[test]
    fn small_claims_always_fit() {
        let unverified = Unverified::new(10 * SMALL_CLAIM_BYTES);
        let mut large = claim(&unverified, 9 * SMALL_CLAIM_BYTES).unwrap();
        let mut small: Vec<_> = (0..100).map(|_| claim(&unverified, 10).unwrap()).collect();
        assert!(!is_refused(&large));
        assert_eq!(
            large.grow(2 * SMALL_CLAIM_BYTES),
            Err(Refused),
            "a large claim takes nothing from small ones"
        );
        for claim in &mut small {
            assert_eq!(claim.grow(1000), Ok(()));
        }
    }

    #[test]
    fn a_connection_holds_no_more_than_its_share() {
        let unverified = Unverified::new(1000);
        let share = Arc::new(Share::new(100, 2));
        let claim = |bytes| unverified.claim(&share, bytes, Arc::default());
        let mut first = claim(60).unwrap();
        assert_eq!(first.grow(41), Err(Refused));
        assert!(claim(41).is_err());
        let second = claim(40).unwrap();
        assert!(claim(0).is_err(), "two requests at a time");
        drop(second);
        assert!(claim(40).is_ok());
        drop(first);
        assert!(claim(100).is_ok());
        assert_eq!(unverified.lock().used, 0);
    }

    #[test]
    fn a_refused_claim_returns_its_bytes_once() {
        let unverified = Unverified::new(100);
        let mut first = claim(&unverified, 60).unwrap();
        let second = claim(&unverified, 60).unwrap();
        assert_eq!(first.grow(1), Err(Refused));
        drop(first);
        assert_eq!(unverified.lock().used, 60);
        drop(second);
        assert_eq!(unverified.lock().used, 0);
        assert!(claim(&unverified, 101).is_err());
    }
}
