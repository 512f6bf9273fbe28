//! What nodes ask of each other, over gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_proto::node as pb;
use anabranch_proto::node::node_service_server::{NodeService, NodeServiceServer};
use anabranch_types::{GroupId, NodeId};
use tonic::{Request, Response, Status};

use crate::leaders::{self, Leading};
use crate::node::Node;

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
