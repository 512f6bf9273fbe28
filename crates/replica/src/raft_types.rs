//! The types that openraft is used with.

use std::fmt;

use anabranch_types::NodeId;
use bytes::Bytes;

use crate::applier::Applier;
use crate::machine::Outcome;

openraft::declare_raft_types!(
    /// Replica ids are Raft's node ids. Each term has at most one leader.
    pub TypeConfig:
        D = Stored,
        R = Outcome,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

/// A proposal in its stored form, see `payload.rs`.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored(pub Bytes);

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The node of a replica, as it is in the membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Node that holds the replica.
    pub node: NodeId,
}

pub(crate) type Raft = openraft::Raft<TypeConfig, Applier>;
pub(crate) type RaftLogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type RaftVote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type RaftEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Bytes>;
