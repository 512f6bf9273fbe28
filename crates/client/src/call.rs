//! One call to one node over gRPC, without retries, and what a node in this process has to offer instead
//! ([`LocalNode`]).
//!
//! A call ends with a response, or with a [`CallError`] that says whether something may have been done. Everything
//! that is not known for certain is [`CallError::Unknown`].

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, Outcome, StreamId};
use anabranch_proto::table::table_service_client::TableServiceClient;
use anabranch_proto::v1::catalog_service_client::CatalogServiceClient;
use anabranch_proto::v1::log_service_client::LogServiceClient;
use anabranch_proto::{
    key_fault, table as pb, table_request_message, table_response, v1, watch_request_message,
};
use anabranch_shard::{Batch, Page, PageBatch, Position, Run, Start};
use anabranch_table::{Version, WatchedRange};
use anabranch_transport::was_not_sent;
use anabranch_types::{GroupId, KeyFault, NodeId, StreamName, Timestamp};
use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::error::Error;
use crate::search::DEADLINE;

/// Why one node did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node does not lead the shard; nothing was done. It may name the leader.
    #[error("not the leader")]
    NotLeader(Option<NodeId>),
    /// The node holds no replica of the shard; nothing was done.
    #[error("no replica there")]
    NotFound,
    /// The shard is closed; nothing was written.
    #[error("shard is closed")]
    Closed,
    /// The shard is being split or merged; nothing was written.
    #[error("shard is being split or merged")]
    Frozen,
    /// Another subscription of the same consumer has the shard.
    #[error("another subscription of the consumer has the shard")]
    InUse,
    /// Memory or disk is full, or a limit was reached; nothing was written.
    #[error("throttled: {0}")]
    Throttled(String),
    /// The request is invalid; nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// The stream is encrypted, and its master key can't be used; nothing was done.
    #[error("{message}")]
    Key {
        /// Kind of the fault.
        fault: KeyFault,
        /// Text that names the key.
        message: String,
    },
    /// The call may have been done or not.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotLeader(_) => Self::NoLeader,
            CallError::NotFound => Self::NotFound,
            CallError::Closed => Self::Closed,
            CallError::Frozen => Self::Frozen,
            CallError::InUse => Self::InUse,
            CallError::Throttled(reason) => Self::Throttled(reason),
            CallError::Invalid(reason) => Self::Invalid(reason),
            CallError::Key { fault, message } => Self::Key { fault, message },
            CallError::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

/// A node in the same process. Its replicas are reached without gRPC.
pub trait LocalNode: Send + Sync + 'static {
    /// Id of the node.
    fn id(&self) -> NodeId;
    /// Whether `other` counts as gone, as the node knows.
    fn is_silent(&self, other: NodeId) -> bool;
    /// Versions of the catalog, as they reach the node.
    fn catalog(&self) -> watch::Receiver<Arc<Catalog>>;
    /// The newest version of the catalog. The node finds the catalog's leader.
    fn newest_version(&self) -> BoxFuture<'_, Result<u64, CallError>>;
    /// Has the catalog apply a command. The node finds the catalog's leader.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, CallError>>;
    /// A new data key, wrapped by the master key.
    fn new_data_key(&self, wanted: NewDataKey) -> BoxFuture<'_, Result<Vec<u8>, CallError>>;
    /// Appends a batch to a shard that the node leads.
    fn append(&self, group: GroupId, batch: Batch) -> BoxFuture<'_, Result<Vec<Run>, CallError>>;
    /// For each record of a call, where it is in a closed shard.
    ///
    /// # Errors
    /// [`CallError::Frozen`] if the node does not know yet that the shard is closed; [`CallError::NotFound`].
    fn recall(&self, group: GroupId, batch: &Batch) -> Result<Vec<Option<Run>>, CallError>;
    /// Finds where a reader begins. With `leader_only` the replica must lead.
    fn seek(
        &self,
        group: GroupId,
        start: Start,
        leader_only: bool,
    ) -> BoxFuture<'_, Result<Position, CallError>>;
    /// Reads a page.
    fn read(&self, group: GroupId, read: Read) -> BoxFuture<'_, Result<Page, CallError>>;
    /// Sends a request to a table group that the node leads.
    fn table(
        &self,
        group: GroupId,
        request: anabranch_table::Request,
    ) -> BoxFuture<'_, Result<anabranch_table::Response, CallError>>;
}

/// Request for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// First position to read.
    pub from: Position,
    /// Most records of the page.
    pub max_records: u32,
    /// Most bytes of data and partition keys. The page has at least one record even if it is larger.
    pub max_bytes: usize,
    /// Whether the replica must lead.
    pub leader_only: bool,
    /// How long the replica waits for a record if it has none.
    pub wait: Duration,
}

/// Request for a data key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDataKey {
    /// Name of the stream.
    pub stream: StreamName,
    /// Tells the stream from an earlier or later one of the same name.
    pub id: StreamId,
    /// Master key that wraps the data key: an id, an ARN or an alias.
    pub master_key: String,
}

/// Largest message. A page is larger than its data, by framing and by records of its entries that are outside of the
/// page.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;

pub(crate) fn log_client(channel: Channel) -> LogServiceClient<Channel> {
    LogServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

pub(crate) fn error_of(status: &Status) -> CallError {
    let detail =
        v1::ErrorDetail::decode(Bytes::copy_from_slice(status.details())).unwrap_or_default();
    if detail.kind() != v1::ErrorKind::Unspecified {
        return error_of_detail(&detail, status.message());
    }
    if status.code() == Code::Unimplemented {
        return CallError::NotFound;
    }
    if was_not_sent(status) {
        return CallError::NotLeader(None);
    }
    CallError::Unknown(status.to_string())
}

pub(crate) fn error_of_detail(detail: &v1::ErrorDetail, message: &str) -> CallError {
    let text = || message.to_owned();
    match detail.kind() {
        v1::ErrorKind::NotLeader => {
            CallError::NotLeader((detail.leader_node != 0).then_some(NodeId(detail.leader_node)))
        }
        v1::ErrorKind::NotFound => CallError::NotFound,
        v1::ErrorKind::Closed => CallError::Closed,
        v1::ErrorKind::Frozen => CallError::Frozen,
        v1::ErrorKind::InUse => CallError::InUse,
        v1::ErrorKind::Throttled => CallError::Throttled(text()),
        v1::ErrorKind::Invalid => CallError::Invalid(text()),
        v1::ErrorKind::KeyAccessDenied
        | v1::ErrorKind::KeyDisabled
        | v1::ErrorKind::KeyInvalidState
        | v1::ErrorKind::KeyNotFound
        | v1::ErrorKind::KeyOptInRequired
        | v1::ErrorKind::KeyThrottled => {
            let fault = key_fault(detail.kind()).unwrap_or(KeyFault::InvalidState);
            CallError::Key { fault, message: text() }
        }
        v1::ErrorKind::UnknownOutcome | v1::ErrorKind::Unspecified => CallError::Unknown(text()),
    }
}

pub(crate) async fn recall(
    channel: Channel,
    group: GroupId,
    batch: &Batch,
) -> Result<Vec<Option<Run>>, CallError> {
    let message = v1::RecallRequest { group: group.0, batch: batch.bytes().clone() };
    let answer = log_client(channel).recall(request(message)).await.map_err(|s| error_of(&s))?;
    let mut known = vec![None; batch.record_count() as usize];
    for v1::RecalledRecord { place, run } in answer.into_inner().records {
        let run = run.map(Run::try_from).transpose();
        let run = run.map_err(|error| CallError::Unknown(error.to_string()))?;
        if let Some(slot) = known.get_mut(place as usize) {
            *slot = run;
        }
    }
    Ok(known)
}

pub(crate) async fn seek(
    channel: Channel,
    group: GroupId,
    start: Start,
    leader_only: bool,
) -> Result<Position, CallError> {
    let start = match start {
        Start::TrimHorizon => v1::seek_request::Start::TrimHorizon(v1::Empty {}),
        Start::Latest => v1::seek_request::Start::Latest(v1::Empty {}),
        Start::AtTimestamp(time) => v1::seek_request::Start::AtMillis(time.as_millis()),
        Start::At(position) => return Ok(position),
    };
    let message = v1::SeekRequest { group: group.0, start: Some(start), leader_only };
    let answer = log_client(channel).seek(request(message)).await.map_err(|s| error_of(&s))?;
    position(answer.into_inner().position)
}

pub(crate) async fn table(
    channel: Channel,
    group: GroupId,
    wanted: &anabranch_table::Request,
) -> Result<anabranch_table::Response, CallError> {
    let message = table_request_message(group.0, wanted);
    let client = TableServiceClient::new(channel);
    let mut client = client.max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = client.call(request(message)).await.map_err(|status| error_of(&status))?;
    let response = table_response(answer.into_inner());
    response.map_err(|error| CallError::Unknown(error.to_string()))
}

pub(crate) async fn watch_rows(
    channel: Channel,
    group: GroupId,
    range: &WatchedRange,
    since: Version,
) -> Result<tonic::Streaming<pb::WatchResponse>, CallError> {
    let client = TableServiceClient::new(channel);
    let mut client = client.max_decoding_message_size(MAX_MESSAGE_BYTES);
    let pages = client.watch(watch_request_message(group.0, range, since)).await;
    pages.map(tonic::Response::into_inner).map_err(|status| error_of(&status))
}

pub(crate) async fn read(channel: Channel, group: GroupId, read: Read) -> Result<Page, CallError> {
    let message = v1::ReadRequest {
        group: group.0,
        from: Some(read.from.into()),
        max_records: read.max_records,
        max_bytes: u32::try_from(read.max_bytes).unwrap_or(u32::MAX),
        leader_only: read.leader_only,
        wait_millis: u32::try_from(read.wait.as_millis()).unwrap_or(u32::MAX),
    };
    let answer = log_client(channel).read(request(message)).await.map_err(|s| error_of(&s))?;
    page(answer.into_inner())
}

pub(crate) fn page(message: v1::ReadResponse) -> Result<Page, CallError> {
    let batch = |batch: v1::PageBatch| PageBatch {
        log_index: batch.log_index,
        arrival: Timestamp::from_millis(batch.arrival_millis),
        first: u16::try_from(batch.first).unwrap_or(u16::MAX),
        records: batch.records,
        batch: batch.batch,
        encrypted: batch.encrypted,
    };
    Ok(Page {
        batches: message.batches.into_iter().map(batch).collect(),
        next: position(message.next)?,
        behind: Duration::from_millis(message.behind_millis),
    })
}

fn position(message: Option<v1::Position>) -> Result<Position, CallError> {
    let message = message.ok_or_else(|| CallError::Unknown("answer without a position".into()))?;
    message
        .try_into()
        .map_err(|error: anabranch_proto::Error| CallError::Unknown(error.to_string()))
}

pub(crate) async fn propose(channel: Channel, command: &Command) -> Result<Outcome, CallError> {
    let command = anabranch_proto::encode_command(command);
    let message = v1::ProposeRequest { command, forwarded: false };
    let answer = CatalogServiceClient::new(channel).propose(request(message)).await;
    let outcome = answer.map_err(|status| error_of(&status))?.into_inner().outcome;
    let outcome = anabranch_proto::decode_outcome(outcome);
    outcome.map_err(|error| CallError::Unknown(error.to_string()))
}

pub(crate) async fn new_data_key(
    channel: Channel,
    wanted: &NewDataKey,
) -> Result<Vec<u8>, CallError> {
    let message = v1::NewDataKeyRequest {
        stream: wanted.stream.to_string(),
        stream_id: wanted.id.0,
        master_key: wanted.master_key.clone(),
    };
    let answer = CatalogServiceClient::new(channel).new_data_key(request(message)).await;
    Ok(answer.map_err(|status| error_of(&status))?.into_inner().wrapped.into())
}

pub(crate) async fn newest_version(channel: Channel) -> Result<u64, CallError> {
    let message = v1::NewestRequest { forwarded: false };
    let answer = CatalogServiceClient::new(channel).newest(request(message)).await;
    Ok(answer.map_err(|status| error_of(&status))?.into_inner().version)
}

pub(crate) async fn tail(
    channel: Channel,
    group: GroupId,
    from: Position,
    subscription: Option<v1::Subscription>,
) -> Result<tonic::Streaming<v1::ReadResponse>, CallError> {
    let message = v1::TailRequest { group: group.0, from: Some(from.into()), subscription };
    let pages = log_client(channel).tail(message).await;
    pages.map(tonic::Response::into_inner).map_err(|status| error_of(&status))
}

pub(crate) async fn watch(
    channel: Channel,
    known_version: u64,
    known_users_version: u64,
) -> Result<tonic::Streaming<v1::WatchResponse>, CallError> {
    let client = CatalogServiceClient::new(channel);
    let mut client = client.max_decoding_message_size(MAX_MESSAGE_BYTES);
    let known_users_version = Some(known_users_version);
    let versions = client.watch(v1::WatchRequest { known_version, known_users_version }).await;
    versions.map(tonic::Response::into_inner).map_err(|status| error_of(&status))
}
