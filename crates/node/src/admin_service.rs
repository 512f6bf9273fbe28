//! `AdminService`: requests of operators over gRPC.
//!
//! Reads are answered from this node's copy of the catalog and from what the nodes report of their replicas, so they
//! need no leader of the catalog. Writes are commands that go to the catalog's leader. The modules below make the
//! responses, without I/O.

use std::sync::Arc;
use std::time::Duration;

use anabranch_access::SecretSealer;
use anabranch_catalog::{
    Catalog, Command, GroupCommand, GroupKind, GroupRef, NodeCommand, Outcome, UserCommand,
};
use anabranch_proto::admin as pb;
use anabranch_proto::admin::admin_service_server::{AdminService, AdminServiceServer};
use anabranch_types::NodeId;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::admin_service::cluster::node_state;
use crate::admin_service::lookup::find_group;
use crate::admin_service::refusals::{not_changed, refused};
use crate::group_reports;
use crate::health_reports;
use crate::node::Node;

mod cluster;
mod credentials;
mod groups;
mod jobs;
mod lookup;
mod recovery;
mod refusals;
mod shards;
mod transfer;
mod users;

/// How long the catalog may take for a write. Longer than the search for its leader. A leader that has lost its
/// majority would never answer.
const DECIDED: Duration = Duration::from_secs(20);
/// How long a write waits until this node's copy of the catalog shows it, so that a read that follows it shows it
/// too.
const SEEN: Duration = Duration::from_secs(5);

pub(crate) fn admin_service(node: &Node) -> AdminServiceServer<Admin> {
    let sealer = SecretSealer::new(node.settings().cluster_key.bytes());
    AdminServiceServer::new(Admin { node: node.clone(), sealer })
}

/// The service, on one node.
pub(crate) struct Admin {
    node: Node,
    sealer: SecretSealer,
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let catalog = self.catalog();
        let own: Vec<_> = catalog.groups().take(1).collect();
        let (reports, leading) = tokio::join!(
            group_reports::gather(&self.node, &own),
            health_reports::all_nodes(&self.node, &catalog)
        );
        Ok(Response::new(cluster::status(&catalog, &reports, &leading, &self.node.clocks())))
    }

    async fn list_nodes(
        &self,
        _request: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesResponse>, Status> {
        let catalog = self.catalog();
        let leading = health_reports::all_nodes(&self.node, &catalog).await;
        let nodes = cluster::nodes(&catalog, &leading, &self.node.clocks());
        Ok(Response::new(pb::ListNodesResponse { nodes }))
    }

    async fn list_groups(
        &self,
        request: Request<pb::ListGroupsRequest>,
    ) -> Result<Response<pb::ListGroupsResponse>, Status> {
        let catalog = self.catalog();
        let (page, next_group) = groups::page(&catalog, &request.into_inner())?;
        let reports = group_reports::gather(&self.node, &page).await;
        let groups = page.iter().map(|group| groups::message(group, &reports)).collect();
        Ok(Response::new(pb::ListGroupsResponse { groups, next_group }))
    }

    async fn describe_group(
        &self,
        request: Request<pb::DescribeGroupRequest>,
    ) -> Result<Response<pb::DescribeGroupResponse>, Status> {
        let catalog = self.catalog();
        let group = find_group(&catalog, request.into_inner().group)?;
        let reports = group_reports::gather(&self.node, &[group]).await;
        let group = Some(groups::message(&group, &reports));
        Ok(Response::new(pb::DescribeGroupResponse { group }))
    }

    async fn list_tables(
        &self,
        _request: Request<pb::ListTablesRequest>,
    ) -> Result<Response<pb::ListTablesResponse>, Status> {
        let catalog = self.catalog();
        let is_table = |group: &GroupRef<'_>| matches!(group.kind, GroupKind::Table(_));
        let tables: Vec<_> = catalog.groups().filter(is_table).collect();
        let reports = group_reports::gather(&self.node, &tables).await;
        let groups = tables.iter().map(|group| groups::table_message(group, &reports));
        Ok(Response::new(pb::ListTablesResponse { groups: groups.collect() }))
    }

    async fn list_shards(
        &self,
        request: Request<pb::ListShardsRequest>,
    ) -> Result<Response<pb::ListShardsResponse>, Status> {
        shards::list(&self.catalog(), &request.into_inner()).map(Response::new)
    }

    async fn explain_shard(
        &self,
        request: Request<pb::ExplainShardRequest>,
    ) -> Result<Response<pb::ExplainShardResponse>, Status> {
        shards::explain(&self.catalog(), &request.into_inner()).map(Response::new)
    }

    async fn list_jobs(
        &self,
        _request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let catalog = self.catalog();
        let busy: Vec<_> = catalog.groups().filter(jobs::concerns).collect();
        let reports = group_reports::gather(&self.node, &busy).await;
        Ok(Response::new(jobs::list(&catalog, &reports)))
    }

    async fn set_node_state(
        &self,
        request: Request<pb::SetNodeStateRequest>,
    ) -> Result<Response<pb::SetNodeStateResponse>, Status> {
        let request = request.into_inner();
        let (node, state) = (NodeId(request.node), node_state(request.state())?);
        self.change(Command::Node(NodeCommand::SetState { node, state })).await?;
        let replicas = cluster::held(&self.catalog()).get(&node).copied().unwrap_or_default();
        Ok(Response::new(pb::SetNodeStateResponse { replicas }))
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Result<Response<pb::RemoveNodeResponse>, Status> {
        self.change(Command::Node(NodeCommand::Remove { node: NodeId(request.into_inner().node) }))
            .await?;
        Ok(Response::new(pb::RemoveNodeResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let pb::TransferLeaderRequest { group, to_node } = request.into_inner();
        let from = self.transfer(group, NodeId(to_node)).await?;
        Ok(Response::new(pb::TransferLeaderResponse { from_node: from.0 }))
    }

    async fn recover_group(
        &self,
        request: Request<pb::RecoverGroupRequest>,
    ) -> Result<Response<pb::RecoverGroupResponse>, Status> {
        self.recover(&request.into_inner()).await.map(Response::new)
    }

    async fn rebalance(
        &self,
        _request: Request<pb::RebalanceRequest>,
    ) -> Result<Response<pb::RebalanceResponse>, Status> {
        let rebalance = self.change(Command::Group(GroupCommand::Rebalance)).await?;
        Ok(Response::new(pb::RebalanceResponse { rebalance }))
    }

    async fn set_balancing(
        &self,
        request: Request<pb::SetBalancingRequest>,
    ) -> Result<Response<pb::SetBalancingResponse>, Status> {
        let pb::SetBalancingRequest { paused } = request.into_inner();
        self.change(Command::Group(GroupCommand::SetBalancing { paused })).await?;
        Ok(Response::new(pb::SetBalancingResponse {}))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        users::page(&self.catalog().users, &request.into_inner()).map(Response::new)
    }

    async fn describe_user(
        &self,
        request: Request<pb::DescribeUserRequest>,
    ) -> Result<Response<pb::DescribeUserResponse>, Status> {
        let name = users::name("name", &request.into_inner().name)?;
        let user = Some(users::message(&name, users::find(&self.catalog().users, &name)?));
        Ok(Response::new(pb::DescribeUserResponse { user }))
    }

    async fn get_user_policy(
        &self,
        request: Request<pb::GetUserPolicyRequest>,
    ) -> Result<Response<pb::GetUserPolicyResponse>, Status> {
        let document = users::policy(&self.catalog().users, request.into_inner())?;
        Ok(Response::new(pb::GetUserPolicyResponse { document }))
    }

    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        let pb::CreateSessionRequest { user, seconds } = request.into_inner();
        let user = users::name("user", &user)?;
        let user_created = users::find(&self.catalog().users, &user)?.created;
        let issued = self.node.clock().now();
        let expires = issued.plus(users::session_length(seconds)?);
        let session = credentials::session(&self.sealer, user, user_created, issued, expires)?;
        Ok(Response::new(session))
    }

    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Result<Response<pb::CreateUserResponse>, Status> {
        let pb::CreateUserRequest { name, account } = request.into_inner();
        let name = users::name("name", &name)?;
        let account = users::account(&account, &self.node.settings().account)?;
        let now = self.node.clock().now();
        self.change(Command::User(UserCommand::Create {
            name: name.clone(),
            account: account.clone(),
            now,
        }))
        .await?;
        let user = Some(users::new_message(&name, &account, now));
        Ok(Response::new(pb::CreateUserResponse { user }))
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        let name = users::name("name", &request.into_inner().name)?;
        self.change(Command::User(UserCommand::Delete { name })).await?;
        Ok(Response::new(pb::DeleteUserResponse {}))
    }

    async fn create_access_key(
        &self,
        request: Request<pb::CreateAccessKeyRequest>,
    ) -> Result<Response<pb::CreateAccessKeyResponse>, Status> {
        let user = users::name("user", &request.into_inner().user)?;
        let new = credentials::access_key(&self.sealer)?;
        let (id, sealed_secret) = (new.answer.access_key_id.clone(), new.sealed_secret);
        let now = self.node.clock().now();
        self.change(Command::User(UserCommand::CreateAccessKey { user, id, sealed_secret, now }))
            .await?;
        Ok(Response::new(new.answer))
    }

    async fn set_access_key(
        &self,
        request: Request<pb::SetAccessKeyRequest>,
    ) -> Result<Response<pb::SetAccessKeyResponse>, Status> {
        let pb::SetAccessKeyRequest { id, enabled } = request.into_inner();
        self.change(Command::User(UserCommand::SetAccessKey { id, enabled })).await?;
        Ok(Response::new(pb::SetAccessKeyResponse {}))
    }

    async fn delete_access_key(
        &self,
        request: Request<pb::DeleteAccessKeyRequest>,
    ) -> Result<Response<pb::DeleteAccessKeyResponse>, Status> {
        self.change(Command::User(UserCommand::DeleteAccessKey { id: request.into_inner().id }))
            .await?;
        Ok(Response::new(pb::DeleteAccessKeyResponse {}))
    }

    async fn put_user_policy(
        &self,
        request: Request<pb::PutUserPolicyRequest>,
    ) -> Result<Response<pb::PutUserPolicyResponse>, Status> {
        self.change(users::put_policy(request.into_inner())?).await?;
        Ok(Response::new(pb::PutUserPolicyResponse {}))
    }

    async fn delete_user_policy(
        &self,
        request: Request<pb::DeleteUserPolicyRequest>,
    ) -> Result<Response<pb::DeleteUserPolicyResponse>, Status> {
        let pb::DeleteUserPolicyRequest { user, name } = request.into_inner();
        let user = users::name("user", &user)?;
        self.change(Command::User(UserCommand::DeletePolicy { user, name })).await?;
        Ok(Response::new(pb::DeleteUserPolicyResponse {}))
    }
}

impl Admin {
    fn catalog(&self) -> Arc<Catalog> {
        self.node.catalog_view().newest()
    }

    /// Has the catalog apply `command`, and waits until this node's copy shows it. Returns the version that does.
    async fn change(&self, command: Command) -> Result<u64, Status> {
        let proposed = timeout(DECIDED, self.node.propose(&command)).await;
        let proposed = proposed.map_err(|_elapsed| {
            Status::unknown("outcome unknown: the catalog's leader hears no majority")
        })?;
        match proposed.map_err(|error| not_changed(&error))? {
            Outcome::Done { version } => {
                let mut versions = self.node.catalog();
                let seen = versions.wait_for(|catalog| catalog.version >= version);
                let _done_either_way = timeout(SEEN, seen).await;
                Ok(version)
            }
            Outcome::Refused(refusal) => Err(refused(&refusal)),
        }
    }
}

#[cfg(test)]
mod tests;
