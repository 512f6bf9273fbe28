//! Commands of nodes.

use anabranch_catalog::{NodeCommand, NodeRegistration};
use anabranch_types::{Incarnation, NodeId};

use super::decoded::{Decoded, Pb};
use crate::catalog::nodes::{node_state, state_message};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &NodeCommand) -> Pb {
    match command {
        NodeCommand::Register(NodeRegistration {
            node,
            incarnation,
            starts,
            boot,
            grpc_address,
            api_address,
            zone,
        }) => Pb::RegisterNode(pb::Node {
            id: node.0,
            incarnation: incarnation.0,
            grpc_address: grpc_address.clone(),
            api_address: api_address.clone(),
            zone: zone.clone(),
            state: pb::NodeState::Active.into(),
            starts: *starts,
            boot: *boot,
            went_back: false,
        }),
        NodeCommand::SetState { node, state } => {
            Pb::SetNodeState(pb::SetNodeState { node: node.0, state: state_message(*state).into() })
        }
        NodeCommand::Remove { node } => Pb::RemoveNode(node.0),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::RegisterNode(node) => NodeCommand::Register(NodeRegistration {
            node: NodeId(node.id),
            incarnation: Incarnation(node.incarnation),
            starts: node.starts,
            boot: node.boot,
            grpc_address: node.grpc_address,
            api_address: node.api_address,
            zone: node.zone,
        }),
        Pb::SetNodeState(set) => {
            NodeCommand::SetState { state: node_state(set.state()), node: NodeId(set.node) }
        }
        Pb::RemoveNode(node) => NodeCommand::Remove { node: NodeId(node) },
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
