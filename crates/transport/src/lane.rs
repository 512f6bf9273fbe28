//! The sending end of one stream to a peer: many channels share one connection.
//!
//! ```text
//! call, AppendRequests --> permits --> queue --> gathered into messages --> connection
//! caller               <-- its channel, found by number <-- responses <-------'
//! ```
//!
//! A *channel* is one conversation: a call with one response, or a stream of appends. Each request and response
//! carries the number of its channel. A request waits for permits while too many requests or bytes are unanswered,
//! so memory is bounded.
//!
//! This never happens: a channel goes on after its connection has ended. So the requests of a channel are never
//! reordered, and none is missing between two that arrive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_metrics::Counter;
use anabranch_proto::replica as pb;
use anabranch_proto::replica::replica_service_client::ReplicaServiceClient;
use anabranch_types::{GroupId, NodeId, ReplicaId};
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::Error;
use crate::server::RequestBody;

/// Body of a response.
pub use pb::response_frame::Body as ResponseBody;

/// Maximum bytes of unanswered requests on a lane. Further requests wait at the sender.
pub(crate) const LANE_BYTES_IN_FLIGHT: u32 = 64 << 20;
/// Requests are added to a message until it has at least this many bytes.
const MESSAGE_BYTES: usize = 1 << 20;
/// Maximum number of requests in one message.
const MESSAGE_FRAMES: usize = 1024;
/// Maximum number of unanswered requests on one append channel.
const CHANNEL_REQUESTS_IN_FLIGHT: usize = 64;

/// The sending end of one stream: to one peer, for one purpose.
#[derive(Debug)]
pub(crate) struct Lane {
    node: NodeId,
    next_channel: AtomicU64,
    state: Mutex<State>,
    in_flight: Arc<Semaphore>,
    sent_bytes: Counter,
}

#[derive(Debug, Default)]
struct State {
    /// Queue to the connection. `None` while there is no connection.
    queue: Option<mpsc::UnboundedSender<pb::RequestFrame>>,
    /// The callers that wait for responses, by channel number.
    channels: HashMap<u64, Waiter>,
}

#[derive(Debug)]
enum Waiter {
    Once(oneshot::Sender<ResponseBody>),
    Many(mpsc::UnboundedSender<ResponseBody>), // one response for each request in flight
}

impl Lane {
    pub(crate) fn new(node: NodeId, sent_bytes: Counter) -> Self {
        Self {
            node,
            next_channel: AtomicU64::new(1),
            state: Mutex::default(),
            in_flight: Arc::new(Semaphore::new(LANE_BYTES_IN_FLIGHT as usize)),
            sent_bytes,
        }
    }

    /// Sends one request and waits for its response.
    pub(crate) async fn call(
        &self,
        group: GroupId,
        to: ReplicaId,
        body: RequestBody,
        deadline: Duration,
    ) -> Result<ResponseBody, Error> {
        let _permit = self.permit(&body).await?;
        let (answer, answered) = oneshot::channel();
        let channel = self.register(Waiter::Once(answer))?;
        self.send(channel, group, to, body);
        let result = timeout(deadline, answered).await;
        self.lock().channels.remove(&channel);
        match result {
            Ok(Ok(ResponseBody::Failed(reason))) => Err(Error::Failed(reason)),
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_closed)) => Err(Error::Unreachable(self.node)),
            Err(_elapsed) => Err(Error::Timeout),
        }
    }

    /// Opens a channel for a stream of appends.
    pub(crate) fn open(
        self: Arc<Self>,
        group: GroupId,
        to: ReplicaId,
    ) -> Result<AppendChannel, Error> {
        let (answers, receiver) = mpsc::unbounded_channel();
        let channel = self.register(Waiter::Many(answers))?;
        let requests = Arc::new(Semaphore::new(CHANNEL_REQUESTS_IN_FLIGHT));
        let sender = AppendSender { lane: self, channel, group, to, requests };
        Ok(AppendChannel {
            sender: Arc::new(sender),
            permits: mpsc::unbounded_channel(),
            answers: receiver,
        })
    }

    fn register(&self, waiter: Waiter) -> Result<u64, Error> {
        let channel = self.next_channel.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        if state.queue.is_none() {
            return Err(Error::Unreachable(self.node));
        }
        state.channels.insert(channel, waiter);
        Ok(channel)
    }

    async fn permit(&self, body: &RequestBody) -> Result<OwnedSemaphorePermit, Error> {
        let permits = u32::try_from(bytes_of(body)).unwrap_or(u32::MAX).min(LANE_BYTES_IN_FLIGHT);
        let permit = Arc::clone(&self.in_flight).acquire_many_owned(permits).await;
        permit.map_err(|_closed| Error::Unreachable(self.node))
    }

    fn send(&self, channel: u64, group: GroupId, to: ReplicaId, body: RequestBody) {
        let frame =
            pb::RequestFrame { channel, group: group.0, to_replica: to.0, body: Some(body) };
        if let Some(queue) = &self.lock().queue {
            let _connection_is_over = queue.send(frame);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one connection until it breaks. All channels on it end with it.
    pub(crate) async fn run(
        &self,
        channel: Channel,
        hello: pb::Hello,
        mut on_answer: impl FnMut(&ResponseBody),
    ) -> Result<(), tonic::Status> {
        let (queue, outgoing) = mpsc::unbounded_channel(); // bounded by `in_flight`
        let hello = pb::ExchangeRequest { hello: Some(hello), frames: Vec::new() };
        // The connection polls this stream when it can send. All requests that wait at that time form one message.
        let begin = (Some(hello), outgoing, self.sent_bytes.clone());
        let requests = stream::unfold(begin, |(hello, mut outgoing, sent_bytes)| async {
            let request = match hello {
                Some(hello) => hello,
                None => gather_from(outgoing.recv().await?, &mut outgoing, &sent_bytes),
            };
            Some((request, (None, outgoing, sent_bytes)))
        });
        let mut client = ReplicaServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let mut answers = client.exchange(requests).await?.into_inner();
        self.lock().queue = Some(queue);
        let _guard = Disconnect(self);
        while let Some(response) = answers.message().await? {
            for frame in response.frames {
                if let Some(body) = frame.body {
                    on_answer(&body);
                    self.answer(frame.channel, body);
                }
            }
        }
        Ok(())
    }

    fn answer(&self, channel: u64, body: ResponseBody) {
        let channels = &mut self.lock().channels;
        match channels.get(&channel) {
            Some(Waiter::Many(answers)) => {
                // Any other response than `Appended` ends the channel.
                let last = !matches!(body, ResponseBody::Appended(_));
                let gone = answers.send(body).is_err();
                if last || gone {
                    channels.remove(&channel);
                }
            }
            Some(Waiter::Once(_)) => {
                if let Some(Waiter::Once(answer)) = channels.remove(&channel) {
                    let _caller_gave_up = answer.send(body);
                }
            }
            None => {}
        }
    }
}

/// Ends all channels when a connection is over, for whatever reason.
struct Disconnect<'a>(&'a Lane);

impl Drop for Disconnect<'_> {
    fn drop(&mut self) {
        *self.0.lock() = State::default();
    }
}

/// `first` and the other waiting requests, up to the bounds of a message. Counts their bytes as sent.
fn gather_from(
    first: pb::RequestFrame,
    outgoing: &mut mpsc::UnboundedReceiver<pb::RequestFrame>,
    sent_bytes: &Counter,
) -> pb::ExchangeRequest {
    let mut bytes = first.body.as_ref().map_or(0, bytes_of);
    let mut frames = vec![first];
    while bytes < MESSAGE_BYTES && frames.len() < MESSAGE_FRAMES {
        let Ok(next) = outgoing.try_recv() else { break };
        bytes += next.body.as_ref().map_or(0, bytes_of);
        frames.push(next);
    }
    sent_bytes.add(bytes as u64);
    pb::ExchangeRequest { hello: None, frames }
}

/// Approximate bytes that a request uses in memory.
fn bytes_of(body: &RequestBody) -> usize {
    const OVERHEAD: usize = 64;
    match body {
        RequestBody::Append(append) => {
            append.entries.iter().map(|entry| entry.payload.len() + OVERHEAD).sum::<usize>()
                + OVERHEAD
        }
        RequestBody::Snapshot(snapshot) => snapshot.checkpoint.len() + OVERHEAD,
        RequestBody::SnapshotPart(part) => part.part.len() + OVERHEAD,
        RequestBody::Vote(_)
        | RequestBody::PreVote(_)
        | RequestBody::Heartbeat(_)
        | RequestBody::Transfer(_)
        | RequestBody::Close(_)
        | RequestBody::Ping(_) => OVERHEAD,
    }
}

type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// A stream of appends to one replica. Requests go out in order, and responses come back in order.
#[derive(Debug)]
pub struct AppendChannel {
    sender: Arc<AppendSender>,
    permits: (mpsc::UnboundedSender<Permits>, mpsc::UnboundedReceiver<Permits>),
    answers: mpsc::UnboundedReceiver<ResponseBody>,
}

#[derive(Debug)]
struct AppendSender {
    lane: Arc<Lane>,
    channel: u64,
    group: GroupId,
    to: ReplicaId,
    requests: Arc<Semaphore>,
}

/// The sending half of an [`AppendChannel`]. Waits while too many requests or bytes are unanswered.
#[derive(Clone, Debug)]
pub struct AppendRequests {
    sender: Arc<AppendSender>,
    permits: mpsc::UnboundedSender<Permits>,
}

impl AppendChannel {
    /// The sending half. It may move to another task.
    pub fn requests(&self) -> AppendRequests {
        AppendRequests { sender: Arc::clone(&self.sender), permits: self.permits.0.clone() }
    }

    /// Waits for the next response.
    ///
    /// # Errors
    /// [`Error::Failed`] if the receiver refused. [`Error::Unreachable`] once the stream is broken.
    pub async fn answer(&mut self) -> Result<ResponseBody, Error> {
        let answer = self.answers.recv().await;
        // The response frees the permits of its request.
        drop(self.permits.1.try_recv());
        match answer {
            Some(ResponseBody::Failed(reason)) => Err(Error::Failed(reason)),
            Some(body) => Ok(body),
            None => Err(Error::Unreachable(self.sender.lane.node)),
        }
    }
}

impl AppendRequests {
    /// Sends one request. Waits for permits first.
    ///
    /// # Errors
    /// [`Error::Unreachable`] once the stream is broken.
    pub async fn send(&self, append: pb::AppendEntries) -> Result<(), Error> {
        let sender = &self.sender;
        let unreachable = |_closed| Error::Unreachable(sender.lane.node);
        let request = Arc::clone(&sender.requests).acquire_owned().await.map_err(unreachable)?;
        let body = RequestBody::Append(append);
        let bytes = sender.lane.permit(&body).await?;
        if !sender.lane.lock().channels.contains_key(&sender.channel) {
            return Err(Error::Unreachable(sender.lane.node));
        }
        let _channel_is_over = self.permits.send((request, bytes));
        sender.lane.send(sender.channel, sender.group, sender.to, body);
        Ok(())
    }
}

impl Drop for AppendSender {
    fn drop(&mut self) {
        self.lane.lock().channels.remove(&self.channel);
        let close = RequestBody::Close(pb::Empty {});
        self.lane.send(self.channel, self.group, self.to, close);
    }
}
