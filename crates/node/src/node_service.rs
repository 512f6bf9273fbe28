//! `NodeService` over gRPC: requests of other nodes.
//!
//! Each handler decodes a request, has the `NodeRequest` of the same meaning answer it on this node, and encodes the
//! response. `node_messages.rs` converts the messages.

use anabranch_proto::node as pb;
use anabranch_proto::node::node_service_server::{NodeService, NodeServiceServer};
use anabranch_types::{GroupId, NodeId};
use tonic::{Request, Response, Status};

use crate::catalog_leader::{Freeze, ReportLoads, Voters};
use crate::entry_repair;
use crate::group_reports::ReportGroups;
use crate::health_reports::ReportHealth;
use crate::leader_transfer::TransferLeaders;
use crate::node::Node;
use crate::node_messages::{freeze_response, load_message};
use crate::node_request::NodeRequest;
use crate::shard_leaders::Leads;

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

    async fn leads(
        &self,
        request: Request<pb::LeadsRequest>,
    ) -> Result<Response<pb::LeadsResponse>, Status> {
        Leads(GroupId(request.into_inner().group)).here(&self.0).await?;
        Ok(Response::new(pb::LeadsResponse {}))
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
