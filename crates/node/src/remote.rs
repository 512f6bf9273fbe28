//! gRPC calls to other nodes. Each method is one call, with a deadline and without retries.
//!
//! A silent node is not called: it would hold the caller for as long as it hangs (ADR-0026). Requests that this node
//! could answer too are sent by a `NodeRequest`, so that the caller does not have to know which node answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_proto::node as pb;
use anabranch_proto::node::node_service_client::NodeServiceClient;
use anabranch_proto::v1;
use anabranch_proto::v1::catalog_service_client::CatalogServiceClient;
use anabranch_proto::v1::log_service_client::LogServiceClient;
use anabranch_shard::Ending;
use anabranch_storage::Entry;
use anabranch_transport::{Connector, Destination, Liveness, not_sent};
use anabranch_types::{GroupId, LogId, NodeId, ReplicaId};
use bytes::Bytes;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::node_health::NodeHealth;
use crate::node_messages::{Loads, copies_of, ending_of, loads_of};

/// Channels to other nodes, each made when it is first needed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remotes {
    connector: Arc<dyn Connector>,
    liveness: Arc<Liveness>,
    channels: Arc<Mutex<BTreeMap<NodeId, (String, Channel)>>>,
}

const DEADLINE: Duration = Duration::from_secs(5);
/// Deadline of requests that a node answers from its memory.
const SHORT_DEADLINE: Duration = Duration::from_millis(500);

/// Waits for the response to a request that a node answers from its memory. The deadline covers the connection too,
/// which to a node that is away may take forever.
async fn soon<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    let answer = timeout(SHORT_DEADLINE, call).await;
    Ok(answer.map_err(|_elapsed| Status::deadline_exceeded("no answer"))??.into_inner())
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

impl Remotes {
    pub(crate) fn new(connector: Arc<dyn Connector>, liveness: Arc<Liveness>) -> Self {
        Self { connector, liveness, channels: Arc::default() }
    }

    pub(crate) fn set(&self, node: NodeId, address: &str) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.get(&node).is_some_and(|(known, _)| known == address) {
            return;
        }
        let to = Destination::node(node, address);
        let channel = anabranch_transport::channel(&self.connector, to);
        channels.insert(node, (address.to_owned(), channel));
    }

    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn channel(&self, node: NodeId) -> Result<Channel, Status> {
        if self.liveness.is_silent(node) {
            return Err(not_sent("the node is silent"));
        }
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.get(&node).map(|(_, channel)| channel.clone());
        channel.ok_or_else(|| not_sent("no address of the node is known"))
    }

    fn catalog(&self, node: NodeId) -> Result<CatalogServiceClient<Channel>, Status> {
        let client = CatalogServiceClient::new(self.channel(node)?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    pub(crate) async fn node_info(&self, node: NodeId) -> Result<v1::NodeInfoResponse, Status> {
        let request = request(v1::NodeInfoRequest::default());
        Ok(self.catalog(node)?.node_info(request).await?.into_inner())
    }

    /// Asks `node` for what it knows of itself and of the last start of node `of`.
    pub(crate) async fn info_about(
        &self,
        node: NodeId,
        of: NodeId,
    ) -> Result<v1::NodeInfoResponse, Status> {
        let request = v1::NodeInfoRequest { registration_of: of.0 };
        soon(self.catalog(node)?.node_info(request)).await
    }

    /// Asks the node at `address` for what it knows of itself and of the last start of node `of`.
    pub(crate) async fn info_about_at(
        &self,
        address: &str,
        of: NodeId,
    ) -> Result<v1::NodeInfoResponse, Status> {
        let channel = anabranch_transport::channel(&self.connector, Destination::any(address));
        let request = v1::NodeInfoRequest { registration_of: of.0 };
        soon(CatalogServiceClient::new(channel).node_info(request)).await
    }

    pub(crate) async fn propose(&self, node: NodeId, command: Bytes) -> Result<Bytes, Status> {
        let request = request(v1::ProposeRequest { command, forwarded: true });
        Ok(self.catalog(node)?.propose(request).await?.into_inner().outcome)
    }

    /// The newest version of the catalog, if `node` leads it.
    pub(crate) async fn newest(&self, node: NodeId) -> Result<u64, Status> {
        let request = request(v1::NewestRequest { forwarded: true });
        Ok(self.catalog(node)?.newest(request).await?.into_inner().version)
    }

    pub(crate) async fn watch(
        &self,
        node: NodeId,
        known_version: u64,
        known_users_version: u64,
    ) -> Result<tonic::Streaming<v1::WatchResponse>, Status> {
        let known_users_version = Some(known_users_version);
        let request = v1::WatchRequest { known_version, known_users_version };
        Ok(self.catalog(node)?.watch(request).await?.into_inner())
    }

    /// Freezes the shard of `group` for `job`, if `node` leads it. `None` if the shard does not accept the job any
    /// more.
    pub(crate) async fn freeze(
        &self,
        node: NodeId,
        group: GroupId,
        job: u64,
    ) -> Result<Option<Ending>, Status> {
        let request = request(pb::FreezeRequest { group: group.0, job });
        let mut client = NodeServiceClient::new(self.channel(node)?);
        ending_of(client.freeze(request).await?.get_ref())
    }

    /// The load on the measured shards that `node` leads.
    pub(crate) async fn loads(&self, node: NodeId) -> Result<Loads, Status> {
        let mut client = NodeServiceClient::new(self.channel(node)?);
        loads_of(soon(client.loads(pb::LoadsRequest {})).await?)
    }

    /// The voters of `group`, if `node` leads it; `None` while they change.
    pub(crate) async fn voters(
        &self,
        node: NodeId,
        group: GroupId,
    ) -> Result<Option<BTreeSet<ReplicaId>>, Status> {
        let request = request(pb::VotersRequest { group: group.0 });
        let mut client = NodeServiceClient::new(self.channel(node)?);
        let answer = client.voters(request).await?.into_inner();
        let voters = answer.voters.into_iter().map(ReplicaId).collect();
        Ok(answer.settled.then_some(voters))
    }

    /// Asks the node at `address` for what it knows of itself.
    pub(crate) async fn node_info_at(&self, address: &str) -> Result<v1::NodeInfoResponse, Status> {
        let request = request(v1::NodeInfoRequest::default());
        let channel = anabranch_transport::channel(&self.connector, Destination::any(address));
        Ok(CatalogServiceClient::new(channel).node_info(request).await?.into_inner())
    }

    /// Succeeds if `node` leads `group` and a majority follows it.
    pub(crate) async fn leads(&self, node: NodeId, group: GroupId) -> Result<(), Status> {
        let request = request(pb::LeadsRequest { group: group.0 });
        match NodeServiceClient::new(self.channel(node)?).leads(request).await {
            Err(status) if status.code() == Code::Unimplemented => {
                self.leads_shard(node, group).await
            }
            answered => answered.map(drop),
        }
    }

    /// As [`Self::leads`], for a node of an earlier release, which has groups of shards only. Only a leader that a
    /// majority follows knows the end of the shard.
    async fn leads_shard(&self, node: NodeId, group: GroupId) -> Result<(), Status> {
        let start = Some(v1::seek_request::Start::Latest(v1::Empty {}));
        let request = request(v1::SeekRequest { group: group.0, start, leader_only: true });
        LogServiceClient::new(self.channel(node)?).seek(request).await.map(drop)
    }

    /// The health of `node`.
    pub(crate) async fn health(&self, node: NodeId) -> Result<NodeHealth, Status> {
        let mut client = NodeServiceClient::new(self.channel(node)?);
        Ok(soon(client.leading(pb::LeadingRequest {})).await?.into())
    }

    /// Reports of the replicas that `node` has of these groups.
    pub(crate) async fn groups(
        &self,
        node: NodeId,
        groups: Vec<u64>,
    ) -> Result<pb::GroupsResponse, Status> {
        let client = NodeServiceClient::new(self.channel(node)?);
        let mut client = client.max_decoding_message_size(usize::MAX);
        soon(client.groups(pb::GroupsRequest { groups })).await
    }

    /// Copies of the entries of `group` that `node` has, and the ids of entries that it lacks. An entry in neither
    /// list is damaged there too, or did not fit into the response.
    pub(crate) async fn copy_entries(
        &self,
        node: NodeId,
        group: GroupId,
        entries: Vec<LogId>,
    ) -> Result<(Vec<Entry>, Vec<LogId>), Status> {
        let client = NodeServiceClient::new(self.channel(node)?);
        let mut client = client.max_decoding_message_size(usize::MAX);
        let entries =
            entries.into_iter().map(|id| pb::EntryId { term: id.term, index: id.index }).collect();
        let asked =
            client.copy_entries(request(pb::CopyEntriesRequest { group: group.0, entries }));
        let answer = timeout(DEADLINE, asked).await;
        let answer = answer.map_err(|_elapsed| Status::deadline_exceeded("no answer"))?;
        Ok(copies_of(answer?.into_inner()))
    }

    /// Has `from` transfer groups that it leads, each to the node beside it. Returns the groups that it no longer
    /// leads.
    pub(crate) async fn transfer_leaders(
        &self,
        from: NodeId,
        transfers: &[(GroupId, NodeId)],
    ) -> Result<Vec<GroupId>, Status> {
        let mut client = NodeServiceClient::new(self.channel(from)?);
        let transfer =
            |(group, to): &(GroupId, NodeId)| pb::Transfer { group: group.0, to_node: to.0 };
        let transfers = transfers.iter().map(transfer).collect();
        let asked = client.transfer_leaders(pb::TransferLeadersRequest { transfers });
        let asked = timeout(DEADLINE, asked).await;
        let answer = asked.map_err(|_elapsed| Status::deadline_exceeded("no answer"))?;
        Ok(answer?.into_inner().groups.into_iter().map(GroupId).collect())
    }
}
