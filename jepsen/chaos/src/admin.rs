//! The harness's own calls, over the network that never has a fault: readiness, leaders, users, replicas.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::admin::admin_service_client::AdminServiceClient;
use anabranch_proto::admin::{
    CreateAccessKeyRequest, CreateUserRequest, DeleteUserPolicyRequest, DescribeGroupRequest,
    Group, ListGroupsRequest, ListNodesRequest, Node as NodeReport, NodeState,
    PutUserPolicyRequest, RemoveNodeRequest, SetAccessKeyRequest, SetNodeStateRequest,
    StatusRequest, TransferLeaderRequest,
};
use anabranch_transport::{Connector, Destination};
use anabranch_types::NodeId;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use chaos_lab::{Network, NodeNumber};
use futures::TryFutureExt;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Port of `/readyz` and `/metrics` in the network of the harness.
pub(crate) const METRICS_PORT: u16 = 4569;
const CALL: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A client of AdminService that asks one node after the other.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    channels: Vec<(NodeNumber, Channel)>,
    network: Network,
}

/// An access key of a user.
#[derive(Clone, Debug)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Admin {
    /// A client of the nodes with these numbers, in one of the networks.
    ///
    /// # Errors
    /// Never for addresses of the lab.
    pub(crate) fn new(
        nodes: impl Iterator<Item = NodeNumber>,
        network: Network,
        connector: &Arc<dyn Connector>,
    ) -> Result<Self> {
        let channels = nodes.map(|node| {
            let (connector, address) = (Arc::clone(connector), network.grpc(node).to_string());
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?
                .timeout(CALL)
                .http2_keep_alive_interval(Duration::from_secs(2))
                .keep_alive_timeout(Duration::from_secs(2));
            let to = Destination::node(NodeId(u64::from(node.0)), address);
            let connect =
                service_fn(move |_: Uri| connector.connect(to.clone()).map_ok(TokioIo::new));
            anyhow::Ok((node, endpoint.connect_with_connector_lazy(connect)))
        });
        Ok(Self { channels: channels.collect::<Result<_>>()?, network })
    }

    /// A client of one node.
    pub(crate) fn of(&self, node: NodeNumber) -> Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(self.channel(node)?))
    }

    /// Connection to one node.
    pub(crate) fn channel(&self, node: NodeNumber) -> Result<Channel> {
        let found = self.channels.iter().find(|(number, _)| *number == node);
        found
            .map(|(_, channel)| channel.clone())
            .with_context(|| format!("there is no node {node}"))
    }

    /// Makes a call at the first node that answers it.
    async fn any<T, F>(&self, call: impl Fn(AdminServiceClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let mut last = None;
        for (_, channel) in &self.channels {
            match call(AdminServiceClient::new(channel.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(status) => last = Some(status),
            }
        }
        match last {
            Some(status) => Err(status).context("no node answers"),
            None => bail!("there are no nodes"),
        }
    }

    /// Every group with its replicas, as one node reports them.
    pub(crate) async fn groups(&self) -> Result<Vec<Group>> {
        self.any(|mut client| async move {
            let (mut groups, mut start) = (Vec::new(), 0);
            loop {
                let request = ListGroupsRequest { start_group: start, ..Default::default() };
                let page = client.list_groups(request).await?.into_inner();
                groups.extend(page.groups);
                match page.next_group {
                    Some(next) => start = next,
                    None => return Ok(groups),
                }
            }
        })
        .await
    }

    /// One group.
    pub(crate) async fn group(&self, group: u64) -> Result<Group> {
        let described = self
            .any(|mut client| async move {
                Ok(client.describe_group(DescribeGroupRequest { group }).await?.into_inner())
            })
            .await?;
        described.group.context("a group without content")
    }

    /// Every node of the cluster.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeReport>> {
        let listed = self.any(|mut client| async move {
            Ok(client.list_nodes(ListNodesRequest {}).await?.into_inner())
        });
        Ok(listed.await?.nodes)
    }

    /// Makes `node` the leader of a group.
    pub(crate) async fn transfer_leader(&self, group: u64, node: NodeNumber) -> Result<()> {
        let request = TransferLeaderRequest { group, to_node: u64::from(node.0) };
        self.any(|mut client| async move { client.transfer_leader(request).await.map(drop) }).await
    }

    /// Drains a node, or lets it take replicas again.
    pub(crate) async fn drain(&self, node: NodeNumber, drains: bool) -> Result<()> {
        let state = if drains { NodeState::Draining } else { NodeState::Active };
        let request = SetNodeStateRequest { node: u64::from(node.0), state: state.into() };
        self.any(|mut client| async move { client.set_node_state(request).await.map(drop) }).await
    }

    /// Removes a node that holds no replica.
    pub(crate) async fn remove(&self, node: NodeNumber) -> Result<()> {
        let request = RemoveNodeRequest { node: u64::from(node.0) };
        self.any(|mut client| async move { client.remove_node(request).await.map(drop) }).await
    }

    /// Creates a user with an access key.
    pub(crate) async fn create_user(&self, name: &str) -> Result<AccessKey> {
        let user = CreateUserRequest { name: name.to_owned(), ..Default::default() };
        self.any(|mut client| {
            let user = user.clone();
            async move { client.create_user(user).await.map(drop) }
        })
        .await?;
        self.create_key(name).await
    }

    /// Creates an access key of a user.
    pub(crate) async fn create_key(&self, name: &str) -> Result<AccessKey> {
        let request = CreateAccessKeyRequest { user: name.to_owned() };
        let key = self
            .any(|mut client| {
                let request = request.clone();
                async move { Ok(client.create_access_key(request).await?.into_inner()) }
            })
            .await?;
        Ok(AccessKey { id: key.access_key_id, secret: key.secret_access_key })
    }

    /// Gives a user a policy.
    pub(crate) async fn put_policy(&self, user: &str, policy: &str, document: &str) -> Result<()> {
        let request = PutUserPolicyRequest {
            user: user.to_owned(),
            name: policy.to_owned(),
            document: document.to_owned(),
        };
        self.any(|mut client| {
            let request = request.clone();
            async move { client.put_user_policy(request).await.map(drop) }
        })
        .await
    }

    /// Takes a policy from a user.
    pub(crate) async fn delete_policy(&self, user: &str, policy: &str) -> Result<()> {
        let request = DeleteUserPolicyRequest { user: user.to_owned(), name: policy.to_owned() };
        self.any(|mut client| {
            let request = request.clone();
            async move { client.delete_user_policy(request).await.map(drop) }
        })
        .await
    }

    /// Enables or disables an access key.
    pub(crate) async fn enable_key(&self, id: &str, enabled: bool) -> Result<()> {
        let request = SetAccessKeyRequest { id: id.to_owned(), enabled };
        self.any(|mut client| {
            let request = request.clone();
            async move { client.set_access_key(request).await.map(drop) }
        })
        .await
    }

    /// Waits until the catalog of every node is as new as the newest is now.
    ///
    /// # Errors
    /// If a node does not answer, or is not as new within `longest`.
    pub(crate) async fn everywhere(&self, longest: Duration) -> Result<()> {
        let wanted = self.versions().await?.into_iter().max().unwrap_or_default();
        let reached = timeout(longest, async {
            while self.versions().await?.into_iter().any(|version| version < wanted) {
                sleep(LOOK_AGAIN).await;
            }
            anyhow::Ok(())
        });
        reached.await.map_err(|_elapsed| anyhow::anyhow!("not everywhere after {longest:?}"))?
    }

    async fn versions(&self) -> Result<Vec<u64>> {
        let mut versions = Vec::new();
        for (node, _) in &self.channels {
            let status = self.of(*node)?.status(StatusRequest {}).await?;
            versions.push(status.into_inner().catalog_version);
        }
        Ok(versions)
    }

    /// Waits until a node answers 200 on `/readyz`.
    ///
    /// # Errors
    /// If it does not within `longest`.
    pub(crate) async fn ready(&self, node: NodeNumber, longest: Duration) -> Result<()> {
        let waited = timeout(longest, async {
            while !self.is_ready(node).await {
                sleep(LOOK_AGAIN).await;
            }
        });
        waited
            .await
            .map_err(|_elapsed| anyhow::anyhow!("node {node} is not ready after {longest:?}"))
    }

    /// Whether a node answers 200 on `/readyz`.
    pub(crate) async fn is_ready(&self, node: NodeNumber) -> bool {
        let address = SocketAddr::from((self.network.address(node), METRICS_PORT));
        matches!(timeout(CALL, get(address, "/readyz")).await, Ok(Ok((200, _))))
    }
}

/// Status and body of a GET at a node's metrics port.
async fn get(address: SocketAddr, path: &str) -> Result<(u16, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { drop(connection.await) });
    let request =
        Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
