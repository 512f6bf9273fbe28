//! Nodes that come and go.

use anabranch_types::{Incarnation, NodeId};

use crate::apply::Change;
use crate::model::Catalog;
use crate::outcome::Refusal;

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which life of its data directory is current; others are refused.
    pub incarnation: Incarnation,
    /// How often the directory had been opened when the node registered last; 0 if it never said.
    pub starts: u64,
    /// The process that said so.
    pub boot: u64,
    /// Whether that process found its disk to be an older copy of itself, so that its replicas were replaced.
    pub went_back: bool,
    /// `host:port` that other nodes and gRPC clients reach it at.
    pub grpc_address: String,
    /// `host:port` of its Kinesis API; empty if it serves none.
    pub api_address: String,
    /// Failure zone; replicas of a group prefer different ones.
    pub zone: String,
    /// Whether new replicas may be placed on it.
    pub state: NodeState,
}

/// One start of a node's process on one life of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The life of the data directory.
    pub incarnation: Incarnation,
    /// How often the directory had been opened by then; 0 if that isn't known.
    pub starts: u64,
    /// The life of the process.
    pub boot: u64,
}

/// Whether a node takes new replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// Takes replicas.
    #[default]
    Active,
    /// Takes none; those that it holds are moved away.
    Draining,
}

/// What a node says of itself each time it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistration {
    /// The node.
    pub node: NodeId,
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// How often the directory was opened, this time included; 0 if the node doesn't say.
    pub starts: u64,
    /// The life of its process.
    pub boot: u64,
    /// Where other nodes and gRPC clients reach it.
    pub grpc_address: String,
    /// Where its Kinesis API is.
    pub api_address: String,
    /// Its failure zone.
    pub zone: String,
}

/// A change to the nodes of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeCommand {
    /// A node says who and where it is, each time it starts.
    Register(NodeRegistration),
    /// An operator has a node emptied, or used again.
    SetState {
        /// The node.
        node: NodeId,
        /// From now on.
        state: NodeState,
    },
    /// An operator removes a node that holds nothing any more.
    Remove {
        /// The node.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anabranch_types::ReplicaId;

    use super::*;
    use crate::model::StreamMode;
    use crate::outcome::Outcome;
    use crate::samples;
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
        fn registration(starts: u64, boot: u64) -> NodeCommand {
            let zone = "b".into();
            let registration = samples::registration(NODE.0);
            NodeCommand::Register(NodeRegistration { starts, boot, zone, ..registration })
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
    fn another_incarnation_counts_anew() {
        let mut script = scene();
        let (before, _) = script.on_node();
        script.register(2, 77, "b");
        let (after, went_back) = script.on_node();
        assert!(!went_back && after.is_disjoint(&before));
    }

    #[test]
    fn a_wiped_disk_comes_back_under_new_replica_ids() {
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
