//! Nodes that come and go, and the replicas that move between them.

use anabranch_types::{GroupId, NodeId, ReplicaId};

use crate::apply::Change;
use crate::command::Refusal;
use crate::model::{Catalog, GroupRef, Move, Node, NodeState, Replica, Start};

impl Catalog {
    pub(crate) fn register_node(&mut self, id: NodeId, mut node: Node) -> Result<Change, Refusal> {
        let Some(before) = self.nodes.get(&id).cloned() else {
            self.nodes.insert(id, node);
            return Ok(Change::Made);
        };
        let is_same_disk = before.incarnation == node.incarnation;
        let went_back = before.start().outdates(node.start());
        let is_same_start = before.start() == node.start();
        node.went_back = went_back || (is_same_start && before.went_back);
        if is_same_disk && node.starts == 0 {
            // A binary that doesn't count: its disk's count goes on with the next one that does.
            (node.starts, node.boot) = (before.starts, before.boot);
        }
        if before == node {
            return Ok(Change::AlreadySo);
        }
        self.nodes.insert(id, node);
        if !is_same_disk {
            self.replace_all_replicas_on(id, |_| true);
        } else if went_back {
            // The only replica of a group keeps its id: no other replica has the data.
            self.replace_all_replicas_on(id, |replicas| replicas.len() > 1);
        }
        Ok(Change::Made)
    }

    /// The disk that held these replicas is gone, or has forgotten what they did: what comes back is new under new ids.
    /// Only in groups that `concerns` says yes to, given their replicas.
    fn replace_all_replicas_on(&mut self, node: NodeId, concerns: impl Fn(&[Replica]) -> bool) {
        let mut next = self.next_replica;
        let mut replace = |replicas: &mut Vec<Replica>, moving: &mut Option<Move>| {
            if !concerns(replicas) {
                return;
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

    pub(crate) fn placement_mut(
        &mut self,
        group: GroupId,
    ) -> Option<(&mut Vec<Replica>, &mut Option<Move>)> {
        if group == GroupId::CATALOG {
            return Some((&mut self.replicas, &mut self.moving));
        }
        let shard = self.shards_mut().find(|shard| shard.group == group)?;
        Some((&mut shard.replicas, &mut shard.moving))
    }
}

impl Node {
    /// The start that it registered last.
    pub fn start(&self) -> Start {
        Start { incarnation: self.incarnation, starts: self.starts, boot: self.boot }
    }
}

impl Start {
    /// Whether a disk that `other` was a start of is an older copy of the one that this was a start of: of the same life,
    /// but opened less often, or as often by another process. Two processes can't be the same start of one disk.
    pub fn outdates(self, other: Self) -> bool {
        let is_behind =
            other.starts < self.starts || (other.starts == self.starts && other.boot != self.boot);
        self.incarnation == other.incarnation && other.starts != 0 && is_behind
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anabranch_types::Incarnation;

    use super::*;
    use crate::command::{Command, Outcome};
    use crate::model::StreamMode;
    use crate::script::Script;

    const NODE: NodeId = NodeId(2);

    /// Three nodes of which number 2 has registered as the fifth start of its disk, and a stream.
    fn scene() -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 2, StreamMode::Provisioned);
        script.start(5, 50);
        script
    }

    impl Script {
        fn registration(starts: u64, boot: u64) -> Command {
            Command::RegisterNode {
                node: NODE,
                incarnation: Incarnation(2),
                starts,
                boot,
                grpc_address: "127.0.0.1:2".into(),
                api_address: String::new(),
                zone: "b".into(),
            }
        }

        fn start(&mut self, starts: u64, boot: u64) {
            self.done(Self::registration(starts, boot));
        }

        /// The replicas on the node, of the catalog too, and whether the catalog says that its disk went back.
        fn on_node(&self) -> (BTreeSet<ReplicaId>, bool) {
            let held = self.catalog.groups().flat_map(|group| group.holders().collect::<Vec<_>>());
            let ids = held.filter(|replica| replica.node == NODE).map(|replica| replica.id);
            (ids.collect(), self.catalog.nodes[&NODE].went_back)
        }
    }

    #[test]
    fn a_disk_that_was_opened_less_often_than_is_known_gets_new_replicas() {
        let mut script = scene();
        let (before, _) = script.on_node();
        script.start(3, 60);
        let (after, went_back) = script.on_node();
        assert!(went_back);
        assert_eq!(after.len(), before.len());
        assert!(after.is_disjoint(&before), "{before:?}, then {after:?}");
        // From here on its count goes on from where the copy had it.
        script.start(4, 61);
        assert_eq!(script.on_node(), (after, false));
    }

    #[test]
    fn a_disk_that_was_opened_as_often_by_another_process_gets_new_replicas() {
        let mut script = scene();
        let (before, _) = script.on_node();
        script.start(5, 60);
        let (after, went_back) = script.on_node();
        assert!(went_back && after.is_disjoint(&before), "{before:?}, then {after:?}");
    }

    #[test]
    fn the_same_process_may_register_again() {
        let mut script = scene();
        let before = script.on_node();
        let version = script.catalog.version;
        assert_eq!(script.run(Script::registration(5, 50)), Outcome::Done { version });
        assert_eq!(script.on_node(), before);
        // Also where its disk went back: its replicas were replaced, once.
        script.start(3, 60);
        let (after, version) = (script.on_node(), script.catalog.version);
        assert_eq!(script.run(Script::registration(3, 60)), Outcome::Done { version });
        assert_eq!(script.on_node(), after);
        assert!(after.1);
    }

    #[test]
    fn a_later_start_keeps_its_replicas() {
        let mut script = scene();
        let before = script.on_node();
        script.start(6, 60);
        script.start(9, 61);
        assert_eq!(script.on_node(), before);
    }

    #[test]
    fn a_node_that_does_not_count_is_never_judged() {
        let mut script = scene();
        let before = script.on_node();
        script.start(0, 0);
        script.start(0, 70);
        assert_eq!(script.on_node(), before);
        assert_eq!(script.catalog.nodes[&NODE].starts, 5, "an older binary forgets no count");
        script.start(6, 71);
        assert_eq!(script.on_node(), before);
        script.start(2, 72);
        assert!(script.on_node().1, "what was counted before counts");
        // One that never counted begins at any number.
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        let before = script.on_node();
        script.start(1, 50);
        assert_eq!(script.on_node(), before);
    }

    #[test]
    fn the_only_replica_of_a_group_goes_on_also_from_an_older_copy() {
        let mut script = Script::with_nodes(1, &["a"]);
        script.create_active("s", 1, StreamMode::Provisioned);
        let ids = |script: &Script| -> Vec<_> {
            script.catalog.groups().flat_map(|group| group.replicas.to_vec()).collect()
        };
        let before = ids(&script);
        for (starts, boot) in [(5, 50), (3, 60)] {
            script.done(Command::RegisterNode {
                node: NodeId(1),
                incarnation: Incarnation(1),
                starts,
                boot,
                grpc_address: "127.0.0.1:1".into(),
                api_address: String::new(),
                zone: "a".into(),
            });
        }
        assert!(script.catalog.nodes[&NodeId(1)].went_back);
        assert_eq!(ids(&script), before);
    }

    #[test]
    fn another_incarnation_counts_anew() {
        let mut script = scene();
        let (before, _) = script.on_node();
        script.register(2, 77, "b");
        let (after, went_back) = script.on_node();
        assert!(!went_back && after.is_disjoint(&before));
    }
}
