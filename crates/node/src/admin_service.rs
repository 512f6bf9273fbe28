//! What operators ask of a node and have the cluster do, over gRPC: `AdminService`.
//!
//! Reads come from this node's copy of the catalog and from what the nodes say of their replicas, so they need no
//! leader of the catalog; writes go to it. The answers are made in the modules below, without I/O.

use std::sync::Arc;
use std::time::Duration;

use anabranch_access::SecretSealer;
use anabranch_catalog::{Catalog, Command, GroupRef, NodeState, Outcome, Refusal, Stream};
use anabranch_proto::admin as pb;
use anabranch_proto::admin::admin_service_server::{AdminService, AdminServiceServer};
use anabranch_replica::Error;
use anabranch_transport::was_not_sent;
use anabranch_types::{GroupId, NodeId, ShardId, StreamName};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::group_reports::{self, Reports};
use crate::leader_transfer::TransferLeaders;
use crate::node::Node;
use crate::node_health;

mod cluster;
mod credentials;
mod groups;
mod jobs;
mod recovery;
mod shards;
mod users;

/// How long the catalog may take for a write: longer than a leader is looked for. A leader that has lost its
/// majority would keep it waiting for ever.
const DECIDED: Duration = Duration::from_secs(20);
/// How long a write waits until this node's copy of the catalog shows it.
const SEEN: Duration = Duration::from_secs(5);

pub(crate) fn admin_service(node: &Node) -> AdminServiceServer<Admin> {
    let sealer = SecretSealer::new(node.inner.settings.cluster_key.bytes());
    AdminServiceServer::new(Admin { node: node.clone(), sealer })
}

/// The side of a node that is for operators.
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
            node_health::all_nodes(&self.node, &catalog)
        );
        Ok(Response::new(cluster::status(&catalog, &reports, &leading, &self.node.clocks())))
    }

    async fn list_nodes(
        &self,
        _request: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesResponse>, Status> {
        let catalog = self.catalog();
        let leading = node_health::all_nodes(&self.node, &catalog).await;
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
        self.change(Command::SetNodeState { node, state }).await?;
        let replicas = cluster::held(&self.catalog()).get(&node).copied().unwrap_or_default();
        Ok(Response::new(pb::SetNodeStateResponse { replicas }))
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Result<Response<pb::RemoveNodeResponse>, Status> {
        self.change(Command::RemoveNode { node: NodeId(request.into_inner().node) }).await?;
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
        let rebalance = self.change(Command::Rebalance).await?;
        Ok(Response::new(pb::RebalanceResponse { rebalance }))
    }

    async fn set_balancing(
        &self,
        request: Request<pb::SetBalancingRequest>,
    ) -> Result<Response<pb::SetBalancingResponse>, Status> {
        let pb::SetBalancingRequest { paused } = request.into_inner();
        self.change(Command::SetBalancing { paused }).await?;
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
        let issued = self.node.inner.clock.now();
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
        let account = users::account(&account, &self.node.inner.settings.account)?;
        let now = self.node.inner.clock.now();
        self.change(Command::CreateUser { name: name.clone(), account: account.clone(), now })
            .await?;
        let user = Some(users::new_message(&name, &account, now));
        Ok(Response::new(pb::CreateUserResponse { user }))
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        let name = users::name("name", &request.into_inner().name)?;
        self.change(Command::DeleteUser { name }).await?;
        Ok(Response::new(pb::DeleteUserResponse {}))
    }

    async fn create_access_key(
        &self,
        request: Request<pb::CreateAccessKeyRequest>,
    ) -> Result<Response<pb::CreateAccessKeyResponse>, Status> {
        let user = users::name("user", &request.into_inner().user)?;
        let new = credentials::access_key(&self.sealer)?;
        let (id, sealed_secret) = (new.answer.access_key_id.clone(), new.sealed_secret);
        let now = self.node.inner.clock.now();
        self.change(Command::CreateAccessKey { user, id, sealed_secret, now }).await?;
        Ok(Response::new(new.answer))
    }

    async fn set_access_key(
        &self,
        request: Request<pb::SetAccessKeyRequest>,
    ) -> Result<Response<pb::SetAccessKeyResponse>, Status> {
        let pb::SetAccessKeyRequest { id, enabled } = request.into_inner();
        self.change(Command::SetAccessKey { id, enabled }).await?;
        Ok(Response::new(pb::SetAccessKeyResponse {}))
    }

    async fn delete_access_key(
        &self,
        request: Request<pb::DeleteAccessKeyRequest>,
    ) -> Result<Response<pb::DeleteAccessKeyResponse>, Status> {
        self.change(Command::DeleteAccessKey { id: request.into_inner().id }).await?;
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
        self.change(Command::DeleteUserPolicy { user, name }).await?;
        Ok(Response::new(pb::DeleteUserPolicyResponse {}))
    }
}

impl Admin {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.node.catalog().borrow())
    }

    /// Has the catalog take a change, and waits until this node's copy shows it. Gives the version that does.
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

    /// Has the group go on from one replica, if it can't go on otherwise.
    async fn recover(
        &self,
        request: &pb::RecoverGroupRequest,
    ) -> Result<pb::RecoverGroupResponse, Status> {
        let catalog = self.catalog();
        let found = find_group(&catalog, request.group)?;
        let node = NodeId(request.from_node);
        find_node(&catalog, node)?;
        let reports = group_reports::gather(&self.node, &[found]).await;
        let (from, loss) = recovery::plan(&found, node, &reports)?;
        if !request.accept_loss {
            let group = found.group;
            return Err(Status::failed_precondition(format!(
                "group {group} would go on from node {node} alone; {loss}. Nothing was done: the loss has to be accepted"
            )));
        }
        self.change(Command::RecoverGroup { group: found.group, from }).await?;
        Ok(pb::RecoverGroupResponse { from_replica: from.0, loss })
    }

    /// Has the node that leads the group hand it over to `to`; says which node that is.
    async fn transfer(&self, group: u64, to: NodeId) -> Result<NodeId, Status> {
        let catalog = self.catalog();
        let found = find_group(&catalog, group)?;
        find_node(&catalog, to)?;
        if !found.voters().iter().any(|replica| replica.node == to) {
            let rule = format!("node {to} holds no voting replica of group {group}");
            return Err(Status::failed_precondition(rule));
        }
        let reports = group_reports::gather(&self.node, &[found]).await;
        let from = leader(&reports, found.group)?;
        if from == to {
            return Ok(from);
        }
        let transfer = TransferLeaders(vec![(found.group, to)]);
        let handed_over = self.node.ask(from, &transfer).await;
        match handed_over {
            Ok(groups) if groups.contains(&found.group) => Ok(from),
            Ok(_) => Err(Status::failed_precondition(format!(
                "node {from} can't hand group {group} over to node {to} now: who takes over has to live and to lack no \
                 more than 256 entries"
            ))),
            Err(status) if was_not_sent(&status) => Err(Status::unavailable(status.to_string())),
            Err(status) => Err(Status::unknown(format!("outcome unknown: {status}"))),
        }
    }
}

fn leader(reports: &Reports, group: GroupId) -> Result<NodeId, Status> {
    let leader = reports.leader(group).map(|(node, _)| node);
    leader.ok_or_else(|| Status::unavailable(format!("group {group} has no leader that answers")))
}

fn node_state(state: pb::NodeState) -> Result<NodeState, Status> {
    match state {
        pb::NodeState::Active => Ok(NodeState::Active),
        pb::NodeState::Draining => Ok(NodeState::Draining),
        pb::NodeState::Unspecified => {
            Err(invalid("state", "must be NODE_STATE_ACTIVE or NODE_STATE_DRAINING"))
        }
    }
}

fn node_state_message(state: NodeState) -> pb::NodeState {
    match state {
        NodeState::Active => pb::NodeState::Active,
        NodeState::Draining => pb::NodeState::Draining,
    }
}

/// What a move does with a replica of `group`.
fn place(group: &GroupRef<'_>, replica: anabranch_catalog::Replica) -> pb::ReplicaPlace {
    match group.moving {
        Some(moving) if moving.to.id == replica.id => pb::ReplicaPlace::Comes,
        Some(moving) if moving.from == Some(replica.id) => pb::ReplicaPlace::Leaves,
        _ => pb::ReplicaPlace::Stays,
    }
}

fn find_group(catalog: &Catalog, group: u64) -> Result<GroupRef<'_>, Status> {
    let found = catalog.groups().find(|found| found.group == GroupId(group));
    found.ok_or_else(|| Status::not_found(format!("there is no group {group}")))
}

fn find_node(catalog: &Catalog, node: NodeId) -> Result<&anabranch_catalog::Node, Status> {
    let found = catalog.nodes.get(&node);
    found.ok_or_else(|| Status::not_found(Refusal::NodeNotFound { node }.to_string()))
}

fn find_stream<'a>(catalog: &'a Catalog, name: &str) -> Result<(StreamName, &'a Stream), Status> {
    let name: StreamName =
        name.parse().map_err(|error: anabranch_types::ParseError| invalid("stream", error))?;
    match catalog.streams.get(&name) {
        Some(stream) => Ok((name, stream)),
        None => Err(Status::not_found(format!("there is no stream {name}"))),
    }
}

/// A shard's number, from that or from its id.
fn shard_id(text: &str) -> Result<ShardId, Status> {
    if let Ok(number) = text.parse() {
        return Ok(ShardId(number));
    }
    text.parse().map_err(|error: anabranch_types::ParseError| invalid("shard", error))
}

/// How many items a page has. 0 asks for `default`.
fn page_limit(asked: u32, default: usize, most: usize) -> Result<usize, Status> {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => Ok(default),
        limit if limit <= most => Ok(limit),
        _ => Err(invalid("limit", format!("must be at most {most}"))),
    }
}

fn invalid(field: &str, rule: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {rule}"))
}

/// Why the catalog refused.
fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NodeNotFound { .. }
        | Refusal::StreamNotFound { .. }
        | Refusal::ShardNotFound { .. }
        | Refusal::ConsumerNotFound { .. }
        | Refusal::UserNotFound { .. }
        | Refusal::AccessKeyNotFound { .. }
        | Refusal::UserPolicyNotFound { .. }
        | Refusal::ReplicaNotFound { .. } => Status::not_found(refusal.to_string()),
        Refusal::StreamExists { .. }
        | Refusal::StreamNotActive { .. }
        | Refusal::StreamHasConsumers { .. }
        | Refusal::ConsumerExists { .. }
        | Refusal::UserExists { .. }
        | Refusal::AccessKeyExists { .. }
        | Refusal::TooManyTags { .. }
        | Refusal::NoNodes
        | Refusal::Limit { .. }
        | Refusal::ShardClosed { .. }
        | Refusal::CannotSplit { .. }
        | Refusal::NotAdjacent { .. }
        | Refusal::ShardCount { .. }
        | Refusal::OnDemand { .. }
        | Refusal::NotOnDemand { .. }
        | Refusal::Retention { .. }
        | Refusal::JobOver { .. }
        | Refusal::NodeInUse { .. }
        | Refusal::CannotMove { .. }
        | Refusal::CannotRecover { .. }
        | Refusal::DataKeyOver { .. } => Status::failed_precondition(refusal.to_string()),
    }
}

/// Why the catalog took no decision, or none that reached this node.
fn not_changed(error: &Error) -> Status {
    match error {
        Error::NotLeader { .. } | Error::NotFound | Error::OutOfService(_) => {
            Status::unavailable("the catalog has no leader that answers")
        }
        Error::Throttled(_) => Status::unavailable(error.to_string()),
        Error::Unknown(_) => Status::unknown(error.to_string()),
        Error::Frozen | Error::Closed | Error::Invalid(_) | Error::Key(_) => {
            Status::internal(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
