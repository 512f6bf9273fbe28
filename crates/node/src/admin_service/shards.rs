//! Responses about the shards of a stream: their parents, their hash keys, and where their replicas are and may go.

use std::collections::BTreeSet;

use anabranch_catalog::{Catalog, GroupRef, NodeState, Replica, Shard, ShardStatus};
use anabranch_proto::admin as pb;
use tonic::Status;

use crate::admin_service::cluster::{count, held, node_state_message};
use crate::admin_service::groups::place;
use crate::admin_service::lookup::{find_stream, page_limit, shard_id};

const PAGE: usize = 1_000;
const LARGEST_PAGE: usize = 10_000;

pub(super) fn list(
    catalog: &Catalog,
    request: &pb::ListShardsRequest,
) -> Result<pb::ListShardsResponse, Status> {
    let limit = page_limit(request.limit, PAGE, LARGEST_PAGE)?;
    let (_, stream) = find_stream(catalog, &request.stream)?;
    let start = anabranch_types::ShardId(request.start_shard);
    let mut rest = stream.shards.range(start..).map(|(_, shard)| shard);
    let shards = rest.by_ref().take(limit).map(message).collect();
    Ok(pb::ListShardsResponse {
        status: stream.status.name().into(),
        shards,
        next_shard: rest.next().map(|shard| shard.id.0),
        total: count(stream.shards.len()),
    })
}

fn message(shard: &Shard) -> pb::Shard {
    pb::Shard {
        shard: shard.id.to_string(),
        group: shard.group.0,
        open: shard.is_open(),
        parents: shard.parents.iter().map(ToString::to_string).collect(),
        hash_key_start: shard.range.start().to_string(),
        hash_key_end: shard.range.end().to_string(),
        nodes: shard.replicas.iter().map(|replica| replica.node.0).collect(),
        created_millis: shard.created.as_millis(),
        closed_millis: match shard.status {
            ShardStatus::Open => None,
            ShardStatus::Closed { at, .. } => Some(at.as_millis()),
        },
    }
}

pub(super) fn explain(
    catalog: &Catalog,
    request: &pb::ExplainShardRequest,
) -> Result<pb::ExplainShardResponse, Status> {
    let (name, stream) = find_stream(catalog, &request.stream)?;
    let id = shard_id(&request.shard)?;
    let is_it = |group: &GroupRef<'_>| {
        group.shard().is_some_and(|of| *of.name == name && of.shard.id == id)
    };
    let group = catalog.groups().find(is_it);
    let group = group.ok_or_else(|| Status::not_found(format!("{name} has no shard {id}")))?;
    let held = held(catalog);
    let placed = |replica: Replica| {
        let node = catalog.nodes.get(&replica.node);
        let state = node.map_or(pb::NodeState::Unspecified, |node| node_state_message(node.state));
        pb::PlacedReplica {
            replica: replica.id.0,
            node: replica.node.0,
            place: place(&group, replica).into(),
            node_state: state.into(),
            zone: node.map(|node| node.zone.clone()).unwrap_or_default(),
            node_replicas: held.get(&replica.node).copied().unwrap_or_default(),
        }
    };
    let zone = |replica: Replica| catalog.nodes.get(&replica.node).map(|node| node.zone.as_str());
    let zones: BTreeSet<_> = group.voters().into_iter().filter_map(zone).collect();
    let others = catalog.nodes.iter().filter(|(id, node)| {
        node.state == NodeState::Active && group.holders().all(|replica| replica.node != **id)
    });
    Ok(pb::ExplainShardResponse {
        shard: id.to_string(),
        group: group.group.0,
        wanted_replicas: stream.replicas,
        replicas: group.holders().map(placed).collect(),
        zones: count(zones.len()),
        other_nodes: others.map(|(id, _)| id.0).collect(),
    })
}
