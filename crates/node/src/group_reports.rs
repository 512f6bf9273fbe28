//! Reports of replicas about their groups, gathered from the nodes that hold them. Operators see them, and
//! `catching_up.rs` waits for them.
//!
//! Each node is asked once for all groups that are wanted, and has half a second. A silent node is not asked. A node
//! that does not answer is missing in the [`Reports`].

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_catalog::GroupRef;
use anabranch_proto::node as pb;
use anabranch_replica::{GroupReport, MemberReport, SpaceUse};
use anabranch_shard::Gate;
use anabranch_storage::{GroupLog, Health};
use anabranch_types::{GroupId, NodeId};
use tonic::Status;

use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;

/// The reports of the nodes that answered.
#[derive(Debug, Default)]
pub(crate) struct Reports(BTreeMap<NodeId, NodeReports>);

/// The reports of one node.
#[derive(Debug)]
pub(crate) struct NodeReports {
    /// Whether the node's disk is too full for records.
    pub(crate) refuses_records: bool,
    groups: BTreeMap<GroupId, pb::GroupReport>,
}

impl Reports {
    /// The reports of `node`, if it answered.
    pub(crate) fn node(&self, node: NodeId) -> Option<&NodeReports> {
        self.0.get(&node)
    }

    /// The report of each node that answered and has a replica of `group`.
    pub(crate) fn of(
        &self,
        group: GroupId,
    ) -> impl Iterator<Item = (NodeId, &pb::GroupReport)> + '_ {
        self.0.iter().filter_map(move |(node, reports)| Some((*node, reports.group(group)?)))
    }

    /// The node that leads `group`, or is transferring its leadership. If several nodes believe that they lead, the
    /// one with the highest term does.
    pub(crate) fn leader(&self, group: GroupId) -> Option<(NodeId, &pb::GroupReport)> {
        let leading = self.of(group).filter(|(_, report)| report.leads || report.handing_over);
        leading.max_by_key(|(_, report)| report.term)
    }
}

impl NodeReports {
    /// The node's report of `group`, if it has a replica of it.
    pub(crate) fn group(&self, group: GroupId) -> Option<&pb::GroupReport> {
        self.groups.get(&group)
    }
}

impl From<pb::GroupsResponse> for NodeReports {
    fn from(message: pb::GroupsResponse) -> Self {
        let groups = message.groups.into_iter();
        Self {
            refuses_records: message.refuses_records,
            groups: groups.map(|report| (GroupId(report.group), report)).collect(),
        }
    }
}

impl FromIterator<(NodeId, NodeReports)> for Reports {
    fn from_iter<T: IntoIterator<Item = (NodeId, NodeReports)>>(reports: T) -> Self {
        Self(reports.into_iter().collect())
    }
}

/// Asks every node that is to hold a replica of one of `groups`.
pub(crate) async fn gather(node: &Node, groups: &[GroupRef<'_>]) -> Reports {
    let mut by_node: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
    for group in groups {
        for replica in group.holders() {
            by_node.entry(replica.node).or_default().push(group.group.0);
        }
    }
    let liveness = node.peers().liveness();
    by_node.retain(|holder, _| *holder == node.id() || !liveness.is_silent(*holder));
    let requests = by_node.into_iter().map(|(holder, groups)| (holder, ReportGroups(groups)));
    let responses = node.ask_each(requests).await.into_iter();
    responses.map(|(holder, response)| (holder, response.into())).collect()
}

/// Asks a node for reports of its replicas of these groups.
pub(crate) struct ReportGroups(pub(crate) Vec<u64>);

impl NodeRequest for ReportGroups {
    type Response = pb::GroupsResponse;
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<pb::GroupsResponse, Status> {
        Ok(report(node, &self.0))
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<pb::GroupsResponse, Status> {
        remotes.groups(to, self.0.clone()).await
    }
}

/// The reports of this node's replicas of `groups`.
fn report(node: &Node, groups: &[u64]) -> pb::GroupsResponse {
    let stored = node.replicas().stored_groups();
    let report = |group: &u64| {
        let group = GroupId(*group);
        match node.replicas().report(group) {
            Some(report) => {
                let table = node.table(group).filter(|_| report.leads);
                let spaces = table.map(|table| table.spaces()).unwrap_or_default();
                let message = report_message(report, node.shard(group).map(|s| s.gate()));
                let spaces = spaces.into_iter().map(space_message).collect();
                Some(pb::GroupReport { spaces, ..message })
            }
            None if stored.contains(&group) => {
                quarantined(node, group).or_else(|| waiting(node, group))
            }
            None => None,
        }
    };
    pb::GroupsResponse {
        groups: groups.iter().filter_map(report).collect(),
        refuses_records: !node.store().disk().takes_records(),
    }
}

/// The report of a replica that is quarantined and therefore not open.
fn quarantined(node: &Node, group: GroupId) -> Option<pb::GroupReport> {
    let reason = |log: &Arc<dyn GroupLog>| match log.health() {
        Health::Healthy => None,
        Health::Quarantined { reason } => Some(reason),
    };
    let reason = node.replicas().stored_logs(group).iter().find_map(reason)?;
    Some(pb::GroupReport { group: group.0, quarantined: Some(reason), ..Default::default() })
}

/// The report of a replica that is not open because entries of its log are damaged.
fn waiting(node: &Node, group: GroupId) -> Option<pb::GroupReport> {
    let (replica, log) = node.replicas().stored_replica(group)?;
    let last = log.log_state().last.filter(|_| !log.damaged().is_empty())?;
    Some(pb::GroupReport {
        group: group.0,
        replica: replica.0,
        last_log_index: Some(last.index),
        last_log_term: Some(last.term),
        ..pb::GroupReport::default()
    })
}

fn report_message(report: GroupReport, gate: Option<Gate>) -> pb::GroupReport {
    let member = |member: MemberReport| pb::Member {
        replica: member.replica.0,
        node: member.node.0,
        votes: member.votes,
        matched_index: member.matched,
    };
    let gate = gate.map(|gate| pb::Gate {
        hidden: gate.hidden,
        frozen_by: gate.frozen_by().unwrap_or_default(),
        closed: gate.closed,
    });
    pb::GroupReport {
        group: report.group.0,
        replica: report.replica.0,
        leads: report.leads,
        handing_over: report.is_transferring,
        term: report.term,
        last_log_index: report.last.map(|last| last.index),
        last_log_term: report.last.map(|last| last.term),
        committed_index: report.committed.map(|committed| committed.index),
        applied_index: report.applied.checked_sub(1),
        members: report.members.into_iter().map(member).collect(),
        voters_change: report.voters_change,
        gate,
        quarantined: report.quarantined,
        spaces: Vec::new(),
    }
}

fn space_message(space: SpaceUse) -> pb::TableSpace {
    let SpaceUse { name, rows, bytes, reads, writes } = space;
    pb::TableSpace { name, rows, bytes, reads, writes }
}
