//! Single attempts of the calls of ConsumerGroupService, for one member. A refusal names the right node for the next
//! call.

use std::time::Duration;

use anabranch_proto::consumer as pb;
use anabranch_proto::consumer::consumer_group_service_client::ConsumerGroupServiceClient;
use anabranch_proto::v1;
use anyhow::Result;
use chaos_lab::NodeNumber;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::admin::Admin;
use crate::certificates::{Owner, connector};
use crate::kinesis::Failure;
use crate::scene::Scene;

/// Time from a call to its response.
const ANSWER: Duration = Duration::from_secs(5);
/// Beginning of the error of a call whose member the group does not know.
const UNKNOWN_MEMBER: &str = "NotFound";

type Service = ConsumerGroupServiceClient<Channel>;

/// The coordinator of a group, for one member.
pub(super) struct Coordinator {
    nodes: Admin,
    gateways: Vec<NodeNumber>,
    /// The node that is called next.
    node: NodeNumber,
    group: pb::GroupRef,
    member: String,
}

impl Coordinator {
    pub(super) fn new(scene: &Scene, group: pb::GroupRef, member: String) -> Result<Self> {
        let connector = connector(scene.certificates.as_ref(), Owner::Client)?;
        let gateways = scene.gateways.to_vec();
        let nodes = Admin::new(gateways.iter().copied(), scene.network, &connector)?;
        let node = gateways.first().copied().unwrap_or(NodeNumber(1));
        Ok(Self { nodes, gateways, node, group, member })
    }

    pub(super) async fn join(&mut self, session: Duration) -> Result<(), Failure> {
        let session_millis = u32::try_from(session.as_millis()).unwrap_or_default();
        let request = pb::JoinRequest {
            group: Some(self.group.clone()),
            member: self.member.clone(),
            description: "chaos".into(),
            session_millis,
            start: None,
        };
        let joined = self.service()?.join(in_time(request)).await;
        self.after(joined).map(drop)
    }

    pub(super) async fn heartbeat(&mut self) -> Result<(), Failure> {
        let request =
            pb::HeartbeatRequest { group: Some(self.group.clone()), member: self.member.clone() };
        let heard = self.service()?.heartbeat(in_time(request)).await;
        self.after(heard).map(drop)
    }

    /// Stores the checkpoint of one shard. A refusal of the shard is an error.
    pub(super) async fn checkpoint(&mut self, shard: pb::ShardCheckpoint) -> Result<(), Failure> {
        let request = pb::CheckpointRequest {
            group: Some(self.group.clone()),
            member: self.member.clone(),
            shards: vec![shard],
        };
        let stored = self.service()?.checkpoint(in_time(request)).await;
        match self.after(stored)?.refused[..] {
            [] => Ok(()),
            _ => Err(Failure::Refused("the member does not own the shard with that epoch".into())),
        }
    }

    pub(super) async fn leave(&mut self) -> Result<(), Failure> {
        let request = pb::LeaveRequest {
            group: Some(self.group.clone()),
            member: self.member.clone(),
            shards: Vec::new(),
        };
        let left = self.service()?.leave(in_time(request)).await;
        self.after(left).map(drop)
    }

    /// Begins to watch the shards of the member.
    pub(super) async fn watch(&mut self) -> Result<Streaming<pb::WatchResponse>, Failure> {
        let request =
            pb::WatchRequest { group: Some(self.group.clone()), member: self.member.clone() };
        let watched = self.service()?.watch(Request::new(request)).await;
        self.after(watched)
    }

    /// The meaning of the end of a watch, and where the next watch begins.
    pub(super) fn ended(&mut self, status: &Status) -> Failure {
        self.follow(status);
        failure(status)
    }

    fn service(&self) -> Result<Service, Failure> {
        let channel = self.nodes.channel(self.node);
        let channel = channel.map_err(|error| Failure::Refused(format!("{error:#}")))?;
        Ok(ConsumerGroupServiceClient::new(channel))
    }

    fn after<T>(&mut self, result: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
        result.map(tonic::Response::into_inner).map_err(|status| self.ended(&status))
    }

    /// Goes to the node that the refusal names, or to the next one.
    fn follow(&mut self, status: &Status) {
        let named = u8::try_from(detail(status).leader_node).ok().map(NodeNumber);
        let is_known = |node: &NodeNumber| self.gateways.contains(node);
        let next = self.gateways.iter().cycle().skip_while(|node| **node != self.node).nth(1);
        if status.code() != Code::NotFound
            && let Some(node) = named.filter(is_known).or(next.copied())
        {
            self.node = node;
        }
    }
}

/// Whether the group does not know the member any more.
pub(super) fn is_unknown_member(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(why) if why.starts_with(UNKNOWN_MEMBER))
}

fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER);
    request
}

fn detail(status: &Status) -> v1::ErrorDetail {
    v1::ErrorDetail::decode(status.details()).unwrap_or_default()
}

/// A refusal that names no coordinator may come from a coordinator that ended after it took the call. So its outcome is
/// unknown.
fn failure(status: &Status) -> Failure {
    let detail = detail(status);
    let reason = format!("{:?}: {}", status.code(), status.message());
    let kind = detail.kind();
    let is_elsewhere = kind == v1::ErrorKind::NotLeader && detail.leader_node != 0;
    let refusals = [v1::ErrorKind::NotFound, v1::ErrorKind::Invalid, v1::ErrorKind::Throttled];
    let is_refusal = is_elsewhere || refusals.contains(&kind);
    if is_refusal { Failure::Refused(reason) } else { Failure::Unknown(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, kind: v1::ErrorKind, leader_node: u64) -> Status {
        let detail = v1::ErrorDetail { kind: kind.into(), leader_node, message: String::new() };
        Status::with_details(code, "text", detail.encode_to_vec().into())
    }

    #[test]
    fn only_a_certain_refusal_says_that_nothing_happened() {
        let elsewhere = status(Code::FailedPrecondition, v1::ErrorKind::NotLeader, 2);
        assert!(matches!(failure(&elsewhere), Failure::Refused(_)));
        let nowhere = status(Code::FailedPrecondition, v1::ErrorKind::NotLeader, 0);
        assert!(matches!(failure(&nowhere), Failure::Unknown(_)));
        let removed = failure(&status(Code::NotFound, v1::ErrorKind::NotFound, 0));
        assert!(is_unknown_member(&removed));
        assert!(matches!(failure(&Status::unavailable("reset")), Failure::Unknown(_)));
    }
}
