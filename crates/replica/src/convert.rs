//! Conversions of log ids, votes and memberships between openraft, the log store and protobuf messages.
//!
//! A term has at most one leader, so a log id is only a term and an index: the leader in openraft's id is not kept.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_proto::replica as pb;
use anabranch_storage::Vote;
use anabranch_types::{LogId, NodeId, ReplicaId};
use openraft::vote::RaftVote as _;

use crate::raft_types::{Member, Membership, RaftLogId, RaftVote};

type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

pub(crate) fn log_id(id: &RaftLogId) -> LogId {
    LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(crate) fn raft_log_id(id: LogId) -> RaftLogId {
    let leader: LeaderId = openraft::vote::RaftLeaderId::new(id.term, 0);
    RaftLogId::new(openraft::vote::RaftLeaderId::to_committed(&leader), id.index)
}

pub(crate) fn log_id_message(id: &RaftLogId) -> pb::LogId {
    let id = log_id(id);
    pb::LogId { term: id.term, index: id.index }
}

pub(crate) fn raft_log_id_of(message: pb::LogId) -> RaftLogId {
    raft_log_id(LogId { term: message.term, index: message.index })
}

pub(crate) fn vote(vote: &RaftVote) -> Vote {
    let leader = vote.leader_id();
    Vote { term: leader.term, replica: ReplicaId(leader.voted_for), committed: vote.is_committed() }
}

pub(crate) fn raft_vote(vote: Vote) -> RaftVote {
    let leader = openraft::vote::RaftLeaderId::new(vote.term, vote.replica.0);
    RaftVote::from_leader_id(leader, vote.committed)
}

pub(crate) fn vote_message(raft_vote: &RaftVote) -> pb::Vote {
    let Vote { term, replica, committed } = vote(raft_vote);
    pb::Vote { term, replica: replica.0, committed }
}

pub(crate) fn raft_vote_of(message: pb::Vote) -> RaftVote {
    raft_vote(Vote {
        term: message.term,
        replica: ReplicaId(message.replica),
        committed: message.committed,
    })
}

pub(crate) fn membership_message(membership: &Membership) -> pb::Membership {
    let voters = |config: &BTreeSet<u64>| pb::Voters { replicas: config.iter().copied().collect() };
    let member = |(id, member): (&u64, &Member)| pb::Member { replica: *id, node: member.node.0 };
    pb::Membership {
        configs: membership.get_joint_config().iter().map(voters).collect(),
        members: membership.nodes().map(member).collect(),
    }
}

pub(crate) fn membership_of(message: pb::Membership) -> Membership {
    let configs = message.configs.into_iter().map(|voters| voters.replicas.into_iter().collect());
    let members = message
        .members
        .into_iter()
        .map(|member| (member.replica, Member { node: NodeId(member.node) }))
        .collect::<BTreeMap<_, _>>();
    Membership::new(configs.collect(), members).unwrap_or_default()
}
