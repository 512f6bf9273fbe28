//! Recovery of a group of a shard or of tables that has lost its majority for good: the group goes on from the replica
//! on one node, which an operator chooses.
//!
//! The entries that only other replicas have are lost. So the request is refused unless it accepts the loss, and the
//! refusal says what may be lost. A group that has a leader is never recovered.

use anabranch_catalog::{Command, GroupCommand, GroupRef};
use anabranch_proto::admin as pb;
use anabranch_types::{GroupId, NodeId, ReplicaId};
use tonic::Status;

use crate::admin_service::lookup::{find_group, find_node};
use crate::admin_service::{Admin, groups};
use crate::group_reports::{self, Reports};

impl Admin {
    /// Has the group go on from the replica on one node.
    pub(super) async fn recover(
        &self,
        request: &pb::RecoverGroupRequest,
    ) -> Result<pb::RecoverGroupResponse, Status> {
        let catalog = self.catalog();
        let found = find_group(&catalog, request.group)?;
        let node = NodeId(request.from_node);
        find_node(&catalog, node)?;
        let reports = group_reports::gather(&self.node, &[found]).await;
        let (from, loss) = plan(&found, node, &reports)?;
        if !request.accept_loss {
            let group = found.group;
            return Err(Status::failed_precondition(format!(
                "group {group} would go on from node {node} alone; {loss}. Nothing was done: the loss has to be accepted"
            )));
        }
        self.change(Command::Group(GroupCommand::Recover { group: found.group, from })).await?;
        Ok(pb::RecoverGroupResponse { from_replica: from.0, loss })
    }
}

/// The replica on `from` that the group can be recovered from, and a text about what only other replicas may have.
///
/// # Errors
/// FAILED_PRECONDITION if the group needs no recovery, or can't be recovered from that replica.
fn plan(
    group: &GroupRef<'_>,
    from: NodeId,
    reports: &Reports,
) -> Result<(ReplicaId, String), Status> {
    let number = group.group;
    let refused = |rule: String| Err(Status::failed_precondition(rule));
    if number == GroupId::CATALOG {
        return refused(
            "the catalog is recovered on a node that is stopped: anabranch ctl recover catalog --data-dir DIR"
                .into(),
        );
    }
    if let Some((leader, _)) = reports.of(number).find(|(_, report)| report.leads) {
        return refused(format!(
            "group {number} is led by node {leader}: there is nothing to recover"
        ));
    }
    let message = groups::message(group, reports);
    let (kept, others): (Vec<_>, Vec<_>) =
        message.replicas.iter().partition(|replica| replica.node == from.0);
    let Some(kept) = kept.first() else {
        return refused(format!("node {from} holds no replica of group {number}"));
    };
    match kept.state() {
        pb::ReplicaState::Open => {}
        pb::ReplicaState::Quarantined => {
            let reason = &kept.reason;
            return refused(format!("the replica on node {from} is quarantined: {reason}"));
        }
        pb::ReplicaState::Unreachable => {
            return refused(format!("node {from} doesn't answer"));
        }
        pb::ReplicaState::Missing | pb::ReplicaState::Unspecified => {
            return refused(format!("the replica on node {from} is not open"));
        }
    }
    if kept.last_index.is_none() {
        return refused(format!(
            "the replica on node {from} has no entries: nothing could be recovered from it"
        ));
    }
    let losses: Vec<_> = others.iter().map(|other| loss(kept, other)).collect();
    let lost = match losses.as_slice() {
        [] => "there is no other replica".into(),
        losses => losses.join("; "),
    };
    Ok((ReplicaId(kept.replica), format!("{}: {lost}", extent(kept))))
}

fn extent(replica: &pb::GroupReplica) -> String {
    let node = replica.node;
    let number = |known: Option<u64>| known.map_or_else(|| "?".into(), |known| known.to_string());
    let (last, term) = (number(replica.last_index), number(replica.last_term));
    format!("node {node} has entries up to {last} of term {term}")
}

fn end(replica: &pb::GroupReplica) -> (Option<u64>, Option<u64>) {
    (replica.last_term, replica.last_index)
}

/// Describes the loss: what `other` may have and `kept` does not have.
fn loss(kept: &pb::GroupReplica, other: &pb::GroupReplica) -> String {
    let node = other.node;
    match other.state() {
        // Raft's order of logs: by term, then by index.
        pb::ReplicaState::Open if end(other) > end(kept) => {
            format!(
                "{}, which is the NEWER log: recover from there, or lose what only it has",
                extent(other)
            )
        }
        pb::ReplicaState::Open if other.last_index <= kept.last_index => {
            format!("node {node} has no more entries, but they may differ")
        }
        pb::ReplicaState::Open => format!("{}, those beyond are lost", extent(other)),
        pb::ReplicaState::Unreachable => {
            format!("node {node} doesn't answer, and whatever only it has is lost")
        }
        pb::ReplicaState::Quarantined => {
            format!("node {node} is quarantined, and whatever only it has is lost")
        }
        pb::ReplicaState::Missing | pb::ReplicaState::Unspecified => {
            format!("node {node} holds nothing that can be read")
        }
    }
}
