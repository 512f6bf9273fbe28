//! Groups: the replicas of each Raft group, the catalog's own included.
//!
//! The catalog says which replicas a group is to have, not which it has: nodes follow the catalog, and the leader of
//! a group changes its members. `replicas.rs` replaces and moves replicas, `recovery.rs` recovers a group without a
//! majority, `balancing.rs` pauses moves that only even out the load. A group never has two replicas on one node, and
//! moves one replica at a time.
//!
//! There are three kinds of groups: the catalog's own, those of shards, and those of tables. These rules are the same
//! for all of them. `placements.rs` finds the replicas of a group of any kind.

mod balancing;
mod placements;
mod recovery;
mod replicas;

use anabranch_types::{GroupId, NodeId, ReplicaId, StreamName};

use crate::apply::Change;
use crate::model::{Catalog, Shard, Stream};
use crate::outcome::Refusal;
use crate::tables::TableGroup;

pub use replicas::newest_group;
pub(crate) use replicas::saw_all;

/// One node's copy of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// Identity of the replica. A new copy gets a new id, also on the same node.
    pub id: ReplicaId,
    /// Node that holds the replica.
    pub node: NodeId,
}

/// A replica that is added to a group, and the replica that it replaces.
///
/// The new replica is a learner first. When it has caught up, it votes and the other one leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The replica that is added.
    pub to: Replica,
    /// The replica that leaves; `None` if the group grows.
    pub from: Option<ReplicaId>,
}

/// A recovery of a group: it goes on from the log of one replica, under another replica id. Logs of all other
/// replicas count no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Old id of the replica whose log is kept.
    pub from: ReplicaId,
    /// New id of that replica.
    pub to: ReplicaId,
}

/// A group, with the replicas that the catalog wants it to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRef<'a> {
    /// Id of the group.
    pub group: GroupId,
    /// Replicas, without a replica that a move is adding.
    pub replicas: &'a [Replica],
    /// The move that is under way.
    pub moving: Option<Move>,
    /// The kind of state that the group replicates.
    pub kind: GroupKind<'a>,
    /// Whether the group is for a CREATING stream or a hidden shard, or is a Creating table group. No acknowledged
    /// record or row can be in it yet.
    pub is_new: bool,
}

/// The kind of state that a group replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind<'a> {
    /// The catalog: only [`GroupId::CATALOG`].
    Catalog,
    /// A shard of a stream, open, closed or hidden.
    Shard(ShardRef<'a>),
    /// Tables: a group of [`Catalog::table_groups`].
    Table(&'a TableGroup),
}

/// A shard and its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRef<'a> {
    /// Name of the stream.
    pub name: &'a StreamName,
    /// The stream, whose `shards` or whose job's `children` include the shard.
    pub stream: &'a Stream,
    /// The shard that the group replicates.
    pub shard: &'a Shard,
}

/// A change to the replicas of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupCommand {
    /// A node found that the log of its replica is damaged or lost. The node gets a new, empty replica instead.
    ReplaceReplica {
        /// Id of the group.
        group: GroupId,
        /// The replica whose log is lost. A move may be adding it.
        lost: ReplicaId,
    },
    /// An operator recovers a group that has lost its majority. The group goes on from the log of one replica;
    /// entries that only other replicas had are lost.
    Recover {
        /// Id of the group.
        group: GroupId,
        /// The replica whose log is kept.
        from: ReplicaId,
    },
    /// The controller begins to move a replica, or to add one.
    MoveReplica {
        /// Id of the group.
        group: GroupId,
        /// The replica that leaves; `None` if the group grows.
        from: Option<ReplicaId>,
        /// Node of the new replica.
        to: NodeId,
    },
    /// The controller saw that the group has the voters that a move wanted.
    FinishMove {
        /// Id of the group.
        group: GroupId,
        /// The replica that the move added. Names the move, so that a late command does not end a later one.
        replica: ReplicaId,
    },
    /// The controller gives a move up, because the node of the new replica is lost or drains.
    CancelMove {
        /// Id of the group.
        group: GroupId,
        /// The replica that the move was adding. Names the move, so that a late command does not end a later one.
        replica: ReplicaId,
    },
    /// An operator pauses or resumes moves of leaders and replicas that only even out the load. Pausing ends a
    /// rebalance.
    SetBalancing {
        /// Whether balancing is paused from now on.
        paused: bool,
    },
    /// An operator asks to even out leaders and replicas once, also while balancing is paused.
    Rebalance,
    /// The controller found nothing left to even out.
    FinishRebalance {
        /// Log index of the command that began the rebalance.
        rebalance: u64,
    },
}

impl GroupCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog, log_index: u64) -> Result<Change, Refusal> {
        match self {
            Self::ReplaceReplica { group, lost } => catalog.replace_replica(group, lost),
            Self::Recover { group, from } => catalog.recover_group(group, from),
            Self::MoveReplica { group, from, to } => catalog.move_replica(group, from, to),
            Self::FinishMove { group, replica } => catalog.finish_move(group, replica),
            Self::CancelMove { group, replica } => catalog.cancel_move(group, replica),
            Self::SetBalancing { paused } => Ok(catalog.set_balancing(paused)),
            Self::Rebalance => Ok(catalog.begin_rebalance(log_index)),
            Self::FinishRebalance { rebalance } => Ok(catalog.finish_rebalance(rebalance)),
        }
    }
}

pub(crate) fn holders(
    replicas: &[Replica],
    moving: Option<Move>,
) -> impl Iterator<Item = Replica> + '_ {
    replicas.iter().copied().chain(moving.map(|moving| moving.to))
}

impl<'a> GroupRef<'a> {
    /// The shard that the group replicates; `None` for a group of another kind.
    pub fn shard(&self) -> Option<ShardRef<'a>> {
        match self.kind {
            GroupKind::Shard(shard) => Some(shard),
            GroupKind::Catalog | GroupKind::Table(_) => None,
        }
    }

    /// Whether its replicas count as load of their nodes. Those of the catalog do not: its load is small, so moving
    /// them evens out nothing.
    pub(crate) fn is_load(&self) -> bool {
        match self.kind {
            GroupKind::Catalog => false,
            GroupKind::Shard(_) | GroupKind::Table(_) => true,
        }
    }

    /// All replicas that nodes are to hold, both of a move included.
    pub fn holders(&self) -> impl Iterator<Item = Replica> + '_ {
        holders(self.replicas, self.moving)
    }

    /// The replicas that vote once the move, if there is one, is finished.
    pub fn voters(&self) -> Vec<Replica> {
        let leaving = self.moving.and_then(|moving| moving.from);
        self.holders().filter(|replica| Some(replica.id) != leaving).collect()
    }
}
