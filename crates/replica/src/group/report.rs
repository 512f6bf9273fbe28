//! State of a whole group as one of its replicas knows it, for operators and metrics.
//!
//! Only the leader knows how far the other members are. A report is a copy of what openraft and the log know at the
//! moment. It sends no request, so it may be out of date.

use std::collections::BTreeSet;

use anabranch_storage::Health;
use anabranch_types::{GroupId, LogId, NodeId, ReplicaId};
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;

use crate::convert::log_id;
use crate::group::{Group, leader_node};
use crate::log_adapter::CATCH_UP_ENTRIES;
use crate::metrics::Role;
use crate::raft_types::StoredMembership;

/// State of a group as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Id of the group.
    pub group: GroupId,
    /// Id of the replica.
    pub replica: ReplicaId,
    /// Whether the replica leads and hears the nodes of a majority of the voters.
    pub leads: bool,
    /// Whether a leadership transfer is under way: the replica has renounced its term, and no other replica has
    /// taken over yet.
    pub is_transferring: bool,
    /// Raft term of the replica.
    pub term: u64,
    /// Last entry of its log, committed or not.
    pub last: Option<LogId>,
    /// Last entry that the replica knows to be committed.
    pub committed: Option<LogId>,
    /// First log index that the replica has not applied.
    pub applied: u64,
    /// Members of the group, by the newest membership that the replica knows.
    pub members: Vec<MemberReport>,
    /// Whether a change of the voters is under way: the membership has two sets of voters.
    pub voters_change: bool,
    /// Why the replica is quarantined, if it is.
    pub quarantined: Option<String>,
}

/// A member of a group, as a replica knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// Replica id of the member.
    pub replica: ReplicaId,
    /// Node of the member.
    pub node: NodeId,
    /// Whether the member votes. Otherwise it is a learner.
    pub votes: bool,
    /// Log index up to which its log is known to match the leader's log. Only the leader knows it.
    pub matched: Option<u64>,
}

/// State of a replica in its group, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// Whether it knows no leader, or the leader's node is silent.
    pub(crate) is_leaderless: bool,
    /// Number of entries that are committed and not yet applied here.
    pub(crate) unapplied: u64,
    /// On the leader: number of entries that the slowest other replica lacks. On others: 0.
    pub(crate) largest_lag: u64,
    /// On the leader: number of other replicas that lack more than [`CATCH_UP_ENTRIES`]. On others: 0.
    pub(crate) lagging: u64,
}

impl Group {
    /// State of this replica in its group.
    pub(crate) fn standing(&self) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let role = match metrics.state {
            _ if metrics.running_state.is_err() => Role::Stopped,
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        };
        let leader = leader_node(metrics.current_leader, &metrics.membership_config);
        let is_led = leader.is_some_and(|leader| {
            leader == self.node || !self.transport.liveness().is_silent(leader)
        });
        let committed = metrics.local_committed.as_ref().map_or(0, |id| id.index() + 1);
        let next = self.log.log_state().last.map_or(0, |last| last.index + 1);
        let others = metrics.replication.iter().flatten();
        let others = others.filter(|(replica, _)| **replica != self.replica.0);
        let lags: Vec<u64> = others
            .map(|(_, matched)| matched.as_ref().map_or(0, |matched| matched.index() + 1))
            .map(|matched| next.saturating_sub(matched))
            .collect();
        Standing {
            role,
            is_leaderless: !is_led,
            unapplied: committed.saturating_sub(self.progress.applied()),
            largest_lag: lags.iter().copied().max().unwrap_or_default(),
            lagging: lags.iter().filter(|lag| **lag > CATCH_UP_ENTRIES).count() as u64,
        }
    }

    /// Whether this replica can't hear what the group commits: it knows no leader, the leader's node is silent, or it
    /// leads and hears no majority.
    pub(crate) fn is_cut_off(&self) -> bool {
        let standing = self.standing();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        standing.is_leaderless
            || standing.role == Role::Stopped
            || (standing.role == Role::Leader && !self.hears_majority(&metrics.membership_config))
    }

    /// State of the group as this replica knows it.
    pub(crate) fn report(&self) -> GroupReport {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let term = metrics.vote.leader_id.term;
        let is_leader = metrics.state == ServerState::Leader;
        let last = self.log.log_state().last;
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let member = |(id, member): (&u64, &crate::raft_types::Member)| {
            let known = metrics.replication.as_ref().and_then(|all| all.get(id)?.as_ref());
            let matched = known.map(|matched| matched.index());
            let own = last.filter(|_| is_leader && *id == self.replica.0).map(|last| last.index);
            MemberReport {
                replica: ReplicaId(*id),
                node: member.node,
                votes: voters.contains(id),
                matched: own.or(matched),
            }
        };
        GroupReport {
            group: self.id,
            replica: self.replica,
            leads: is_leader && !self.has_renounced(term) && self.hears_majority(membership),
            is_transferring: is_leader && self.has_renounced(term),
            term,
            last,
            committed: metrics.local_committed.as_ref().map(log_id),
            applied: self.progress.applied(),
            members: membership.nodes().map(member).collect(),
            voters_change: membership.get_joint_config().len() > 1,
            quarantined: match self.log.health() {
                Health::Healthy => None,
                Health::Quarantined { reason } => Some(reason),
            },
        }
    }

    /// Whether the nodes of a majority of the voters are not silent.
    fn hears_majority(&self, membership: &StoredMembership) -> bool {
        let liveness = self.transport.liveness();
        self.is_majority(membership, true, |_, node| !liveness.is_silent(node))
    }
}
