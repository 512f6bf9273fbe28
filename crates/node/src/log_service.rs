//! `LogService` of the native API over gRPC: appends to and reads from the shards that this node holds.
//!
//! Appends of one client come on one stream, many at a time, and their outcomes go back as they are decided, in any
//! order. A tail pushes pages for as long as its reader wants them. A tail for a consumer holds a subscription slot
//! and ends when another subscription takes the slot (ADR-0017).

use std::pin::Pin;
use std::time::Duration;

use anabranch_proto::v1;
use anabranch_proto::v1::log_service_server::{LogService, LogServiceServer};
use anabranch_replica::{Error, ShardReplica};
use anabranch_shard::{Batch, Page, PageBatch, Position, Run, Start};
use anabranch_types::{GroupId, Timestamp, limits};
use futures::future::{pending, ready};
use futures::stream::{self, Stream, StreamExt};
use tokio::time::sleep;
use tonic::{Request, Response, Status, Streaming};

use crate::node::Node;
use crate::status::{detail_of, in_use, invalid, status_of};
use crate::subscriptions::{InUse, Slot};

/// Largest message that a client may send: a full batch and its framing, after a megabyte of other appends.
pub(crate) const MAX_MESSAGE_BYTES: usize = limits::PUT_RECORDS_MAX_BYTES + (4 << 20);

pub(crate) fn log_service(node: &Node) -> LogServiceServer<Log> {
    LogServiceServer::new(Log(node.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX)
}

/// The service, on one node.
#[derive(Clone)]
pub(crate) struct Log(Node);

impl Log {
    fn shard(&self, group: u64) -> Result<ShardReplica, Status> {
        self.0.shard(GroupId(group)).ok_or_else(|| status_of(&Error::NotFound))
    }

    /// A subscription slot at a shard, if this node leads the shard.
    async fn slot(
        &self,
        shard: &ShardReplica,
        group: u64,
        subscription: v1::Subscription,
    ) -> Result<Slot, Status> {
        shard.seek(Start::Latest, true).await.map_err(|error| status_of(&error))?;
        let v1::Subscription { consumer, id, age_millis } = subscription;
        let age = Duration::from_millis(age_millis);
        let slot = self.0.subscriptions().take(GroupId(group), consumer, id, age);
        slot.map_err(|InUse| in_use())
    }

    async fn append_one(&self, append: v1::NumberedAppend) -> v1::NumberedOutcome {
        let v1::NumberedAppend { number, group, batch, hash_keys } = append;
        let appended = async {
            let shard = self.0.shard(GroupId(group)).ok_or(Error::NotFound)?;
            let batch = Batch::parse(batch).map_err(|error| Error::Invalid(error.to_string()))?;
            shard.append(batch.with_hash_keys(hash_keys)).await
        };
        match appended.await {
            Ok(runs) => {
                let runs = runs.into_iter().map(Into::into).collect();
                v1::NumberedOutcome { number, runs, error: None }
            }
            Err(error) => {
                let detail = detail_of(&error);
                v1::NumberedOutcome { number, runs: Vec::new(), error: Some(detail) }
            }
        }
    }
}

fn page_message(page: Page) -> v1::ReadResponse {
    let batch = |batch: PageBatch| v1::PageBatch {
        log_index: batch.log_index,
        arrival_millis: batch.arrival.as_millis(),
        first: u32::from(batch.first),
        records: batch.records,
        batch: batch.batch,
        encrypted: batch.encrypted,
    };
    v1::ReadResponse {
        batches: page.batches.into_iter().map(batch).collect(),
        next: Some(page.next.into()),
        behind_millis: u64::try_from(page.behind.as_millis()).unwrap_or(u64::MAX),
    }
}

fn position(position: Option<v1::Position>, field: &str) -> Result<Position, Status> {
    let position = position.ok_or_else(|| invalid(format!("{field}: missing")))?;
    position.try_into().map_err(invalid)
}

/// Appends of one stream that are under way at a time. More wait in the connection.
const APPENDS_AT_ONCE: usize = 1024;

pub(crate) type Feed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How often a tail without records sends an empty page.
const TAIL_BEAT: Duration = Duration::from_secs(5);
/// Longest time that a read waits for records.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl LogService for Log {
    type AppendStreamStream = Feed<v1::AppendStreamResponse>;
    type TailStream = Feed<v1::ReadResponse>;

    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let request = request.into_inner();
        let shard = self.shard(request.group)?;
        let batch = Batch::parse(request.batch).map_err(invalid)?;
        let batch = batch.with_hash_keys(request.hash_keys);
        let runs = shard.append(batch).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(v1::AppendResponse { runs: runs.into_iter().map(Into::into).collect() }))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<v1::AppendStreamRequest>>,
    ) -> Result<Response<Feed<v1::AppendStreamResponse>>, Status> {
        let api = self.clone();
        let messages = request.into_inner().take_while(|message| ready(message.is_ok()));
        let appends =
            messages.flat_map(|message| stream::iter(message.unwrap_or_default().appends));
        let outcomes = appends.map(move |append| {
            let api = api.clone();
            async move { api.append_one(append).await }
        });
        let decided = outcomes.buffer_unordered(APPENDS_AT_ONCE).ready_chunks(APPENDS_AT_ONCE);
        let responses = decided.map(|outcomes| Ok(v1::AppendStreamResponse { outcomes }));
        Ok(Response::new(Box::pin(responses)))
    }

    async fn recall(
        &self,
        request: Request<v1::RecallRequest>,
    ) -> Result<Response<v1::RecallResponse>, Status> {
        let request = request.into_inner();
        let shard = self.shard(request.group)?;
        let batch = Batch::parse(request.batch).map_err(invalid)?;
        let known = shard.recall(&batch).map_err(|error| status_of(&error))?;
        let record = |(place, run): (u32, Option<Run>)| {
            run.map(|run| v1::RecalledRecord { place, run: Some(run.into()) })
        };
        let records = (0..).zip(known).filter_map(record).collect();
        Ok(Response::new(v1::RecallResponse { records }))
    }

    async fn seek(
        &self,
        request: Request<v1::SeekRequest>,
    ) -> Result<Response<v1::SeekResponse>, Status> {
        let request = request.into_inner();
        let shard = self.shard(request.group)?;
        let start = match request.start.ok_or_else(|| invalid("start: missing"))? {
            v1::seek_request::Start::TrimHorizon(_) => Start::TrimHorizon,
            v1::seek_request::Start::Latest(_) => Start::Latest,
            v1::seek_request::Start::AtMillis(millis) => {
                Start::AtTimestamp(Timestamp::from_millis(millis))
            }
        };
        let position = shard.seek(start, request.leader_only).await;
        let position = position.map_err(|error| status_of(&error))?;
        Ok(Response::new(v1::SeekResponse { position: Some(position.into()) }))
    }

    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<v1::ReadResponse>, Status> {
        let request = request.into_inner();
        let shard = self.shard(request.group)?;
        let from = position(request.from, "from")?;
        let (records, bytes) = (request.max_records, request.max_bytes as usize);
        let records = if records == 0 { limits::GET_RECORDS_MAX_RECORDS } else { records };
        let bytes = if bytes == 0 { limits::GET_RECORDS_MAX_BYTES } else { bytes };
        let bytes = bytes.min(limits::GET_RECORDS_MAX_BYTES);
        let wait = Duration::from_millis(request.wait_millis.into()).min(LONGEST_WAIT);
        let page = shard.poll(from, records, bytes, request.leader_only, wait).await;
        Ok(Response::new(page_message(page.map_err(|error| status_of(&error))?)))
    }

    async fn tail(
        &self,
        request: Request<v1::TailRequest>,
    ) -> Result<Response<Feed<v1::ReadResponse>>, Status> {
        let request = request.into_inner();
        let shard = self.shard(request.group)?;
        let from = position(request.from, "from")?;
        let slot = match request.subscription {
            Some(subscription) => Some(self.slot(&shard, request.group, subscription).await?),
            None => None,
        };
        let pages = stream::try_unfold((shard, from, slot), |(shard, from, mut slot)| async move {
            let leader_only = slot.is_some();
            let page = tokio::select! {
                biased;
                () = is_displaced(&mut slot) => return Err(in_use()),
                page = tail_page(&shard, from, leader_only) => page,
            };
            let page = page.map_err(|error| status_of(&error))?;
            let next = page.next;
            if slot.is_some() {
                let bytes = page.batches.iter().map(|batch| batch.batch.len()).sum();
                let pause = shard.pause_after_push(bytes);
                if !pause.is_zero() {
                    sleep(pause).await; // a sleep of zero takes up to a millisecond, so none then
                }
            }
            Ok(Some((page_message(page), (shard, next, slot))))
        });
        Ok(Response::new(Box::pin(pages)))
    }
}

/// Returns when another subscription takes the slot. Never returns for a tail without a slot.
async fn is_displaced(slot: &mut Option<Slot>) {
    match slot {
        Some(slot) => slot.is_displaced().await,
        None => pending().await,
    }
}

/// The next page of a tail: records as soon as there are any, or an empty page after a while.
async fn tail_page(shard: &ShardReplica, from: Position, leader_only: bool) -> Result<Page, Error> {
    const RECORDS: u32 = limits::GET_RECORDS_MAX_RECORDS;
    const BYTES: usize = 1 << 20;
    shard.read_or_wait(from, RECORDS, BYTES, leader_only, TAIL_BEAT).await
}
