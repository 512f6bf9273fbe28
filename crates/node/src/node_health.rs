//! The health of a node: which groups it leads, whether it is ready, how fast its disk and its pings are, how far the
//! scrub of its disk is. Here are the values, and the task that measures the disk. `health_reports.rs` asks nodes for
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_storage::{LogStore, ScrubProgress, Stats};
use anabranch_types::{GroupId, NodeId};
use tokio::time::sleep;

use crate::readiness::Readiness;

/// How often the times of writes are measured.
const ROUND: Duration = Duration::from_secs(1);

/// The health of one node, as the node reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeHealth {
    /// Groups that the node leads.
    pub(crate) groups: BTreeSet<GroupId>,
    /// For how long the node has been ready. Zero if it is not, or is about to stop.
    pub(crate) ready: Duration,
    /// Mean time of recent writes to its disk; `None` if there were none.
    pub(crate) sync: Option<Duration>,
    /// Mean times of its recent pings to others.
    pub(crate) round_trips: BTreeMap<NodeId, Duration>,
    /// For how long its disk has made no progress; `None` if the disk works.
    pub(crate) stalled: Option<Duration>,
    /// Progress of the scrub of its disk.
    pub(crate) scrub: ScrubProgress,
}

/// Times of recent writes to the log's disk.
#[derive(Debug, Default)]
pub(crate) struct SyncTimes(Mutex<SyncCounters>);

/// The store's counters at the last look, and the mean time of a write between the last two looks.
#[derive(Debug, Default)]
struct SyncCounters {
    rounds: u64,
    micros: u64,
    mean: Option<Duration>,
}

impl SyncTimes {
    fn note(&self, stats: &Stats) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(stats);
    }

    /// Mean time of recent writes; `None` if there were none.
    pub(crate) fn mean(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).mean
    }
}

impl SyncCounters {
    /// Compares the store's counters with those of the last look.
    fn note(&mut self, stats: &Stats) {
        let rounds = stats.rounds.saturating_sub(self.rounds);
        let micros = stats.sync_micros.saturating_sub(self.micros);
        self.mean = micros.checked_div(rounds).map(Duration::from_micros);
        (self.rounds, self.micros) = (stats.rounds, stats.sync_micros);
    }
}

/// Measures the writes to the disk for as long as the node runs, once the node is ready.
pub(crate) async fn follow(
    times: Arc<SyncTimes>,
    readiness: Arc<Readiness>,
    store: Arc<dyn LogStore>,
) {
    readiness.caught_up().await;
    loop {
        sleep(ROUND).await;
        times.note(&store.stats());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_writes_is_of_what_came_since_the_last_look() {
        let stats = |rounds, sync_micros| Stats { rounds, sync_micros, ..Stats::default() };
        let mut writes = SyncCounters::default();
        writes.note(&stats(4, 400));
        assert_eq!(writes.mean, Some(Duration::from_micros(100)));
        writes.note(&stats(6, 2400));
        assert_eq!(writes.mean, Some(Duration::from_micros(1000)));
        writes.note(&stats(6, 2400));
        assert_eq!(writes.mean, None);
    }
}
