//! Commands of groups: moves, replacements, recovery, balancing.

use anabranch_catalog::GroupCommand;
use anabranch_types::{GroupId, NodeId, ReplicaId};

use super::decoded::{Decoded, Pb};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &GroupCommand) -> Pb {
    match command {
        GroupCommand::Recover { group, from } => {
            Pb::RecoverGroup(pb::RecoverGroup { group: group.0, from: from.0 })
        }
        GroupCommand::ReplaceReplica { group, lost } => {
            Pb::ReplaceReplica(pb::ReplaceReplica { group: group.0, lost: lost.0 })
        }
        GroupCommand::MoveReplica { group, from, to } => Pb::MoveReplica(pb::MoveReplica {
            group: group.0,
            from: from.map_or(0, |from| from.0),
            to_node: to.0,
        }),
        GroupCommand::FinishMove { group, replica } => {
            Pb::FinishMove(pb::FinishMove { group: group.0, replica: replica.0 })
        }
        GroupCommand::CancelMove { group, replica } => {
            Pb::CancelMove(pb::CancelMove { group: group.0, replica: replica.0 })
        }
        GroupCommand::SetBalancing { paused } => Pb::PauseBalancing(*paused),
        GroupCommand::Rebalance => Pb::Rebalance(true),
        GroupCommand::FinishRebalance { rebalance } => Pb::FinishRebalance(*rebalance),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::RecoverGroup(recover) => {
            GroupCommand::Recover { group: GroupId(recover.group), from: ReplicaId(recover.from) }
        }
        Pb::ReplaceReplica(replace) => GroupCommand::ReplaceReplica {
            group: GroupId(replace.group),
            lost: ReplicaId(replace.lost),
        },
        Pb::MoveReplica(moved) => GroupCommand::MoveReplica {
            group: GroupId(moved.group),
            from: (moved.from != 0).then_some(ReplicaId(moved.from)),
            to: NodeId(moved.to_node),
        },
        Pb::FinishMove(pb::FinishMove { group, replica }) => {
            GroupCommand::FinishMove { group: GroupId(group), replica: ReplicaId(replica) }
        }
        Pb::CancelMove(pb::CancelMove { group, replica }) => {
            GroupCommand::CancelMove { group: GroupId(group), replica: ReplicaId(replica) }
        }
        Pb::PauseBalancing(paused) => GroupCommand::SetBalancing { paused },
        Pb::Rebalance(_) => GroupCommand::Rebalance,
        Pb::FinishRebalance(rebalance) => GroupCommand::FinishRebalance { rebalance },
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
