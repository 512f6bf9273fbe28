//! How far a replica has applied and trimmed its log.
//!
//! Only the applier writes these values. The proposer, readers and upkeep read them at any time without waiting for
//! it. The applied index is always written last. So a reader that sees an index also sees the term, the arrival time
//! and the gate that belong to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_shard::{Gate, Shut, Voids};
use anabranch_types::{LogId, Timestamp};
use tokio::sync::watch;

use crate::checkpoints::Checkpoints;

/// Progress of a replica.
///
/// Invariant: `trim_horizon <= applied`. Both are the first index that is not trimmed or not applied.
#[derive(Debug)]
pub(crate) struct Progress {
    /// First log index that is not applied.
    applied: AtomicU64,
    /// Term of the last applied entry.
    applied_term: AtomicU64,
    /// First log index that is not trimmed.
    trim_horizon: AtomicU64,
    /// Arrival time of the newest applied record, in milliseconds.
    last_arrival: AtomicU64,
    checkpoints: Mutex<Checkpoints>,
    /// Whether `gate` shuts records out. A copy outside the mutex, because every append reads it.
    is_shut: AtomicBool,
    gate: Mutex<(Gate, Voids)>,
    changed: watch::Sender<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            applied: AtomicU64::default(),
            applied_term: AtomicU64::default(),
            trim_horizon: AtomicU64::default(),
            last_arrival: AtomicU64::default(),
            checkpoints: Mutex::default(),
            is_shut: AtomicBool::default(),
            gate: Mutex::default(),
            changed: watch::channel(0).0,
        }
    }
}

impl Progress {
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn applied_term(&self) -> u64 {
        self.applied_term.load(Ordering::Acquire)
    }

    pub(crate) fn trim_horizon(&self) -> u64 {
        self.trim_horizon.load(Ordering::Acquire)
    }

    pub(crate) fn last_arrival(&self) -> Timestamp {
        Timestamp::from_millis(self.last_arrival.load(Ordering::Acquire))
    }

    /// The checkpoints that this replica keeps.
    pub(crate) fn checkpoints(&self) -> MutexGuard<'_, Checkpoints> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the shard takes no records. `None` if it takes records.
    pub(crate) fn shut(&self) -> Option<Shut> {
        if self.is_shut.load(Ordering::Acquire) { self.gate().shut() } else { None }
    }

    /// Whether the shard takes records.
    pub(crate) fn gate(&self) -> Gate {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ranges of the log in which appends do not count. Complete for all entries below a value of [`Self::applied`]
    /// that was read before this call.
    pub(crate) fn voids(&self) -> Voids {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Must be called before the entry that changed the gate counts as applied.
    pub(crate) fn set_gate(&self, gate: (Gate, Voids)) {
        self.is_shut.store(gate.0.shut().is_some(), Ordering::Release);
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = gate;
    }

    /// A watch that changes after entries were applied. Its value is the first index that is not applied.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn set_applied(&self, id: LogId, last_arrival: Timestamp) {
        self.last_arrival.store(last_arrival.as_millis(), Ordering::Release);
        self.applied_term.store(id.term, Ordering::Release);
        self.applied.store(id.index + 1, Ordering::Release);
    }

    pub(crate) fn set_trim_horizon(&self, horizon: u64) {
        self.trim_horizon.store(horizon, Ordering::Release);
    }

    pub(crate) fn notify(&self) {
        self.changed.send_replace(self.applied());
    }
}
