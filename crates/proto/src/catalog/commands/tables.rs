//! Commands of table groups.

use anabranch_catalog::TableCommand;
use anabranch_types::GroupId;

use super::decoded::{Decoded, Pb};
use crate::catalog::values::at_least_one;
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &TableCommand) -> Pb {
    match command {
        TableCommand::CreateGroups { replicas, at_least } => {
            Pb::CreateTableGroups(pb::CreateTableGroups {
                replicas: *replicas,
                at_least: *at_least,
            })
        }
        TableCommand::Activate { group } => Pb::ActivateTableGroup(group.0),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::CreateTableGroups(create) => TableCommand::CreateGroups {
            replicas: at_least_one(create.replicas, "create_table_groups.replicas")?,
            at_least: create.at_least,
        },
        Pb::ActivateTableGroup(group) => TableCommand::Activate { group: GroupId(group) },
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
