//! The health of a node: what it leads, whether it is ready, how fast its disk and its pings are, how far the scrub of its
//! disk is. The catalog's leader asks for it to balance leaders, and operators see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::Catalog;
use anabranch_storage::{ScrubProgress, Stats};
use anabranch_types::{GroupId, NodeId};
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::node::Node;
use crate::node_request::NodeRequest;
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

/// What a node keeps in mind to say it.
#[derive(Debug, Default)]
pub(crate) struct Bearing {
    /// Since when the node has been ready without a break; absent if it isn't yet.
    ready_since: Mutex<Option<Instant>>,
    leaves: AtomicBool,
    writes: Mutex<Writes>,
}

/// How long recent writes to the log's disk took.
#[derive(Debug, Default)]
struct Writes {
    rounds: u64,
    micros: u64,
    mean: Option<Duration>,
}

impl Bearing {
    pub(crate) fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Relaxed)
    }

    /// The node is about to stop.
    pub(crate) fn leave(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }

    /// The node is ready for the first time.
    fn begin(&self) {
        *self.ready_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The node is ready again after a break, if it ever was.
    pub(crate) fn begin_anew(&self) {
        let mut since = self.ready_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = since.map(|_| Instant::now());
    }

    fn ready_since(&self) -> Option<Instant> {
        *self.ready_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes(&self) -> std::sync::MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
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
    let bearing = &node.inner.bearing;
    let stalled = node.inner.disk.borrow().stalled_for();
    let since = bearing.ready_since().filter(|_| !bearing.leaves() && stalled.is_none());
    Leading {
        groups: node.inner.replicas.leading(),
        ready: since.map_or(Duration::ZERO, |since| since.elapsed()),
        sync: bearing.writes().mean,
        round_trips: node.inner.transport.liveness().round_trips(),
        stalled,
        scrub: node.inner.store.stats().scrub,
    }
}

/// Measures the writes to the disk for as long as the node runs, once the node is ready.
pub(crate) async fn follow(node: Node) {
    node.ready().await;
    node.inner.bearing.begin();
    loop {
        sleep(ROUND).await;
        node.inner.bearing.writes().note(&node.inner.store.stats());
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
