//! `ConsumerGroupService` over gRPC: the calls of members. A node answers for the groups whose coordinators it runs,
//! and names the right node for the others.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anabranch_jobs::Jobs;
use anabranch_proto::consumer as pb;
use anabranch_proto::consumer::consumer_group_service_server::{
    ConsumerGroupService, ConsumerGroupServiceServer,
};
use anabranch_types::NodeId;
use futures::Stream;
use futures::stream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::coordinator::{Answer, Call, CallKind, Running};
use crate::message;
use crate::name::{GroupKey, MemberId};
use crate::status;
use crate::work::{ConsumerGroups, job_of};

/// Longest time between two responses of a watch.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The service on a node. Both parts are empty until the node has begun: gRPC is served before anything else.
pub fn group_service(
    groups: Arc<OnceLock<ConsumerGroups>>,
    jobs: Arc<OnceLock<Jobs>>,
) -> ConsumerGroupServiceServer<ServedGroups> {
    ConsumerGroupServiceServer::new(ServedGroups { groups, jobs })
        .max_encoding_message_size(usize::MAX)
}

/// The service, on one node.
#[derive(Clone, Debug)]
pub struct ServedGroups {
    groups: Arc<OnceLock<ConsumerGroups>>,
    jobs: Arc<OnceLock<Jobs>>,
}

impl ServedGroups {
    fn groups(&self) -> Result<&ConsumerGroups, Status> {
        self.groups.get().ok_or_else(|| status::not_coordinator(None))
    }

    /// The coordinator of a group, if it runs here. That there is no such group is said only by the table group itself,
    /// and that there is no such stream only by the newest version of the catalog.
    async fn running(&self, key: &GroupKey) -> Result<Running, Status> {
        let groups = self.groups()?;
        if let Some(running) = groups.coordinators.get(key) {
            return Ok(running);
        }
        if self.owner(key).is_some() {
            return Err(self.elsewhere(groups, key));
        }
        let view = groups.cluster.newest_view().await.map_err(status::of_cluster)?;
        if view.stream(&key.stream).is_none() {
            return Err(status::no_stream(&key.stream));
        }
        match groups.definitions.exists(key).await? {
            true => Err(self.elsewhere(groups, key)),
            false => Err(status::no_group(key)),
        }
    }

    fn owner(&self, key: &GroupKey) -> Option<NodeId> {
        self.jobs.get().and_then(|jobs| jobs.owner(&job_of(key)))
    }

    /// Says where the coordinator is.
    fn elsewhere(&self, groups: &ConsumerGroups, key: &GroupKey) -> Status {
        let owner = self.owner(key);
        // A coordinator that is about to begin on this node has no node yet.
        status::not_coordinator(owner.filter(|owner| *owner != groups.node))
    }

    /// The group and the member of a request.
    fn existing(group: Option<pb::GroupRef>, member: &str) -> Result<(GroupKey, MemberId), Status> {
        let key = message::group_key(group).map_err(|error| status::invalid(&error))?;
        let member = member.parse().map_err(|error| status::invalid(&error))?;
        Ok((key, member))
    }
}

async fn call(running: &Running, member: MemberId, kind: CallKind) -> Result<Answer, Status> {
    let (reply, answer) = oneshot::channel();
    running.calls.send(Call { member, kind, reply }).await.map_err(|_| ended())?;
    let ended = |_| status::unknown("the coordinator ended before it answered".to_owned());
    answer.await.map_err(ended)?.map_err(status::of_call)
}

/// The coordinator has ended.
fn ended() -> Status {
    status::not_coordinator(None)
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ConsumerGroupService for ServedGroups {
    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        let groups = self.groups()?;
        let join = message::join(request.into_inner(), groups.clock.now());
        let join = join.map_err(|error| status::invalid(&error))?;
        let key = &join.group;
        let Some(running) = groups.coordinators.get(key) else {
            if self.owner(key).is_none() {
                // The group is made also if the caller does not wait for it any more.
                let (definitions, join) = (groups.definitions.clone(), join.clone());
                let made = tokio::spawn(async move { definitions.make(&join).await });
                made.await.map_err(|_| ended())??;
            }
            return Err(self.elsewhere(groups, key));
        };
        let session_millis = join.stored.session_millis;
        let joined = call(&running, join.member, CallKind::Join(join.stored)).await?;
        Ok(Response::new(pb::JoinResponse { session_millis, created: joined.is_creator }))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let pb::HeartbeatRequest { group, member } = request.into_inner();
        let (key, member) = Self::existing(group, &member)?;
        let heard = call(&self.running(&key).await?, member, CallKind::Heartbeat).await?;
        Ok(Response::new(pb::HeartbeatResponse { version: heard.version }))
    }

    async fn checkpoint(
        &self,
        request: Request<pb::CheckpointRequest>,
    ) -> Result<Response<pb::CheckpointResponse>, Status> {
        let pb::CheckpointRequest { group, member, shards } = request.into_inner();
        let shards = message::checkpoints(shards).map_err(|error| status::invalid(&error))?;
        let (key, member) = Self::existing(group, &member)?;
        let stored = call(&self.running(&key).await?, member, CallKind::Checkpoint(shards)).await?;
        let refused = stored.refused.into_iter().map(|shard| shard.0).collect();
        Ok(Response::new(pb::CheckpointResponse { refused }))
    }

    async fn leave(
        &self,
        request: Request<pb::LeaveRequest>,
    ) -> Result<Response<pb::LeaveResponse>, Status> {
        let pb::LeaveRequest { group, member, shards } = request.into_inner();
        let shards = message::checkpoints(shards).map_err(|error| status::invalid(&error))?;
        let (key, member) = Self::existing(group, &member)?;
        call(&self.running(&key).await?, member, CallKind::Leave(shards)).await?;
        Ok(Response::new(pb::LeaveResponse {}))
    }

    type WatchStream = Watched;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Watched>, Status> {
        let pb::WatchRequest { group, member } = request.into_inner();
        let (key, member) = Self::existing(group, &member)?;
        let running = self.running(&key).await?;
        if !running.shown.borrow().members.contains_key(&member) {
            return Err(status::unknown_member());
        }
        let watch = Watch { running, member, sent: None, has_ended: false };
        Ok(Response::new(Box::pin(stream::unfold(watch, Watch::next))))
    }
}

/// A watch of a member.
struct Watch {
    running: Running,
    member: MemberId,
    /// Version of the list that was sent last.
    sent: Option<u64>,
    has_ended: bool,
}

impl Watch {
    /// The next response, and the watch after it. `None` at the end.
    async fn next(mut self) -> Option<(Result<pb::WatchResponse, Status>, Self)> {
        if self.has_ended {
            return None;
        }
        let response = match timeout(KEEP_ALIVE, self.changed()).await {
            Ok(changed) => changed.map(|()| self.response()),
            Err(_) => Ok(self.response()),
        };
        let response = response.and_then(|response| response.ok_or_else(status::unknown_member));
        self.has_ended = response.is_err();
        Some((response, self))
    }

    /// Waits until there is another list than the last one.
    async fn changed(&mut self) -> Result<(), Status> {
        loop {
            let shown = Arc::clone(&self.running.shown.borrow_and_update());
            let version = shown.members.get(&self.member).map(|member| member.version);
            if version.is_none() || version != self.sent {
                return Ok(());
            }
            self.running.shown.changed().await.map_err(|_| ended())?;
        }
    }

    /// The member's shards. `None` if it is no member any more.
    fn response(&mut self) -> Option<pb::WatchResponse> {
        let shown = Arc::clone(&self.running.shown.borrow());
        let member = shown.members.get(&self.member)?;
        self.sent = Some(member.version);
        let start = shown.definition.start;
        let shards = member.shards.iter().map(|shard| message::owned(shard, start, &shown.view));
        Some(pb::WatchResponse { version: member.version, shards: shards.collect() })
    }
}
