//! The operations of the API. A new one is one file and one arm of [`perform`].

pub(crate) mod create_stream;
pub(crate) mod delete_stream;
pub(crate) mod describe_stream;
pub(crate) mod describe_stream_summary;
pub(crate) mod get_records;
pub(crate) mod get_shard_iterator;
pub(crate) mod list_shards;
pub(crate) mod list_streams;
pub(crate) mod merge_shards;
pub(crate) mod put_record;
pub(crate) mod put_records;
pub(crate) mod retention_period;
mod shards;
pub(crate) mod split_shard;
pub(crate) mod stream_mode;
pub(crate) mod update_shard_count;
pub(crate) mod warm_throughput;

use std::future::{Future, ready};

use anabranch_shard::Producer;
use futures::future::BoxFuture;
use http::HeaderMap;
use serde::Deserialize;

use crate::auth;
use crate::budget::Permit;
use crate::constraints::{self, Constrained};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::response::Encoded;
use crate::wire::{self, DecodeError, Format, Writer};

/// An operation that this gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateStream,
    DecreaseStreamRetentionPeriod,
    DeleteStream,
    DescribeStream,
    DescribeStreamSummary,
    GetRecords,
    GetShardIterator,
    IncreaseStreamRetentionPeriod,
    ListShards,
    ListStreams,
    MergeShards,
    PutRecord,
    PutRecords,
    SplitShard,
    UpdateShardCount,
    UpdateStreamMode,
    UpdateStreamWarmThroughput,
}

/// One call, not yet decoded.
pub(crate) struct Call<'a> {
    pub gateway: &'a Gateway,
    pub format: Format,
    pub body: &'a [u8],
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
    pub producer: Option<Producer>,
    pub may_repeat: bool,
}

/// What an operation may use.
pub(crate) struct Context<'a> {
    pub gateway: &'a Gateway,
    /// Who repeats this call, if it is repeated.
    pub producer: Option<Producer>,
    /// Whether it may be a repeat: the client doesn't say that this is its first attempt.
    pub may_repeat: bool,
}

/// A decoded request that knows how to be carried out.
pub(crate) trait Request: Constrained + Send + Sync {
    type Answer: Answer + Send;

    /// Checks the meaning and does it. Run again if it says that something isn't there.
    fn run(&self, cx: &Context<'_>) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

/// What an operation answers.
pub(crate) trait Answer {
    /// A guess at the encoded size, so that the buffer seldom grows.
    fn expected_bytes(&self) -> usize {
        512
    }

    /// Writes the body.
    fn write(&self, writer: &mut Writer);

    /// The permit for an answer that is counted against the byte budget.
    fn into_permit(self) -> Option<Permit>
    where
        Self: Sized,
    {
        None
    }
}

/// The answer of operations that answer nothing: an empty body, as the service sends.
pub(crate) struct Empty;

impl Answer for Empty {
    fn expected_bytes(&self) -> usize {
        0
    }

    fn write(&self, _: &mut Writer) {}
}

impl Operation {
    /// The operation of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            "CreateStream" => Some(Self::CreateStream),
            "DecreaseStreamRetentionPeriod" => Some(Self::DecreaseStreamRetentionPeriod),
            "DeleteStream" => Some(Self::DeleteStream),
            "DescribeStream" => Some(Self::DescribeStream),
            "DescribeStreamSummary" => Some(Self::DescribeStreamSummary),
            "GetRecords" => Some(Self::GetRecords),
            "GetShardIterator" => Some(Self::GetShardIterator),
            "IncreaseStreamRetentionPeriod" => Some(Self::IncreaseStreamRetentionPeriod),
            "ListShards" => Some(Self::ListShards),
            "ListStreams" => Some(Self::ListStreams),
            "MergeShards" => Some(Self::MergeShards),
            "PutRecord" => Some(Self::PutRecord),
            "PutRecords" => Some(Self::PutRecords),
            "SplitShard" => Some(Self::SplitShard),
            "UpdateShardCount" => Some(Self::UpdateShardCount),
            "UpdateStreamMode" => Some(Self::UpdateStreamMode),
            "UpdateStreamWarmThroughput" => Some(Self::UpdateStreamWarmThroughput),
            _ => None,
        }
    }

    /// Whether it reads or writes records; those know ProvisionedThroughputExceededException.
    pub(crate) const fn is_of_data(self) -> bool {
        match self {
            Self::GetRecords | Self::GetShardIterator | Self::PutRecord | Self::PutRecords => true,
            Self::CreateStream
            | Self::DecreaseStreamRetentionPeriod
            | Self::DeleteStream
            | Self::DescribeStream
            | Self::DescribeStreamSummary
            | Self::IncreaseStreamRetentionPeriod
            | Self::ListShards
            | Self::ListStreams
            | Self::MergeShards
            | Self::SplitShard
            | Self::UpdateShardCount
            | Self::UpdateStreamMode
            | Self::UpdateStreamWarmThroughput => false,
        }
    }
}

/// Carries out one call. On the heap: the futures of the operations differ much in size.
pub(crate) fn perform<'a>(
    operation: Operation,
    call: Call<'a>,
) -> BoxFuture<'a, Result<Encoded, Error>> {
    match operation {
        Operation::CreateStream => run::<create_stream::CreateStream<'a>>(call),
        Operation::DecreaseStreamRetentionPeriod => {
            run::<retention_period::SetRetentionPeriod<'a, false>>(call)
        }
        Operation::DeleteStream => run::<delete_stream::DeleteStream<'a>>(call),
        Operation::DescribeStream => run::<describe_stream::DescribeStream<'a>>(call),
        Operation::DescribeStreamSummary => {
            run::<describe_stream_summary::DescribeStreamSummary<'a>>(call)
        }
        Operation::GetRecords => run::<get_records::GetRecords<'a>>(call),
        Operation::GetShardIterator => run::<get_shard_iterator::GetShardIterator<'a>>(call),
        Operation::IncreaseStreamRetentionPeriod => {
            run::<retention_period::SetRetentionPeriod<'a, true>>(call)
        }
        Operation::ListShards => run::<list_shards::ListShards<'a>>(call),
        Operation::ListStreams => run::<list_streams::ListStreams<'a>>(call),
        Operation::MergeShards => run::<merge_shards::MergeShards<'a>>(call),
        Operation::PutRecord => run::<put_record::PutRecord<'a>>(call),
        Operation::PutRecords => run::<put_records::PutRecords<'a>>(call),
        Operation::SplitShard => run::<split_shard::SplitShard<'a>>(call),
        Operation::UpdateShardCount => run::<update_shard_count::UpdateShardCount<'a>>(call),
        Operation::UpdateStreamMode => run::<stream_mode::UpdateStreamMode<'a>>(call),
        Operation::UpdateStreamWarmThroughput => {
            run::<warm_throughput::UpdateStreamWarmThroughput<'a>>(call)
        }
    }
}

/// Decode, check, do, encode.
fn run<'a, R: Request + Deserialize<'a> + 'a>(
    call: Call<'a>,
) -> BoxFuture<'a, Result<Encoded, Error>> {
    match admit::<R>(&call) {
        Ok(request) => Box::pin(carry_out(request, call)),
        Err(error) => Box::pin(ready(Err(error))),
    }
}

async fn carry_out<R: Request>(request: R, call: Call<'_>) -> Result<Encoded, Error> {
    let Call { gateway, producer, may_repeat, .. } = call;
    let cx = Context { gateway, producer, may_repeat };
    let answer = match request.run(&cx).await {
        // A stream that another gateway made a moment ago may not have reached this one.
        Err(Error::NotFound(_)) => {
            let newest = call.gateway.cluster.newest_view().await;
            newest.map_err(|error| Error::from_client(error, || "Catalog".into()))?;
            request.run(&cx).await?
        }
        done => done?,
    };
    let mut writer = Writer::new(call.format, answer.expected_bytes());
    answer.write(&mut writer);
    Ok(Encoded { bytes: writer.finish(), permit: answer.into_permit() })
}

/// The request, if body, signature, types and constraints are right, in that order.
fn admit<'a, R: Request + Deserialize<'a>>(call: &Call<'a>) -> Result<R, Error> {
    let decoded = wire::decode::<R>(call.format, call.body);
    if let Err(DecodeError::Malformed(_)) = decoded {
        return decoded.map_err(Error::from);
    }
    auth::require_signature(call.headers, call.query)?;
    let request = decoded?;
    constraints::check(&request)?;
    Ok(request)
}
