//! Where groups are led. While this node leads the catalog, it keeps the leaders spread over the nodes; before
//! it stops, it hands over what it leads; and it answers others who ask for either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, GroupCommand, GroupKind, GroupRef, NodeState, ShardRef, StreamStatus,
};
use anabranch_replica::HandOver;
use anabranch_storage::{ScrubProgress, Stats};
use anabranch_types::{GroupId, NodeId};
use futures::FutureExt;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::balance::{Balance, Move, Orders, Standing};
use crate::controller;
use crate::node::Node;

/// How often the nodes are asked and leaders moved.
const ROUND: Duration = Duration::from_secs(1);
/// From when on a node that became ready takes leaders: by then its pings prove something, and it isn't one
/// that starts again and again.
const SETTLES: Duration = Duration::from_secs(10);
/// Groups that a node moves side by side while it serves: each takes no append for some milliseconds.
const MOVE_AT_ONCE: usize = 4;
/// Groups that a node hands over side by side before it stops.
const LEAVE_AT_ONCE: usize = 32;
/// Until a node that stops looks again for who could take what is left.
const LEAVE_AGAIN: Duration = Duration::from_millis(50);

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

impl Leading {
    /// Whether the node will take leaders soon.
    fn settles(&self) -> bool {
        !self.ready.is_zero() && self.ready < SETTLES
    }
}

/// What a node is to the balance. One whose replicas are on their way to others, or whose disk takes no records, takes no
/// leaders.
fn standing(catalog: &Catalog, id: NodeId, leading: Leading, has_room: bool) -> Standing {
    let Leading { groups: leads, ready, sync, round_trips, .. } = leading;
    let stays = catalog.nodes.get(&id).is_some_and(|node| node.state == NodeState::Active);
    Standing { leads, takes: stays && has_room && ready >= SETTLES, sync, round_trips }
}

/// Whether the disk of `id`, which may be this node, takes records, as far as is known here.
fn has_room(node: &Node, id: NodeId) -> bool {
    if id == node.id() {
        node.inner.store.disk().takes_records()
    } else {
        !node.inner.transport.liveness().refuses_records(id)
    }
}

/// What a node keeps in mind to say it.
#[derive(Debug, Default)]
pub(crate) struct Bearing {
    /// Since when the node has been ready without a break; absent if it isn't yet.
    ready_since: Mutex<Option<Instant>>,
    leaves: AtomicBool,
    writes: Mutex<Writes>,
    /// The newest rebalance for which this node, as the catalog's leader, found no replica to move.
    placed: AtomicU64,
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

    /// Takes note that no replica is to move any more for `rebalance`: its leaders are what is left.
    pub(crate) fn set_placed(&self, rebalance: u64) {
        self.placed.store(rebalance, Ordering::Relaxed);
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
pub(crate) fn leading(node: &Node) -> Leading {
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

/// Runs for as long as the node does; moves leaders only while this node leads the catalog.
pub(crate) async fn keep_spread(node: Node) {
    node.ready().await;
    node.inner.bearing.begin();
    let mut balance = Balance::default();
    loop {
        sleep(ROUND).await;
        node.inner.bearing.writes().note(&node.inner.store.stats());
        if node.leads_catalog().await {
            round(&node, &mut balance).await;
        } else {
            balance = Balance::default();
        }
    }
}

async fn round(node: &Node, balance: &mut Balance) {
    let catalog = node.catalog().borrow().clone();
    let mut nodes = ask_others(node, &catalog).await;
    nodes.insert(node.id(), leading(node));
    let settles = nodes.values().any(Leading::settles);
    let clocks = node.inner.transport.clocks();
    let standing = |(id, leading)| {
        let suits = has_room(node, id) && !clocks.is_far(id);
        (id, standing(&catalog, id, leading, suits))
    };
    let standings = nodes.into_iter().map(standing).collect();
    let orders = Orders { paused: catalog.balancing_paused, rebalance: catalog.rebalance };
    let moves = balance.round(orders, &replicas(&catalog), &standings);
    if let Some(rebalance) = catalog.rebalance
        && moves.is_empty()
        && balance.has_watched()
        && !settles
        && node.inner.bearing.placed.load(Ordering::Relaxed) == rebalance
    {
        controller::step(node, Command::Group(GroupCommand::FinishRebalance { rebalance })).await;
    }
    let mut by_node: BTreeMap<NodeId, Vec<(GroupId, NodeId)>> = BTreeMap::new();
    for Move { group, from, to } in moves {
        tracing::info!(%group, %from, %to, "leader is to move");
        by_node.entry(from).or_default().push((group, to));
    }
    join_all(by_node.into_iter().map(|(from, transfers)| have_transferred(node, from, transfers)))
        .await;
}

/// Where the replicas of each group are that can lead it and stay.
fn replicas(catalog: &Catalog) -> BTreeMap<GroupId, Vec<NodeId>> {
    let groups = catalog.groups().filter(|group| match group.kind {
        GroupKind::Catalog => true,
        GroupKind::Shard(ShardRef { stream, .. }) => stream.status != StreamStatus::Deleting,
    });
    let nodes = |group: &GroupRef<'_>| {
        let leaving = group.moving.and_then(|moving| moving.from);
        let stay = group.replicas.iter().filter(|replica| Some(replica.id) != leaving);
        stay.map(|replica| replica.node).collect()
    };
    groups.map(|group| (group.group, nodes(&group))).collect()
}

/// What the other nodes say of themselves, of those that answer.
pub(crate) async fn ask_others(node: &Node, catalog: &Catalog) -> BTreeMap<NodeId, Leading> {
    let others = catalog.nodes.keys().copied().filter(|other| *other != node.id());
    let asked = others.map(|other| async move {
        match node.inner.remotes.leading(other).await {
            Ok(leading) => Some((other, leading)),
            Err(status) => {
                tracing::info!(node = %other, %status, "says nothing of what it leads");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn have_transferred(node: &Node, from: NodeId, transfers: Vec<(GroupId, NodeId)>) {
    if let Err(status) = transfer_from(node, from, transfers).await {
        tracing::info!(node = %from, %status, "leaders not moved");
    }
}

/// Has `from`, which may be this node, hand groups over to the nodes beside them. Says which it leads no more.
///
/// # Errors
/// If the other node gave no answer.
pub(crate) async fn transfer_from(
    node: &Node,
    from: NodeId,
    transfers: Vec<(GroupId, NodeId)>,
) -> Result<Vec<GroupId>, Status> {
    if from == node.id() {
        return Ok(transfer(node, transfers).await);
    }
    node.inner.remotes.transfer_leaders(from, transfers).await
}

/// Hands groups that this node leads over to the nodes beside them, but to none whose disk takes no records: it would
/// only hand over again. Says which it leads no more.
pub(crate) async fn transfer(node: &Node, transfers: Vec<(GroupId, NodeId)>) -> Vec<GroupId> {
    let mut handing_over = Vec::with_capacity(transfers.len());
    for (group, to) in transfers {
        let replicas = &node.inner.replicas;
        let suits = move |heir| heir == to && has_room(node, to);
        let came = async move { (group, replicas.hand_over(group, suits).await) };
        handing_over.push(came.boxed());
    }
    let came = stream::iter(handing_over).buffer_unordered(MOVE_AT_ONCE);
    let done =
        came.filter_map(|(group, came)| async move { (came == HandOver::Done).then_some(group) });
    done.collect().await
}

/// Hands over what this node leads, before it stops: to nodes that are ready and stay. It isn't ready itself
/// from now on, and serves until this returns, at the latest after the limit in the settings.
pub(crate) async fn leave(node: &Node) {
    node.inner.bearing.leaves.store(true, Ordering::Relaxed);
    node.inner.replicas.leave();
    let limit = node.inner.settings.replicas.hand_over_limit;
    if limit.is_zero() {
        return;
    }
    if timeout(limit, hand_over_all(node)).await.is_err() {
        let groups = node.inner.replicas.leading().len();
        tracing::warn!(groups, "not all leaders were handed over in time");
    }
}

async fn hand_over_all(node: &Node) {
    loop {
        let catalog = node.catalog().borrow().clone();
        let others = ask_others(node, &catalog).await;
        let stays = |heir: NodeId| others.get(&heir).is_some_and(|heir| !heir.ready.is_zero());
        let mut handing_over = Vec::new();
        for group in node.inner.replicas.leading() {
            handing_over.push(node.inner.replicas.hand_over(group, stays).boxed());
        }
        let came: Vec<_> =
            stream::iter(handing_over).buffer_unordered(LEAVE_AT_ONCE).collect().await;
        if !came.contains(&HandOver::NotYet) {
            return;
        }
        sleep(LEAVE_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::{NodeCommand, Replica, samples};
    use anabranch_types::ReplicaId;

    use super::*;

    /// Nodes 1 to 4, of which the first three hold the catalog.
    fn catalog() -> Catalog {
        let replica = |id| Replica { id: ReplicaId(id), node: NodeId(id) };
        let mut catalog = Catalog::bootstrap(&[1, 2, 3].map(replica));
        let register = |node| Command::Node(NodeCommand::Register(samples::registration(node)));
        for (index, node) in (1..).zip(1..=4) {
            catalog.apply(index, register(node));
        }
        catalog
    }

    #[test]
    fn a_node_that_drains_or_has_a_full_disk_takes_no_leaders() {
        let mut catalog = catalog();
        let ready = || Leading {
            groups: BTreeSet::new(),
            ready: SETTLES,
            sync: None,
            round_trips: BTreeMap::new(),
            stalled: None,
            scrub: ScrubProgress::default(),
        };
        let takes = |catalog: &Catalog| standing(catalog, NodeId(1), ready(), true).takes;
        assert!(takes(&catalog));
        assert!(!standing(&catalog, NodeId(1), ready(), false).takes, "without room on its disk");
        let drain =
            Command::Node(NodeCommand::SetState { node: NodeId(1), state: NodeState::Draining });
        catalog.apply(5, drain);
        assert!(!takes(&catalog));
    }

    #[test]
    fn a_replica_that_leaves_is_no_place_for_a_leader() {
        let mut catalog = catalog();
        let (group, from) = (GroupId::CATALOG, Some(ReplicaId(1)));
        catalog.apply(5, Command::Group(GroupCommand::MoveReplica { group, from, to: NodeId(4) }));
        assert_eq!(replicas(&catalog)[&group], [2, 3].map(NodeId));
    }

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
