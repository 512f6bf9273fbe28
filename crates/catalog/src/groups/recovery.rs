//! Recovery of a group that has lost its majority for good: it goes on from the log of one replica (ADR-0007).
//!
//! 1. The command gives the kept replica a new id and makes it the only replica of the group.
//! 2. Its node takes the log over under the new id, as the only voter.
//! 3. Now the group is an ordinary group with too few replicas. `replica_moves.rs` adds one after the other, on nodes
//!    that live.
//!
//! Requests between nodes name the receiving replica, and the group has none of the old ids any more. So an old
//! replica that comes back neither votes nor follows.

use anabranch_types::{GroupId, ReplicaId};

use crate::apply::Change;
use crate::groups::placements::Placement;
use crate::groups::{Recovered, Replica};
use crate::model::Catalog;
use crate::outcome::Refusal;

/// Number of replica ids that are skipped when the catalog itself is recovered. The kept log may lack the last
/// commands, which gave out ids that are unknown now, and no id may be given out twice.
const LEFT_OUT: u64 = 1 << 32;

impl Catalog {
    pub(super) fn recover_group(
        &mut self,
        group: GroupId,
        from: ReplicaId,
    ) -> Result<Change, Refusal> {
        if self.groups().any(|found| found.group == group && found.is_new) {
            return Err(Refusal::CannotRecover { group });
        }
        let id = ReplicaId(self.id_after_recovery(group));
        let not_found = Refusal::ReplicaNotFound { group, replica: from };
        let Placement { replicas, moving, .. } =
            self.placement_mut(group).ok_or(not_found.clone())?;
        let comes = moving.map(|moving| moving.to);
        let kept = replicas.iter().copied().chain(comes).find(|replica| replica.id == from);
        let node = kept.ok_or(not_found)?.node;
        (*replicas, *moving) = (vec![Replica { id, node }], None);
        self.next_replica = id.0 + 1;
        // Nobody asks for the recoveries of groups that are gone.
        let existing: std::collections::BTreeSet<_> = self.groups().map(|g| g.group).collect();
        self.recovered.retain(|group, _| existing.contains(group));
        self.recovered.insert(group, Recovered { from, to: id });
        Ok(Change::Made)
    }

    /// The id that the kept replica will get at the next recovery of `group`.
    pub fn id_after_recovery(&self, group: GroupId) -> u64 {
        let left_out = if group == GroupId::CATALOG { LEFT_OUT } else { 0 };
        self.next_replica + left_out
    }

    /// The id that the kept replica got at the last recovery of the catalog itself, if there was one. Replicas of the
    /// catalog with lower ids belong to the catalog from before that, which does not count any more.
    pub fn recovered_as(&self) -> Option<ReplicaId> {
        self.recovered.get(&GroupId::CATALOG).map(|recovered| recovered.to)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anabranch_types::{NodeId, ShardId};

    use super::*;
    use crate::groups::GroupCommand;
    use crate::model::StreamMode::Provisioned;
    use crate::replica_moves::{MoveLimits, plan_moves};
    use crate::script::Script;

    const LIMITS: MoveLimits = MoveLimits { per_node: 2 };

    fn scene() -> (Script, GroupId) {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, Provisioned);
        let group = script.stream("s").shards[&ShardId(0)].group;
        (script, group)
    }

    fn replicas(script: &Script, group: GroupId) -> Vec<Replica> {
        let groups: Vec<_> = script.catalog.groups().collect();
        groups.iter().find(|found| found.group == group).unwrap().replicas.to_vec()
    }

    /// Adds replicas until there are enough.
    fn repair(script: &mut Script, lost: &BTreeSet<NodeId>) {
        loop {
            let commands = plan_moves(&script.catalog, lost, LIMITS);
            if commands.is_empty() {
                return;
            }
            commands.into_iter().for_each(|command| script.done(command));
            let moves: Vec<_> =
                script.catalog.groups().filter_map(|g| Some((g.group, g.moving?.to.id))).collect();
            for (group, replica) in moves {
                script.done(GroupCommand::FinishMove { group, replica });
            }
        }
    }

    #[test]
    fn a_recovered_group_has_one_replica_under_a_new_id_and_then_gets_new_ones() {
        let (mut script, group) = scene();
        let before = replicas(&script, group);
        let ids: BTreeSet<_> = before.iter().map(|replica| replica.id).collect();
        let next = script.catalog.next_replica;
        script.done(GroupCommand::Recover { group, from: before[1].id });
        let kept = Replica { id: ReplicaId(next), node: before[1].node };
        assert_eq!(replicas(&script, group), [kept]);
        assert_eq!(script.catalog.id_after_recovery(group), next + 1);
        let recovered = Recovered { from: before[1].id, to: kept.id };
        assert_eq!(script.catalog.recovered.get(&group), Some(&recovered));
        assert_eq!(script.catalog.recovered_as(), None);
        repair(&mut script, &BTreeSet::new());
        let after = replicas(&script, group);
        assert_eq!(after.len(), 3);
        assert!(after.iter().all(|replica| !ids.contains(&replica.id)), "{before:?}, {after:?}");
    }

    #[test]
    fn a_recovered_group_gets_replicas_while_nodes_are_lost() {
        let mut script = Script::with_nodes(3, &["", "", "", "", ""]);
        script.create_active("s", 1, Provisioned);
        let group = script.stream("s").shards[&ShardId(0)].group;
        let before = replicas(&script, group);
        let lost = before[1..].iter().map(|replica| replica.node).collect();
        script.done(GroupCommand::Recover { group, from: before[0].id });
        repair(&mut script, &lost);
        let after = replicas(&script, group);
        assert_eq!(after.len(), 3);
        assert!(after.iter().all(|replica| !lost.contains(&replica.node)), "{after:?}");
    }

    #[test]
    fn the_replica_that_a_move_adds_can_be_kept() {
        let mut script = Script::with_nodes(3, &["", "", "", ""]);
        script.create_active("s", 1, Provisioned);
        let group = script.stream("s").shards[&ShardId(0)].group;
        let holders = replicas(&script, group);
        let spare = (1..=4).map(NodeId).find(|n| holders.iter().all(|r| r.node != *n)).unwrap();
        let from = ReplicaId(script.catalog.next_replica);
        script.done(GroupCommand::MoveReplica { group, from: Some(holders[0].id), to: spare });
        script.done(GroupCommand::Recover { group, from });
        assert_eq!(replicas(&script, group)[0].node, spare);
        assert!(script.catalog.groups().all(|group| group.moving.is_none()));
    }

    #[test]
    fn a_recovery_of_the_catalog_skips_ids_that_it_may_have_forgotten() {
        let (mut script, group) = scene();
        let next = script.catalog.next_replica;
        script.done(GroupCommand::Recover { group: GroupId::CATALOG, from: ReplicaId(3) });
        let kept = script.catalog.replicas.clone();
        assert_eq!(kept, [Replica { id: ReplicaId(next + LEFT_OUT), node: NodeId(3) }]);
        assert_eq!(script.catalog.recovered_as(), Some(kept[0].id));
        assert_eq!(replicas(&script, group).len(), 3, "no other group changes");
        repair(&mut script, &BTreeSet::new());
        let after: BTreeSet<_> = script.catalog.replicas.iter().map(|r| r.node).collect();
        assert_eq!(after, [1, 2, 3].map(NodeId).into());
        assert!(script.catalog.replicas.iter().all(|replica| replica.id >= kept[0].id));
    }

    #[test]
    fn unknown_and_new_groups_and_unknown_replicas_are_not_recovered() {
        let (mut script, group) = scene();
        let from = ReplicaId(999);
        let nobody = Refusal::ReplicaNotFound { group, replica: from };
        assert_eq!(script.refused(GroupCommand::Recover { group, from }), nobody);
        let nowhere = GroupId(999);
        let nothing = Refusal::ReplicaNotFound { group: nowhere, replica: from };
        assert_eq!(script.refused(GroupCommand::Recover { group: nowhere, from }), nothing);
        script.create("new", 1, Provisioned);
        let shard = script.stream("new").shards[&ShardId(0)].clone();
        let (group, from) = (shard.group, shard.replicas[0].id);
        let refused = script.refused(GroupCommand::Recover { group, from });
        assert_eq!(refused, Refusal::CannotRecover { group });
        // A second time: the kept replica has another id now.
        let (mut script, group) = scene();
        let from = replicas(&script, group)[0].id;
        script.done(GroupCommand::Recover { group, from });
        let again = Refusal::ReplicaNotFound { group, replica: from };
        assert_eq!(script.refused(GroupCommand::Recover { group, from }), again);
    }
}
