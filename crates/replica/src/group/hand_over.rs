//! Giving the leadership of a group to another replica.
//!
//! What always holds: a replica gives its term up before it tells anybody to stand. From then on it neither
//! takes an append nor answers a read as the leader, whatever comes of it, so the heir needn't wait for
//! anybody's lease. There is no way back: a hand-over that didn't work is tried again, with any heir.

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

/// What came of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// Another replica leads, or this one didn't.
    Done,
    /// Who could lead hasn't caught up, or didn't take over in time. To be tried again.
    NotYet,
    /// No other voter is where it was to be.
    NoHeir,
}

/// How long an heir may take until another one is told.
const PATIENCE: Duration = Duration::from_secs(1);
/// Entries that an heir may lack of what is being written: it gets them before it stands.
const NEAR: u64 = 256;

/// A voter that could take over.
#[derive(Clone, Copy, Debug)]
struct Heir {
    replica: ReplicaId,
    node: NodeId,
    /// Log index up to which it is known to have the log.
    matched: Option<u64>,
    /// Whether its disk takes no records.
    lacks_room: bool,
}

impl Group {
    /// Whether this replica leads as far as openraft knows, also one that is handing over.
    pub(crate) fn is_leader(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// Whether this replica gave up to lead, and nobody has taken over yet.
    pub(crate) fn is_handing_over(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.state == ServerState::Leader && self.has_given_up(metrics.vote.leader_id.term)
    }

    /// Hands the leadership to a voter on a node that `suits`, lives, and has caught up. Nothing happens if
    /// there is none. Else this replica leads no more from now on; returns once another one does, or after
    /// a second.
    pub(crate) async fn hand_over(&self, suits: impl Fn(NodeId) -> bool) -> HandOver {
        if !self.is_leader() {
            return HandOver::Done;
        }
        // Two heirs at a time would stand against each other.
        let Ok(_only) = self.telling_heir.try_lock() else { return HandOver::NotYet };
        let mut heirs = self.heirs();
        heirs.retain(|heir| suits(heir.node));
        if heirs.is_empty() {
            return HandOver::NoHeir;
        }
        // Who has no room for records would only hand over again: not while another could take them, even if that one has
        // yet to catch up.
        if heirs.iter().any(|heir| !heir.lacks_room) {
            heirs.retain(|heir| !heir.lacks_room);
        }
        let last = self.log.log_state().last.map_or(0, |last| last.index);
        // Where disks are full an heir may never get what it lacks, and what is here doesn't grow.
        let near = if self.log.disk().takes_records() { NEAR } else { 0 };
        heirs.retain(|heir| heir.matched.is_some_and(|matched| matched + near >= last));
        if heirs.is_empty() {
            return HandOver::NotYet;
        }
        // Rotated by the group, so that the others share what a node hands over.
        let turn = usize::try_from(self.id.0 % heirs.len() as u64).unwrap_or(0);
        let Heir { replica, node, .. } = heirs[turn];
        let term = self.raft.server_metrics().borrow_watched().vote.leader_id.term;
        self.given_up.fetch_max(term, Ordering::AcqRel);
        tracing::info!(group = %self.id, %replica, %node, term, "hands over");
        let _stopping = self.raft.trigger().transfer_leader(replica.0).await;
        let own = self.replica.0;
        let led = |leader: Option<u64>| leader.is_some_and(|leader| leader != own);
        let waiting = self.raft.wait(Some(PATIENCE));
        match waiting.metrics(|metrics| led(metrics.current_leader), "another leader").await {
            Ok(_) => {
                self.metrics.leadership_transfers.of(Transfer::TakenOver).increment();
                HandOver::Done
            }
            Err(error) => {
                self.metrics.leadership_transfers.of(Transfer::NotTakenOver).increment();
                tracing::warn!(group = %self.id, %replica, %node, %error, "not taken over");
                HandOver::NotYet
            }
        }
    }

    /// Gives up the term that this replica leads in, if others could lead. The caller makes known that they may.
    pub(crate) fn renounce(&self) {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state == ServerState::Leader && !self.votes_alone(&metrics.membership_config) {
            self.given_up.fetch_max(metrics.vote.leader_id.term, Ordering::AcqRel);
        }
    }

    /// Whether this node's wall clock is wrong.
    pub(crate) fn has_wrong_clock(&self) -> bool {
        self.transport.clocks().is_far(self.node)
    }

    /// Whether [`Self::leave_to_right_clock`] has something to do.
    pub(crate) fn leads_with_wrong_clock(&self) -> bool {
        self.is_leader() && self.has_wrong_clock()
    }

    /// Has a voter lead whose node's clock is right, if this one leads and its own is wrong. If there is none, this
    /// replica goes on: it stamps with the agreed time and trims nothing.
    pub(crate) async fn leave_to_right_clock(&self) {
        let clocks = self.transport.clocks();
        let _tried_again_next_round = self.hand_over(|node| !clocks.is_far(node)).await;
    }

    /// Tells the others to elect a leader at once, although this node lives: for a replica that led and
    /// can't go on. One after the other is told to stand: who has room for records first, then who has most of the
    /// log; who stands without what a majority has isn't elected.
    pub(crate) async fn call_successors(&self) {
        let vote = self.raft.server_metrics().borrow_watched().vote;
        if !vote.is_committed() || vote.leader_id.voted_for != self.replica.0 {
            return;
        }
        self.given_up.fetch_max(vote.leader_id.term, Ordering::AcqRel);
        let mut heirs = self.heirs();
        heirs.sort_by_key(|heir| (heir.lacks_room, std::cmp::Reverse(heir.matched)));
        for Heir { replica, node, .. } in &heirs {
            tracing::info!(group = %self.id, %replica, %node, "is called to lead");
            let transfer = pb::TransferLeader {
                from: Some(vote_message(&vote)),
                to_replica: replica.0,
                last: None,
            };
            join_all(heirs.iter().map(|heir| self.tell(*heir, transfer))).await;
            tokio::time::sleep(self.settings.election_stagger * 4).await;
        }
    }

    async fn tell(&self, heir: Heir, transfer: pb::TransferLeader) {
        let Heir { replica, node, .. } = heir;
        let body = RequestBody::Transfer(transfer);
        let told =
            self.transport.call(node, Purpose::Control, self.id, replica, body, PATIENCE).await;
        if let Err(error) = told {
            tracing::info!(group = %self.id, %replica, %node, %error, "call to lead");
        }
    }

    /// The other voters on nodes that aren't silent, and how much of the log each has.
    fn heirs(&self) -> Vec<Heir> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let liveness = self.transport.liveness();
        let others = membership.voter_ids().filter(|voter| *voter != self.replica.0);
        let heir = |voter| {
            let node = membership.get_node(&voter)?.node;
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&voter)?.as_ref());
            let matched = matched.map(|matched| matched.index());
            let lacks_room = liveness.refuses_records(node);
            Some(Heir { replica: ReplicaId(voter), node, matched, lacks_room })
        };
        let lives = |heir: &Heir| !liveness.is_silent(heir.node);
        others.filter_map(heir).filter(lives).collect()
    }
}
