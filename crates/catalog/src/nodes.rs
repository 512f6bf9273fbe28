//! Nodes register, drain and leave.
//!
//! A node registers each time its process starts. The catalog compares the registration
//! with the one before:
//!
//! - Another incarnation: the disk is new, so the replicas that the catalog has placed on the node are lost. Each
//!   gets a new id, and the node begins it with an empty log.
//! - The same incarnation, but the count of starts fell behind: the disk is an older copy of itself. Its replicas may
//!   have forgotten entries that they acknowledged and votes that they cast, so each gets a new id too (ADR-0007),
//!   unless it is the only replica of its group.
//! - Otherwise the replicas stay as they are.
//!
//! A node that is removed holds no replica. It never happens that a node loses its replicas because it is silent:
//! `replica_moves.rs` replaces them one by one.

use anabranch_planted::{Bug, planted};
use anabranch_types::{Incarnation, NodeId};

use crate::apply::Change;
use crate::model::Catalog;
use crate::outcome::Refusal;

/// A node of the cluster: one process with one data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The current incarnation of the data directory. A node with another one does not act on this catalog until it has
    /// registered.
    pub incarnation: Incarnation,
    /// How often the data directory had been opened at the last registration that gave a count; 0 if none did.
    pub starts: u64,
    /// The process that registered `starts`, as a random number.
    pub boot: u64,
    /// Whether the disk was an older copy of itself at the last registration, so that replicas were replaced.
    pub went_back: bool,
    /// `host:port` for other nodes and gRPC clients.
    pub grpc_address: String,
    /// `host:port` of the Kinesis API; empty if the node serves none.
    pub api_address: String,
    /// Failure zone; may be empty. The replicas of a group are placed in different zones where possible.
    pub zone: String,
    /// Whether the node takes new replicas.
    pub state: NodeState,
}

/// One opening of a data directory by a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Incarnation of the data directory.
    pub incarnation: Incarnation,
    /// How often the data directory had been opened, this time included; 0 if that is not known.
    pub starts: u64,
    /// The process, as a random number.
    pub boot: u64,
}

/// Whether a node takes new replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// The node takes new replicas.
    #[default]
    Active,
    /// The node takes no new replicas, and the ones it has are moved away.
    Draining,
}

/// The facts that a node registers each time it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistration {
    /// Id of the node, from its settings.
    pub node: NodeId,
    /// Incarnation of its data directory.
    pub incarnation: Incarnation,
    /// How often the data directory was opened, this time included; 0 from a release that does not count.
    pub starts: u64,
    /// Random number of this process.
    pub boot: u64,
    /// `host:port` for other nodes and gRPC clients.
    pub grpc_address: String,
    /// `host:port` of the Kinesis API; empty if the node serves none.
    pub api_address: String,
    /// Failure zone; may be empty.
    pub zone: String,
}

/// A change to the nodes of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeCommand {
    /// A node registers, each time it starts.
    Register(NodeRegistration),
    /// An operator drains a node, or makes it take replicas again.
    SetState {
        /// Id of the node.
        node: NodeId,
        /// State from now on.
        state: NodeState,
    },
    /// An operator removes a node. Refused while the node holds a replica.
    Remove {
        /// Id of the node.
        node: NodeId,
    },
}

impl NodeCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog) -> Result<Change, Refusal> {
        match self {
            Self::Register(registration) => catalog.register_node(registration),
            Self::SetState { node, state } => catalog.set_node_state(node, state),
            Self::Remove { node } => catalog.remove_node(node),
        }
    }
}

impl Catalog {
    fn register_node(&mut self, registration: NodeRegistration) -> Result<Change, Refusal> {
        let NodeRegistration { node: id, incarnation, starts, boot, .. } = registration;
        let NodeRegistration { grpc_address, api_address, zone, .. } = registration;
        let state = self.nodes.get(&id).map(|known| known.state).unwrap_or_default();
        let went_back = false;
        let mut node =
            Node { incarnation, starts, boot, went_back, grpc_address, api_address, zone, state };
        let Some(before) = self.nodes.get(&id).cloned() else {
            self.nodes.insert(id, node);
            return Ok(Change::Made);
        };
        let is_same_disk = before.incarnation == node.incarnation;
        let went_back = before.start().outdates(node.start());
        let is_same_start = before.start() == node.start();
        node.went_back = went_back || (is_same_start && before.went_back);
        if is_same_disk && node.starts == 0 {
            // This release does not count starts. Keep the known count, so that a later release continues from it.
            (node.starts, node.boot) = (before.starts, before.boot);
        }
        if before == node {
            return Ok(Change::AlreadySo);
        }
        self.nodes.insert(id, node);
        if planted(Bug::KeepIdentity) {
            return Ok(Change::Made);
        }
        if !is_same_disk {
            // The new disk holds none of the replicas. Under its old id a replica without its log could vote for, or
            // elect, a leader that lacks acknowledged records.
            self.replace_all_replicas_on(id, |_| true);
        } else if went_back {
            // The only replica of a group keeps its id: no other replica has the data, so it must go on from the
            // older copy.
            self.replace_all_replicas_on(id, |replicas| replicas.len() > 1);
        }
        Ok(Change::Made)
    }

    fn set_node_state(&mut self, node: NodeId, state: NodeState) -> Result<Change, Refusal> {
        let known = self.nodes.get_mut(&node).ok_or(Refusal::NodeNotFound { node })?;
        let before = std::mem::replace(&mut known.state, state);
        Ok(if before == state { Change::AlreadySo } else { Change::Made })
    }

    fn remove_node(&mut self, node: NodeId) -> Result<Change, Refusal> {
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
}

impl Node {
    /// The last start that the node registered.
    pub fn start(&self) -> Start {
        Start { incarnation: self.incarnation, starts: self.starts, boot: self.boot }
    }
}

impl Start {
    /// Whether `other`, which came later, shows that the disk is an older copy of itself: it has the same
    /// incarnation, but was opened less often than at this start, or as often and by another process. Two processes
    /// cannot be the same start of one disk. `false` if `other` has no count.
    pub fn outdates(self, other: Self) -> bool {
        let is_behind =
            other.starts < self.starts || (other.starts == self.starts && other.boot != self.boot);
        self.incarnation == other.incarnation && other.starts != 0 && is_behind
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anabranch_types::{GroupId, ReplicaId};

    use super::*;
    use crate::groups::{GroupCommand, newest_group};
    use crate::model::{StreamMode, StreamStatus};
    use crate::outcome::Outcome;
    use crate::samples;
    use crate::script::Script;
    use crate::streams::StreamCommand;

    const NODE: NodeId = NodeId(2);

    /// Three nodes and a stream. Node 2 has registered the fifth start of its disk.
    fn scene() -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 2, StreamMode::Provisioned);
        script.start(5, 50);
        script
    }

    impl Script {
        fn registration(starts: u64, boot: u64) -> NodeCommand {
            let zone = "b".into();
            let registration = samples::registration(NODE.0);
            NodeCommand::Register(NodeRegistration { starts, boot, zone, ..registration })
        }

        fn start(&mut self, starts: u64, boot: u64) {
            self.done(Self::registration(starts, boot));
        }

        /// The replicas on node 2, the one of the catalog included, and its `went_back`.
        fn on_node(&self) -> (BTreeSet<ReplicaId>, bool) {
            let held = self.catalog.groups().flat_map(|group| group.holders().collect::<Vec<_>>());
            let ids = held.filter(|replica| replica.node == NODE).map(|replica| replica.id);
            (ids.collect(), self.catalog.nodes[&NODE].went_back)
        }
    }

    #[test]
    fn a_disk_that_was_opened_less_often_than_before_gets_new_replicas() {
        let mut script = scene();
        let (before, _) = script.on_node();
        script.start(3, 60);
        let (after, went_back) = script.on_node();
        assert!(went_back);
        assert_eq!(after.len(), before.len());
        assert!(after.is_disjoint(&before), "{before:?}, then {after:?}");
        // From now on the count continues from that of the copy.
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
        // The same holds for a disk that went back: its replicas were replaced once.
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
    fn a_registration_without_a_count_of_starts_replaces_no_replica() {
        let mut script = scene();
        let before = script.on_node();
        script.start(0, 0);
        script.start(0, 70);
        assert_eq!(script.on_node(), before);
        assert_eq!(script.catalog.nodes[&NODE].starts, 5, "an older release keeps the count");
        script.start(6, 71);
        assert_eq!(script.on_node(), before);
        script.start(2, 72);
        assert!(script.on_node().1, "compared with the count of before");
        // A node without a count begins with any number.
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        let before = script.on_node();
        script.start(1, 50);
        assert_eq!(script.on_node(), before);
    }

    #[test]
    fn the_only_replica_of_a_group_keeps_its_id_on_an_older_copy_of_its_disk() {
        let mut script = Script::with_nodes(1, &["a"]);
        script.create_active("s", 1, StreamMode::Provisioned);
        let ids = |script: &Script| -> Vec<_> {
            script.catalog.groups().flat_map(|group| group.replicas.to_vec()).collect()
        };
        let before = ids(&script);
        for (starts, boot) in [(5, 50), (3, 60)] {
            let zone = "a".into();
            let registration = samples::registration(1);
            script.done(NodeCommand::Register(NodeRegistration {
                starts,
                boot,
                zone,
                ..registration
            }));
        }
        assert!(script.catalog.nodes[&NodeId(1)].went_back);
        assert_eq!(ids(&script), before);
    }

    #[test]
    fn another_incarnation_starts_a_new_count() {
        let mut script = scene();
        let (before, _) = script.on_node();
        script.register(2, 77, "b");
        let (after, went_back) = script.on_node();
        assert!(!went_back && after.is_disjoint(&before));
    }

    /// Ids of all groups of shards, and of all their replicas.
    fn ids(script: &Script) -> (BTreeSet<GroupId>, BTreeSet<ReplicaId>) {
        let groups = || script.catalog.groups().filter(|group| group.shard().is_some());
        let replicas = groups().flat_map(|group| group.replicas.to_vec()).map(|r| r.id);
        (groups().map(|group| group.group).collect(), replicas.collect())
    }

    #[test]
    fn new_groups_of_a_wiped_disk_begin_anew_with_other_members() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create("s", 2, StreamMode::Provisioned);
        let (groups, replicas) = ids(&script);
        script.register(2, 77, "b");
        let (later_groups, later_replicas) = ids(&script);
        assert!(later_groups.is_disjoint(&groups), "{later_groups:?}");
        assert!(later_replicas.is_disjoint(&replicas), "{later_replicas:?}");
        assert_eq!((later_groups.len(), later_replicas.len()), (groups.len(), replicas.len()));
    }

    #[test]
    fn a_stream_with_a_group_that_began_anew_stays_creating_until_the_new_group_has_a_leader() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create("s", 2, StreamMode::Provisioned);
        let activate = |script: &Script, newest_group| StreamCommand::Activate {
            name: "s".parse().unwrap(),
            id: script.stream("s").id,
            newest_group,
        };
        let seen = newest_group(script.stream("s").shards.values());
        script.register(2, 77, "b");
        let late = activate(&script, seen);
        assert!(matches!(script.run(late), Outcome::Done { .. }));
        assert_eq!(script.stream("s").status, StreamStatus::Creating);
        let seen = newest_group(script.stream("s").shards.values());
        script.done(activate(&script, seen));
        assert_eq!(script.stream("s").status, StreamStatus::Active);
    }

    #[test]
    fn a_new_group_with_a_damaged_replica_begins_anew_with_other_members() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create("s", 1, StreamMode::Provisioned);
        let (groups, replicas) = ids(&script);
        let (group, lost) = (*groups.first().unwrap(), *replicas.first().unwrap());
        script.done(GroupCommand::ReplaceReplica { group, lost });
        let (later_groups, later_replicas) = ids(&script);
        assert!(later_groups.is_disjoint(&groups) && later_replicas.is_disjoint(&replicas));
    }

    #[test]
    fn groups_that_take_records_keep_their_id_when_a_disk_is_wiped() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create_active("s", 2, StreamMode::Provisioned);
        let (groups, replicas) = ids(&script);
        script.register(2, 77, "b");
        let (later_groups, later_replicas) = ids(&script);
        assert_eq!(later_groups, groups);
        assert_eq!(later_replicas.intersection(&replicas).count(), 4, "those on the other nodes");
    }

    #[test]
    fn a_wiped_disk_gets_new_replica_ids() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        script.create("s", 2, StreamMode::Provisioned);
        let on_two = |script: &Script| {
            let groups = script.catalog.groups();
            let replicas = groups.flat_map(|group| group.replicas.to_vec());
            replicas.filter(|r| r.node == NodeId(2)).map(|r| r.id).collect::<BTreeSet<_>>()
        };
        let before = on_two(&script);
        script.register(2, 2, "b");
        assert_eq!(on_two(&script), before);
        script.register(2, 77, "b");
        assert!(on_two(&script).is_disjoint(&before));
        assert_eq!(on_two(&script).len(), before.len());
    }
}
