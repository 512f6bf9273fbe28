//! How far a node has come on the way to being ready, and for how long it has been ready.
//!
//! Order of events: `reconcile.rs` sets *placed*, `catching_up.rs` waits for it and sets *caught up*, and the balance
//! of leaders reads for how long the node has been ready. A break of the disk begins that time anew
//! (`disk_watch.rs`). Before a stop the node *leaves*, which it never takes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How far the node has come on the way to being ready.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Whether the replicas that the catalog names for this node are open.
    placed: watch::Sender<bool>,
    /// Whether those replicas have caught up.
    caught_up: watch::Sender<bool>,
    /// Since when the node has been ready without a break of its disk.
    ready_since: Mutex<Option<Instant>>,
    /// Whether the node is about to stop.
    leaves: AtomicBool,
}

impl Readiness {
    pub(crate) fn is_placed(&self) -> bool {
        *self.placed.borrow()
    }

    /// Waits until [`Self::set_placed`].
    pub(crate) async fn placed(&self) {
        until(&self.placed).await;
    }

    pub(crate) fn set_placed(&self) {
        self.placed.send_replace(true);
    }

    pub(crate) fn has_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Returns once the replicas have caught up for the first time.
    pub(crate) async fn caught_up(&self) {
        until(&self.caught_up).await;
    }

    pub(crate) fn set_caught_up(&self) {
        *self.ready_since() = Some(Instant::now());
        self.caught_up.send_replace(true);
    }

    /// The disk works again after a break. If the node was ready, it is ready since now.
    pub(crate) fn begin_anew(&self) {
        let mut since = self.ready_since();
        *since = since.map(|_| Instant::now());
    }

    pub(crate) fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Relaxed)
    }

    /// The node is about to stop: it is not ready any more.
    pub(crate) fn leave(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }

    /// For how long the node has been ready, apart from its disk. Zero if it is not ready.
    pub(crate) fn ready_for(&self) -> Duration {
        let since = self.ready_since().filter(|_| !self.leaves());
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn ready_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.ready_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns once `flag` is true.
async fn until(flag: &watch::Sender<bool>) {
    let mut flag = flag.subscribe();
    // There is no error: the sender is borrowed while this waits.
    drop(flag.wait_for(|flag| *flag).await);
}
