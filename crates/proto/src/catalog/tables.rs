//! Table groups.

use anabranch_catalog::{TableGroup, TableGroupStatus};
use anabranch_types::GroupId;

use super::nodes::{move_message, moving, replica, replica_message};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn table_group_message((id, group): (&GroupId, &TableGroup)) -> pb::TableGroup {
    pb::TableGroup {
        group: id.0,
        wanted_replicas: group.wanted_replicas,
        replicas: group.replicas.iter().map(replica_message).collect(),
        moving: group.moving.as_ref().map(move_message),
        status: status_message(group.status).into(),
    }
}

pub(super) fn table_group(message: pb::TableGroup) -> Result<(GroupId, TableGroup), Error> {
    let group = TableGroup {
        wanted_replicas: message.wanted_replicas,
        replicas: message.replicas.iter().map(replica).collect(),
        moving: message.moving.map(moving).transpose()?,
        status: status(message.status())?,
    };
    Ok((GroupId(message.group), group))
}

fn status_message(status: TableGroupStatus) -> pb::TableGroupStatus {
    match status {
        TableGroupStatus::Creating => pb::TableGroupStatus::Creating,
        TableGroupStatus::Ready => pb::TableGroupStatus::Ready,
    }
}

fn status(status: pb::TableGroupStatus) -> Result<TableGroupStatus, Error> {
    match status {
        pb::TableGroupStatus::Creating => Ok(TableGroupStatus::Creating),
        pb::TableGroupStatus::Ready => Ok(TableGroupStatus::Ready),
        pb::TableGroupStatus::Unspecified => Err(Error::Missing("table_group.status")),
    }
}
