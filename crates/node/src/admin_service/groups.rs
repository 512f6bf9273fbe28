//! Responses about groups and their replication.
//!
//! Two sources are put together: the catalog says which replicas a group is to have, and the reports say what the
//! replicas that answered know. The leader's report is preferred, because only the leader knows how far the others
//! are.

use std::collections::BTreeMap;

use anabranch_catalog::{Catalog, GroupKind, GroupRef, Replica};
use anabranch_proto::admin as pb;
use anabranch_proto::node::{self, GroupReport};
use anabranch_table::Limits;
use anabranch_types::{GroupId, NodeId};
use tonic::Status;

use crate::admin_service::jobs;
use crate::admin_service::lookup::{find_node, find_stream, page_limit};
use crate::group_reports::Reports;

const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// The groups that a request asks for, in the order of their numbers, and where the next page begins.
pub(super) fn page<'a>(
    catalog: &'a Catalog,
    request: &pb::ListGroupsRequest,
) -> Result<(Vec<GroupRef<'a>>, Option<u64>), Status> {
    let limit = page_limit(request.limit, PAGE, LARGEST_PAGE)?;
    let stream = match request.stream.as_str() {
        "" => None,
        name => Some(find_stream(catalog, name)?.0),
    };
    let node = NodeId(request.node);
    if node.0 != 0 {
        find_node(catalog, node)?;
    }
    let is_wanted = |group: &GroupRef<'_>| {
        let of_stream = group.shard().is_some_and(|of| Some(of.name) == stream.as_ref());
        let on_node = group.holders().any(|replica| replica.node == node);
        (stream.is_none() || of_stream) && (node.0 == 0 || on_node)
    };
    let wanted = catalog.groups().filter(is_wanted).map(|group| (group.group, group));
    let wanted: BTreeMap<GroupId, GroupRef<'_>> = wanted.collect();
    let mut rest = wanted.range(GroupId(request.start_group)..).map(|(_, group)| *group);
    let page = rest.by_ref().take(limit).collect();
    Ok((page, rest.next().map(|group| group.group.0)))
}

/// The group: its replicas by the catalog, their state by the reports.
pub(super) fn message(group: &GroupRef<'_>, reports: &Reports) -> pb::Group {
    let leader = reports.leader(group.group);
    let (leader_node, leading) = leader.unzip();
    let highest_term = reports.of(group.group).map(|(_, report)| report.term).max();
    let mut holders: Vec<Replica> = group.holders().collect();
    holders.sort_by_key(|replica| replica.node);
    let replicas = holders.into_iter().map(|replica| replica_message(group, replica, reports));
    pb::Group {
        group: group.group.0,
        stream: group.shard().map(|of| of.name.to_string()).unwrap_or_default(),
        shard: group.shard().map(|of| of.shard.id.to_string()).unwrap_or_default(),
        leader_node: leader_node.map_or(0, |node| node.0),
        term: leading.map(|leading| leading.term).or(highest_term).unwrap_or_default(),
        last_index: leading.and_then(|leading| leading.last_log_index),
        committed_index: leading.and_then(|leading| leading.committed_index),
        applied_index: leading.and_then(|leading| leading.applied_index),
        replicas: replicas.collect(),
        handing_over: leading.is_some_and(|leading| leading.handing_over),
        voters_change: leading.is_some_and(|leading| leading.voters_change),
        r#move: group.moving.map(|moving| jobs::move_message(group, moving, leading)),
        gate: gate_message(leading.and_then(|leading| leading.gate.as_ref())).into(),
        kind: kind_message(group.kind).into(),
    }
}

/// A table group: its tables as its leader knows them.
pub(super) fn table_message(group: &GroupRef<'_>, reports: &Reports) -> pb::TableGroup {
    let (leader_node, leading) = reports.leader(group.group).unzip();
    let table = |space: &node::TableSpace| pb::Table {
        name: space.name.clone(),
        rows: space.rows,
        bytes: space.bytes,
        reads: space.reads,
        writes: space.writes,
    };
    let spaces = leading.map(|leading| &*leading.spaces).unwrap_or_default();
    let mut tables: Vec<_> = spaces.iter().map(table).collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    pb::TableGroup {
        group: group.group.0,
        leader_node: leader_node.map_or(0, |node| node.0),
        limit_bytes: Limits::DEFAULT.group_bytes,
        tables,
    }
}

fn kind_message(kind: GroupKind<'_>) -> pb::GroupKind {
    match kind {
        GroupKind::Catalog => pb::GroupKind::Catalog,
        GroupKind::Shard(_) => pb::GroupKind::Shard,
        GroupKind::Table(_) => pb::GroupKind::Table,
    }
}

fn replica_message(group: &GroupRef<'_>, replica: Replica, reports: &Reports) -> pb::GroupReplica {
    let leader = reports.leader(group.group);
    let leading = leader.map(|(_, leading)| leading);
    let node = reports.node(replica.node);
    let own = node.and_then(|node| node.group(group.group));
    let (state, reason) = match own {
        _ if node.is_none() => (pb::ReplicaState::Unreachable, ""),
        Some(GroupReport { quarantined: Some(reason), replica: id, .. })
            if [0, replica.id.0].contains(id) =>
        {
            (pb::ReplicaState::Quarantined, reason.as_str())
        }
        Some(own) if own.replica == replica.id.0 => (pb::ReplicaState::Open, ""),
        _ => (pb::ReplicaState::Missing, ""),
    };
    let own = own.filter(|_| state == pb::ReplicaState::Open);
    let matched = leading.and_then(|leading| member(leading, replica)?.matched_index);
    pb::GroupReplica {
        replica: replica.id.0,
        node: replica.node.0,
        role: role(group, replica, reports).into(),
        place: place(group, replica).into(),
        leads: leader.is_some_and(|(node, _)| node == replica.node),
        state: state.into(),
        reason: reason.into(),
        disk_refuses_records: node.is_some_and(|node| node.refuses_records),
        matched_index: matched,
        lag_entries: leading.and_then(|leading| lag(leading, replica)),
        last_index: own.and_then(|own| own.last_log_index),
        applied_index: own.and_then(|own| own.applied_index),
        last_term: own.and_then(|own| own.last_log_term),
    }
}

/// Whether a replica votes: by the leader's report, else by the report with the highest term, else by the catalog.
fn role(group: &GroupRef<'_>, replica: Replica, reports: &Reports) -> pb::ReplicaRole {
    let newest = || reports.of(group.group).max_by_key(|(_, report)| report.term);
    let known = reports.leader(group.group).or_else(newest);
    let known = known.map(|(_, report)| report).filter(|report| !report.members.is_empty());
    let votes = match known {
        Some(known) => member(known, replica).is_some_and(|member| member.votes),
        None => place(group, replica) != pb::ReplicaPlace::Comes,
    };
    if votes { pb::ReplicaRole::Voter } else { pb::ReplicaRole::Learner }
}

/// The entry of one replica in a report.
pub(super) fn member(report: &GroupReport, replica: Replica) -> Option<&node::Member> {
    report.members.iter().find(|member| member.replica == replica.id.0)
}

/// How many entries of the leader's log a replica lacks, as the leader knows.
pub(super) fn lag(leading: &GroupReport, replica: Replica) -> Option<u64> {
    Some(leading.last_log_index?.saturating_sub(member(leading, replica)?.matched_index?))
}

/// Whether a replica of `group` comes, leaves or stays.
pub(super) fn place(group: &GroupRef<'_>, replica: Replica) -> pb::ReplicaPlace {
    match group.moving {
        Some(moving) if moving.to.id == replica.id => pb::ReplicaPlace::Comes,
        Some(moving) if moving.from == Some(replica.id) => pb::ReplicaPlace::Leaves,
        _ => pb::ReplicaPlace::Stays,
    }
}

fn gate_message(gate: Option<&node::Gate>) -> pb::Gate {
    match gate {
        None => pb::Gate::Unspecified,
        Some(node::Gate { closed: true, .. }) => pb::Gate::Closed,
        Some(node::Gate { hidden: true, .. }) => pb::Gate::Hidden,
        Some(node::Gate { frozen_by: 0, .. }) => pb::Gate::Open,
        Some(_) => pb::Gate::Frozen,
    }
}
