//! The operations of the API. A new one is one file and one arm of [`perform`].

pub(crate) mod account_settings;
mod beginning;
mod consumers;
pub(crate) mod create_stream;
pub(crate) mod delete_stream;
pub(crate) mod deregister_stream_consumer;
pub(crate) mod describe_limits;
pub(crate) mod describe_stream;
pub(crate) mod describe_stream_consumer;
pub(crate) mod describe_stream_summary;
pub(crate) mod enhanced_monitoring;
pub(crate) mod get_records;
pub(crate) mod get_shard_iterator;
pub(crate) mod list_shards;
pub(crate) mod list_stream_consumers;
pub(crate) mod list_streams;
pub(crate) mod max_record_size;
pub(crate) mod merge_shards;
mod page;
pub(crate) mod put_record;
pub(crate) mod put_records;
pub(crate) mod record_distribution;
pub(crate) mod register_stream_consumer;
pub(crate) mod resource_policy;
pub(crate) mod resource_tags;
pub(crate) mod retention_period;
mod shards;
pub(crate) mod split_shard;
pub(crate) mod stream_encryption;
pub(crate) mod stream_mode;
pub(crate) mod stream_tags;
pub(crate) mod subscribe_to_shard;
mod tags;
pub(crate) mod update_shard_count;
pub(crate) mod warm_throughput;

use std::future::Future;

use anabranch_types::ShardId;
use futures::future::BoxFuture;
use http::request::Parts;
use serde::Deserialize;

use crate::aside::aside;
use crate::auth::{Caller, Known, Peer};
use crate::authorization::{self, AskedTags, Target};
use crate::budget::Permit;
use crate::call_limits::{Limit, Subject};
use crate::call_name::Invocation;
use crate::constraints::{self, Constrained};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::response::{Done, Encoded};
use crate::wire::{self, DecodeError, Format, Writer};

/// Answers up to this size are not counted: streams per connection bound them.
const UNCOUNTED_ANSWER_BYTES: usize = 1024;

/// An operation that this gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    AddTagsToStream,
    CreateStream,
    DecreaseStreamRetentionPeriod,
    DeleteResourcePolicy,
    DeleteStream,
    DeregisterStreamConsumer,
    DescribeAccountSettings,
    DescribeLimits,
    DescribeStream,
    DescribeStreamConsumer,
    DescribeStreamSummary,
    DisableEnhancedMonitoring,
    EnableEnhancedMonitoring,
    GetRecords,
    GetResourcePolicy,
    GetShardIterator,
    IncreaseStreamRetentionPeriod,
    ListShards,
    ListStreamConsumers,
    ListStreams,
    ListTagsForResource,
    ListTagsForStream,
    MergeShards,
    PutRecord,
    PutRecords,
    PutResourcePolicy,
    RegisterStreamConsumer,
    RemoveTagsFromStream,
    SplitShard,
    StartStreamEncryption,
    StopStreamEncryption,
    SubscribeToShard,
    TagResource,
    UntagResource,
    UpdateAccountSettings,
    UpdateMaxRecordSize,
    UpdateShardCount,
    UpdateStreamMode,
    UpdateStreamRecordDistributionStrategy,
    UpdateStreamWarmThroughput,
}

/// One call, not yet decoded.
pub(crate) struct Call<'a> {
    pub gateway: &'a Gateway,
    pub operation: Operation,
    pub format: Format,
    pub body: &'a [u8],
    pub parts: &'a Parts,
    pub peer: Peer,
    /// Who calls, or why it isn't let in: it is told so if its body can be read.
    pub caller: Result<Caller, Error>,
    pub invocation: Invocation<'a>,
}

/// What an operation may use.
pub(crate) struct Context<'a> {
    pub gateway: &'a Gateway,
    /// Who calls, where that is verified.
    pub identity: Option<&'a Identity>,
    pub parts: &'a Parts,
    pub invocation: &'a Invocation<'a>,
}

/// A decoded request that knows how to be carried out.
pub(crate) trait Request: Constrained + Send + Sync {
    type Answer: Send;

    /// What it is about, for policies. It must be what [`Self::run`] then works on.
    ///
    /// # Errors
    /// When it names nothing that could be there.
    fn target(&self, gateway: &Gateway) -> Result<Target, Error>;

    /// The one shard of its target that it is about, if there is one.
    fn shard(&self) -> Option<ShardId> {
        None
    }

    /// Tags that it brings or takes away, for conditions of policies.
    fn tags(&self) -> AskedTags<'_> {
        AskedTags::new()
    }

    /// Checks the meaning and does it. Run again if it refuses the call and the catalog may have changed.
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

    /// Whether it says that something was done: then it is sent even if the budget of answers is used up.
    fn is_of_change(&self) -> bool {
        false
    }

    /// The permit for an answer that is counted against the byte budget before it is made. Other large ones are counted
    /// once they are made.
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
            "AddTagsToStream" => Some(Self::AddTagsToStream),
            "CreateStream" => Some(Self::CreateStream),
            "DecreaseStreamRetentionPeriod" => Some(Self::DecreaseStreamRetentionPeriod),
            "DeleteResourcePolicy" => Some(Self::DeleteResourcePolicy),
            "DeleteStream" => Some(Self::DeleteStream),
            "DeregisterStreamConsumer" => Some(Self::DeregisterStreamConsumer),
            "DescribeAccountSettings" => Some(Self::DescribeAccountSettings),
            "DescribeLimits" => Some(Self::DescribeLimits),
            "DescribeStream" => Some(Self::DescribeStream),
            "DescribeStreamConsumer" => Some(Self::DescribeStreamConsumer),
            "DescribeStreamSummary" => Some(Self::DescribeStreamSummary),
            "DisableEnhancedMonitoring" => Some(Self::DisableEnhancedMonitoring),
            "EnableEnhancedMonitoring" => Some(Self::EnableEnhancedMonitoring),
            "GetRecords" => Some(Self::GetRecords),
            "GetResourcePolicy" => Some(Self::GetResourcePolicy),
            "GetShardIterator" => Some(Self::GetShardIterator),
            "IncreaseStreamRetentionPeriod" => Some(Self::IncreaseStreamRetentionPeriod),
            "ListShards" => Some(Self::ListShards),
            "ListStreamConsumers" => Some(Self::ListStreamConsumers),
            "ListStreams" => Some(Self::ListStreams),
            "ListTagsForResource" => Some(Self::ListTagsForResource),
            "ListTagsForStream" => Some(Self::ListTagsForStream),
            "MergeShards" => Some(Self::MergeShards),
            "PutRecord" => Some(Self::PutRecord),
            "PutRecords" => Some(Self::PutRecords),
            "PutResourcePolicy" => Some(Self::PutResourcePolicy),
            "RegisterStreamConsumer" => Some(Self::RegisterStreamConsumer),
            "RemoveTagsFromStream" => Some(Self::RemoveTagsFromStream),
            "SplitShard" => Some(Self::SplitShard),
            "StartStreamEncryption" => Some(Self::StartStreamEncryption),
            "StopStreamEncryption" => Some(Self::StopStreamEncryption),
            "SubscribeToShard" => Some(Self::SubscribeToShard),
            "TagResource" => Some(Self::TagResource),
            "UntagResource" => Some(Self::UntagResource),
            "UpdateAccountSettings" => Some(Self::UpdateAccountSettings),
            "UpdateMaxRecordSize" => Some(Self::UpdateMaxRecordSize),
            "UpdateShardCount" => Some(Self::UpdateShardCount),
            "UpdateStreamMode" => Some(Self::UpdateStreamMode),
            "UpdateStreamRecordDistributionStrategy" => {
                Some(Self::UpdateStreamRecordDistributionStrategy)
            }
            "UpdateStreamWarmThroughput" => Some(Self::UpdateStreamWarmThroughput),
            _ => None,
        }
    }

    /// What policies call it.
    pub(crate) fn action(self) -> String {
        format!("kinesis:{self:?}")
    }

    /// Whether it is about records. Any other is about the catalog, and runs on the newest version of it.
    pub(crate) const fn is_of_records(self) -> bool {
        self.is_of_data() || matches!(self, Self::SubscribeToShard)
    }

    /// Whether it reads or writes records; those know ProvisionedThroughputExceededException.
    pub(crate) const fn is_of_data(self) -> bool {
        match self {
            Self::GetRecords | Self::GetShardIterator | Self::PutRecord | Self::PutRecords => true,
            Self::AddTagsToStream
            | Self::CreateStream
            | Self::DecreaseStreamRetentionPeriod
            | Self::DeleteResourcePolicy
            | Self::DeleteStream
            | Self::DeregisterStreamConsumer
            | Self::DescribeAccountSettings
            | Self::DescribeLimits
            | Self::DescribeStream
            | Self::DescribeStreamConsumer
            | Self::DescribeStreamSummary
            | Self::DisableEnhancedMonitoring
            | Self::EnableEnhancedMonitoring
            | Self::GetResourcePolicy
            | Self::IncreaseStreamRetentionPeriod
            | Self::ListShards
            | Self::ListStreamConsumers
            | Self::ListStreams
            | Self::ListTagsForResource
            | Self::ListTagsForStream
            | Self::MergeShards
            | Self::PutResourcePolicy
            | Self::RegisterStreamConsumer
            | Self::RemoveTagsFromStream
            | Self::SplitShard
            | Self::StartStreamEncryption
            | Self::StopStreamEncryption
            | Self::SubscribeToShard
            | Self::TagResource
            | Self::UntagResource
            | Self::UpdateAccountSettings
            | Self::UpdateMaxRecordSize
            | Self::UpdateShardCount
            | Self::UpdateStreamMode
            | Self::UpdateStreamRecordDistributionStrategy
            | Self::UpdateStreamWarmThroughput => false,
        }
    }
}

/// Carries out one call. On the heap: the futures of the operations differ much in size.
pub(crate) fn perform<'a>(call: Call<'a>) -> BoxFuture<'a, Result<Done, Error>> {
    match call.operation {
        Operation::SubscribeToShard => subscribe_to_shard::perform(call),
        Operation::AddTagsToStream => run::<stream_tags::AddTagsToStream<'a>>(call),
        Operation::DeleteResourcePolicy => run::<resource_policy::DeleteResourcePolicy<'a>>(call),
        Operation::DeregisterStreamConsumer => {
            run::<deregister_stream_consumer::DeregisterStreamConsumer<'a>>(call)
        }
        Operation::DescribeAccountSettings => {
            run::<account_settings::DescribeAccountSettings>(call)
        }
        Operation::DescribeLimits => run::<describe_limits::DescribeLimits>(call),
        Operation::DescribeStreamConsumer => {
            run::<describe_stream_consumer::DescribeStreamConsumer<'a>>(call)
        }
        Operation::DisableEnhancedMonitoring => {
            run::<enhanced_monitoring::SetEnhancedMonitoring<'a, false>>(call)
        }
        Operation::EnableEnhancedMonitoring => {
            run::<enhanced_monitoring::SetEnhancedMonitoring<'a, true>>(call)
        }
        Operation::GetResourcePolicy => run::<resource_policy::GetResourcePolicy<'a>>(call),
        Operation::ListStreamConsumers => {
            run::<list_stream_consumers::ListStreamConsumers<'a>>(call)
        }
        Operation::ListTagsForResource => run::<resource_tags::ListTagsForResource<'a>>(call),
        Operation::ListTagsForStream => run::<stream_tags::ListTagsForStream<'a>>(call),
        Operation::PutResourcePolicy => run::<resource_policy::PutResourcePolicy<'a>>(call),
        Operation::RegisterStreamConsumer => {
            run::<register_stream_consumer::RegisterStreamConsumer<'a>>(call)
        }
        Operation::RemoveTagsFromStream => run::<stream_tags::RemoveTagsFromStream<'a>>(call),
        Operation::TagResource => run::<resource_tags::TagResource<'a>>(call),
        Operation::UntagResource => run::<resource_tags::UntagResource<'a>>(call),
        Operation::UpdateAccountSettings => {
            run::<account_settings::UpdateAccountSettings<'a>>(call)
        }
        Operation::UpdateMaxRecordSize => run::<max_record_size::UpdateMaxRecordSize<'a>>(call),
        Operation::UpdateStreamRecordDistributionStrategy => {
            run::<record_distribution::UpdateStreamRecordDistributionStrategy<'a>>(call)
        }
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
        Operation::StartStreamEncryption => {
            run::<stream_encryption::SetStreamEncryption<'a, true>>(call)
        }
        Operation::StopStreamEncryption => {
            run::<stream_encryption::SetStreamEncryption<'a, false>>(call)
        }
        Operation::UpdateShardCount => run::<update_shard_count::UpdateShardCount<'a>>(call),
        Operation::UpdateStreamMode => run::<stream_mode::UpdateStreamMode<'a>>(call),
        Operation::UpdateStreamWarmThroughput => {
            run::<warm_throughput::UpdateStreamWarmThroughput<'a>>(call)
        }
    }
}

/// Decode, check, do, encode.
fn run<'a, R>(call: Call<'a>) -> BoxFuture<'a, Result<Done, Error>>
where
    R: Request<Answer: Answer> + Deserialize<'a> + 'a,
{
    Box::pin(async move {
        let admitted = admit::<R>(&call).await?;
        let answer = attempt(&admitted, &call).await?;
        let format = call.format;
        let mut writer = Writer::new(format, answer.expected_bytes());
        answer.write(&mut writer);
        let bytes = writer.finish();
        let is_of_change = answer.is_of_change();
        let permit = match answer.into_permit() {
            None if bytes.len() > UNCOUNTED_ANSWER_BYTES => {
                let permit = call.gateway.answers.take(bytes.len());
                if permit.is_none() && !is_of_change {
                    return Err(throttled_as(Some(call.operation), Error::too_much_in_flight()));
                }
                permit
            }
            permit => permit,
        };
        Ok(Done::Answer(Encoded { bytes, permit }))
    })
}

/// Operations on streams know no throughput error: for them a full gateway is a limit.
pub(crate) fn throttled_as(operation: Option<Operation>, error: Error) -> Error {
    let knows_throughput = operation.is_some_and(Operation::is_of_data);
    if let (Error::Throughput(message), false) = (&error, knows_throughput) {
        return Error::Limit(message.clone());
    }
    error
}

async fn attempt<R: Request>(admitted: &Admitted<R>, call: &Call<'_>) -> Result<R::Answer, Error> {
    let Call { gateway, parts, ref invocation, .. } = *call;
    let identity = admitted.caller.as_ref().map(|known| &*known.identity);
    let cx = Context { gateway, identity, parts, invocation };
    let request = &admitted.request;
    match request.run(&cx).await {
        // Another gateway may have acknowledged a change that hasn't reached this one: a call is refused by the newest
        // version only.
        Err(error) if call.operation.is_of_records() && error.may_be_of_an_old_version() => {
            gateway.newest.view(&gateway.cluster).await.ok_or(Error::Internal)?;
            // Tags and policies of what was not there have not been asked.
            admitted.authorize(call).await?;
            request.run(&cx).await
        }
        done => done,
    }
}

/// A request that may be carried out, and who asks for it; nobody in particular where any credentials are accepted.
struct Admitted<R> {
    request: R,
    caller: Option<Known>,
}

/// The request, if body, signature, types and constraints are right, in that order, and its caller may do it.
async fn admit<'a, R: Request + Deserialize<'a>>(call: &Call<'a>) -> Result<Admitted<R>, Error> {
    let decoded = aside(call.body.len(), || wire::decode::<R>(call.format, call.body));
    if let Err(error @ DecodeError::Malformed(_)) = decoded {
        return Err(error.into());
    }
    let gateway = call.gateway;
    let Caller(caller) = call.caller.clone()?;
    let limit = gateway.call_limits.as_deref().zip(Limit::of(call.operation));
    // Only who may be known counts against the account's limits, and against others who may do it.
    if let Some((limits, limit)) = limit.filter(|(_, limit)| limit.is_of_account()) {
        limits.check(call.operation, limit, Subject::Account, gateway.clock.now())?;
    }
    let request = decoded?;
    constraints::check(&request)?;
    let admitted = Admitted { request, caller };
    if !call.operation.is_of_records() && !gateway.newest.reach(&gateway.cluster).await {
        return Err(Error::Internal);
    }
    admitted.authorize(call).await?;
    if let Some((limits, limit)) = limit.filter(|(_, limit)| !limit.is_of_account())
        && let Some(subject) = admitted.subject(limit, gateway)
    {
        limits.check(call.operation, limit, subject, gateway.clock.now())?;
    }
    Ok(admitted)
}

impl<R: Request> Admitted<R> {
    /// What the call counts for. Who names nothing that could be there is told so by [`Request::run`].
    fn subject(&self, limit: Limit, gateway: &Gateway) -> Option<Subject> {
        let target = self.request.target(gateway).ok()?;
        limit.subject(&target, self.request.shard(), &gateway.cluster.view())
    }

    /// Whether its caller may do it, as the policies and tags are that this gateway knows.
    async fn authorize(&self, call: &Call<'_>) -> Result<(), Error> {
        let (Some(caller), Some(authenticator)) = (&self.caller, &call.gateway.authenticator)
        else {
            return Ok(());
        };
        let (target, tags) = (self.request.target(call.gateway)?, self.request.tags());
        authorization::authorize(call, authenticator, caller, &target, &tags).await
    }
}
