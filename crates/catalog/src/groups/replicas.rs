//! Replicas of groups are replaced and moved.
//!
//! A replacement keeps the node and changes the id: the node opens a new, empty replica, and the group's leader
//! brings it up to date. Requests between nodes name the receiving replica, so the old copy, if it ever appears
//! again, takes part in nothing.
//!
//! A new group (of a stream that is being created, of a hidden shard, or of tables) begins anew instead, under another
//! id with new replicas. Replicas that open a new group initialise it with the members that the catalog names. If these
//! could change, two replicas could initialise one group with different members, and then both would be right to elect
//! a leader. No acknowledged record or row is lost, because a new group has none.
//!
//! A move is three commands. `MoveReplica` names the new replica; its node opens it, and the leader adds it as a
//! learner. When the new voters have taken over, `FinishMove` puts it into the list. `CancelMove` forgets it instead.
//! Both replicas of a move are held until the move has ended, so the group never has fewer copies than before.

use std::collections::BTreeMap;

use anabranch_types::{GroupId, NodeId, ReplicaId, ShardId};

use crate::apply::Change;
use crate::groups::placements::Placement;
use crate::groups::{GroupRef, Move, Replica};
use crate::model::{Catalog, Shard};
use crate::nodes::NodeState;
use crate::outcome::Refusal;

/// The highest id of the groups of these shards. A group that begins anew gets an id above those of all groups before
/// it. So as long as this id stays, none of the groups has begun anew.
pub fn newest_group<'a>(shards: impl IntoIterator<Item = &'a Shard>) -> Option<GroupId> {
    shards.into_iter().map(|shard| shard.group).max()
}

/// Whether a controller that saw the group `seen` as the newest one saw the groups that `shards` have now. If not, the
/// command is late: it must not say that a group is no longer new which nobody has initialised.
pub(crate) fn saw_all(seen: Option<GroupId>, shards: &BTreeMap<ShardId, Shard>) -> bool {
    seen.is_none() || seen == newest_group(shards.values())
}

impl Catalog {
    /// Gives new ids to all replicas on a node whose disk is new, or has forgotten entries and votes. `concerns`
    /// chooses the groups by their replicas. New groups begin anew.
    pub(crate) fn replace_all_replicas_on(
        &mut self,
        node: NodeId,
        concerns: impl Fn(&[Replica]) -> bool,
    ) {
        let loses = |group: &GroupRef<'_>| {
            concerns(group.replicas) && group.replicas.iter().any(|replica| replica.node == node)
        };
        let new = self.groups().filter(|group| group.is_new && loses(group));
        let new: Vec<_> = new.map(|group| group.group).collect();
        let mut next = self.next_replica;
        for Placement { replicas, moving, .. } in self.placements_mut() {
            if !concerns(replicas) {
                continue;
            }
            for replica in replicas.iter_mut().filter(|replica| replica.node == node) {
                let before = std::mem::replace(&mut replica.id, ReplicaId(next));
                next += 1;
                follow_leaving(moving, before, replica.id);
            }
            if let Some(moving) = moving.as_mut().filter(|moving| moving.to.node == node) {
                moving.to.id = ReplicaId(next);
                next += 1;
            }
        }
        self.next_replica = next;
        new.into_iter().for_each(|group| self.begin_anew(group));
    }

    /// Puts another group, with new replicas on the same nodes, in the place of a new group.
    fn begin_anew(&mut self, group: GroupId) {
        let mut next_replica = self.next_replica;
        let Some(placement) = self.placement_mut(group) else { return };
        for replica in placement.replicas {
            replica.id = ReplicaId(next_replica);
            next_replica += 1;
        }
        self.next_replica = next_replica;
        self.rename_group(group, GroupId(self.next_group));
        self.next_group += 1;
    }

    pub(super) fn replace_replica(
        &mut self,
        group: GroupId,
        lost: ReplicaId,
    ) -> Result<Change, Refusal> {
        let id = ReplicaId(self.next_replica);
        let not_found = Refusal::ReplicaNotFound { group, replica: lost };
        let Placement { replicas, moving, .. } =
            self.placement_mut(group).ok_or(not_found.clone())?;
        if let Some(moving) = moving.as_mut().filter(|moving| moving.to.id == lost) {
            // The replica that a move is adding. The move goes on with the new id.
            moving.to.id = id;
        } else {
            let mut replicas = replicas.iter_mut();
            replicas.find(|replica| replica.id == lost).ok_or(not_found)?.id = id;
            follow_leaving(moving, lost, id);
        }
        self.next_replica += 1;
        if self.groups().any(|found| found.group == group && found.is_new) {
            self.begin_anew(group);
        }
        Ok(Change::Made)
    }

    pub(super) fn move_replica(
        &mut self,
        group: GroupId,
        from: Option<ReplicaId>,
        to: NodeId,
    ) -> Result<Change, Refusal> {
        let found = self.groups().find(|found| found.group == group);
        let is_free = self.nodes.get(&to).is_some_and(|node| node.state == NodeState::Active);
        // One move at a time: the voters of a group change by one replica, so that old and new majorities overlap. A
        // new group has no leader yet that could change its members.
        let can_move = |found: &GroupRef<'_>| {
            !found.is_new
                && found.moving.is_none()
                && from.is_none_or(|from| found.replicas.iter().any(|r| r.id == from))
                && found.replicas.iter().all(|replica| replica.node != to)
        };
        if !is_free || !found.is_some_and(|found| can_move(&found)) {
            return Err(Refusal::CannotMove { group, to });
        }
        let to = Replica { id: ReplicaId(self.next_replica), node: to };
        if let Some(Placement { moving, .. }) = self.placement_mut(group) {
            *moving = Some(Move { to, from });
        }
        self.next_replica += 1;
        Ok(Change::Made)
    }

    pub(super) fn finish_move(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
    ) -> Result<Change, Refusal> {
        let Some(Placement { replicas, moving, .. }) = self.placement_mut(group) else {
            return Err(Refusal::ReplicaNotFound { group, replica });
        };
        // Another replica id: the command is late, and is about a move that has ended or whose replica was replaced.
        let Some(Move { to, from }) = moving.take_if(|moving| moving.to.id == replica) else {
            return Ok(Change::AlreadySo);
        };
        match from.and_then(|from| replicas.iter_mut().find(|replica| replica.id == from)) {
            Some(place) => *place = to,
            None => replicas.push(to),
        }
        Ok(Change::Made)
    }

    pub(super) fn cancel_move(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
    ) -> Result<Change, Refusal> {
        let Some(Placement { moving, .. }) = self.placement_mut(group) else {
            return Err(Refusal::ReplicaNotFound { group, replica });
        };
        let cancelled = moving.take_if(|moving| moving.to.id == replica);
        Ok(if cancelled.is_some() { Change::Made } else { Change::AlreadySo })
    }
}

/// Changes the id in a move whose leaving replica has just got a new one.
fn follow_leaving(moving: &mut Option<Move>, before: ReplicaId, now: ReplicaId) {
    if let Some(moving) = moving
        && moving.from == Some(before)
    {
        moving.from = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::GroupCommand;
    use crate::model::StreamMode::Provisioned;
    use crate::outcome::Outcome;
    use crate::script::Script;

    #[test]
    fn a_lost_replica_is_replaced_once() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create("s", 1, Provisioned);
        let shard = script.stream("s").shards[&ShardId(0)].clone();
        let lost = shard.replicas[1];
        let replace = GroupCommand::ReplaceReplica { group: shard.group, lost: lost.id };
        assert!(matches!(script.run(replace.clone()), Outcome::Done { .. }));
        let now = &script.stream("s").shards[&ShardId(0)].replicas;
        assert_eq!(now[1].node, lost.node);
        assert_ne!(now[1].id, lost.id);
        let again = Refusal::ReplicaNotFound { group: shard.group, replica: lost.id };
        assert_eq!(script.run(replace), Outcome::Refused(again));
    }
}
