//! Keys that are used in turn. The search for a linear order grows with the number of calls about one key, and with
//! the number of those whose outcome is unknown.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kinesis::Failure;

/// Calls after which the next key begins.
const CALLS: u64 = 80;
/// Calls with an unknown outcome after which the next key begins.
const UNKNOWN: u64 = 4;

/// Which key is in use: all clients of it share the count.
#[derive(Default)]
pub(super) struct Turns {
    turn: AtomicU64,
    calls: AtomicU64,
    unknown: AtomicU64,
}

impl Turns {
    /// Number of the key that is in use.
    pub(super) fn current(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Counts a call, and begins the next key if this one has had enough.
    pub(super) fn count<T>(&self, result: &Result<T, Failure>) {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let is_unknown = matches!(result, Err(Failure::Unknown(_)));
        let unknown = self.unknown.fetch_add(u64::from(is_unknown), Ordering::Relaxed)
            + u64::from(is_unknown);
        if calls >= CALLS || unknown >= UNKNOWN {
            self.turn.fetch_add(1, Ordering::Relaxed);
            self.calls.store(0, Ordering::Relaxed);
            self.unknown.store(0, Ordering::Relaxed);
        }
    }
}
