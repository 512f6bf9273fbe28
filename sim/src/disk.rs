//! The disk of a simulated machine: a [`SimStore`], and how long its syncs take.
//!
//! The store keeps each write in memory until [`Disk::run`] syncs it. A crash loses the writes that wait, except for a
//! prefix of random length, because a real disk may have written some of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anabranch_planted::{Bug, planted};
use anabranch_storage::{SimSettings, SimStore, SimSync};
use anabranch_types::Incarnation;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

/// How often the disk looks for writes.
const LOOK: Duration = Duration::from_millis(1);
/// A sync that takes longer makes the store report a stall, as the real store does.
const STALLS_AFTER: Duration = Duration::from_secs(1);

/// The disk of one machine.
#[derive(Clone)]
pub struct Disk {
    store: SimStore,
    /// Longest time of a sync in milliseconds.
    slowest_sync_millis: Arc<AtomicU64>,
    seed: u64,
}

impl Disk {
    /// A disk without data. `seed` decides its incarnation and the times of its syncs.
    pub fn empty(seed: u64) -> Self {
        let incarnation = Incarnation(seed);
        let is_lying = planted(Bug::AckBeforeFsync);
        let sync = if is_lying { SimSync::Lying } else { SimSync::OnDemand };
        let settings = SimSettings { sync, incarnation, starts: 1 };
        Self { store: SimStore::new(settings), slowest_sync_millis: Arc::new(1.into()), seed }
    }

    /// The log store on the disk.
    pub fn store(&self) -> &SimStore {
        &self.store
    }

    /// From now on a sync takes up to this many milliseconds.
    pub fn set_slowest_sync(&self, millis: u64) {
        self.slowest_sync_millis.store(millis.max(1), Ordering::Relaxed);
    }

    /// Cuts the power, and returns the disk as the next start finds it. `seed` decides which unsynced writes survive.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self { store: self.store.crash(seed), slowest_sync_millis: Arc::new(1.into()), seed }
    }

    /// A copy of what is synced.
    #[must_use]
    pub fn copy(&self) -> Self {
        let store = self.store.copy();
        Self { store, slowest_sync_millis: Arc::new(1.into()), seed: self.seed }
    }

    /// Syncs again and again, for as long as the machine runs.
    pub async fn run(self) {
        let mut rng = StdRng::seed_from_u64(self.seed);
        loop {
            sleep(LOOK).await;
            if self.store.unsynced() == 0 {
                continue;
            }
            let slowest = self.slowest_sync_millis.load(Ordering::Relaxed);
            let takes = Duration::from_millis(rng.random_range(0..slowest));
            if takes > STALLS_AFTER {
                sleep(STALLS_AFTER).await;
                self.store.set_stalled(Some(STALLS_AFTER));
                sleep(takes - STALLS_AFTER).await;
                self.store.set_stalled(None);
            } else if !takes.is_zero() {
                sleep(takes).await;
            }
            self.store.sync();
        }
    }
}
