//! How openraft on this node reaches the replicas on other nodes: through the streams of the transport.
//!
//! ```text
//! openraft -- append requests --> pump task --> append channel --> replica on another node
//!    ^                               | what was sent, in order          |
//!    +------ checked responses <-----+--<--- one response for each -----+
//! ```
//!
//! - Requests of one replica go out and are answered in order. If anything fails, the stream ends, and openraft
//!   opens a new one after a pause.
//! - Old entries, for replicas that are behind, go at a limited rate. Heartbeats of all groups leave together
//!   ([`Pace`]).
//! - openraft never sees a conflict about an entry that the receiver had acknowledged in the same term
//!   (`acknowledged.rs`). A replica that lost such an entry gets no more requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_storage::GroupLog;
use anabranch_transport::{Error, Purpose, RequestBody, ResponseBody, Transport, pb};
use anabranch_types::{GroupId, NodeId, ReplicaId};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::acknowledged::{Acknowledged, Reverted};
use crate::checkpoint_log::CheckpointLog;
use crate::convert::{log_id, log_id_message, raft_log_id_of, raft_vote_of, vote_message};
use crate::log_adapter::{is_catch_up, stored_entry};
use crate::machine::Holds;
use crate::metrics::{Metrics, Sending};
use crate::raft_types::{Member, RaftLogId, RaftVote, Snapshot, TypeConfig};
use crate::room::{NO_FREE_SPACE, adds_records, lacks_free_space};

/// Makes the connections of one group for openraft.
#[derive(Clone)]
pub(crate) struct NetworkFactory {
    pub(crate) group: GroupId,
    /// What entries of the group may hold of users.
    pub(crate) holds: Holds,
    pub(crate) log: Arc<dyn GroupLog>,
    /// Where the parts of snapshots are, in a table group.
    pub(crate) checkpoint_log: Option<CheckpointLog>,
    pub(crate) transport: Transport,
    pub(crate) pace: Arc<Pace>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether no majority of the voters is alive with a disk that takes records.
    pub(crate) lacks_writable_majority: Arc<AtomicBool>,
    /// The acknowledgements of each replica to this one, by replica id. They are kept here because connections come
    /// and go within a term.
    pub(crate) acknowledged: Arc<Mutex<BTreeMap<u64, Arc<Acknowledged>>>>,
    /// Replicas, of all groups, that lost entries which they had acknowledged.
    pub(crate) reverted: Reverted,
}

impl NetworkFactory {
    fn network(&self, target: u64, member: &Member, purpose: Purpose) -> Network {
        let (factory, to) = (self.clone(), ReplicaId(target));
        let refused_from = Arc::new(AtomicU64::new(NOTHING_REFUSED));
        let mut all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let acknowledged = Arc::clone(all.entry(target).or_default());
        Network { factory, node: member.node, to, purpose, refused_from, acknowledged }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, member: &Member) -> Network {
        self.network(target, member, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Network {
        self.network(target, member, Purpose::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Network {
        self.network(target, member, Purpose::CatchUp)
    }
}

/// A connection to one replica of one group.
#[derive(Clone)]
pub(crate) struct Network {
    factory: NetworkFactory,
    node: NodeId,
    to: ReplicaId,
    purpose: Purpose,
    /// First index of the append that the receiver refused last for lack of disk space. [`NOTHING_REFUSED`] if it
    /// refused none.
    refused_from: Arc<AtomicU64>,
    acknowledged: Arc<Acknowledged>,
}

/// A log index that no entry has.
const NOTHING_REFUSED: u64 = u64::MAX;

/// How long a request that only carries a new commit index waits for a request with entries.
const COMMIT_NOTICE_WAIT: Duration = Duration::from_millis(3);
/// A receiver that sends no response for this long is treated as unreachable.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two attempts to send to a replica whose disk takes no records. It is long, because each attempt may
/// read the entries from disk, even if they are not sent then.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// Facts about a request that are kept until its response comes.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Index of the first entry in the request.
    from: u64,
    /// Term of the leader.
    term: u64,
    /// Whether the receiver had acknowledged the entry before `from` when the request was sent.
    is_anchored: bool,
}

type AppendAnswer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl Network {
    fn is_for_catch_up(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let first = request.entries.first().map(|entry| entry.log_id.index());
        first.is_some_and(|first| is_catch_up(self.factory.log.as_ref(), first))
    }

    /// Whether the receiver would refuse this request: its disk takes no records, the request has records, and the
    /// receiver has refused a request from this index before. A request that it has not refused is sent whatever its
    /// disk, because a new leader does not know how many of the entries the receiver has already.
    fn would_be_refused(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let from = next_index(&request.prev_log_id);
        if self.refused_from.load(Ordering::Relaxed) != from || !self.takes_no_records() {
            return false;
        }
        // No majority has free space, and the leader does not know that all of these entries are committed: this
        // receiver may be needed. How many of them it has, and so whether it is needed, only the receiver knows.
        let last = request.entries.last().map(|entry| entry.log_id);
        let is_needed = self.factory.lacks_writable_majority.load(Ordering::Relaxed)
            && next_index(&request.leader_commit) < next_index(&last);
        !is_needed && self.has_records(request)
    }

    /// Sends the parts of a snapshot whose state is in the checkpoint log.
    async fn send_parts(&self, snapshot: &Snapshot) -> Result<(), String> {
        let message: pb::Checkpoint =
            Message::decode(snapshot.snapshot.clone()).map_err(|error| error.to_string())?;
        let Some(parts) = message.parts else { return Ok(()) };
        let log = self.factory.checkpoint_log.as_ref().ok_or("no checkpoint log")?;
        for number in 0..parts.count {
            let part = log.read(parts.first + number).await.map_err(|error| error.to_string())?;
            self.factory.pace.catch_up(part.len()).await;
            let last = snapshot.meta.last_log_id.as_ref().map(log_id_message);
            let body = RequestBody::SnapshotPart(pb::SnapshotPart { last, number, part });
            match self.call(Purpose::CatchUp, body, ANSWER_DEADLINE).await {
                Ok(ResponseBody::PartStored(_)) => {}
                Ok(other) => return Err(format!("unexpected answer: {other:?}")),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn has_records(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let holds = self.factory.holds;
        request.entries.iter().any(|entry| match &entry.payload {
            openraft::EntryPayload::Normal(stored) => adds_records(holds, &stored.0),
            openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => false,
        })
    }

    /// Remembers the request `sent` if the receiver refused it for lack of disk space. Any other error says nothing
    /// about the next attempt.
    fn note_refusal(&self, sent: Sent, error: &Error) {
        if matches!(error, Error::Failed(reason) if lacks_free_space(reason)) {
            self.refused_from.store(sent.from, Ordering::Relaxed);
        }
    }

    /// The facts to keep about a request that is sent now.
    fn sent(&self, request: &AppendEntriesRequest<TypeConfig>) -> Sent {
        let (from, term) = (next_index(&request.prev_log_id), request.vote.leader_id.term);
        let prev = from.checked_sub(1);
        let is_anchored = prev.is_some_and(|prev| self.acknowledged.covers(term, prev));
        Sent { from, term, is_anchored }
    }

    /// The response to `sent` as openraft gets it. A conflict about an entry that the receiver had acknowledged to
    /// this leader becomes an error: the receiver lost the entry, but openraft would still count on it.
    fn checked(&self, sent: Sent, body: ResponseBody) -> AppendAnswer {
        let answer = append_answer(body)?;
        if sent.is_anchored && matches!(answer, Err(StreamAppendError::Conflict(_))) {
            let NetworkFactory { group, reverted, .. } = &self.factory;
            reverted.note(*group, self.to, sent.from.saturating_sub(1));
            return Err(lost_entries());
        }
        Ok(answer)
    }

    fn check_not_reverted(&self) -> Result<(), RPCError<TypeConfig>> {
        let NetworkFactory { group, reverted, .. } = &self.factory;
        if reverted.contains(*group, self.to) { Err(lost_entries()) } else { Ok(()) }
    }

    /// Whether the pongs of the receiver's node say that its disk takes no records.
    fn takes_no_records(&self) -> bool {
        self.factory.transport.liveness().refuses_records(self.node)
    }

    async fn call(
        &self,
        purpose: Purpose,
        body: RequestBody,
        deadline: Duration,
    ) -> Result<ResponseBody, Error> {
        let NetworkFactory { group, transport, .. } = &self.factory;
        transport.call(self.node, purpose, *group, self.to, body, deadline).await
    }

    /// Sends a heartbeat at the same moment as the heartbeats of all other groups, so that they share messages.
    async fn beat(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        sleep_until(self.factory.pace.next_beat()).await;
        let sent = self.sent(&request);
        let body = RequestBody::Heartbeat(append_message(request));
        match self.call(Purpose::Control, body, ANSWER_DEADLINE).await {
            Ok(body) => self.checked(sent, body),
            Err(error) => Err(unreachable(&error)),
        }
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<TypeConfig>,
        option: &RPCOption,
        wrap: fn(pb::VoteRequest) -> RequestBody,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = pb::VoteRequest {
            vote: Some(vote_message(&rpc.vote)),
            last: rpc.last_log_id.as_ref().map(log_id_message),
            transfer: rpc.leadership_transfer,
        };
        match self.call(Purpose::Control, wrap(request), option.soft_ttl()).await {
            Ok(ResponseBody::Vote(reply)) => {
                let vote = raft_vote_of(reply.vote.unwrap_or_default());
                Ok(VoteResponse::new(vote, reply.last.map(raft_log_id_of), reply.granted))
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// Sends the requests of openraft in order. A request with old entries waits until the catch-up rate allows it.
    /// A request that only carries a new commit index waits a moment for a request with entries, which carries the
    /// commit index too. Under load that halves the number of messages.
    async fn pump<S>(
        self,
        first: AppendEntriesRequest<TypeConfig>,
        rest: S,
        requests: anabranch_transport::AppendRequests,
        sent: mpsc::UnboundedSender<Sent>,
    ) where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
    {
        let mut rest = rest.fuse();
        // The first request does not wait for entries: its response tells whether the receiver is there.
        let mut begins = true;
        let mut next = Some(first);
        while let Some(request) = next {
            if request.entries.is_empty()
                && !begins
                && let Ok(Some(following)) = timeout(COMMIT_NOTICE_WAIT, rest.next()).await
            {
                next = Some(following);
                continue;
            }
            begins = false;
            let bytes = request.entries.iter().map(payload_bytes).sum();
            let sending = if self.is_for_catch_up(&request) {
                self.factory.pace.catch_up(bytes).await;
                Sending::CatchUp
            } else {
                self.factory.pace.count_live(bytes);
                Sending::Live
            };
            let metrics = &self.factory.metrics;
            metrics.sent_bytes.of(sending).add(bytes as u64);
            metrics.sent_entries.of(sending).add(request.entries.len() as u64);
            let remembered = self.sent(&request);
            if requests.send(append_message(request)).await.is_err()
                || sent.send(remembered).is_err()
            {
                return;
            }
            next = rest.next().await;
        }
    }
}

/// Index of the entry after `id`. 0 for `None`.
fn next_index(id: &Option<RaftLogId>) -> u64 {
    id.as_ref().map_or(0, |id| id.index() + 1)
}

fn payload_bytes(entry: &crate::raft_types::RaftEntry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(stored) => stored.0.len(),
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 0,
    }
}

fn append_message(request: AppendEntriesRequest<TypeConfig>) -> pb::AppendEntries {
    let entry = |entry| {
        let stored = stored_entry(entry);
        pb::Entry { term: stored.log_id.term, index: stored.log_id.index, payload: stored.payload }
    };
    pb::AppendEntries {
        vote: Some(vote_message(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_message),
        commit: request.leader_commit.as_ref().map(log_id_message),
        entries: request.entries.into_iter().map(entry).collect(),
    }
}

fn unreachable<E: std::error::Error>(error: &Error) -> RPCError<TypeConfig, E> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

fn unexpected<E: std::error::Error>(body: &ResponseBody) -> RPCError<TypeConfig, E> {
    RPCError::Unreachable(Unreachable::from_string(format!("unexpected answer: {body:?}")))
}

fn lost_entries() -> RPCError<TypeConfig> {
    unreachable(&Error::Failed("the replica lost what it had acknowledged".into()))
}

fn append_answer(body: ResponseBody) -> AppendAnswer {
    match body {
        ResponseBody::Appended(appended) => Ok(Ok(appended.last.map(raft_log_id_of))),
        ResponseBody::Conflict(id) => Ok(Err(StreamAppendError::Conflict(raft_log_id_of(id)))),
        ResponseBody::HigherVote(vote) => {
            Ok(Err(StreamAppendError::HigherVote(raft_vote_of(vote))))
        }
        other @ (ResponseBody::Vote(_)
        | ResponseBody::Snapshot(_)
        | ResponseBody::Transferred(_)
        | ResponseBody::Failed(_)
        | ResponseBody::PartStored(_)
        | ResponseBody::Pong(_)) => Err(unexpected(&other)),
    }
}

/// Aborts the pump task when the stream of responses is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let input = Box::pin(stream::once(async { rpc }));
        let mut answers = self.stream_append(input, option).await?;
        match answers.next().await {
            Some(Ok(Ok(last))) => Ok(AppendEntriesResponse::PartialSuccess(last)),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => {
                Ok(AppendEntriesResponse::HigherVote(vote))
            }
            Some(Err(error)) => Err(error),
            None => Err(unreachable(&Error::Unreachable(NodeId(0)))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendAnswer>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let network = self.clone();
        Box::pin(async move {
            let Some(first) = input.next().await else {
                return Ok(stream::empty().boxed());
            };
            network.check_not_reverted()?;
            if network.would_be_refused(&first) {
                return Err(unreachable(&Error::Failed(NO_FREE_SPACE.into())));
            }
            if network.purpose == Purpose::Control {
                let answer = network.beat(first).await?;
                return Ok(stream::once(async { Ok(answer) }).boxed());
            }
            let purpose =
                if network.is_for_catch_up(&first) { Purpose::CatchUp } else { network.purpose };
            let NetworkFactory { group, transport, .. } = &network.factory;
            let channel = transport.open(network.node, purpose, *group, network.to);
            let channel = channel.map_err(|error| unreachable(&error))?;
            let (sent, unanswered) = mpsc::unbounded_channel(); // bounded by the channel
            let checker = Arc::new(network.clone());
            let pump = network.pump(first, input, channel.requests(), sent);
            let pump = AbortOnDrop(tokio::spawn(pump));
            let answers = stream::unfold(Some((channel, unanswered, pump)), move |state| {
                let checker = Arc::clone(&checker);
                async move {
                    let (mut channel, mut unanswered, pump) = state?;
                    let sent = unanswered.recv().await?;
                    match timeout(ANSWER_DEADLINE, channel.answer()).await {
                        Ok(Ok(body)) => {
                            let answer = checker.checked(sent, body);
                            if let Ok(Ok(Some(last))) = &answer {
                                checker.acknowledged.note(sent.term, last.index());
                            }
                            let goes_on = matches!(answer, Ok(Ok(_)));
                            Some((answer, goes_on.then_some((channel, unanswered, pump))))
                        }
                        Ok(Err(error)) => {
                            checker.note_refusal(sent, &error);
                            Some((Err(unreachable(&error)), None))
                        }
                        Err(_elapsed) => Some((Err(unreachable(&Error::Timeout)), None)),
                    }
                }
            });
            Ok(answers.fuse().boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(rpc, &option, RequestBody::Vote).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(rpc, &option, RequestBody::PreVote).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        if let Err(error) = self.send_parts(&snapshot).await {
            return Err(StreamingError::Unreachable(Unreachable::from_string(error)));
        }
        let body = RequestBody::Snapshot(pb::InstallSnapshot {
            vote: Some(vote_message(&vote)),
            last: snapshot.meta.last_log_id.as_ref().map(log_id_message),
            checkpoint: snapshot.snapshot,
        });
        self.factory.metrics.sent_snapshots.increment();
        match self.call(Purpose::CatchUp, body, ANSWER_DEADLINE).await {
            Ok(ResponseBody::Snapshot(vote)) => Ok(SnapshotResponse::new(raft_vote_of(vote))),
            Ok(other) => {
                let text = format!("unexpected answer: {other:?}");
                Err(StreamingError::Unreachable(Unreachable::from_string(text)))
            }
            Err(error) => Err(StreamingError::Unreachable(Unreachable::from_string(error))),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = RequestBody::Transfer(pb::TransferLeader {
            from: Some(vote_message(request.from_leader())),
            to_replica: *request.to_node_id(),
            last: request.last_log_id().map(log_id_message),
        });
        match self.call(Purpose::Control, body, option.soft_ttl()).await {
            Ok(ResponseBody::Transferred(_)) => Ok(Ok(())),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(unreachable(&error)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        if self.takes_no_records() {
            return Some(Backoff::new(std::iter::repeat(FULL_DISK_PAUSE)));
        }
        let pauses = [20, 50, 100, 200, 400].into_iter().chain(std::iter::repeat(500));
        Some(Backoff::new(pauses.map(Duration::from_millis)))
    }
}

/// Decides when the replicas of a node may send what is not urgent. Old entries go at a limited rate, so that they
/// never starve live writes. Heartbeats go at common moments.
///
/// A replica that was away must catch up under any load. So the rate of old entries is `catch_up_bytes_per_second`,
/// or twice the rate of live entries where that is more.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Minimum rate of old entries whatever the load, in bytes per second.
    floor: u64,
    /// Bytes of live entries that were sent since the start.
    live_bytes: AtomicU64,
    old: Mutex<OldEntries>,
    began: Instant,
}

/// When old entries may be sent next, and the last measurement of the live rate.
#[derive(Debug)]
struct OldEntries {
    free_at: Instant,
    measured_at: Instant,
    measured_bytes: u64,
    live_per_second: u64,
}

/// Heartbeats of all groups leave together, at multiples of this time.
const BEAT: Duration = Duration::from_millis(50);
/// The live rate is measured over at least this time.
const MEASURED: Duration = Duration::from_millis(500);
/// Old entries are sent at least this many times as fast as live ones.
const CATCH_UP_FACTOR: u64 = 2;

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let now = Instant::now();
        let old =
            OldEntries { free_at: now, measured_at: now, measured_bytes: 0, live_per_second: 0 };
        Self {
            floor: bytes_per_second.max(1),
            live_bytes: AtomicU64::new(0),
            old: Mutex::new(old),
            began: now,
        }
    }

    fn next_beat(&self) -> Instant {
        let beats = self.began.elapsed().as_nanos() / BEAT.as_nanos() + 1;
        self.began + BEAT * u32::try_from(beats).unwrap_or(u32::MAX)
    }

    /// Counts live entries that are sent.
    fn count_live(&self, bytes: usize) {
        self.live_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until `bytes` bytes of old entries may be sent.
    async fn catch_up(&self, bytes: usize) {
        let start = {
            let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let live = self.live_bytes.load(Ordering::Relaxed);
            let per_second = old.live_rate(live, now).saturating_mul(CATCH_UP_FACTOR);
            let micros = (bytes as u64).saturating_mul(1_000_000) / per_second.max(self.floor);
            let start = old.free_at.max(now);
            old.free_at = start + Duration::from_micros(micros);
            start
        };
        sleep_until(start).await;
    }
}

impl OldEntries {
    /// Rate of live entries in bytes per second. `live` is the number of bytes that were sent up to `now`.
    fn live_rate(&mut self, live: u64, now: Instant) -> u64 {
        let micros = (now - self.measured_at).as_micros();
        if micros >= MEASURED.as_micros() {
            let bytes = u128::from(live - self.measured_bytes);
            self.live_per_second = u64::try_from(bytes * 1_000_000 / micros).unwrap_or(u64::MAX);
            (self.measured_at, self.measured_bytes) = (now, live);
        }
        self.live_per_second
    }
}

/// Converts a message to openraft's append request.
pub(crate) fn append_request(
    message: pb::AppendEntries,
) -> std::io::Result<AppendEntriesRequest<TypeConfig>> {
    let entry = |entry: pb::Entry| {
        let id = anabranch_types::LogId { term: entry.term, index: entry.index };
        crate::log_adapter::entry_from(id, entry.payload)
    };
    Ok(AppendEntriesRequest {
        vote: raft_vote_of(message.vote.unwrap_or_default()),
        prev_log_id: message.prev.map(raft_log_id_of),
        leader_commit: message.commit.map(raft_log_id_of),
        entries: message.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}

/// Converts openraft's result of an append to the response message.
pub(crate) fn append_reply(result: StreamAppendResult<TypeConfig>) -> ResponseBody {
    match result {
        Ok(last) => {
            let last = last.as_ref().map(|last: &RaftLogId| {
                let last = log_id(last);
                pb::LogId { term: last.term, index: last.index }
            });
            ResponseBody::Appended(pb::Appended { last })
        }
        Err(StreamAppendError::Conflict(id)) => ResponseBody::Conflict(log_id_message(&id)),
        Err(StreamAppendError::HigherVote(vote)) => ResponseBody::HigherVote(vote_message(&vote)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long 8 MiB of old entries take while live entries are sent at `live` bytes per second.
    async fn catch_up_beside(live: usize) -> Duration {
        let pace = Pace::new(1 << 20);
        let live_entries = async {
            loop {
                pace.count_live(live / 10);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let old_entries = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let began = Instant::now();
            for _ in 0..9 {
                pace.catch_up(1 << 20).await; // the first one is sent at once
            }
            began.elapsed()
        };
        tokio::select! {
            never = live_entries => never,
            took = old_entries => took,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn old_entries_are_sent_at_the_configured_rate_if_nothing_else_is_sent() {
        assert_eq!(catch_up_beside(0).await.as_secs(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn old_entries_are_sent_faster_than_live_ones_arrive() {
        let took = catch_up_beside(4 << 20).await;
        assert!(took < Duration::from_millis(1500), "{took:?} at four times the settings' rate");
    }
}
