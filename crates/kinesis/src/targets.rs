//! The target of a request: the account, a stream, a shard or a consumer.
//!
//! The gateway evaluates policies for the target and counts limited calls for it. The operation then gets the same
//! target. A target is only a name. Whether the resource exists is decided by a version of the catalog.

use anabranch_catalog::{Consumer, Stream, StreamId};
use anabranch_client::View;
use anabranch_gateway::service::{self, Resource, Target};
use anabranch_types::{AccountId, ConsumerArn, ConsumerName, ShardId, StreamName};

use crate::error::not_found;
use crate::kinesis::Kinesis;

/// The account. Requests without a certain stream have this target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account;

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamTarget {
    pub name: StreamName,
    /// Whether the request also names the account. A bare name means a stream of the caller's account.
    pub is_named_fully: bool,
}

/// A consumer with enhanced fan-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerTarget {
    /// A certain registration, named by its ARN.
    Arn(ConsumerArn),
    /// The current registration under this name.
    Name { stream: StreamName, consumer: ConsumerName },
}

/// A stream or a consumer, named by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResourceTarget {
    Stream(StreamTarget),
    Consumer(ConsumerTarget),
}

/// A shard of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardTarget {
    pub stream: StreamTarget,
    /// `None` if no shard can have the name in the request. The operation refuses it.
    pub shard: Option<ShardId>,
}

/// A subscription of a consumer to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionTarget {
    pub consumer: ConsumerArn,
    /// `None` if no shard can have the name in the request. The operation refuses it.
    pub shard: Option<ShardId>,
}

/// A sealed token and the stream in it. A gateway of this cluster made the token, so the stream belongs to the
/// account of this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenTarget<T> {
    pub stream: StreamTarget,
    pub token: T,
}

/// The kinds of subjects that AWS limits separately, besides the account (API reference, each operation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each stream.
    Stream,
    /// Each open shard.
    OpenShard,
    /// Each pair of consumer and shard.
    Subscription,
}

/// A certain stream, shard or subscription whose calls are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A stream.
    Stream(StreamId),
    /// A shard of a stream.
    Shard(StreamId, ShardId),
    /// A consumer and a shard of a stream.
    Subscription(StreamId, ShardId, ConsumerName),
}

impl service::Scope for Scope {
    fn text(self) -> &'static str {
        match self {
            Self::Stream => " for each stream",
            Self::OpenShard => " for each shard",
            Self::Subscription => " for each consumer and shard",
        }
    }
}

impl StreamTarget {
    /// A stream of this cluster's account.
    pub(crate) const fn named_fully(name: StreamName) -> Self {
        Self { name, is_named_fully: true }
    }

    fn find<'v>(&self, view: &'v View) -> Option<&'v Stream> {
        view.stream(&self.name).map(|found| found.stream)
    }
}

impl ConsumerTarget {
    fn stream(&self) -> &StreamName {
        match self {
            Self::Arn(arn) => &arn.stream.stream,
            Self::Name { stream, .. } => stream,
        }
    }

    fn consumer(&self) -> &ConsumerName {
        match self {
            Self::Arn(arn) => &arn.consumer,
            Self::Name { consumer, .. } => consumer,
        }
    }

    /// Creation time in the ARN of the consumer. Without an ARN, the creation time of the current registration.
    fn created_seconds(&self, known: Option<&Consumer>) -> u64 {
        match self {
            Self::Arn(arn) => arn.created_seconds,
            Self::Name { .. } => known.map_or(0, |known| known.created.as_secs()),
        }
    }
}

impl Target<Kinesis> for Account {
    fn resource<'v>(&self, kinesis: &Kinesis, _: &AccountId, _: &'v View) -> Resource<'v> {
        let owner = kinesis.account.clone();
        Resource { arn: "*".to_owned(), owner, tags: None, policy: None, missing: None }
    }

    fn subject(&self, _: Scope, _: &View) -> Option<Subject> {
        None
    }
}

impl Target<Kinesis> for StreamTarget {
    fn resource<'v>(&self, kinesis: &Kinesis, caller: &AccountId, view: &'v View) -> Resource<'v> {
        let mut arn = kinesis.arn(&self.name);
        if !self.is_named_fully && *caller != kinesis.account {
            // No other account has streams in this cluster.
            let missing = Some(not_found(&self.name, caller).fault());
            arn.account = caller.clone();
            let (arn, owner) = (arn.to_string(), caller.clone());
            return Resource { arn, owner, tags: None, policy: None, missing };
        }
        let found = self.find(view);
        Resource {
            arn: arn.to_string(),
            owner: kinesis.account.clone(),
            tags: found.map(|stream| &stream.tags),
            policy: found.and_then(|stream| stream.policy.as_deref()),
            missing: None,
        }
    }

    fn subject(&self, scope: Scope, view: &View) -> Option<Subject> {
        match scope {
            Scope::Stream => self.find(view).map(|stream| Subject::Stream(stream.id)),
            Scope::OpenShard | Scope::Subscription => None,
        }
    }
}

impl Target<Kinesis> for ConsumerTarget {
    fn resource<'v>(&self, kinesis: &Kinesis, _: &AccountId, view: &'v View) -> Resource<'v> {
        let stream = view.stream(self.stream());
        let known = stream.and_then(|found| found.stream.consumers.get(self.consumer()));
        let created_seconds = self.created_seconds(known);
        let found = known.filter(|known| known.created.as_secs() == created_seconds);
        let (stream, consumer) = (kinesis.arn(self.stream()), self.consumer().clone());
        Resource {
            arn: ConsumerArn { stream, consumer, created_seconds }.to_string(),
            owner: kinesis.account.clone(),
            tags: found.map(|known| &known.tags),
            policy: found.and_then(|known| known.policy.as_deref()),
            missing: None,
        }
    }

    fn subject(&self, scope: Scope, view: &View) -> Option<Subject> {
        match scope {
            Scope::Stream => {
                view.stream(self.stream()).map(|found| Subject::Stream(found.stream.id))
            }
            Scope::OpenShard | Scope::Subscription => None,
        }
    }
}

impl Target<Kinesis> for ResourceTarget {
    fn resource<'v>(&self, kinesis: &Kinesis, caller: &AccountId, view: &'v View) -> Resource<'v> {
        match self {
            Self::Stream(stream) => stream.resource(kinesis, caller, view),
            Self::Consumer(consumer) => consumer.resource(kinesis, caller, view),
        }
    }

    fn subject(&self, scope: Scope, view: &View) -> Option<Subject> {
        match self {
            Self::Stream(stream) => stream.subject(scope, view),
            Self::Consumer(consumer) => consumer.subject(scope, view),
        }
    }
}

impl Target<Kinesis> for ShardTarget {
    fn resource<'v>(&self, kinesis: &Kinesis, caller: &AccountId, view: &'v View) -> Resource<'v> {
        self.stream.resource(kinesis, caller, view)
    }

    /// Closed shards are not counted, because AWS documents no figure for them.
    fn subject(&self, scope: Scope, view: &View) -> Option<Subject> {
        match scope {
            Scope::OpenShard => {
                let stream = self.stream.find(view)?;
                let shard = stream.shards.get(&self.shard?).filter(|shard| shard.is_open())?;
                Some(Subject::Shard(stream.id, shard.id))
            }
            Scope::Stream | Scope::Subscription => self.stream.subject(scope, view),
        }
    }
}

impl Target<Kinesis> for SubscriptionTarget {
    fn resource<'v>(&self, kinesis: &Kinesis, caller: &AccountId, view: &'v View) -> Resource<'v> {
        ConsumerTarget::Arn(self.consumer.clone()).resource(kinesis, caller, view)
    }

    fn subject(&self, scope: Scope, view: &View) -> Option<Subject> {
        let ConsumerArn { stream, consumer, created_seconds } = &self.consumer;
        let stream = view.stream(&stream.stream)?.stream;
        match scope {
            Scope::Subscription => {
                let known = stream.consumers.get(consumer)?;
                let is_it = known.created.as_secs() == *created_seconds;
                let shard = stream.shards.get(&self.shard?)?;
                is_it.then(|| Subject::Subscription(stream.id, shard.id, consumer.clone()))
            }
            Scope::Stream => Some(Subject::Stream(stream.id)),
            Scope::OpenShard => None,
        }
    }
}

impl<T: Send + Sync> Target<Kinesis> for TokenTarget<T> {
    fn resource<'v>(&self, kinesis: &Kinesis, caller: &AccountId, view: &'v View) -> Resource<'v> {
        self.stream.resource(kinesis, caller, view)
    }

    fn subject(&self, scope: Scope, view: &View) -> Option<Subject> {
        self.stream.subject(scope, view)
    }
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::{Catalog, ConsumerStatus};
    use anabranch_types::Timestamp;

    use super::*;
    use crate::lineage::tests::stream;

    fn view() -> (View, StreamId) {
        // Shard 0 is closed, shard 1 open.
        let mut known = stream(&[(0, 8, &[], 1, Some(2)), (0, 8, &[0], 2, None)]);
        let (created, status) = (Timestamp::from_millis(7_000), ConsumerStatus::Active);
        let consumer = Consumer { created, status, tags: Default::default(), policy: None };
        known.consumers.insert("app".parse().unwrap(), consumer);
        let id = known.id;
        let streams = [("s".parse().unwrap(), known)].into();
        (View::new(Catalog { streams, ..Catalog::default() }), id)
    }

    fn named(name: &str) -> StreamTarget {
        StreamTarget::named_fully(name.parse().unwrap())
    }

    #[test]
    fn calls_count_for_streams_that_exist() {
        let (view, id) = view();
        let subject = |name| named(name).subject(Scope::Stream, &view);
        assert_eq!((subject("s"), subject("gone")), (Some(Subject::Stream(id)), None));
        let consumer = ConsumerTarget::Name {
            stream: "s".parse().unwrap(),
            consumer: "gone".parse().unwrap(),
        };
        assert_eq!(consumer.subject(Scope::Stream, &view), Some(Subject::Stream(id)));
    }

    #[test]
    fn calls_count_for_open_shards() {
        let (view, id) = view();
        let subject = |shard: Option<u32>| {
            let target = ShardTarget { stream: named("s"), shard: shard.map(ShardId) };
            target.subject(Scope::OpenShard, &view)
        };
        assert_eq!(subject(Some(1)), Some(Subject::Shard(id, ShardId(1))));
        assert_eq!([subject(Some(0)), subject(Some(2)), subject(None)], [None, None, None]);
    }

    #[test]
    fn calls_count_for_subscriptions_of_the_registration_that_the_arn_names() {
        let (view, id) = view();
        let subject = |consumer: &str, created: u64, shard| {
            let arn = format!(
                "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/{consumer}:{created}"
            );
            let (consumer, shard) = (arn.parse().unwrap(), Some(ShardId(shard)));
            SubscriptionTarget { consumer, shard }.subject(Scope::Subscription, &view)
        };
        let expected = Subject::Subscription(id, ShardId(0), "app".parse().unwrap());
        assert_eq!(subject("app", 7, 0), Some(expected));
        assert_eq!(
            [subject("gone", 7, 0), subject("app", 8, 0), subject("app", 7, 2)],
            [None, None, None]
        );
    }
}
