//! The receiving end of the streams of other nodes.
//!
//! The first message of a stream is a `Hello`. It names cluster, sender and receiver, and is checked against this
//! node and the sender's certificate. Then requests come in frames:
//! - A ping is answered at once, by this file.
//! - The appends of one channel go to the handler as one stream, in order.
//! - Any other request is handled in a task of its own, so that a slow one does not hold up the stream.
//!
//! Responses are gathered into messages like requests. When the stream ends, all its tasks are aborted.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::replica as pb;
use anabranch_proto::replica::replica_service_server::{ReplicaService, ReplicaServiceServer};
use anabranch_tls::{Peer, Role};
use anabranch_types::{GroupId, NodeId, ReplicaId};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::lane::{LANE_BYTES_IN_FLIGHT, ResponseBody};
use crate::peer::Transport;

/// Body of a request.
pub use pb::request_frame::Body as RequestBody;

/// Handles the requests of other nodes. The replicas of this node implement it.
pub trait Handler: Send + Sync + 'static {
    /// Handles a stream of appends to the replica `to` of `group`. Gives one response for each, in order, until a
    /// response is not [`ResponseBody::Appended`].
    fn append(
        &self,
        group: GroupId,
        to: ReplicaId,
        requests: mpsc::UnboundedReceiver<pb::AppendEntries>,
    ) -> BoxStream<'static, ResponseBody>;

    /// Whether this node's disk has no free space for records. Each pong tells that to the other nodes.
    fn refuses_records(&self) -> bool;

    /// Handles any other request to the replica `to` of `group`.
    fn call(
        &self,
        group: GroupId,
        to: ReplicaId,
        body: RequestBody,
    ) -> BoxFuture<'static, ResponseBody>;
}

/// The receiving end of other nodes' streams.
#[derive(Clone)]
pub struct ReplicaServer {
    transport: Transport,
    handler: Arc<dyn Handler>,
    streams: Arc<Semaphore>,
}

/// The largest message that another node may send: all the bytes that it may have in flight, and as much again for
/// framing.
const MAX_MESSAGE_BYTES: usize = 2 * LANE_BYTES_IN_FLIGHT as usize;
/// Maximum number of open streams. Each other node has three, and broken ones may still be open.
const STREAMS: usize = 1024;
/// How long a new stream may take to send its `Hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

impl ReplicaServer {
    /// The gRPC service of a node. It gives requests to `handler`, and tells `transport` which node was heard.
    pub fn service(transport: Transport, handler: Arc<dyn Handler>) -> ReplicaServiceServer<Self> {
        let streams = Arc::new(Semaphore::new(STREAMS));
        ReplicaServiceServer::new(Self { transport, handler, streams })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(usize::MAX)
    }

    /// Receives the `Hello`, the first message of a stream.
    async fn hello(requests: &mut Streaming<pb::ExchangeRequest>) -> Result<pb::Hello, Status> {
        let first = timeout(HELLO_TIMEOUT, requests.message()).await;
        let first = first.map_err(|_elapsed| Status::deadline_exceeded("hello: missing"))??;
        let hello = first.and_then(|first| first.hello);
        hello.ok_or_else(|| Status::invalid_argument("hello: missing"))
    }

    /// Checks that the stream is for this cluster and this node, and that its sender is the node of the certificate
    /// which the connection has shown. Returns the sender.
    fn check(&self, hello: &pb::Hello, peer: Option<&Peer>) -> Result<NodeId, Status> {
        let own = self.transport.settings();
        if hello.cluster != own.cluster {
            let text = format!("cluster: is {:?}, must be {:?}", hello.cluster, own.cluster);
            return Err(Status::failed_precondition(text));
        }
        if hello.to_node != own.node.0 {
            let text = format!("to_node: is {}, this is node {}", hello.to_node, own.node);
            return Err(Status::failed_precondition(text));
        }
        if let Some(Peer::Certified(identity)) = peer
            && identity.role != Role::Node(NodeId(hello.node))
        {
            let text = format!("node: is {}, the certificate is of {}", hello.node, identity.role);
            return Err(Status::permission_denied(text));
        }
        Ok(NodeId(hello.node))
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<pb::ExchangeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ReplicaService for ReplicaServer {
    type ExchangeStream = Answers;

    async fn exchange(
        &self,
        request: Request<Streaming<pb::ExchangeRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let peer = request.extensions().get().cloned();
        let slot = Arc::clone(&self.streams).try_acquire_owned();
        let slot = slot.map_err(|_| Status::resource_exhausted("too many streams"))?;
        let mut requests = request.into_inner();
        let hello = Self::hello(&mut requests).await?;
        let node = self.check(&hello, peer.as_ref())?;
        self.transport.liveness().heard(node, Some(hello.boot));
        // There is one response for each request in flight, and the sender bounds those. So this queue needs no
        // bound.
        let (answers, queued) = mpsc::unbounded_channel();
        let exchange = Exchange {
            node,
            server: self.clone(),
            appends: HashMap::new(),
            tasks: JoinSet::new(),
            answers,
            _slot: slot,
        };
        tokio::spawn(exchange.run(requests));
        let gathered = UnboundedReceiverStream::new(queued).ready_chunks(MESSAGE_FRAMES);
        let responses = gathered.map(|frames| Ok(pb::ExchangeResponse { frames }));
        Ok(Response::new(Box::pin(responses)))
    }
}

const MESSAGE_FRAMES: usize = 1024;

/// State of one stream of another node.
struct Exchange {
    node: NodeId,
    server: ReplicaServer,
    appends: HashMap<u64, mpsc::UnboundedSender<pb::AppendEntries>>,
    tasks: JoinSet<()>, // aborted with the stream
    answers: mpsc::UnboundedSender<pb::ResponseFrame>,
    _slot: OwnedSemaphorePermit,
}

impl Exchange {
    async fn run(mut self, mut requests: Streaming<pb::ExchangeRequest>) {
        while let Ok(Some(request)) = requests.message().await {
            self.server.transport.liveness().heard(self.node, None);
            for frame in request.frames {
                self.take(frame);
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn take(&mut self, frame: pb::RequestFrame) {
        let pb::RequestFrame { channel, group, to_replica, body } = frame;
        let (group, to) = (GroupId(group), ReplicaId(to_replica));
        match body {
            Some(RequestBody::Append(append)) => self.append(channel, group, to, append),
            Some(RequestBody::Close(_)) | None => drop(self.appends.remove(&channel)),
            Some(RequestBody::Ping(ping)) => {
                let refuses_records = self.server.handler.refuses_records();
                let given_up = self.server.transport.liveness().silences(self.node);
                let stalled = self.server.transport.is_stalled();
                let clock_millis = self.server.transport.clocks().own_millis();
                let boot = self.server.transport.settings().boot;
                let pong =
                    pb::Ping { refuses_records, given_up, stalled, clock_millis, boot, ..ping };
                self.answer(channel, ResponseBody::Pong(pong));
            }
            Some(
                body @ (RequestBody::Vote(_)
                | RequestBody::PreVote(_)
                | RequestBody::Heartbeat(_)
                | RequestBody::Snapshot(_)
                | RequestBody::SnapshotPart(_)
                | RequestBody::Transfer(_)),
            ) => {
                let answered = self.server.handler.call(group, to, body);
                let answers = self.answers.clone();
                self.tasks.spawn(async move {
                    let body = Some(answered.await);
                    let _stream_is_over = answers.send(pb::ResponseFrame { channel, body });
                });
            }
        }
    }

    fn append(&mut self, channel: u64, group: GroupId, to: ReplicaId, append: pb::AppendEntries) {
        let requests = self.appends.entry(channel).or_insert_with(|| {
            let (requests, receiver) = mpsc::unbounded_channel(); // bounded by the sender
            let mut answered = self.server.handler.append(group, to, receiver);
            let answers = self.answers.clone();
            self.tasks.spawn(async move {
                while let Some(body) = answered.next().await {
                    let frame = pb::ResponseFrame { channel, body: Some(body) };
                    if answers.send(frame).is_err() {
                        break;
                    }
                }
            });
            requests
        });
        if requests.send(append).is_err() {
            self.answer(channel, ResponseBody::Failed("the channel is over".into()));
        }
    }

    fn answer(&self, channel: u64, body: ResponseBody) {
        let _stream_is_over = self.answers.send(pb::ResponseFrame { channel, body: Some(body) });
    }
}
