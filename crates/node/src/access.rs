//! Which caller may call what on the gRPC port, by the role in the certificate that its connection has shown
//! (ADR-0019).
//!
//! [`Access`] is a layer in front of all services. It knows the role and the name of the service, and refuses a
//! service that is not for the role. Rules that depend on the request are checked by the service itself, with the
//! `check_` functions below. Without TLS no caller is known, so every call is allowed.

use std::sync::Arc;
use std::task::{Context, Poll};

use anabranch_catalog::{
    AccountCommand, Command, ConsumerCommand, EncryptionCommand, GroupCommand, NodeCommand,
    ResourceCommand, ShardsCommand, StreamCommand, UserCommand,
};
use anabranch_tls::{Peer, Role};
use futures::future::{Either, Ready, ready};
use http::Extensions;
use tonic::body::Body;
use tonic::{Request, Status};
use tower::{Layer, Service};

/// Services for all members of the cluster.
const FOR_ALL: [&str; 3] = [
    "anabranch.v1.LogService",
    "anabranch.v1.CatalogService",
    "anabranch.consumer.v1.ConsumerGroupService",
];

/// Services for operators.
const FOR_OPERATORS: [&str; 4] = [
    "anabranch.admin.v1.AdminService",
    "anabranch.consumer.v1.ConsumerGroupAdminService",
    "anabranch.function.v1.FunctionService",
    "anabranch.job.v1.JobService",
];

/// Layer that checks the caller's role before a service sees the call.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Name of the cluster whose members may call; `None` without TLS.
    cluster: Option<Arc<str>>,
}

impl Access {
    /// Allows only members of `cluster`, each what its role allows. `None` allows every call.
    pub(crate) fn new(cluster: Option<&str>) -> Self {
        Self { cluster: cluster.map(Into::into) }
    }

    /// Whether the caller that the connection has put into `extensions` may call the method at `path`.
    fn check(&self, path: &str, extensions: &Extensions) -> Result<(), Status> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let denied = |who: &str, rule: &str| {
            Err(Status::permission_denied(format!("{service} is for {rule}, not for {who}")))
        };
        let identity = match extensions.get::<Peer>() {
            Some(Peer::Certified(identity)) => identity,
            Some(Peer::Nobody(error)) => {
                return denied(&error.to_string(), "members of the cluster");
            }
            Some(Peer::Anybody) | None => return denied("anybody", "members of the cluster"),
        };
        if *identity.cluster != **cluster {
            return denied(&identity.to_string(), &format!("members of cluster {cluster}"));
        }
        let (allowed, rule) = match (service, &identity.role) {
            (_, Role::Node(_)) => return Ok(()),
            (service, _) if FOR_ALL.contains(&service) => return Ok(()),
            (service, Role::Operator(_)) if FOR_OPERATORS.contains(&service) => return Ok(()),
            (service, role) if FOR_OPERATORS.contains(&service) => (role, "operators and nodes"),
            (_, role) => (role, "nodes"),
        };
        denied(&allowed.to_string(), rule)
    }
}

impl<S> Layer<S> for Access {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { access: self.clone(), inner }
    }
}

/// A service that only checked calls reach.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    access: Access,
    inner: S,
}

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match self.access.check(request.uri().path(), request.extensions()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

/// The caller's role; `None` without TLS.
fn role<T>(request: &Request<T>) -> Option<&Role> {
    match request.extensions().get::<Peer>() {
        Some(Peer::Certified(identity)) => Some(&identity.role),
        Some(Peer::Anybody | Peer::Nobody(_)) | None => None,
    }
}

/// Whether this caller may send calls that a node has forwarded: only nodes may.
pub(crate) fn check_forwarded<T>(request: &Request<T>) -> Result<(), Status> {
    is_for_nodes(request, "forwarded calls")
}

/// Whether this caller may have a data key made. Only gateways need one, they check policies first, and they run in
/// nodes: so only nodes may.
pub(crate) fn check_data_key<T>(request: &Request<T>) -> Result<(), Status> {
    is_for_nodes(request, "data keys")
}

fn is_for_nodes<T>(request: &Request<T>, what: &str) -> Result<(), Status> {
    match role(request) {
        Some(Role::Node(_)) | None => Ok(()),
        Some(role @ (Role::Operator(_) | Role::Client(_))) => Err(Status::permission_denied(
            format!("{what} of anabranch.v1.CatalogService are for nodes, not for {role}"),
        )),
    }
}

/// Whether this caller may have the catalog apply `command`: a client the commands of users of streams, an operator
/// also those of AdminService, a node every command.
pub(crate) fn check_command<T>(request: &Request<T>, command: &Command) -> Result<(), Status> {
    let (role, rule) = match role(request) {
        Some(Role::Node(_)) | None => return Ok(()),
        Some(Role::Operator(_)) if is_of_user(command) || is_of_operator(command) => return Ok(()),
        Some(Role::Client(_)) if is_of_user(command) => return Ok(()),
        Some(role @ Role::Client(_)) if is_of_operator(command) => (role, "operators and nodes"),
        Some(role) => (role, "nodes"),
    };
    Err(Status::permission_denied(format!(
        "this command of anabranch.v1.CatalogService is for {rule}, not for {role}"
    )))
}

/// Whether the catalog that this caller gets has the users of the Kinesis API and their sealed keys. Clients get it
/// without them.
pub(crate) fn sees_users<T>(request: &Request<T>) -> bool {
    match role(request) {
        Some(Role::Node(_) | Role::Operator(_)) | None => true,
        Some(Role::Client(_)) => false,
    }
}

/// Whether users of the Kinesis API cause this command. `StartEncryption` is not among them: it brings a data key,
/// and the caller that made the key may know it. A new command is for nodes only until it is listed here or below.
fn is_of_user(command: &Command) -> bool {
    if let Command::Limited { command, .. } = command {
        return is_of_user(command);
    }
    matches!(
        command,
        Command::Stream(
            StreamCommand::Create(_)
                | StreamCommand::Delete { .. }
                | StreamCommand::SetRetention { .. }
                | StreamCommand::SetMode { .. }
                | StreamCommand::SetWarmThroughput { .. }
                | StreamCommand::SetMaxRecordSize { .. }
                | StreamCommand::SetShardMetrics { .. }
                | StreamCommand::SetDistribution { .. }
        ) | Command::Shards(ShardsCommand::Reshard { .. })
            | Command::Consumer(
                ConsumerCommand::Register { .. } | ConsumerCommand::Deregister { .. }
            )
            | Command::Resource(
                ResourceCommand::SetTags { .. } | ResourceCommand::SetPolicy { .. }
            )
            | Command::Account(AccountCommand::SetCommitment { .. })
            | Command::Encryption(EncryptionCommand::Stop { .. })
    )
}

/// Whether `AdminService` causes this command.
fn is_of_operator(command: &Command) -> bool {
    matches!(
        command,
        Command::Node(NodeCommand::SetState { .. } | NodeCommand::Remove { .. })
            | Command::Group(GroupCommand::SetBalancing { .. } | GroupCommand::Rebalance)
            | Command::User(
                UserCommand::Create { .. }
                    | UserCommand::Delete { .. }
                    | UserCommand::CreateAccessKey { .. }
                    | UserCommand::SetAccessKey { .. }
                    | UserCommand::DeleteAccessKey { .. }
                    | UserCommand::PutPolicy { .. }
                    | UserCommand::DeletePolicy { .. }
            )
    )
}

#[cfg(test)]
mod tests {
    use anabranch_tls::{Identity, IdentityError};
    use anabranch_types::{NodeId, Timestamp};

    use super::*;

    const SERVICES: [&str; 8] = [
        "anabranch.v1.LogService",
        "anabranch.v1.CatalogService",
        "anabranch.admin.v1.AdminService",
        "anabranch.node.v1.NodeService",
        "anabranch.replica.v1.ReplicaService",
        "another.Service",
        "anabranch.consumer.v1.ConsumerGroupService",
        "anabranch.consumer.v1.ConsumerGroupAdminService",
    ];

    fn certified(cluster: &str, role: Role) -> Peer {
        Peer::Certified(Arc::new(Identity { cluster: cluster.into(), role }))
    }

    /// Indexes into `SERVICES` of the services that `peer` may call on a port of cluster `c`.
    fn open_to(peer: Option<Peer>) -> Vec<usize> {
        let mut extensions = Extensions::new();
        peer.into_iter().for_each(|peer| drop(extensions.insert(peer)));
        let access = Access::new(Some("c"));
        let allowed =
            |service: &&str| access.check(&format!("/{service}/Any"), &extensions).is_ok();
        (0..SERVICES.len()).filter(|place| allowed(&SERVICES[*place])).collect()
    }

    #[test]
    fn each_role_has_its_services() {
        assert_eq!(open_to(Some(certified("c", Role::Node(NodeId(1))))), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(open_to(Some(certified("c", Role::Operator("o".into())))), [0, 1, 2, 6, 7]);
        assert_eq!(open_to(Some(certified("c", Role::Client("k".into())))), [0, 1, 6]);
    }

    #[test]
    fn a_caller_outside_of_the_cluster_has_no_service() {
        assert_eq!(open_to(Some(certified("d", Role::Node(NodeId(1))))), [0; 0]);
        assert_eq!(open_to(Some(Peer::Nobody(IdentityError::Nameless))), [0; 0]);
        assert_eq!(open_to(Some(Peer::Anybody)), [0; 0]);
        assert_eq!(open_to(None), [0; 0]);
    }

    #[test]
    fn a_refusal_names_role_and_service() {
        let mut extensions = Extensions::new();
        extensions.insert(certified("c", Role::Client("app".into())));
        let refused =
            Access::new(Some("c")).check("/anabranch.admin.v1.AdminService/Status", &extensions);
        assert_eq!(
            refused.unwrap_err().message(),
            "anabranch.admin.v1.AdminService is for operators and nodes, not for client app"
        );
    }

    #[test]
    fn without_tls_every_service_is_open() {
        assert!(Access::new(None).check("/another.Service/Any", &Extensions::new()).is_ok());
    }

    #[test]
    fn a_catalog_command_is_allowed_by_role() {
        let needs = |command: &Command| {
            let may = |role: Role| {
                let mut request = Request::new(());
                request.extensions_mut().insert(certified("c", role));
                check_command(&request, command).is_ok()
            };
            let roles =
                [Role::Client("a".into()), Role::Operator("o".into()), Role::Node(NodeId(2))];
            roles.map(may)
        };
        let name = "s".parse().unwrap();
        assert_eq!(
            needs(&Command::Stream(StreamCommand::Delete { name, with_consumers: false })),
            [true; 3]
        );
        assert_eq!(
            needs(&Command::Node(NodeCommand::Remove { node: NodeId(1) })),
            [false, true, true]
        );
        let limited = |command| {
            let now = Timestamp::default();
            needs(&Command::Limited { command: Box::new(command), now })
        };
        let name = "s".parse().unwrap();
        assert_eq!(limited(Command::Encryption(EncryptionCommand::Stop { name })), [true; 3]);
        assert_eq!(
            limited(Command::Node(NodeCommand::Remove { node: NodeId(1) })),
            [false, false, true]
        );
        assert_eq!(
            needs(&Command::Group(GroupCommand::FinishRebalance { rebalance: 1 })),
            [false, false, true]
        );
    }
}
