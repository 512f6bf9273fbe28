//! The health of a node: what it leads, whether it is ready, how fast its disk and its pings are, how far the scrub of its
//! disk is. The catalog's leader asks for it to balance leaders, and operators see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::Catalog;
use anabranch_storage::{LogStore, ScrubProgress, Stats};
use anabranch_types::{GroupId, NodeId};
use tokio::time::sleep;
use tonic::Status;

use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::readiness::Readiness;
use crate::remote::Remotes;

/// How often the writes to the disk are looked at.
const ROUND: Duration = Duration::from_secs(1);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leading {
    /// Groups that it leads.
    pub(crate) groups: BTreeSet<GroupId>,
    /// For how long it has been ready; zero if it isn't, or is about to stop.
    pub(crate) ready: Duration,
    /// Mean time of a recent write to its disk.
    pub(crate) sync: Option<Duration>,
    /// Mean times of its recent pings to others.
    pub(crate) round_trips: BTreeMap<NodeId, Duration>,
    /// For how long its disk has not been working, if it isn't.
    pub(crate) stalled: Option<Duration>,
    /// How far the scrub of its disk is.
    pub(crate) scrub: ScrubProgress,
}

/// Asks a node for its health.
pub(crate) struct ReportHealth;

impl NodeRequest for ReportHealth {
    type Response = Leading;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<Leading, Status> {
        Ok(leading(node))
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<Leading, Status> {
        remotes.leading(to).await
    }
}

/// The health of the nodes of the catalog that answer, and of this node.
pub(crate) async fn all_nodes(node: &Node, catalog: &Catalog) -> BTreeMap<NodeId, Leading> {
    let mut health = other_nodes(node, catalog).await;
    health.insert(node.id(), leading(node));
    health
}

/// The health of the other nodes that answer.
pub(crate) async fn other_nodes(node: &Node, catalog: &Catalog) -> BTreeMap<NodeId, Leading> {
    let others = catalog.nodes.keys().copied().filter(|other| *other != node.id());
    node.ask_each(others.map(|other| (other, ReportHealth))).await
}

/// How long recent writes to the log's disk took.
#[derive(Debug, Default)]
pub(crate) struct SyncTimes(Mutex<Writes>);

/// The store's counters at the last look, and the mean time of a write between the last two looks.
#[derive(Debug, Default)]
struct Writes {
    rounds: u64,
    micros: u64,
    mean: Option<Duration>,
}

impl SyncTimes {
    fn note(&self, stats: &Stats) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(stats);
    }

    fn mean(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).mean
    }
}

impl Writes {
    /// Takes note of the store's counters; the mean is of what was written since the last time.
    fn note(&mut self, stats: &Stats) {
        let rounds = stats.rounds.saturating_sub(self.rounds);
        let micros = stats.sync_micros.saturating_sub(self.micros);
        self.mean = micros.checked_div(rounds).map(Duration::from_micros);
        (self.rounds, self.micros) = (stats.rounds, stats.sync_micros);
    }
}

/// What this node says of itself.
fn leading(node: &Node) -> Leading {
    let stalled = node.disk().stalled_for();
    let ready = node.readiness().ready_for();
    Leading {
        groups: node.replicas().leading(),
        ready: if stalled.is_none() { ready } else { Duration::ZERO },
        sync: node.sync_times().mean(),
        round_trips: node.peers().liveness().round_trips(),
        stalled,
        scrub: node.store().stats().scrub,
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
        let mut writes = Writes::default();
        writes.note(&stats(4, 400));
        assert_eq!(writes.mean, Some(Duration::from_micros(100)));
        writes.note(&stats(6, 2400));
        assert_eq!(writes.mean, Some(Duration::from_micros(1000)));
        writes.note(&stats(6, 2400));
        assert_eq!(writes.mean, None);
    }
}
