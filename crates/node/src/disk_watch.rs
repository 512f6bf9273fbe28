//! Watches the log store for the whole node (ADR-0023): a disk that makes no progress, and a store that has failed.
//!
//! Order of events when the disk stalls: this node gives up what it leads, then its pongs say so, then the other
//! nodes take over. The node is not ready. When the disk has worked again for two seconds, the pongs say that, and
//! the node is ready again. A disk that stalls again and again never counts as working.
//!
//! When the store has failed for good the order is the same, but there is no way back. Once the other nodes had time
//! to hear of it, [`Disk::failed`] returns and the process ends.

use std::sync::Arc;
use std::time::Duration;

use anabranch_replica::Replicas;
use anabranch_storage::{Error, LogStore};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::readiness::Readiness;

/// Time between two looks at the store.
const LOOK: Duration = Duration::from_millis(100);
/// How long a disk has to make progress before it counts as working again.
const RECOVERS: Duration = Duration::from_secs(2);
/// How long a node whose store has failed goes on answering pings. That is several ping intervals, so that every
/// other node hears why.
const FAREWELL: Duration = Duration::from_millis(800);

/// Health of the disk under the log store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DiskHealth {
    /// The disk makes progress.
    #[default]
    Works,
    /// The disk makes no progress, or has made progress for less than two seconds.
    Stalled {
        /// Since when the disk has made no progress.
        since: Instant,
    },
    /// The log store has failed and accepts nothing any more.
    Failed(DiskFailure),
}

/// Why a log store accepts nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFailure {
    /// The error of the operating system.
    pub reason: String,
    /// Whether the store repairs itself when it is opened again.
    pub heals_by_restart: bool,
}

impl DiskHealth {
    /// For how long the disk has not been working; `None` if it works. Zero for a store that has failed.
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        match self {
            Self::Works => None,
            Self::Stalled { since } => Some(since.elapsed()),
            Self::Failed(_) => Some(Duration::ZERO),
        }
    }

    /// The state after a look at `now`. `failure` is the end of the store, if it has failed; `stalled` is for how
    /// long it has made no progress. `moves_since` is kept between looks: since when a stalled disk makes progress
    /// again.
    fn next(
        &self,
        now: Instant,
        failure: Option<DiskFailure>,
        stalled: Option<Duration>,
        moves_since: &mut Option<Instant>,
    ) -> Self {
        if let Some(failure) = failure {
            return Self::Failed(failure);
        }
        match (self, stalled) {
            (Self::Failed(_), _) => self.clone(),
            (Self::Works, None) => Self::Works,
            (Self::Works, Some(time)) => {
                *moves_since = None;
                Self::Stalled { since: now.checked_sub(time).unwrap_or(now) }
            }
            (Self::Stalled { .. }, Some(_)) => {
                *moves_since = None;
                self.clone()
            }
            (Self::Stalled { .. }, None) => {
                let since = *moves_since.get_or_insert(now);
                if now.duration_since(since) >= RECOVERS { Self::Works } else { self.clone() }
            }
        }
    }
}

/// The health of the disk, as all of the node sees it.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    health: watch::Sender<DiskHealth>,
}

impl Disk {
    pub(crate) fn health(&self) -> DiskHealth {
        self.health.borrow().clone()
    }

    /// Returns at once if the disk makes no progress, else as soon as it does not.
    pub(crate) async fn stalled(&self) {
        let mut health = self.health.subscribe();
        let stalled = health.wait_for(|health| matches!(health, DiskHealth::Stalled { .. }));
        drop(stalled.await); // no error: the sender is borrowed while this waits
    }

    /// Returns once the log store has failed for good and the other nodes had time to hear of it. Returns why.
    pub(crate) async fn failed(&self) -> DiskFailure {
        let mut health = self.health.subscribe();
        loop {
            let seen = health.borrow_and_update().clone();
            if let DiskHealth::Failed(failure) = seen {
                sleep(FAREWELL).await;
                return failure;
            }
            let _never_closed = health.changed().await;
        }
    }
}

/// Runs for as long as the node does.
pub(crate) async fn follow(
    disk: Arc<Disk>,
    store: Arc<dyn LogStore>,
    replicas: Replicas,
    readiness: Arc<Readiness>,
) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut moves_since = None;
    loop {
        ticks.tick().await;
        let (failure, stalled) = (failure(&*store), store.stalled());
        let before = disk.health();
        let now = before.next(Instant::now(), failure, stalled, &mut moves_since);
        if now == before {
            continue;
        }
        match &now {
            DiskHealth::Works => tracing::warn!("the disk works again"),
            DiskHealth::Stalled { .. } => {
                tracing::error!(
                    ?stalled,
                    "the disk makes no progress: others lead, and this node isn't ready"
                );
            }
            DiskHealth::Failed(failure) => {
                tracing::error!(
                    failure.reason,
                    "the log store has failed: others lead, and this process ends"
                );
            }
        }
        if now == DiskHealth::Works {
            readiness.begin_anew();
        }
        replicas.set_stalled(now != DiskHealth::Works);
        disk.health.send_replace(now);
    }
}

fn failure(store: &dyn LogStore) -> Option<DiskFailure> {
    match store.check() {
        Err(Error::Failed { detail }) => {
            Some(DiskFailure { reason: detail, heals_by_restart: store.heals_by_restart() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anabranch_storage::{SimSettings, SimStore};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_works_again_only_after_a_while_of_progress() {
        let (began, mut moves) = (Instant::now(), None);
        let second = Duration::from_secs(1);
        let mut disk = DiskHealth::Works;
        let mut look = |at: u32, stalled: Option<Duration>| {
            disk = disk.next(began + second * at, None, stalled, &mut moves);
            disk.clone()
        };
        assert_eq!(look(9, None), DiskHealth::Works);
        let stalled = DiskHealth::Stalled { since: began + second * 7 };
        assert_eq!(look(10, Some(second * 3)), stalled);
        assert_eq!(look(11, None), stalled);
        assert_eq!(look(12, Some(second * 3)), stalled, "once more");
        assert_eq!(look(13, None), stalled);
        assert_eq!(look(14, None), stalled);
        assert_eq!(look(15, None), DiskHealth::Works);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_failed_stays_failed_and_one_that_is_closed_has_not() {
        let (now, mut moves) = (Instant::now(), None);
        let store = SimStore::new(SimSettings::default());
        assert_eq!(failure(&store), None);
        store.fail("EIO");
        let failed = DiskFailure { reason: "EIO".into(), heals_by_restart: false };
        assert_eq!(failure(&store), Some(failed.clone()));
        let disk = DiskHealth::Works.next(now, failure(&store), None, &mut moves);
        assert_eq!(disk, DiskHealth::Failed(failed));
        assert_eq!(disk.next(now, None, None, &mut moves), disk);
        let closed = SimStore::new(SimSettings::default());
        closed.close().await;
        assert_eq!(failure(&closed), None);
    }
}
