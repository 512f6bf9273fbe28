//! `NodeService` over gRPC: requests of other nodes.
//!
//! Each handler decodes a request, has the `NodeRequest` of the same meaning answer it on this node, and encodes the
//! response. The other direction, for `remote.rs`, is here too: [`loads_of`] and [`ending_of`] decode responses.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_catalog::scaling::{BUCKETS, BucketLoad, KeyLoad, ShardLoad};
use anabranch_proto::node as pb;
use anabranch_proto::node::node_service_server::{NodeService, NodeServiceServer};
use anabranch_shard::{Ending, Position};
use anabranch_storage::ScrubProgress;
use anabranch_types::{GroupId, HashKey, NodeId, Timestamp};
use tonic::{Request, Response, Status};

use crate::catalog_leader::{Freeze, Loads, ReportLoads, Voters};
use crate::entry_repair;
use crate::group_reports::ReportGroups;
use crate::leader_transfer::TransferLeaders;
use crate::node::Node;
use crate::node_health::{NodeHealth, ReportHealth};
use crate::node_request::NodeRequest;

pub(crate) fn node_service(node: &Node) -> NodeServiceServer<Internal> {
    NodeServiceServer::new(Internal(node.clone()))
}

/// The service, on one node.
pub(crate) struct Internal(Node);

#[tonic::async_trait]
impl NodeService for Internal {
    async fn leading(
        &self,
        _request: Request<pb::LeadingRequest>,
    ) -> Result<Response<pb::LeadingResponse>, Status> {
        Ok(Response::new(ReportHealth.here(&self.0).await?.into()))
    }

    async fn transfer_leaders(
        &self,
        request: Request<pb::TransferLeadersRequest>,
    ) -> Result<Response<pb::TransferLeadersResponse>, Status> {
        let transfers = request.into_inner().transfers.into_iter();
        let transfers = transfers.map(|one| (GroupId(one.group), NodeId(one.to_node))).collect();
        let done = TransferLeaders(transfers).here(&self.0).await?;
        let groups = done.into_iter().map(|group| group.0).collect();
        Ok(Response::new(pb::TransferLeadersResponse { groups }))
    }

    async fn freeze(
        &self,
        request: Request<pb::FreezeRequest>,
    ) -> Result<Response<pb::FreezeResponse>, Status> {
        let pb::FreezeRequest { group, job } = request.into_inner();
        let ending = Freeze { group: GroupId(group), job }.here(&self.0).await?;
        Ok(Response::new(freeze_response(ending)))
    }

    async fn loads(
        &self,
        _: Request<pb::LoadsRequest>,
    ) -> Result<Response<pb::LoadsResponse>, Status> {
        let loads = ReportLoads.here(&self.0).await?.into_iter().map(load_message).collect();
        Ok(Response::new(pb::LoadsResponse { loads }))
    }

    async fn voters(
        &self,
        request: Request<pb::VotersRequest>,
    ) -> Result<Response<pb::VotersResponse>, Status> {
        let voters = Voters(GroupId(request.into_inner().group)).here(&self.0).await?;
        let settled = voters.is_some();
        let voters = voters.into_iter().flatten().map(|replica| replica.0).collect();
        Ok(Response::new(pb::VotersResponse { settled, voters }))
    }

    async fn groups(
        &self,
        request: Request<pb::GroupsRequest>,
    ) -> Result<Response<pb::GroupsResponse>, Status> {
        let groups = request.into_inner().groups;
        Ok(Response::new(ReportGroups(groups).here(&self.0).await?))
    }

    async fn copy_entries(
        &self,
        request: Request<pb::CopyEntriesRequest>,
    ) -> Result<Response<pb::CopyEntriesResponse>, Status> {
        Ok(Response::new(entry_repair::copies(&self.0, request.into_inner()).await))
    }
}

fn freeze_response(ending: Option<Ending>) -> pb::FreezeResponse {
    let last = ending.and_then(|ending| ending.last_record);
    pb::FreezeResponse {
        frozen: ending.is_some(),
        has_record: last.is_some(),
        log_index: last.unwrap_or_default().log_index,
        offset: last.unwrap_or_default().offset.into(),
        arrival_millis: ending.unwrap_or_default().last_arrival.as_millis(),
    }
}

fn load_message((group, load): (GroupId, ShardLoad)) -> pb::ShardLoad {
    let key = load.candidate();
    pb::ShardLoad {
        group: group.0,
        measured_millis: u64::try_from(load.measured().as_millis()).unwrap_or(u64::MAX),
        bytes_per_minute: load.buckets().iter().map(|part| part.bytes_per_minute).collect(),
        records_per_minute: load.buckets().iter().map(|part| part.records_per_minute).collect(),
        key: key.map(|key| key.key.0.to_be_bytes().to_vec().into()).unwrap_or_default(),
        key_weight_per_minute: key.map_or(0, |key| key.weight_per_minute),
    }
}

/// The loads in a response.
///
/// # Errors
/// A load with another number of parts than it must have.
pub(crate) fn loads_of(message: pb::LoadsResponse) -> Result<Loads, Status> {
    message.loads.iter().map(|load| Ok((GroupId(load.group), load_of(load)?))).collect()
}

fn load_of(message: &pb::ShardLoad) -> Result<ShardLoad, Status> {
    let counts = message.bytes_per_minute.iter().zip(&message.records_per_minute);
    let parts = counts.map(|(bytes, records)| BucketLoad {
        bytes_per_minute: *bytes,
        records_per_minute: *records,
    });
    let parts: Box<[BucketLoad; BUCKETS]> = parts
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| Status::internal("load: has not 64 parts"))?;
    let key = <[u8; 16]>::try_from(&message.key[..]).ok().map(u128::from_be_bytes);
    let weight_per_minute = message.key_weight_per_minute;
    let key = key.map(|key| KeyLoad { key: HashKey(key), weight_per_minute });
    Ok(ShardLoad::new(Duration::from_millis(message.measured_millis), parts, key))
}

/// Where a shard ends; `None` if it did not accept the freeze.
///
/// # Errors
/// An offset that is larger than an entry can have.
pub(crate) fn ending_of(message: &pb::FreezeResponse) -> Result<Option<Ending>, Status> {
    let offset = u16::try_from(message.offset).map_err(|e| Status::internal(e.to_string()))?;
    let last_record = Position { log_index: message.log_index, offset };
    Ok(message.frozen.then(|| Ending {
        last_record: message.has_record.then_some(last_record),
        last_arrival: Timestamp::from_millis(message.arrival_millis),
    }))
}

impl From<NodeHealth> for pb::LeadingResponse {
    fn from(health: NodeHealth) -> Self {
        let round_trip = |(node, took): (NodeId, Duration)| pb::RoundTrip {
            node: node.0,
            micros: whole(took.as_micros()),
        };
        Self {
            groups: health.groups.into_iter().map(|group| group.0).collect(),
            ready_millis: whole(health.ready.as_millis()),
            sync_micros: health.sync.map(|sync| whole(sync.as_micros())),
            round_trips: health.round_trips.into_iter().map(round_trip).collect(),
            stalled_millis: health.stalled.map(|stalled| whole(stalled.as_millis())),
            scrub: Some(pb::Scrub {
                passes: health.scrub.passes,
                done_bytes: health.scrub.done_bytes,
                total_bytes: health.scrub.total_bytes,
                since_pass_millis: health.scrub.since_pass.map(|time| whole(time.as_millis())),
            }),
        }
    }
}

impl From<pb::LeadingResponse> for NodeHealth {
    fn from(message: pb::LeadingResponse) -> Self {
        let round_trip = |one: pb::RoundTrip| (NodeId(one.node), Duration::from_micros(one.micros));
        Self {
            groups: message.groups.into_iter().map(GroupId).collect(),
            ready: Duration::from_millis(message.ready_millis),
            sync: message.sync_micros.map(Duration::from_micros),
            round_trips: message
                .round_trips
                .into_iter()
                .map(round_trip)
                .collect::<BTreeMap<_, _>>(),
            stalled: message.stalled_millis.map(Duration::from_millis),
            scrub: message.scrub.map(scrub_of).unwrap_or_default(),
        }
    }
}

fn scrub_of(message: pb::Scrub) -> ScrubProgress {
    ScrubProgress {
        passes: message.passes,
        done_bytes: message.done_bytes,
        total_bytes: message.total_bytes,
        since_pass: message.since_pass_millis.map(Duration::from_millis),
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_was_encoded_is_decoded_again() {
        let mut parts = Box::new([BucketLoad::default(); BUCKETS]);
        parts[63] = BucketLoad { bytes_per_minute: 70, records_per_minute: 7 };
        let key = KeyLoad { key: HashKey(u128::MAX - 1), weight_per_minute: 9 };
        for key in [None, Some(key)] {
            let load = ShardLoad::new(Duration::from_millis(1234), parts.clone(), key);
            let message = load_message((GroupId(5), load.clone()));
            let answer = pb::LoadsResponse { loads: vec![message] };
            assert_eq!(loads_of(answer).unwrap(), Loads::from([(GroupId(5), load)]));
        }
    }

    #[test]
    fn a_load_with_too_few_parts_is_refused() {
        let short = pb::ShardLoad { bytes_per_minute: vec![1; 63], ..Default::default() };
        assert!(loads_of(pb::LoadsResponse { loads: vec![short] }).is_err());
    }
}
