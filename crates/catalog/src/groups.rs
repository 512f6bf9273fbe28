//! Groups: which replicas each Raft group has, the catalog's own included.

mod balancing;
mod recovery;
mod replicas;

use anabranch_types::{GroupId, NodeId, ReplicaId, StreamName};

use crate::apply::Change;
use crate::model::{Catalog, Shard, Stream};
use crate::outcome::Refusal;

/// One copy of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// Its identity in the group.
    pub id: ReplicaId,
    /// The node that holds it.
    pub node: NodeId,
}

/// A replica that is added to a group, learner first, and the one that leaves for it once it has
/// caught up and votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The new one.
    pub to: Replica,
    /// The one that leaves; `None` if the group grows.
    pub from: Option<ReplicaId>,
}

/// A group goes on from one replica's log under another replica id, so that whatever the others still have counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The replica that wrote the log.
    pub from: ReplicaId,
    /// The replica that goes on with it.
    pub to: ReplicaId,
}

/// A group as the catalog wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRef<'a> {
    /// The group.
    pub group: GroupId,
    /// Its replicas.
    pub replicas: &'a [Replica],
    /// The one that is being moved.
    pub moving: Option<Move>,
    /// What it replicates.
    pub kind: GroupKind<'a>,
    /// Whether it is being made: nothing that was acknowledged can be in it yet.
    pub is_new: bool,
}

/// What a group replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind<'a> {
    /// The catalog. There is one such group: [`GroupId::CATALOG`].
    Catalog,
    /// A shard of a stream. The hidden children of a resharding job are shards as well.
    Shard(ShardRef<'a>),
}

/// A shard, and the stream that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRef<'a> {
    /// Name of the stream.
    pub name: &'a StreamName,
    /// The stream. Its `shards` or the children of its `job` include the shard.
    pub stream: &'a Stream,
    /// The shard.
    pub shard: &'a Shard,
}

/// A change to the replicas of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupCommand {
    /// A replica's copy is damaged or wiped: give its node a fresh one under a new id.
    ReplaceReplica {
        /// The group.
        group: GroupId,
        /// The replica that is lost.
        lost: ReplicaId,
    },
    /// An operator has a group that has lost its majority go on from the log of one replica alone. Whatever only the others
    /// had is lost.
    Recover {
        /// The group.
        group: GroupId,
        /// The replica whose log counts from now on.
        from: ReplicaId,
    },
    /// The controller has a replica moved, or one added.
    MoveReplica {
        /// The group.
        group: GroupId,
        /// The replica that leaves; `None` if one is added.
        from: Option<ReplicaId>,
        /// Where the new one is to be.
        to: NodeId,
    },
    /// The controller saw that the group's voters are what a move wanted.
    FinishMove {
        /// The group.
        group: GroupId,
        /// The replica that was added.
        replica: ReplicaId,
    },
    /// The controller gives a move up: its new replica's node is lost or being emptied.
    CancelMove {
        /// The group.
        group: GroupId,
        /// The replica that was to be added.
        replica: ReplicaId,
    },
    /// An operator stops what is done only for evenness, or has it go on. Stopping ends a rebalance.
    SetBalancing {
        /// Whether it is stopped from now on.
        paused: bool,
    },
    /// An operator has leaders and replicas evened out once, also while balancing is paused.
    Rebalance,
    /// The controller found nothing left to even out.
    FinishRebalance {
        /// Which rebalance: the log index of its command.
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

impl Catalog {
    fn placement_mut(&mut self, group: GroupId) -> Option<(&mut Vec<Replica>, &mut Option<Move>)> {
        if group == GroupId::CATALOG {
            return Some((&mut self.replicas, &mut self.moving));
        }
        let shard = self.shards_mut().find(|shard| shard.group == group)?;
        Some((&mut shard.replicas, &mut shard.moving))
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
            GroupKind::Catalog => None,
            GroupKind::Shard(shard) => Some(shard),
        }
    }

    /// Whether its replicas count as load of the nodes that hold them. The catalog is small and its replicas serve all
    /// nodes, so they are not moved for the sake of evenness.
    pub(crate) fn is_load(&self) -> bool {
        match self.kind {
            GroupKind::Catalog => false,
            GroupKind::Shard(_) => true,
        }
    }

    /// Every replica that a node is to hold: the one that comes and the one that leaves included.
    pub fn holders(&self) -> impl Iterator<Item = Replica> + '_ {
        holders(self.replicas, self.moving)
    }

    /// The replicas that are to vote, once the move is done.
    pub fn voters(&self) -> Vec<Replica> {
        let leaving = self.moving.and_then(|moving| moving.from);
        self.holders().filter(|replica| Some(replica.id) != leaving).collect()
    }
}
