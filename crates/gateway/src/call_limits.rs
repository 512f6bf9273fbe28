//! The service's limits of how often operations may be called, for clusters that are to have them. Each gateway counts the
//! calls that it gets.
//!
//! Source: API reference, each operation. Limits of one stream or consumer are not kept here: what a shard takes and gives
//! is counted by its leader.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anabranch_types::{RateLimit, Timestamp};

use crate::errors::Error;
use crate::operations::Operation;

/// Calls of the account, by operation.
#[derive(Debug, Default)]
pub(crate) struct CallLimits(Mutex<HashMap<Operation, RateLimit>>);

impl CallLimits {
    /// Counts a call.
    ///
    /// # Errors
    /// [`Error::Limit`] if the account has had its calls of this second.
    pub(crate) fn check(&self, operation: Operation, now: Timestamp) -> Result<(), Error> {
        let Some(per_second) = calls_per_second(operation) else { return Ok(()) };
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = limits.entry(operation).or_insert_with(|| RateLimit::new(per_second, now));
        if !limit.has_any(now) {
            return Err(Error::Limit(format!(
                "Rate exceeded: {operation:?} may be called {per_second} times a second."
            )));
        }
        limit.take(1);
        Ok(())
    }
}

/// How often an account may call it; `None` where no figure is documented, or one of a stream, shard or consumer.
const fn calls_per_second(operation: Operation) -> Option<u64> {
    match operation {
        Operation::DescribeLimits => Some(1),
        Operation::AddTagsToStream
        | Operation::CreateStream
        | Operation::DecreaseStreamRetentionPeriod
        | Operation::DeleteStream
        | Operation::DescribeAccountSettings
        | Operation::DisableEnhancedMonitoring
        | Operation::EnableEnhancedMonitoring
        | Operation::IncreaseStreamRetentionPeriod
        | Operation::ListStreams
        | Operation::ListTagsForStream
        | Operation::MergeShards
        | Operation::RegisterStreamConsumer
        | Operation::RemoveTagsFromStream
        | Operation::SplitShard
        | Operation::UpdateAccountSettings
        | Operation::UpdateStreamWarmThroughput => Some(5),
        Operation::DescribeStream | Operation::UpdateShardCount => Some(10),
        Operation::DescribeStreamSummary => Some(20),
        Operation::DeleteResourcePolicy
        | Operation::DeregisterStreamConsumer
        | Operation::DescribeStreamConsumer
        | Operation::GetRecords
        | Operation::GetResourcePolicy
        | Operation::GetShardIterator
        | Operation::ListShards
        | Operation::ListStreamConsumers
        | Operation::ListTagsForResource
        | Operation::PutRecord
        | Operation::PutRecords
        | Operation::PutResourcePolicy
        | Operation::StartStreamEncryption
        | Operation::StopStreamEncryption
        | Operation::SubscribeToShard
        | Operation::TagResource
        | Operation::UntagResource
        | Operation::UpdateMaxRecordSize
        | Operation::UpdateStreamMode
        | Operation::UpdateStreamRecordDistributionStrategy => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_calls_of_its_own() {
        let at = Timestamp::from_millis;
        let limits = CallLimits::default();
        (0..5).for_each(|_| assert_eq!(limits.check(Operation::CreateStream, at(1_000)), Ok(())));
        let refused = limits.check(Operation::CreateStream, at(1_000));
        assert!(matches!(&refused, Err(Error::Limit(text)) if text.contains("CreateStream")));
        assert_eq!(limits.check(Operation::DescribeLimits, at(1_000)), Ok(()));
        assert!(limits.check(Operation::DescribeLimits, at(1_000)).is_err());
        assert_eq!(limits.check(Operation::CreateStream, at(1_300)), Ok(()));
        (0..1000).for_each(|_| assert_eq!(limits.check(Operation::ListShards, at(1_000)), Ok(())));
    }
}
