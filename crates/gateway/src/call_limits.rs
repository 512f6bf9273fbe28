//! The service's limits of how often operations may be called, for clusters that are to have them. Each gateway counts the
//! calls that it gets.
//!
//! Source: API reference, each operation. What a shard takes and gives is not counted here but by its leader.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anabranch_catalog::StreamId;
use anabranch_client::View;
use anabranch_types::{ConsumerName, RateLimit, ShardId, Timestamp};

use crate::authorization::Target;
use crate::errors::Error;
use crate::operations::Operation;

/// Calls of the last second, by operation and by what they count for.
#[derive(Debug, Default)]
pub(crate) struct CallLimits(Mutex<Calls>);

/// Invariant: subjects are of streams that are or were there, so nobody makes them more by making names up. Those that
/// were not called for a second are forgotten as soon as there are twice as many as were left the last time.
#[derive(Debug, Default)]
struct Calls {
    left: HashMap<(Operation, Subject), RateLimit>,
    /// How many were in use when the idle ones were last forgotten.
    in_use: usize,
}

/// Subjects that are remembered, idle or not, without a look at which are.
const FEW: usize = 1024;

/// How often an operation may be called, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    per_second: u64,
    scope: Scope,
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Account,
    Stream,
    OpenShard,
    /// A consumer at a shard.
    Subscription,
}

/// What calls count for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Account,
    Stream(StreamId),
    Shard(StreamId, ShardId),
    Subscription(StreamId, ShardId, ConsumerName),
}

impl CallLimits {
    /// Counts a call.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Throughput`], whichever the operation has, if the subject had its calls of this second.
    pub(crate) fn check(
        &self,
        operation: Operation,
        limit: Limit,
        subject: Subject,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || RateLimit::new(limit.per_second, now);
        let left = calls.left.entry((operation, subject)).or_insert_with(new);
        if !left.has(1, now) {
            return Err(limit.exceeded(operation));
        }
        left.take(1);
        calls.forget_idle(now);
        Ok(())
    }
}

impl Calls {
    /// Nobody sees that they were: what is idle has a second's worth of calls left, as if it were new.
    fn forget_idle(&mut self, now: Timestamp) {
        if self.left.len() > FEW.max(2 * self.in_use) {
            self.left.retain(|_, left| !left.is_full(now));
            self.in_use = self.left.len();
        }
    }
}

impl Limit {
    /// The limit of an operation; `None` where no figure is documented, or one of what a shard takes and gives.
    pub(crate) const fn of(operation: Operation) -> Option<Self> {
        let (per_second, scope) = match operation {
            Operation::DescribeLimits => (1, Scope::Account),
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
            | Operation::UpdateStreamWarmThroughput => (5, Scope::Account),
            Operation::DescribeStream | Operation::UpdateShardCount => (10, Scope::Account),
            Operation::DescribeStreamSummary => (20, Scope::Account),
            Operation::DeregisterStreamConsumer | Operation::ListStreamConsumers => {
                (5, Scope::Stream)
            }
            Operation::DescribeStreamConsumer => (20, Scope::Stream),
            Operation::ListShards => (1000, Scope::Stream),
            Operation::GetShardIterator => (5, Scope::OpenShard),
            Operation::SubscribeToShard => (1, Scope::Subscription),
            Operation::DeleteResourcePolicy
            | Operation::GetRecords
            | Operation::GetResourcePolicy
            | Operation::ListTagsForResource
            | Operation::PutRecord
            | Operation::PutRecords
            | Operation::PutResourcePolicy
            | Operation::StartStreamEncryption
            | Operation::StopStreamEncryption
            | Operation::TagResource
            | Operation::UntagResource
            | Operation::UpdateMaxRecordSize
            | Operation::UpdateStreamMode
            | Operation::UpdateStreamRecordDistributionStrategy => return None,
        };
        Some(Self { per_second, scope })
    }

    /// Whether all calls of the account count together, whatever they are about.
    pub(crate) fn is_of_account(self) -> bool {
        self.scope == Scope::Account
    }

    /// What a call counts for that is about `target` and `shard`. `None` if that isn't there, which is what the call is
    /// going to be told, and for a closed shard, of which no figure is documented.
    pub(crate) fn subject(
        self,
        target: &Target,
        shard: Option<ShardId>,
        view: &View,
    ) -> Option<Subject> {
        let (name, consumer, created) = match target {
            Target::Account => return self.is_of_account().then_some(Subject::Account),
            Target::Stream { name, .. } => (name, None, None),
            Target::Consumer { stream, consumer, created_seconds } => {
                (stream, Some(consumer), *created_seconds)
            }
        };
        let stream = view.stream(name)?.stream;
        let shard = || stream.shards.get(&shard?);
        match self.scope {
            Scope::Account => Some(Subject::Account),
            Scope::Stream => Some(Subject::Stream(stream.id)),
            Scope::OpenShard => {
                let shard = shard().filter(|shard| shard.is_open())?;
                Some(Subject::Shard(stream.id, shard.id))
            }
            Scope::Subscription => {
                let (consumer, known) = stream.consumers.get_key_value(consumer?)?;
                let is_it = created.is_none_or(|seconds| seconds == known.created.as_secs());
                is_it.then_some(Subject::Subscription(stream.id, shard()?.id, consumer.clone()))
            }
        }
    }

    fn exceeded(self, operation: Operation) -> Error {
        let of = match self.scope {
            Scope::Account => "",
            Scope::Stream => " for each stream",
            Scope::OpenShard => " for each shard",
            Scope::Subscription => " for each consumer and shard",
        };
        let times = self.per_second;
        let message =
            format!("Rate exceeded: {operation:?} may be called {times} times a second{of}.");
        if operation.is_of_data() { Error::Throughput(message) } else { Error::Limit(message) }
    }
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::{Catalog, Consumer, samples};

    use super::*;
    use crate::lineage::tests::stream;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn check(
        limits: &CallLimits,
        operation: Operation,
        subject: Subject,
        now: u64,
    ) -> Option<Error> {
        let limit = Limit::of(operation).unwrap();
        limits.check(operation, limit, subject, at(now)).err()
    }

    #[test]
    fn each_operation_has_calls_of_its_own() {
        let limits = CallLimits::default();
        let check = |operation, now| check(&limits, operation, Subject::Account, now);
        (0..5).for_each(|_| assert_eq!(check(Operation::CreateStream, 1_000), None));
        let refused = check(Operation::CreateStream, 1_000);
        assert!(matches!(&refused, Some(Error::Limit(text)) if text.contains("CreateStream")));
        assert_eq!(check(Operation::DescribeLimits, 1_000), None);
        assert!(check(Operation::DescribeLimits, 1_999).is_some());
        assert_eq!(check(Operation::DescribeLimits, 2_000), None);
        assert_eq!(check(Operation::CreateStream, 1_300), None);
    }

    #[test]
    fn each_stream_shard_and_subscription_has_calls_of_its_own() {
        let limits = CallLimits::default();
        let (one, two) = (StreamId(1), StreamId(2));
        let check = |operation, subject| check(&limits, operation, subject, 1_000);
        let listed = |stream| check(Operation::ListStreamConsumers, Subject::Stream(stream));
        (0..5).for_each(|_| assert_eq!(listed(one), None));
        assert!(matches!(listed(one), Some(Error::Limit(text)) if text.ends_with("each stream.")));
        assert_eq!(listed(two), None);
        let shard = |shard| check(Operation::GetShardIterator, Subject::Shard(one, ShardId(shard)));
        (0..5).for_each(|_| assert_eq!(shard(0), None));
        assert!(matches!(shard(0), Some(Error::Throughput(_))));
        assert_eq!(shard(1), None);
        let subscribed = |name: &str, shard| {
            let subject = Subject::Subscription(one, ShardId(shard), name.parse().unwrap());
            check(Operation::SubscribeToShard, subject)
        };
        assert_eq!(subscribed("a", 0), None);
        assert!(matches!(subscribed("a", 0), Some(Error::Limit(_))));
        assert_eq!((subscribed("a", 1), subscribed("b", 0)), (None, None));
    }

    #[test]
    fn calls_count_for_what_is_there() {
        // Shard 0 is closed, shard 1 open.
        let mut known = stream(&[(0, 8, &[], 1, Some(2)), (0, 8, &[0], 2, None)]);
        let consumer = Consumer { created: at(7), ..samples::consumer() };
        known.consumers.insert("app".parse().unwrap(), consumer);
        let id = known.id;
        let streams = [("s".parse().unwrap(), known)].into();
        let view = View::new(Catalog { streams, ..Catalog::default() });
        let of = |operation, target: &Target, shard: Option<u32>| {
            Limit::of(operation).unwrap().subject(target, shard.map(ShardId), &view)
        };
        let named = |name: &str| Target::named_fully(name.parse().unwrap());
        let by = |consumer: &str| Target::Consumer {
            stream: "s".parse().unwrap(),
            consumer: consumer.parse().unwrap(),
            created_seconds: None,
        };
        assert_eq!(of(Operation::ListShards, &named("s"), None), Some(Subject::Stream(id)));
        assert_eq!(of(Operation::ListShards, &named("gone"), None), None);
        let described = of(Operation::DescribeStreamConsumer, &by("gone"), None);
        assert_eq!(described, Some(Subject::Stream(id)));
        let iterator = |shard| of(Operation::GetShardIterator, &named("s"), shard);
        assert_eq!(iterator(Some(1)), Some(Subject::Shard(id, ShardId(1))));
        assert_eq!([iterator(Some(0)), iterator(Some(2)), iterator(None)], [None, None, None]);
        let subscription = |consumer, shard| of(Operation::SubscribeToShard, &by(consumer), shard);
        let expected = Subject::Subscription(id, ShardId(0), "app".parse().unwrap());
        assert_eq!(subscription("app", Some(0)), Some(expected));
        assert_eq!([subscription("gone", Some(0)), subscription("app", Some(2))], [None, None]);
    }

    #[test]
    fn what_is_not_called_any_more_is_forgotten_and_what_has_used_its_calls_up_is_not() {
        let limits = CallLimits::default();
        let listed = |stream, now| {
            let subject = Subject::Stream(StreamId(stream));
            check(&limits, Operation::ListStreamConsumers, subject, now)
        };
        let remembered = || limits.0.lock().unwrap().left.len();
        for stream in 0..10_000 {
            assert_eq!(listed(stream, 1_000 + stream), None);
            assert!(remembered() <= FEW + 1, "{}", remembered());
        }
        let now = 20_000;
        (0..5).for_each(|_| assert_eq!(listed(7, now), None));
        (0..2 * FEW as u64).for_each(|stream| assert_eq!(listed(20_000 + stream, now), None));
        assert!(remembered() > 2 * FEW, "all of them are in use");
        assert!(listed(7, now).is_some());
        (0..4 * FEW as u64)
            .for_each(|stream| assert_eq!(listed(30_000 + stream, now + 5_000), None));
        assert!(
            !limits
                .0
                .lock()
                .unwrap()
                .left
                .contains_key(&(Operation::ListStreamConsumers, Subject::Stream(StreamId(20_000))))
        );
    }
}
