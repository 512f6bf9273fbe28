//! A byte budget: a semaphore whose permits are bytes in memory.
//!
//! Callers take a permit before they allocate, and the bytes return when the permit is dropped. Nothing here waits:
//! if the bytes are not free, the call is throttled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit of bytes in memory. Cheap to clone. Clones share the limit.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<Semaphore>,
    limit: usize,
}

/// Bytes of a [`Budget`]. They are returned on drop.
#[derive(Debug)]
pub struct Permit(OwnedSemaphorePermit);

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let limit = bytes.min(Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Bytes that it has in all.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are in use.
    pub(crate) fn used(&self) -> usize {
        self.limit - self.left.available_permits()
    }

    /// Whether `bytes` are free now.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        self.left.available_permits() >= bytes
    }

    /// Takes `bytes`. `None` if they are not free.
    pub fn take(&self, bytes: usize) -> Option<Permit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.left).try_acquire_many_owned(bytes).ok().map(Permit)
    }

    /// Takes up to `wanted` bytes, but at most an eighth of the free bytes, so that others find free bytes too. Takes
    /// at least `least` bytes. `None` if they are not free.
    pub fn take_fair(&self, wanted: usize, least: usize) -> Option<Permit> {
        let fair = self.left.available_permits() / 8;
        self.take(wanted.min(fair).max(least))
    }
}

impl Permit {
    /// Number of bytes of the permit.
    pub fn bytes(&self) -> usize {
        self.0.num_permits()
    }

    /// Adds another permit of the same budget to this one.
    pub fn join(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    /// Returns the bytes above `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes().saturating_sub(bytes);
        drop(self.0.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_and_given_back() {
        let budget = Budget::new(100);
        let mut first = budget.take(60).unwrap();
        assert!(budget.take(41).is_none());
        first.join(budget.take(40).unwrap());
        assert_eq!(first.bytes(), 100);
        first.shrink(10);
        assert!(budget.has(90) && !budget.has(91));
        drop(first);
        assert!(budget.has(100));
    }

    #[test]
    fn a_fair_share_is_between_the_least_and_the_wanted_bytes() {
        let budget = Budget::new(800);
        assert_eq!(budget.take_fair(50, 10).unwrap().bytes(), 50);
        assert_eq!(budget.take_fair(500, 10).unwrap().bytes(), 100);
        assert_eq!(budget.take_fair(500, 200).unwrap().bytes(), 200);
        let _rest = budget.take(795).unwrap();
        assert!(budget.take_fair(500, 10).is_none());
    }
}
