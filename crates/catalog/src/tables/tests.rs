//! Table groups are made, placed, activated, moved and recovered by the rules of all groups.

use std::collections::BTreeSet;

use anabranch_types::{NodeId, ReplicaId, limits};

use super::*;
use crate::groups::{GroupCommand, GroupRef};
use crate::model::StreamMode::Provisioned;
use crate::nodes::{NodeCommand, NodeState};
use crate::outcome::Outcome;
use crate::script::Script;

/// Nodes 1, 2, … without zones, and one table group of three replicas. Node 1 holds the catalog.
fn scene(nodes: usize) -> (Script, GroupId) {
    let mut script = Script::with_nodes(1, &vec![""; nodes]);
    script.done(create(1));
    let group = script.table_groups()[0];
    (script, group)
}

/// As [`scene`], and the group is ready.
fn ready(nodes: usize) -> (Script, GroupId) {
    let (mut script, group) = scene(nodes);
    script.done(TableCommand::Activate { group });
    (script, group)
}

fn create(at_least: u32) -> TableCommand {
    TableCommand::CreateGroups { replicas: 3, at_least }
}

impl Script {
    fn table_groups(&self) -> Vec<GroupId> {
        self.catalog.table_groups.keys().copied().collect()
    }

    fn table(&self, group: GroupId) -> &TableGroup {
        &self.catalog.table_groups[&group]
    }

    fn nodes_of(&self, group: GroupId) -> BTreeSet<NodeId> {
        self.table(group).holders().map(|replica| replica.node).collect()
    }

    fn ids_of(&self, group: GroupId) -> BTreeSet<ReplicaId> {
        self.table(group).holders().map(|replica| replica.id).collect()
    }
}

#[test]
fn groups_are_made_until_there_are_as_many_as_asked_for() {
    let (mut script, first) = scene(3);
    assert_eq!(script.table(first).status, TableGroupStatus::Creating);
    let before = script.catalog.clone();
    script.done(create(1));
    script.done(create(0));
    assert_eq!(script.catalog, before, "there is one");
    script.done(create(3));
    let groups = script.table_groups();
    assert_eq!((groups.len(), groups[0]), (3, first));
    assert!(groups.iter().all(|group| script.table(*group).replicas.len() == 3));
}

#[test]
fn the_number_of_groups_is_limited() {
    let (mut script, _) = scene(3);
    let limit = limits::MAX_TABLE_GROUPS as u64;
    let over = create(u32::try_from(limit + 1).unwrap());
    let refusal = Refusal::Limit { what: "table groups", actual: limit + 1, limit };
    assert_eq!(script.refused(over.clone()), refusal);
    assert_eq!(script.table_groups().len(), 1, "a refusal changes nothing");
    script.done(create(u32::try_from(limit).unwrap()));
    assert_eq!(script.table_groups().len(), limits::MAX_TABLE_GROUPS);
    assert_eq!(script.refused(over), refusal);
}

#[test]
fn a_cluster_without_nodes_makes_no_group_and_one_node_gives_one_replica_at_first() {
    let mut empty = Script::with_nodes(1, &[]);
    let before = empty.catalog.clone();
    assert_eq!(empty.refused(create(2)), Refusal::NoNodes);
    assert_eq!(empty.catalog, before);
    let (mut script, group) = ready(1);
    assert_eq!(script.table(group).replicas.len(), 1);
    script.register(2, 2, "");
    script.register(3, 3, "");
    script.settle(&BTreeSet::new());
    assert_eq!(script.nodes_of(group), [1, 2, 3].map(NodeId).into());
}

#[test]
fn groups_spread_over_the_nodes_together_with_shards() {
    let mut script = Script::with_nodes(1, &["a", "a", "b", "c"]);
    script.create_active("s", 2, Provisioned);
    script.done(create(2));
    for group in script.table_groups() {
        let nodes = script.nodes_of(group);
        let zones: BTreeSet<_> = nodes.iter().map(|id| &script.catalog.nodes[id].zone).collect();
        assert_eq!(zones.len(), 3);
    }
    let held = |node: u64| {
        let on_node = |group: &GroupRef<'_>| group.holders().any(|r| r.node == NodeId(node));
        script.catalog.groups().filter(GroupRef::is_load).filter(on_node).count()
    };
    assert_eq!([1, 2, 3, 4].map(held), [2, 2, 4, 4]);
}

#[test]
fn a_group_is_activated_once() {
    let (mut script, group) = scene(3);
    let new = |script: &Script| script.catalog.groups().filter(|group| group.is_new).count();
    assert_eq!(new(&script), 1);
    script.done(TableCommand::Activate { group });
    assert_eq!((script.table(group).status, new(&script)), (TableGroupStatus::Ready, 0));
    let version = script.catalog.version;
    assert_eq!(script.run(TableCommand::Activate { group }), Outcome::Done { version });
}

#[test]
fn a_creating_group_of_a_wiped_disk_begins_anew_and_late_commands_do_not_activate_it() {
    let (mut script, group) = scene(3);
    let (nodes, replicas) = (script.nodes_of(group), script.ids_of(group));
    script.register(2, 77, "");
    let later = script.table_groups();
    assert!(later.len() == 1 && later[0] > group, "{later:?} after {group}");
    assert_eq!(script.nodes_of(later[0]), nodes);
    assert!(script.ids_of(later[0]).is_disjoint(&replicas));
    script.done(TableCommand::Activate { group });
    assert_eq!(script.table(later[0]).status, TableGroupStatus::Creating);
    script.done(TableCommand::Activate { group: later[0] });
    assert_eq!(script.table(later[0]).status, TableGroupStatus::Ready);
}

#[test]
fn a_creating_group_with_a_damaged_replica_begins_anew() {
    let (mut script, group) = scene(3);
    let replicas = script.ids_of(group);
    let lost = *replicas.first().unwrap();
    script.done(GroupCommand::ReplaceReplica { group, lost });
    let later = script.table_groups();
    assert!(later.len() == 1 && later[0] > group, "{later:?} after {group}");
    assert!(script.ids_of(later[0]).is_disjoint(&replicas));
}

#[test]
fn a_ready_group_of_a_wiped_disk_keeps_its_id_and_gets_one_new_replica() {
    let (mut script, group) = ready(3);
    let replicas = script.ids_of(group);
    script.register(2, 77, "");
    assert_eq!(script.table_groups(), [group]);
    assert_eq!(script.ids_of(group).intersection(&replicas).count(), 2);
}

#[test]
fn replicas_move_off_a_draining_node_and_then_it_can_be_removed() {
    let (mut script, group) = ready(4);
    let node = script.table(group).replicas[0].node;
    script.done(NodeCommand::SetState { node, state: NodeState::Draining });
    let in_use = script.refused(NodeCommand::Remove { node });
    assert!(matches!(in_use, Refusal::NodeInUse { .. }), "{in_use}");
    script.settle(&BTreeSet::new());
    assert!(!script.nodes_of(group).contains(&node));
    assert_eq!(script.table(group).replicas.len(), 3);
    script.done(NodeCommand::Remove { node });
}

#[test]
fn replicas_move_off_a_lost_node_and_a_creating_group_does_not() {
    let (mut script, group) = scene(4);
    let lost = script.table(group).replicas[0].node;
    let spare = (1..=4).map(NodeId).find(|node| !script.nodes_of(group).contains(node)).unwrap();
    let from = Some(script.table(group).replicas[0].id);
    let moved = script.refused(GroupCommand::MoveReplica { group, from, to: spare });
    assert_eq!(moved, Refusal::CannotMove { group, to: spare });
    script.settle(&[lost].into());
    assert!(script.nodes_of(group).contains(&lost));
    script.done(TableCommand::Activate { group });
    script.settle(&[lost].into());
    assert!(!script.nodes_of(group).contains(&lost) && script.nodes_of(group).contains(&spare));
}

#[test]
fn a_move_is_cancelled_and_a_wiped_disk_changes_both_ids_of_a_move() {
    let (mut script, group) = ready(4);
    let leaving = script.table(group).replicas[0];
    let spare = (1..=4).map(NodeId).find(|node| !script.nodes_of(group).contains(node)).unwrap();
    let begin = GroupCommand::MoveReplica { group, from: Some(leaving.id), to: spare };
    script.done(begin);
    let replica = script.table(group).moving.unwrap().to.id;
    script.register(spare.0, 77, "");
    script.register(leaving.node.0, 78, "");
    let moving = script.table(group).moving.unwrap();
    assert!(moving.to.id != replica && moving.from == Some(script.table(group).replicas[0].id));
    script.done(GroupCommand::CancelMove { group, replica });
    assert_eq!(script.table(group).moving, Some(moving), "the command is late");
    script.done(GroupCommand::CancelMove { group, replica: moving.to.id });
    assert_eq!(script.table(group).moving, None);
}

#[test]
fn a_group_without_a_majority_is_recovered_from_one_replica_and_gets_new_ones() {
    let (mut script, group) = scene(3);
    let from = script.table(group).replicas[1];
    let too_early = script.refused(GroupCommand::Recover { group, from: from.id });
    assert_eq!(too_early, Refusal::CannotRecover { group });
    script.done(TableCommand::Activate { group });
    let before = script.ids_of(group);
    script.done(GroupCommand::Recover { group, from: from.id });
    let kept = Replica { id: script.catalog.recovered[&group].to, node: from.node };
    assert_eq!(script.table(group).replicas, [kept]);
    script.settle(&BTreeSet::new());
    assert_eq!(script.nodes_of(group), [1, 2, 3].map(NodeId).into());
    assert!(script.ids_of(group).is_disjoint(&before));
}
