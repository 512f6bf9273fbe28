//! Nodes that come and go, and the replicas that move between them.

use anabranch_types::{GroupId, NodeId, ReplicaId};

use crate::apply::Change;
use crate::command::Refusal;
use crate::model::{Catalog, GroupRef, Move, Node, NodeState, Replica};

impl Catalog {
    pub(crate) fn register_node(&mut self, id: NodeId, node: Node) -> Result<Change, Refusal> {
        let before = self.nodes.insert(id, node.clone());
        match before {
            Some(before) if before == node => Ok(Change::AlreadySo),
            Some(before) if before.incarnation != node.incarnation => {
                self.replace_all_replicas_on(id);
                Ok(Change::Made)
            }
            _ => Ok(Change::Made),
        }
    }

    /// The disk that held these replicas is gone: what comes back is new under new ids.
    fn replace_all_replicas_on(&mut self, node: NodeId) {
        let mut next = self.next_replica;
        let mut replace = |replicas: &mut Vec<Replica>, moving: &mut Option<Move>| {
            for replica in replicas.iter_mut().filter(|replica| replica.node == node) {
                let before = std::mem::replace(&mut replica.id, ReplicaId(next));
                next += 1;
                follow_leaving(moving, before, replica.id);
            }
            if let Some(moving) = moving.as_mut().filter(|moving| moving.to.node == node) {
                moving.to.id = ReplicaId(next);
                next += 1;
            }
        };
        self.shards_mut().for_each(|shard| replace(&mut shard.replicas, &mut shard.moving));
        replace(&mut self.replicas, &mut self.moving);
        self.next_replica = next;
    }

    pub(crate) fn replace_replica(
        &mut self,
        group: GroupId,
        lost: ReplicaId,
    ) -> Result<Change, Refusal> {
        let id = ReplicaId(self.next_replica);
        let not_found = Refusal::ReplicaNotFound { group, replica: lost };
        let (replicas, moving) = self.placement_mut(group).ok_or(not_found.clone())?;
        if let Some(moving) = moving.as_mut().filter(|moving| moving.to.id == lost) {
            moving.to.id = id;
        } else {
            let mut replicas = replicas.iter_mut();
            replicas.find(|replica| replica.id == lost).ok_or(not_found)?.id = id;
            follow_leaving(moving, lost, id);
        }
        self.next_replica += 1;
        Ok(Change::Made)
    }

    pub(crate) fn set_node_state(
        &mut self,
        node: NodeId,
        state: NodeState,
    ) -> Result<Change, Refusal> {
        let known = self.nodes.get_mut(&node).ok_or(Refusal::NodeNotFound { node })?;
        let before = std::mem::replace(&mut known.state, state);
        Ok(if before == state { Change::AlreadySo } else { Change::Made })
    }

    pub(crate) fn remove_node(&mut self, node: NodeId) -> Result<Change, Refusal> {
        if !self.nodes.contains_key(&node) {
            return Err(Refusal::NodeNotFound { node });
        }
        let held = self.groups().flat_map(|group| group.holders().collect::<Vec<_>>());
        let replicas = held.filter(|replica| replica.node == node).count() as u64;
        if replicas > 0 {
            return Err(Refusal::NodeInUse { node, replicas });
        }
        self.nodes.remove(&node);
        Ok(Change::Made)
    }

    pub(crate) fn move_replica(
        &mut self,
        group: GroupId,
        from: Option<ReplicaId>,
        to: NodeId,
    ) -> Result<Change, Refusal> {
        let found = self.groups().find(|found| found.group == group);
        let is_free = self.nodes.get(&to).is_some_and(|node| node.state == NodeState::Active);
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
        if let Some((_, moving)) = self.placement_mut(group) {
            *moving = Some(Move { to, from });
        }
        self.next_replica += 1;
        Ok(Change::Made)
    }

    pub(crate) fn finish_move(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
    ) -> Result<Change, Refusal> {
        let Some((replicas, moving)) = self.placement_mut(group) else {
            return Err(Refusal::ReplicaNotFound { group, replica });
        };
        let Some(Move { to, from }) = moving.take_if(|moving| moving.to.id == replica) else {
            return Ok(Change::AlreadySo);
        };
        match from.and_then(|from| replicas.iter_mut().find(|replica| replica.id == from)) {
            Some(place) => *place = to,
            None => replicas.push(to),
        }
        Ok(Change::Made)
    }

    pub(crate) fn cancel_move(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
    ) -> Result<Change, Refusal> {
        let Some((_, moving)) = self.placement_mut(group) else {
            return Err(Refusal::ReplicaNotFound { group, replica });
        };
        let cancelled = moving.take_if(|moving| moving.to.id == replica);
        Ok(if cancelled.is_some() { Change::Made } else { Change::AlreadySo })
    }

    fn placement_mut(&mut self, group: GroupId) -> Option<(&mut Vec<Replica>, &mut Option<Move>)> {
        if group == GroupId::CATALOG {
            return Some((&mut self.replicas, &mut self.moving));
        }
        let shard = self.shards_mut().find(|shard| shard.group == group)?;
        Some((&mut shard.replicas, &mut shard.moving))
    }
}

/// A move names the replica that leaves by an id that has just changed.
fn follow_leaving(moving: &mut Option<Move>, before: ReplicaId, now: ReplicaId) {
    if let Some(moving) = moving
        && moving.from == Some(before)
    {
        moving.from = Some(now);
    }
}
