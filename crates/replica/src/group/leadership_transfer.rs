//! Leadership transfer: a leader ends its term and asks another replica, the target, to start an election
//! (ADR-0015).
//!
//! ```text
//! leader                                     target                           other voters
//! 1. renounces its term
//! 2. TransferLeader(target, last entry) ---> waits until it has that entry    forget the leader's lease
//! 3. waits up to a second                    3. starts an election --------> vote for it
//! ```
//!
//! Always: the leader renounces its term before any replica is told to start an election. From then on it takes no
//! append and answers no read as the leader, whether the transfer succeeds or not. So the target need not wait until
//! a lease ends. A renounced term is never taken back: if a transfer fails, it is tried again, with any target.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anabranch_transport::{Purpose, RequestBody, pb};
use anabranch_types::{NodeId, ReplicaId};
use futures::future::join_all;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;

use crate::convert::vote_message;
use crate::group::Group;
use crate::metrics::Transfer;

/// Result of a leadership transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadershipTransfer {
    /// Another replica leads, or this replica was not the leader.
    Done,
    /// The possible targets have not caught up, or the target did not take over in time. The caller may try again.
    NotYet,
    /// There is no possible target: no other voter is on a suitable node that is alive.
    NoTarget,
}

/// How long a target may take before another target is told.
const PATIENCE: Duration = Duration::from_secs(1);
/// Entries that a target may lack when a transfer begins. It gets them before it starts an election.
const NEAR: u64 = 256;

/// A voter that could take over.
#[derive(Clone, Copy, Debug)]
struct Target {
    replica: ReplicaId,
    node: NodeId,
    /// Log index up to which its log is known to match this replica's log.
    matched: Option<u64>,
    /// Whether its disk takes no records.
    lacks_space: bool,
}

impl Group {
    /// Whether openraft says that this replica leads. True also while a transfer is under way.
    pub(crate) fn is_leader(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// Whether this replica has renounced its term, and no other replica has taken over yet.
    pub(crate) fn is_transferring(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.state == ServerState::Leader && self.has_renounced(metrics.vote.leader_id.term)
    }

    /// Transfers the leadership to a voter that has caught up, on a node that is alive and `suits`. If there is
    /// none, nothing happens. Otherwise this replica stops leading at once. Returns once another replica leads, or
    /// after a second.
    pub(crate) async fn transfer_leadership(
        &self,
        suits: impl Fn(NodeId) -> bool,
    ) -> LeadershipTransfer {
        if !self.is_leader() {
            return LeadershipTransfer::Done;
        }
        // Only one transfer at a time: two targets would compete in the election.
        let Ok(mut failed) = self.transferring.try_lock() else {
            return LeadershipTransfer::NotYet;
        };
        let mut targets = self.targets();
        targets.retain(|target| suits(target.node));
        if targets.is_empty() {
            return LeadershipTransfer::NoTarget;
        }
        // A target whose disk takes no records would only transfer the leadership again. So it is not used while
        // another target takes records, even if that one has not caught up yet.
        if targets.iter().any(|target| !target.lacks_space) {
            targets.retain(|target| !target.lacks_space);
        }
        let last = self.log.log_state().last.map_or(0, |last| last.index);
        // If this disk takes no records, the target may never get an entry that it lacks. The log here does not grow
        // any more, so the target can be required to have all of it.
        let near = if self.log.disk().takes_records() { NEAR } else { 0 };
        targets.retain(|target| target.matched.is_some_and(|matched| matched + near >= last));
        if targets.is_empty() {
            return LeadershipTransfer::NotYet;
        }
        // Chosen by the group id, so that the other nodes share the groups that one node transfers. After a failed
        // transfer it is the next target's turn: a node may be alive although its replica is gone for ever.
        let turn = self.id.0.wrapping_add(*failed) % targets.len() as u64;
        let turn = usize::try_from(turn).unwrap_or(0);
        let Target { replica, node, .. } = targets[turn];
        let term = self.raft.server_metrics().borrow_watched().vote.leader_id.term;
        // From here on this replica serves nothing as the leader. Only then is the target told.
        self.renounced_term.fetch_max(term, Ordering::AcqRel);
        tracing::info!(group = %self.id, %replica, %node, term, "leadership transfer begins");
        let _stopping = self.raft.trigger().transfer_leader(replica.0).await;
        let own = self.replica.0;
        let led = |leader: Option<u64>| leader.is_some_and(|leader| leader != own);
        let waiting = self.raft.wait(Some(PATIENCE));
        match waiting.metrics(|metrics| led(metrics.current_leader), "another leader").await {
            Ok(_) => {
                self.metrics.leadership_transfers.of(Transfer::TakenOver).increment();
                LeadershipTransfer::Done
            }
            Err(error) => {
                *failed = failed.wrapping_add(1);
                self.metrics.leadership_transfers.of(Transfer::NotTakenOver).increment();
                tracing::warn!(group = %self.id, %replica, %node, %error, "the target has not taken over in time");
                LeadershipTransfer::NotYet
            }
        }
    }

    /// Renounces the term that this replica leads in, unless it is the only voter. Afterwards the caller tells the
    /// other nodes that they may take over.
    pub(crate) fn renounce(&self) {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state == ServerState::Leader && !self.votes_alone(&metrics.membership_config) {
            self.renounced_term.fetch_max(metrics.vote.leader_id.term, Ordering::AcqRel);
        }
    }

    /// Whether this node's wall clock is wrong.
    pub(crate) fn has_wrong_clock(&self) -> bool {
        self.transport.clocks().is_far(self.node)
    }

    /// Whether this replica leads although this node's clock is wrong. Then [`Self::transfer_to_right_clock`] has
    /// something to do.
    pub(crate) fn leads_with_wrong_clock(&self) -> bool {
        self.is_leader() && self.has_wrong_clock()
    }

    /// Transfers the leadership to a voter on a node whose clock is right. If there is no such voter, this replica
    /// keeps leading: it stamps records with the agreed time and trims nothing.
    pub(crate) async fn transfer_to_right_clock(&self) {
        let clocks = self.transport.clocks();
        let _tried_again_next_round = self.transfer_leadership(|node| !clocks.is_far(node)).await;
    }

    /// Tells the other replicas to elect a leader at once, although this node is alive. For a replica that led its
    /// group and can't go on. The targets are told one after the other to start an election. Targets whose disks
    /// take records come first, and among them the targets with more of the log. A candidate that lacks an entry
    /// which a majority has is not elected.
    pub(crate) async fn call_successors(&self) {
        let vote = self.raft.server_metrics().borrow_watched().vote;
        if !vote.is_committed() || vote.leader_id.voted_for != self.replica.0 {
            return;
        }
        self.renounced_term.fetch_max(vote.leader_id.term, Ordering::AcqRel);
        let mut targets = self.targets();
        targets.sort_by_key(|target| (target.lacks_space, std::cmp::Reverse(target.matched)));
        for Target { replica, node, .. } in &targets {
            tracing::info!(group = %self.id, %replica, %node, "tells a replica to start an election");
            let transfer = pb::TransferLeader {
                from: Some(vote_message(&vote)),
                to_replica: replica.0,
                last: None,
            };
            join_all(targets.iter().map(|target| self.tell(*target, transfer))).await;
            tokio::time::sleep(self.settings.election_stagger * 4).await;
        }
    }

    async fn tell(&self, target: Target, transfer: pb::TransferLeader) {
        let Target { replica, node, .. } = target;
        let body = RequestBody::Transfer(transfer);
        let told =
            self.transport.call(node, Purpose::Control, self.id, replica, body, PATIENCE).await;
        if let Err(error) = told {
            tracing::info!(group = %self.id, %replica, %node, %error, "could not tell the replica");
        }
    }

    /// The other voters on nodes that are not silent, and how much of the log each is known to have.
    fn targets(&self) -> Vec<Target> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let liveness = self.transport.liveness();
        let others = membership.voter_ids().filter(|voter| *voter != self.replica.0);
        let target = |voter| {
            let node = membership.get_node(&voter)?.node;
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&voter)?.as_ref());
            let matched = matched.map(|matched| matched.index());
            let lacks_space = liveness.refuses_records(node);
            Some(Target { replica: ReplicaId(voter), node, matched, lacks_space })
        };
        let lives = |target: &Target| !liveness.is_silent(target.node);
        others.filter_map(target).filter(lives).collect()
    }
}
