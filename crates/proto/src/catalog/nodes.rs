//! Nodes, replicas, moves and recoveries.
//!
//! Ids in messages are numbers; where an id is optional, 0 means that it is absent. No replica has the id 0.

use anabranch_catalog::{Move, Node, NodeState, Recovered, Replica};
use anabranch_types::{GroupId, Incarnation, NodeId, ReplicaId};

use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn node_message(id: NodeId, node: &Node) -> pb::Node {
    pb::Node {
        id: id.0,
        incarnation: node.incarnation.0,
        grpc_address: node.grpc_address.clone(),
        api_address: node.api_address.clone(),
        zone: node.zone.clone(),
        state: state_message(node.state).into(),
        starts: node.starts,
        boot: node.boot,
        went_back: node.went_back,
    }
}

pub(super) fn node(message: pb::Node) -> (NodeId, Node) {
    let node = Node {
        state: node_state(message.state()),
        incarnation: Incarnation(message.incarnation),
        starts: message.starts,
        boot: message.boot,
        went_back: message.went_back,
        grpc_address: message.grpc_address,
        api_address: message.api_address,
        zone: message.zone,
    };
    (NodeId(message.id), node)
}

pub(super) fn state_message(state: NodeState) -> pb::NodeState {
    match state {
        NodeState::Active => pb::NodeState::Active,
        NodeState::Draining => pb::NodeState::Draining,
    }
}

pub(super) fn node_state(state: pb::NodeState) -> NodeState {
    match state {
        pb::NodeState::Active => NodeState::Active,
        pb::NodeState::Draining => NodeState::Draining,
    }
}

pub(super) fn replica_message(replica: &Replica) -> pb::Replica {
    pb::Replica { id: replica.id.0, node: replica.node.0 }
}

pub(super) fn replica(message: &pb::Replica) -> Replica {
    Replica { id: ReplicaId(message.id), node: NodeId(message.node) }
}

pub(super) fn recovered_message((group, recovered): (&GroupId, &Recovered)) -> pb::Recovered {
    pb::Recovered { group: group.0, from: recovered.from.0, to: recovered.to.0 }
}

pub(super) fn recovered(message: &pb::Recovered) -> (GroupId, Recovered) {
    let (from, to) = (ReplicaId(message.from), ReplicaId(message.to));
    (GroupId(message.group), Recovered { from, to })
}

pub(super) fn move_message(moving: &Move) -> pb::Move {
    pb::Move { to: Some(replica_message(&moving.to)), from: moving.from.map_or(0, |from| from.0) }
}

pub(super) fn moving(message: pb::Move) -> Result<Move, Error> {
    let to = replica(&message.to.ok_or(Error::Missing("move.to"))?);
    Ok(Move { to, from: (message.from != 0).then_some(ReplicaId(message.from)) })
}
