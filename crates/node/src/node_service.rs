//! What nodes ask of each other, over gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_proto::node as pb;
use anabranch_proto::node::node_service_server::{NodeService, NodeServiceServer};
use anabranch_replica::{Error, ShardReplica};
use anabranch_shard::{Ending, Position};
use anabranch_types::{GroupId, NodeId, Timestamp};
use tonic::{Request, Response, Status};

use crate::leaders::{self, Leading};
use crate::node::Node;
use crate::reshard;
use crate::services::status_of;

pub(crate) fn node_service(node: &Node) -> NodeServiceServer<Internal> {
    NodeServiceServer::new(Internal(node.clone()))
}

/// The side of a node that is for other nodes.
pub(crate) struct Internal(Node);

#[tonic::async_trait]
impl NodeService for Internal {
    async fn leading(
        &self,
        _request: Request<pb::LeadingRequest>,
    ) -> Result<Response<pb::LeadingResponse>, Status> {
        Ok(Response::new(leaders::leading(&self.0).into()))
    }

    async fn transfer_leaders(
        &self,
        request: Request<pb::TransferLeadersRequest>,
    ) -> Result<Response<pb::TransferLeadersResponse>, Status> {
        let transfers = request.into_inner().transfers.into_iter();
        let transfers = transfers.map(|one| (GroupId(one.group), NodeId(one.to_node))).collect();
        let done = leaders::transfer(&self.0, transfers).await;
        let groups = done.into_iter().map(|group| group.0).collect();
        Ok(Response::new(pb::TransferLeadersResponse { groups }))
    }

    async fn freeze(
        &self,
        request: Request<pb::FreezeRequest>,
    ) -> Result<Response<pb::FreezeResponse>, Status> {
        let pb::FreezeRequest { group, job } = request.into_inner();
        let ending = reshard::freeze(&self.led(group)?, job).await;
        let ending = ending.map_err(|error| status_of(&error))?;
        Ok(Response::new(freeze_response(ending)))
    }

    async fn voters(
        &self,
        request: Request<pb::VotersRequest>,
    ) -> Result<Response<pb::VotersResponse>, Status> {
        let voters = self.led(request.into_inner().group)?.settled_voters();
        let settled = voters.is_some();
        let voters = voters.into_iter().flatten().map(|replica| replica.0).collect();
        Ok(Response::new(pb::VotersResponse { settled, voters }))
    }
}

impl Internal {
    /// This node's replica of the shard that `group` holds, if it leads.
    fn led(&self, group: u64) -> Result<ShardReplica, Status> {
        let shard = self.0.shard(GroupId(group)).ok_or_else(|| status_of(&Error::NotFound))?;
        if !shard.leads() {
            return Err(status_of(&Error::NotLeader { leader: None }));
        }
        Ok(shard)
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

/// Where a shard ends, if it was frozen.
///
/// # Errors
/// An offset beyond what an entry holds.
pub(crate) fn ending_of(message: &pb::FreezeResponse) -> Result<Option<Ending>, Status> {
    let offset = u16::try_from(message.offset).map_err(|e| Status::internal(e.to_string()))?;
    let last_record = Position { log_index: message.log_index, offset };
    Ok(message.frozen.then(|| Ending {
        last_record: message.has_record.then_some(last_record),
        last_arrival: Timestamp::from_millis(message.arrival_millis),
    }))
}

impl From<Leading> for pb::LeadingResponse {
    fn from(leading: Leading) -> Self {
        let round_trip = |(node, took): (NodeId, Duration)| pb::RoundTrip {
            node: node.0,
            micros: whole(took.as_micros()),
        };
        Self {
            groups: leading.groups.into_iter().map(|group| group.0).collect(),
            ready_millis: whole(leading.ready.as_millis()),
            sync_micros: leading.sync.map(|sync| whole(sync.as_micros())),
            round_trips: leading.round_trips.into_iter().map(round_trip).collect(),
        }
    }
}

impl From<pb::LeadingResponse> for Leading {
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
        }
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
