//! Responses about the cluster as a whole and about its nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::{Catalog, NodeState, Stream};
use anabranch_proto::admin as pb;
use anabranch_transport::ClockReport;
use anabranch_types::{GroupId, NodeId};
use tonic::Status;

use crate::admin_service::refusals::invalid;
use crate::group_reports::Reports;
use crate::node_health::NodeHealth;

pub(super) fn status(
    catalog: &Catalog,
    reports: &Reports,
    health: &BTreeMap<NodeId, NodeHealth>,
    clocks: &ClockReport,
) -> pb::StatusResponse {
    let stalled = health.iter().filter(|(_, health)| health.stalled.is_some());
    let streams = || catalog.streams.values();
    pb::StatusResponse {
        catalog_version: catalog.version,
        catalog_nodes: catalog.replicas.iter().map(|replica| replica.node.0).collect(),
        catalog_leader: reports.leader(GroupId::CATALOG).map_or(0, |(node, _)| node.0),
        nodes: count(catalog.nodes.len()),
        streams: count(catalog.streams.len()),
        open_shards: count(streams().flat_map(Stream::open_shards).count()),
        shards: count(streams().map(|stream| stream.shards.len()).sum()),
        jobs: count(streams().filter(|stream| stream.job.is_some()).count()),
        moves: count(catalog.groups().filter(|group| group.moving.is_some()).count()),
        balancing_paused: catalog.balancing_paused,
        rebalance: catalog.rebalance.unwrap_or_default(),
        stalled_nodes: stalled.map(|(node, _)| node.0).collect(),
        clocks_agree: clocks.is_agreed,
        wrong_clocks: clocks.far.iter().map(|node| node.0).collect(),
    }
}

/// The nodes of the catalog. A node that did not answer has no health.
pub(super) fn nodes(
    catalog: &Catalog,
    health: &BTreeMap<NodeId, NodeHealth>,
    clocks: &ClockReport,
) -> Vec<pb::Node> {
    let held = held(catalog);
    let nodes = catalog.nodes.iter().map(|(id, node)| {
        let health = health.get(id);
        pb::Node {
            node: id.0,
            state: node_state_message(node.state).into(),
            replicas: held.get(id).copied().unwrap_or_default(),
            holds_catalog: catalog.replicas.iter().any(|replica| replica.node == *id),
            zone: node.zone.clone(),
            grpc_address: node.grpc_address.clone(),
            api_address: node.api_address.clone(),
            answers: health.is_some(),
            leads: health.map(|health| count(health.groups.len())),
            ready_millis: health.map(|health| millis(health.ready)),
            stalled_millis: health.and_then(|health| health.stalled).map(millis),
            scrub: health.map(|health| pb::Scrub {
                passes: health.scrub.passes,
                done_bytes: health.scrub.done_bytes,
                total_bytes: health.scrub.total_bytes,
                since_pass_millis: health.scrub.since_pass.map(millis),
            }),
            clock_ahead_millis: clocks.ahead_millis.get(id).copied(),
            clock_is_wrong: clocks.far.contains(id),
        }
    });
    nodes.collect()
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// How many replicas each node holds or is to hold, by the catalog.
pub(super) fn held(catalog: &Catalog) -> BTreeMap<NodeId, u32> {
    let mut held = BTreeMap::new();
    for group in catalog.groups() {
        group.holders().for_each(|replica| *held.entry(replica.node).or_default() += 1);
    }
    held
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn node_state(state: pb::NodeState) -> Result<NodeState, Status> {
    match state {
        pb::NodeState::Active => Ok(NodeState::Active),
        pb::NodeState::Draining => Ok(NodeState::Draining),
        pb::NodeState::Unspecified => {
            Err(invalid("state", "must be NODE_STATE_ACTIVE or NODE_STATE_DRAINING"))
        }
    }
}

pub(super) fn node_state_message(state: NodeState) -> pb::NodeState {
    match state {
        NodeState::Active => pb::NodeState::Active,
        NodeState::Draining => pb::NodeState::Draining,
    }
}
