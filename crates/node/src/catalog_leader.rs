//! The duties of the node that leads the catalog. There is one such node at a time; when it stops leading, the next
//! leader goes on.
//!
//! The duties, in the order in which a stream meets them:
//!
//! 1. `controller.rs`: takes every stream to where the catalog wants it. CREATING becomes ACTIVE once all shards have
//!    leaders; DELETING streams are dropped; closed shards that have expired are forgotten; changes of consumers and
//!    of encryption (`encryption.rs`) are settled once every node knows them. A table group becomes ready once it has a
//!    leader.
//! 2. `reshard.rs`, a part of 1: drives splits and merges to COMMIT or ABORT.
//! 3. `moves.rs`, after 1 in the same round: begins, ends and gives up moves of replicas.
//! 4. `leader_balance.rs`: spreads the leaders of groups over the nodes, and takes them away from slow nodes.
//! 5. `scaling.rs`: splits and merges shards of on-demand streams as their load changes.
//!
//! 1 to 3 are one task, 4 and 5 one each. A duty runs in rounds. It remembers things from round to round only as long
//! as this node leads. Everything that has to outlive a leader is in the catalog, so each step may be repeated, by
//! this leader or by the next.
//!
//! Never: a duty acts on what it remembers from an earlier term as leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anabranch_catalog::Catalog;
use tokio::time::{sleep, timeout};

use crate::catalog_leader::controller::Controller;
use crate::catalog_leader::leader_balance::LeaderBalance;
use crate::catalog_leader::scaling::Scaling;
use crate::fail_point::FailPoints;
use crate::node::Node;

mod controller;
mod encryption;
mod leader_balance;
mod moves;
mod reshard;
mod scaling;

pub(crate) use moves::Voters;
pub(crate) use reshard::Freeze;
pub(crate) use scaling::ReportLoads;

/// Something that the catalog's leader does in rounds. A value of the type is what one term as leader remembers.
trait Duty: Send {
    /// Longest pause before the first round, and between two looks whether this node leads.
    const IDLE: Duration;
    /// Whether a new version of the catalog ends a pause.
    const FOLLOWS_CATALOG: bool;

    /// One round, on this version of the catalog. Returns the longest pause before the next round.
    fn round(&mut self, node: &Node, catalog: &Catalog) -> impl Future<Output = Duration> + Send;
}

/// Starts the tasks of the duties. They run for as long as the node does, and act only while it leads the catalog.
pub(crate) fn start(node: &Node) {
    let rebalance = Arc::new(PlacedRebalance::default());
    let (placed, fail_points) = (Arc::clone(&rebalance), Arc::new(FailPoints::from_environment()));
    let controller = move || Controller::new(Arc::clone(&placed), Arc::clone(&fail_points));
    node.spawn(while_leading(node.clone(), controller));
    node.spawn(while_leading(node.clone(), Scaling::default));
    let balance = move || LeaderBalance::new(Arc::clone(&rebalance));
    let node_of_task = node.clone();
    node.spawn(async move {
        // A node that is not ready takes no leaders itself, and knows too little of the others.
        node_of_task.ready().await;
        while_leading(node_of_task, balance).await;
    });
}

/// Performs a duty while this node leads the catalog. `begin` makes what a new leader begins with.
async fn while_leading<D: Duty>(node: Node, begin: impl Fn() -> D + Send) {
    let mut versions = node.catalog();
    versions.mark_changed(); // the version that is there counts as new
    let (mut duty, mut pause) = (begin(), D::IDLE);
    loop {
        if !D::FOLLOWS_CATALOG {
            sleep(pause).await;
        } else if let Ok(Err(_)) = timeout(pause, versions.changed()).await {
            return; // the node is gone
        }
        if node.catalog_view().leads().await {
            // Only now: a new leader has applied everything that earlier leaders committed.
            let catalog = Arc::clone(&versions.borrow_and_update());
            pause = duty.round(&node, &catalog).await;
        } else {
            // Another leader acts meanwhile, so what this node has seen will be out of date when it leads again.
            (duty, pause) = (begin(), D::IDLE);
        }
    }
}

/// The newest rebalance for which [`moves`] found no replica to move. Only leaders remain to be moved then, and
/// [`leader_balance`] ends the rebalance.
#[derive(Debug, Default)]
struct PlacedRebalance(AtomicU64);

impl PlacedRebalance {
    fn set(&self, rebalance: u64) {
        self.0.store(rebalance, Ordering::Relaxed);
    }

    fn is(&self, rebalance: u64) -> bool {
        self.0.load(Ordering::Relaxed) == rebalance
    }
}
