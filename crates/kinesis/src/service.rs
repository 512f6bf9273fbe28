//! The Kinesis API as a service of the gateway: names, protocols, and the table of operations.
//!
//! The table decides for each operation which version of the catalog it needs and how often it may be called. The
//! rows must be in alphabetical order, because the gateway finds an operation by binary search.

use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::Protocol;
use anabranch_gateway::run::{Call, Performed};
use anabranch_gateway::service::Kind::{Control, Push, Read, Write};
use anabranch_gateway::service::{Kind, Limit, Operation, Service, ServiceNames};
use anabranch_gateway::{run, run_events};

use crate::error::Error;
use crate::kinesis::Kinesis;
use crate::operations::*;
use crate::targets::{Scope, Subject};

/// No limit: AWS documents no figure.
const NONE: Option<Limit<Scope>> = None;

/// All operations: name, kind, limit of calls per second, request type.
///
/// Source of the limits: API reference, each operation. The rates of records and bytes of a shard are not here,
/// because the leader of the shard counts them.
#[rustfmt::skip]
#[expect(clippy::redundant_closure, reason = "a function of one lifetime is not one for every lifetime")]
const OPERATIONS: &[Operation<Kinesis>] = &[
    row("AddTagsToStream", Control, account(5), |call| run::<_, stream_tags::AddTagsToStream<'_>>(call)),
    row("CreateStream", Control, account(5), |call| run::<_, create_stream::CreateStream<'_>>(call)),
    row("DecreaseStreamRetentionPeriod", Control, account(5), |call| run::<_, retention_period::SetRetentionPeriod<'_, false>>(call)),
    row("DeleteResourcePolicy", Control, NONE, |call| run::<_, resource_policy::DeleteResourcePolicy<'_>>(call)),
    row("DeleteStream", Control, account(5), |call| run::<_, delete_stream::DeleteStream<'_>>(call)),
    row("DeregisterStreamConsumer", Control, each(5, Scope::Stream), |call| run::<_, deregister_stream_consumer::DeregisterStreamConsumer<'_>>(call)),
    row("DescribeAccountSettings", Control, account(5), |call| run::<_, account_settings::DescribeAccountSettings>(call)),
    row("DescribeLimits", Control, account(1), |call| run::<_, describe_limits::DescribeLimits>(call)),
    row("DescribeStream", Control, account(10), |call| run::<_, describe_stream::DescribeStream<'_>>(call)),
    row("DescribeStreamConsumer", Control, each(20, Scope::Stream), |call| run::<_, describe_stream_consumer::DescribeStreamConsumer<'_>>(call)),
    row("DescribeStreamSummary", Control, account(20), |call| run::<_, describe_stream_summary::DescribeStreamSummary<'_>>(call)),
    row("DisableEnhancedMonitoring", Control, account(5), |call| run::<_, enhanced_monitoring::SetEnhancedMonitoring<'_, false>>(call)),
    row("EnableEnhancedMonitoring", Control, account(5), |call| run::<_, enhanced_monitoring::SetEnhancedMonitoring<'_, true>>(call)),
    row("GetRecords", Read, NONE, |call| run::<_, get_records::GetRecords<'_>>(call)),
    row("GetResourcePolicy", Control, NONE, |call| run::<_, resource_policy::GetResourcePolicy<'_>>(call)),
    row("GetShardIterator", Read, each(5, Scope::OpenShard), |call| run::<_, get_shard_iterator::GetShardIterator<'_>>(call)),
    row("IncreaseStreamRetentionPeriod", Control, account(5), |call| run::<_, retention_period::SetRetentionPeriod<'_, true>>(call)),
    row("ListShards", Control, each(1000, Scope::Stream), |call| run::<_, list_shards::ListShards<'_>>(call)),
    row("ListStreamConsumers", Control, each(5, Scope::Stream), |call| run::<_, list_stream_consumers::ListStreamConsumers<'_>>(call)),
    row("ListStreams", Control, account(5), |call| run::<_, list_streams::ListStreams<'_>>(call)),
    row("ListTagsForResource", Control, NONE, |call| run::<_, resource_tags::ListTagsForResource<'_>>(call)),
    row("ListTagsForStream", Control, account(5), |call| run::<_, stream_tags::ListTagsForStream<'_>>(call)),
    row("MergeShards", Control, account(5), |call| run::<_, merge_shards::MergeShards<'_>>(call)),
    row("PutRecord", Write, NONE, |call| run::<_, put_record::PutRecord<'_>>(call)),
    row("PutRecords", Write, NONE, |call| run::<_, put_records::PutRecords<'_>>(call)),
    row("PutResourcePolicy", Control, NONE, |call| run::<_, resource_policy::PutResourcePolicy<'_>>(call)),
    row("RegisterStreamConsumer", Control, account(5), |call| run::<_, register_stream_consumer::RegisterStreamConsumer<'_>>(call)),
    row("RemoveTagsFromStream", Control, account(5), |call| run::<_, stream_tags::RemoveTagsFromStream<'_>>(call)),
    row("SplitShard", Control, account(5), |call| run::<_, split_shard::SplitShard<'_>>(call)),
    row("StartStreamEncryption", Control, NONE, |call| run::<_, stream_encryption::SetStreamEncryption<'_, true>>(call)),
    row("StopStreamEncryption", Control, NONE, |call| run::<_, stream_encryption::SetStreamEncryption<'_, false>>(call)),
    row("SubscribeToShard", Push, each(1, Scope::Subscription), |call| run_events::<_, subscribe_to_shard::SubscribeToShard<'_>>(call)),
    row("TagResource", Control, NONE, |call| run::<_, resource_tags::TagResource<'_>>(call)),
    row("UntagResource", Control, NONE, |call| run::<_, resource_tags::UntagResource<'_>>(call)),
    row("UpdateAccountSettings", Control, account(5), |call| run::<_, account_settings::UpdateAccountSettings<'_>>(call)),
    row("UpdateMaxRecordSize", Control, NONE, |call| run::<_, max_record_size::UpdateMaxRecordSize<'_>>(call)),
    row("UpdateShardCount", Control, account(10), |call| run::<_, update_shard_count::UpdateShardCount<'_>>(call)),
    row("UpdateStreamMode", Control, NONE, |call| run::<_, stream_mode::UpdateStreamMode<'_>>(call)),
    row("UpdateStreamRecordDistributionStrategy", Control, NONE, |call| run::<_, record_distribution::UpdateStreamRecordDistributionStrategy<'_>>(call)),
    row("UpdateStreamWarmThroughput", Control, account(5), |call| run::<_, warm_throughput::UpdateStreamWarmThroughput<'_>>(call)),
];

impl Service for Kinesis {
    const NAMES: ServiceNames = ServiceNames {
        target: "Kinesis_20131202",
        protocols: &[Protocol::Json11, Protocol::Cbor11],
        signing: "kinesis",
        actions: "kinesis",
        query: None,
    };
    const OPERATIONS: &'static [Operation<Self>] = OPERATIONS;

    type Error = Error;
    type Scope = Scope;
    type Subject = Subject;

    fn throttled(kind: Kind, message: String) -> Fault {
        Error::throttled(kind, message).fault()
    }
}

const fn row(
    name: &'static str,
    kind: Kind,
    limit: Option<Limit<Scope>>,
    perform: for<'a> fn(Call<'a, Kinesis>) -> Performed<'a>,
) -> Operation<Kinesis> {
    Operation { name, kind, limit, perform }
}

/// A limit that all calls of the account share.
const fn account(per_second: u64) -> Option<Limit<Scope>> {
    Some(Limit { per_second, scope: None })
}

/// A limit that each stream, shard or consumer has for itself.
const fn each(per_second: u64, scope: Scope) -> Option<Limit<Scope>> {
    Some(Limit { per_second, scope: Some(scope) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_in_alphabetical_order() {
        assert!(OPERATIONS.is_sorted_by(|one, next| one.name < next.name));
        assert_eq!(OPERATIONS.len(), 40);
    }
}
