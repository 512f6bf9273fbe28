//! Rights of callers on the gRPC port, by the role in their certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anabranch_access::ClusterKey;
use anabranch_catalog::{
    Command, EncryptionCommand, GroupCommand, NodeCommand, Resource, ResourceCommand,
    StreamCommand, UserCommand,
};
use anabranch_encryption::{EncryptionSettings, Keyring, Unprovided};
use anabranch_metrics::Registry;
use anabranch_node::{Node, NodeParts, NodeSettings, Peer, bind};
use anabranch_proto::admin::StatusRequest;
use anabranch_proto::admin::admin_service_client::AdminServiceClient;
use anabranch_proto::encode_command;
use anabranch_proto::node::LeadingRequest;
use anabranch_proto::node::node_service_client::NodeServiceClient;
use anabranch_proto::replica::replica_service_client::ReplicaServiceClient;
use anabranch_proto::replica::{ExchangeRequest, Hello};
use anabranch_proto::v1::catalog_service_client::CatalogServiceClient;
use anabranch_proto::v1::log_service_client::LogServiceClient;
use anabranch_proto::v1::{
    NewDataKeyRequest, NewestRequest, NodeInfoRequest, ProposeRequest, ReadRequest,
};
use anabranch_replica::ReplicaSettings;
use anabranch_storage::{SimSettings, SimStore};
use anabranch_tls::issue::{Authority, Validity};
use anabranch_tls::{KeyFiles, MutualFiles, MutualTls, Role};
use anabranch_transport::{Connector, Destination, Listener, TcpConnector, TlsConnector, channel};
use anabranch_types::{AccountId, NodeId, SystemClock, Timestamp};
use futures::stream;
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate authority, and a directory for what it signs.
struct Signed {
    authority: Authority,
    dir: TempDir,
}

fn today() -> Validity {
    Validity::days(1, SystemTime::now())
}

impl Signed {
    fn by_authority_of(cluster: &str) -> Self {
        let (authority, issued) = Authority::new(cluster, today()).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ca"), issued.certificate).unwrap();
        Self { authority, dir }
    }

    fn member(&self, role: Role, validity: Validity) -> MutualTls {
        self.member_trusting(role, validity, &self.dir.path().join("ca"))
    }

    fn member_trusting(&self, role: Role, validity: Validity, ca: &Path) -> MutualTls {
        let issued = self.authority.issue(role, &[], validity).unwrap();
        let path = |name| self.dir.path().join(name);
        std::fs::write(path("certificate"), issued.certificate).unwrap();
        std::fs::write(path("key"), issued.key).unwrap();
        let own = KeyFiles { certificate: path("certificate"), key: path("key") };
        MutualTls::load(MutualFiles { own, ca: ca.to_owned() }, Duration::from_secs(60)).unwrap()
    }
}

fn node(id: u64) -> Role {
    Role::Node(NodeId(id))
}

fn client() -> Role {
    Role::Client("app".into())
}

fn operator() -> Role {
    Role::Operator("ops".into())
}

/// Node 1 of cluster `c`, the only one in it, and the address at which it listens.
pub(crate) struct Running {
    node: Node,
    address: String,
    signed: Signed,
}

pub(crate) async fn start() -> Running {
    start_trusting("").await
}

/// As [`start`]. The node also trusts `other_ca`, a certificate in PEM.
async fn start_trusting(other_ca: &str) -> Running {
    let signed = Signed::by_authority_of("c");
    let (own, all) = (signed.dir.path().join("ca"), signed.dir.path().join("all"));
    std::fs::write(&all, std::fs::read_to_string(own).unwrap() + other_ca).unwrap();
    let tls = signed.member_trusting(node(1), today(), &all);
    let (listener, address) = bind("127.0.0.1:0").await.unwrap();
    let address = address.to_string();
    let settings = NodeSettings {
        node: NodeId(1),
        cluster: "c".into(),
        zone: String::new(),
        grpc_address: address.clone(),
        api_address: String::new(),
        initial_nodes: vec![Peer { node: NodeId(1), grpc_address: address.clone() }],
        join: Vec::new(),
        replace_after: Duration::from_secs(900),
        replicas: ReplicaSettings::default(),
        account: AccountId::default(),
        cluster_key: ClusterKey::new([7; 32]),
    };
    let parts = NodeParts {
        store: Arc::new(SimStore::new(SimSettings::default())),
        connector: Arc::new(TlsConnector::new(tls.clone())),
        clock: Arc::new(SystemClock),
        keyring: Keyring::new(Arc::new(Unprovided), EncryptionSettings::default()),
        registry: Registry::default(),
        add_services: Box::new(|_| {}),
    };
    let node = Node::start(settings, Listener::mutual(listener, tls), 1, parts).await.unwrap();
    timeout(PATIENCE, node.ready()).await.unwrap();
    Running { node, address, signed }
}

impl Running {
    pub(crate) fn as_member(&self, role: Role) -> Channel {
        self.over(TlsConnector::new(self.signed.member(role, today())))
    }

    fn over(&self, connector: impl Connector) -> Channel {
        let connector: Arc<dyn Connector> = Arc::new(connector);
        channel(&connector, Destination::any(&*self.address))
    }
}

async fn admin(channel: Channel) -> Result<(), Status> {
    AdminServiceClient::new(channel).status(StatusRequest {}).await.map(drop)
}

async fn node_service(channel: Channel) -> Result<(), Status> {
    NodeServiceClient::new(channel).leading(LeadingRequest {}).await.map(drop)
}

/// Opens a stream to node 1 in the name of `node`.
async fn replica(channel: Channel, node: u64) -> Result<(), Status> {
    let hello = Hello { node, boot: 7, cluster: "c".into(), to_node: 1 };
    let first = ExchangeRequest { hello: Some(hello), ..ExchangeRequest::default() };
    let mut client = ReplicaServiceClient::new(channel);
    client.exchange(stream::iter([first])).await.map(drop)
}

async fn catalog(channel: Channel) -> Result<(), Status> {
    CatalogServiceClient::new(channel).node_info(NodeInfoRequest::default()).await.map(drop)
}

/// The code with which a read of a missing shard is refused. The service refuses it, not the check of roles.
async fn log(channel: Channel) -> Code {
    let request = ReadRequest { group: 999, ..ReadRequest::default() };
    LogServiceClient::new(channel).read(request).await.unwrap_err().code()
}

async fn propose(channel: Channel, command: Command, forwarded: bool) -> Result<(), Status> {
    let request = ProposeRequest { command: encode_command(&command), forwarded };
    CatalogServiceClient::new(channel).propose(request).await.map(drop)
}

async fn new_data_key(channel: Channel) -> Result<(), Status> {
    let (stream, master_key) = ("s".into(), "alias/k".into());
    let request = NewDataKeyRequest { stream, stream_id: 4, master_key };
    CatalogServiceClient::new(channel).new_data_key(request).await.map(drop)
}

fn refused(result: Result<(), Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    status.message().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reaches_records_and_streams_and_nothing_else() {
    let running = start().await;
    let channel = running.as_member(client());
    catalog(channel.clone()).await.unwrap();
    assert_eq!(log(channel.clone()).await, Code::NotFound);
    let said = refused(admin(channel.clone()).await);
    assert_eq!(
        said,
        "anabranch.admin.v1.AdminService is for operators and nodes, not for client app"
    );
    let said = refused(node_service(channel.clone()).await);
    assert_eq!(said, "anabranch.node.v1.NodeService is for nodes, not for client app");
    let said = refused(replica(channel.clone(), 1).await);
    assert_eq!(said, "anabranch.replica.v1.ReplicaService is for nodes, not for client app");
    let name = "s".parse().unwrap();
    let delete = Command::Stream(StreamCommand::Delete { name, with_consumers: false });
    propose(channel.clone(), delete.clone(), false).await.unwrap();
    let said = refused(propose(channel.clone(), delete, true).await);
    assert_eq!(
        said,
        "forwarded calls of anabranch.v1.CatalogService are for nodes, not for client app"
    );
    let newest = NewestRequest { forwarded: true };
    let newest = CatalogServiceClient::new(channel.clone()).newest(newest).await;
    assert_eq!(newest.unwrap_err().code(), Code::PermissionDenied);
    let said = refused(
        propose(channel, Command::Node(NodeCommand::Remove { node: NodeId(1) }), false).await,
    );
    assert!(said.ends_with("is for operators and nodes, not for client app"), "{said}");
    running.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reaches_the_admin_service_and_no_service_of_nodes() {
    let running = start().await;
    let channel = running.as_member(operator());
    admin(channel.clone()).await.unwrap();
    catalog(channel.clone()).await.unwrap();
    assert!(refused(node_service(channel.clone()).await).ends_with("not for operator ops"));
    assert!(refused(replica(channel.clone(), 2).await).ends_with("not for operator ops"));
    let expire = Command::Group(GroupCommand::FinishRebalance { rebalance: 1 });
    assert!(
        refused(propose(channel, expire, false).await).ends_with("for nodes, not for operator ops")
    );
    running.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reaches_every_service_under_its_own_number_only() {
    let running = start().await;
    let channel = running.as_member(node(2));
    for called in [admin(channel.clone()).await, node_service(channel.clone()).await] {
        called.unwrap();
    }
    replica(channel.clone(), 2).await.unwrap();
    let said = refused(replica(channel.clone(), 3).await);
    assert_eq!(said, "node: is 3, the certificate is of node 2");
    propose(channel, Command::Group(GroupCommand::FinishRebalance { rebalance: 1 }), true)
        .await
        .unwrap();
    running.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_does_not_accept_the_node() {
    let other = Signed::by_authority_of("d");
    let running =
        start_trusting(&std::fs::read_to_string(other.dir.path().join("ca")).unwrap()).await;
    let theirs = other.member_trusting(node(2), today(), &running.signed.dir.path().join("all"));
    let status = catalog(running.over(TlsConnector::new(theirs))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    running.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_good_certificate_gets_no_response() {
    let running = start().await;
    let plain = running.over(TcpConnector);
    assert_ne!(catalog(plain).await.unwrap_err().code(), Code::PermissionDenied);
    let foreign = Signed::by_authority_of("c");
    let ca = running.signed.dir.path().join("ca");
    let foreign = foreign.member_trusting(node(2), today(), &ca);
    catalog(running.over(TlsConnector::new(foreign))).await.unwrap_err();
    let hours = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    let expired = Validity { from: hours(3), until: hours(1) };
    let expired = running.signed.member(operator(), expired);
    catalog(running.over(TlsConnector::new(expired))).await.unwrap_err();
    // The node still serves callers with a good certificate.
    catalog(running.as_member(client())).await.unwrap();
    running.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_may_have_data_keys_made_and_put_them_into_the_catalog() {
    let running = start().await;
    let start = Command::Encryption(EncryptionCommand::Start {
        name: "s".parse().unwrap(),
        id: None,
        master_key: "alias/k".into(),
        wrapped: vec![1],
        now: Timestamp::from_millis(1),
    });
    for role in [client(), operator()] {
        let channel = running.as_member(role.clone());
        let said = refused(new_data_key(channel.clone()).await);
        let rule = "data keys of anabranch.v1.CatalogService are for nodes, not for";
        assert_eq!(said, format!("{rule} {role}"));
        let said = refused(propose(channel, start.clone(), false).await);
        assert!(said.ends_with(&format!("is for nodes, not for {role}")), "{said}");
    }
    let channel = running.as_member(node(2));
    // The role is checked first. Then the call fails because this node has no holder of master keys.
    let status = new_data_key(channel.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    propose(channel, start, false).await.unwrap();
    running.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_parsed_is_refused_from_every_caller() {
    let running = start().await;
    let of_stream = |policy: &str| {
        let resource = Resource { stream: "s".parse().unwrap(), consumer: None };
        Command::Resource(ResourceCommand::SetPolicy { resource, policy: Some(policy.into()) })
    };
    let of_user = |document: &str| {
        let (user, name) = ("ann".parse().unwrap(), "p".into());
        Command::User(UserCommand::PutPolicy { user, name, document: document.into() })
    };
    let allow = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
    let everybody = allow.replace(r#""Effect""#, r#""Principal": "*", "Effect""#);
    let within_limits = |command| {
        let now = Timestamp::from_millis(1);
        Command::Limited { command: Box::new(command), now }
    };
    let limited = within_limits(of_stream("{}"));
    let bad = [of_stream("{}"), of_stream(allow), limited, of_user("no JSON"), of_user(&everybody)];
    for command in &bad {
        let here = running.node.propose(command).await;
        assert!(matches!(here, Err(anabranch_replica::Error::Invalid(_))), "{here:?}");
        for (role, forwarded) in [(operator(), false), (node(2), false), (node(2), true)] {
            let refused = propose(running.as_member(role), command.clone(), forwarded).await;
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{command:?}");
        }
    }
    let refused = propose(running.as_member(client()), of_stream("{}"), false).await;
    assert_eq!(refused.unwrap_err().message(), "policy: Statement: it is missing");
    // Good policies reach the catalog, which refuses them: it has neither the stream nor the user.
    for command in [of_stream(&everybody), of_user(allow)] {
        propose(running.as_member(operator()), command, false).await.unwrap();
    }
    running.node.stop().await;
}
