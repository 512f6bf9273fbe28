//! Calls to the coordinator of a group: any node names the node that it is on.
//!
//! All of these calls may be made again, so they are, until one is answered or the time is over.

use std::time::Duration;

use anabranch_proto::consumer as pb;
use anabranch_proto::consumer::consumer_group_service_client::ConsumerGroupServiceClient;
use anabranch_transport::Destination;
use anabranch_types::NodeId;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::call::{CallError, MAX_MESSAGE_BYTES, error_of};
use crate::client::Client;
use crate::error::Error;

/// Longest time of one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Longest time in which a call is tried again. A new coordinator takes two to three seconds.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pause before the next node is asked.
const PAUSE: Duration = Duration::from_millis(100);

type Service = ConsumerGroupServiceClient<Channel>;

/// The coordinator of one group, for one member.
#[derive(Clone)]
pub(crate) struct Coordinator {
    client: Client,
    group: pb::GroupRef,
    member: String,
    /// The node that the last answer came from or named.
    node: Option<NodeId>,
    /// Which node is asked next, if none is known.
    turn: usize,
    /// Longest time of one attempt.
    attempt: Duration,
}

impl Coordinator {
    pub(crate) fn new(client: &Client, group: pb::GroupRef, member: String) -> Self {
        Self { client: client.clone(), group, member, node: None, turn: 0, attempt: ATTEMPT }
    }

    pub(crate) fn group(&self) -> &pb::GroupRef {
        &self.group
    }

    /// Shortens the time of one attempt.
    pub(crate) fn answers_within(&mut self, attempt: Duration) {
        self.attempt = ATTEMPT.min(attempt);
    }

    /// Joins. Returns the session time.
    pub(crate) async fn join(&mut self, request: pb::JoinRequest) -> Result<Duration, Error> {
        let joined = self
            .call(request, |mut service, request| async move { service.join(request).await })
            .await?;
        Ok(Duration::from_millis(joined.session_millis.into()))
    }

    /// Tells that the member is alive.
    pub(crate) async fn heartbeat(&mut self) -> Result<(), Error> {
        let request =
            pb::HeartbeatRequest { group: Some(self.group.clone()), member: self.member.clone() };
        self.call(request, |mut service, request| async move { service.heartbeat(request).await })
            .await?;
        Ok(())
    }

    /// Stores checkpoints. Returns the shards that were refused.
    pub(crate) async fn checkpoint(
        &mut self,
        shards: Vec<pb::ShardCheckpoint>,
    ) -> Result<Vec<u32>, Error> {
        let request = pb::CheckpointRequest {
            group: Some(self.group.clone()),
            member: self.member.clone(),
            shards,
        };
        let stored = self
            .call(request, |mut service, request| async move { service.checkpoint(request).await })
            .await?;
        Ok(stored.refused)
    }

    pub(crate) async fn leave(&mut self) -> Result<(), Error> {
        let request = pb::LeaveRequest {
            group: Some(self.group.clone()),
            member: self.member.clone(),
            shards: Vec::new(),
        };
        self.call(request, |mut service, request| async move { service.leave(request).await })
            .await?;
        Ok(())
    }

    /// Begins to watch the member's shards.
    pub(crate) async fn watch(&mut self) -> Result<Streaming<pb::WatchResponse>, Error> {
        let request =
            pb::WatchRequest { group: Some(self.group.clone()), member: self.member.clone() };
        self.call(request, |mut service, request| async move { service.watch(request).await }).await
    }

    async fn call<Q: Clone, T, F: Future<Output = Result<Response<T>, Status>>>(
        &mut self,
        request: Q,
        call: impl Fn(Service, Q) -> F,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + DEADLINE;
        let mut followed = 0;
        loop {
            let service = ConsumerGroupServiceClient::new(self.channel()?);
            let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
            let error = match timeout(self.attempt, call(service, request.clone())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                // A node of a release without consumer groups.
                Ok(Err(status)) if status.code() == Code::Unimplemented => {
                    CallError::NotLeader(None)
                }
                Ok(Err(status)) => error_of(&status),
                Err(_elapsed) => CallError::Unknown("no answer in time".to_owned()),
            };
            match error {
                CallError::NotLeader(Some(node)) if Some(node) != self.node && followed < 3 => {
                    self.node = Some(node);
                    followed += 1;
                    continue;
                }
                CallError::NotLeader(_) | CallError::Unknown(_) | CallError::Throttled(_)
                    if Instant::now() < deadline => {}
                CallError::NotLeader(_)
                | CallError::NotFound
                | CallError::Closed
                | CallError::Frozen
                | CallError::InUse
                | CallError::Throttled(_)
                | CallError::Invalid(_)
                | CallError::Key { .. }
                | CallError::Unknown(_) => return Err(error.into()),
            }
            self.node = None;
            self.turn = self.turn.wrapping_add(1);
            followed = 0;
            sleep(PAUSE).await;
        }
    }

    /// The connection to the node that is asked next.
    fn channel(&self) -> Result<Channel, Error> {
        let inner = &self.client.inner;
        if let Some(Ok(peer)) = self.node.map(|node| inner.peer(node)) {
            return Ok(peer.channel);
        }
        let nodes: Vec<Destination> = inner.destinations();
        let node = nodes.get(self.turn % nodes.len().max(1)).ok_or(Error::NoLeader)?;
        Ok(inner.channel(node))
    }
}
