//! Transfers the leadership of one group to the node that an operator names.

use anabranch_transport::was_not_sent;
use anabranch_types::{GroupId, NodeId};
use tonic::Status;

use crate::admin_service::Admin;
use crate::admin_service::lookup::{find_group, find_node};
use crate::group_reports::{self, Reports};
use crate::leader_transfer::TransferLeaders;

impl Admin {
    /// Has the node that leads the group transfer its leadership to `to`. Returns the node that led.
    pub(super) async fn transfer(&self, group: u64, to: NodeId) -> Result<NodeId, Status> {
        let catalog = self.catalog();
        let found = find_group(&catalog, group)?;
        find_node(&catalog, to)?;
        if !found.voters().iter().any(|replica| replica.node == to) {
            let rule = format!("node {to} holds no voting replica of group {group}");
            return Err(Status::failed_precondition(rule));
        }
        let reports = group_reports::gather(&self.node, &[found]).await;
        let from = leader(&reports, found.group)?;
        if from == to {
            return Ok(from);
        }
        let transfer = TransferLeaders(vec![(found.group, to)]);
        let handed_over = self.node.ask(from, &transfer).await;
        match handed_over {
            Ok(groups) if groups.contains(&found.group) => Ok(from),
            Ok(_) => Err(Status::failed_precondition(format!(
                "node {from} can't hand group {group} over to node {to} now: who takes over has to live and to lack no \
                 more than 256 entries"
            ))),
            Err(status) if was_not_sent(&status) => Err(Status::unavailable(status.to_string())),
            Err(status) => Err(Status::unknown(format!("outcome unknown: {status}"))),
        }
    }
}

fn leader(reports: &Reports, group: GroupId) -> Result<NodeId, Status> {
    let leader = reports.leader(group).map(|(node, _)| node);
    leader.ok_or_else(|| Status::unavailable(format!("group {group} has no leader that answers")))
}
