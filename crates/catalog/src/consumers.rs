//! Consumers with enhanced fan-out.
//!
//! A user registers a consumer, which is CREATING, and the controller makes it ACTIVE. A user deregisters it, which
//! makes it DELETING, and the controller removes it. Both changes of the controller are the command `Settle`.
//!
//! The ARN of a consumer has the second of its registration. No two consumers of one name under one name of a stream
//! have the same second (`births.rs`).

use std::collections::BTreeMap;

use anabranch_types::{ConsumerName, StreamName, Timestamp, limits};

use crate::apply::Change;
use crate::births::born_after;
use crate::model::{Catalog, Stream, StreamId};
use crate::outcome::Refusal;
use crate::resources::{attached_bytes, check_room, check_tags, tags_bytes};

/// A consumer with enhanced fan-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Time of the registration, by the proposer's clock, but in a later second than that of every former consumer of
    /// this name. The second is part of the ARN.
    pub created: Timestamp,
    /// Status that the API shows.
    pub status: ConsumerStatus,
    /// Tags of the consumer, values by keys.
    pub tags: BTreeMap<String, String>,
    /// The resource policy: a JSON document, as its user wrote it.
    pub policy: Option<String>,
}

/// Status of a consumer (API reference, `ConsumerStatus`). Only an ACTIVE consumer can subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerStatus {
    /// Registered; the controller has not seen it yet.
    Creating,
    /// The consumer can subscribe to shards.
    Active,
    /// Deregistered; the controller will remove it.
    Deleting,
}

impl ConsumerStatus {
    /// The name that the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Deleting => "DELETING",
        }
    }
}

/// A change to the consumers of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerCommand {
    /// A user registers a consumer.
    Register {
        /// Name of the stream.
        name: StreamName,
        /// Name of the consumer, unique in the stream.
        consumer: ConsumerName,
        /// Tags of the consumer, values by keys; at most 50.
        tags: BTreeMap<String, String>,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// A user deregisters a consumer.
    Deregister {
        /// Name of the stream.
        name: StreamName,
        /// Name of the consumer.
        consumer: ConsumerName,
        /// Its [`Consumer::created`]: tells it from a later consumer of the same name.
        created: Timestamp,
    },
    /// The controller makes CREATING consumers ACTIVE, and removes DELETING ones.
    Settle {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
    },
}

impl ConsumerCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog) -> Result<Change, Refusal> {
        match self {
            Self::Register { name, consumer, tags, now } => {
                catalog.register_consumer(name, consumer, tags, now)
            }
            Self::Deregister { name, consumer, created } => {
                catalog.deregister_consumer(name, consumer, created)
            }
            Self::Settle { name, id } => catalog.settle_consumers(&name, id),
        }
    }
}

impl Catalog {
    fn register_consumer(
        &mut self,
        name: StreamName,
        consumer: ConsumerName,
        tags: BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        check_tags(&tags)?;
        let limit = match self.commitment {
            Some(commitment) if commitment.holds(now) => limits::MAX_CONSUMERS_WITH_COMMITMENT,
            _ => limits::MAX_CONSUMERS,
        };
        let stream = self.changeable_stream(&name)?;
        if stream.consumers.contains_key(&consumer) {
            return Err(Refusal::ConsumerExists { consumer });
        }
        let [actual, limit] = [stream.consumers.len() + 1, limit].map(|count| count as u64);
        if actual > limit {
            return Err(Refusal::Limit { what: "consumers", actual, limit });
        }
        check_room(attached_bytes(stream), 0, tags_bytes(&tags))?;
        let status = ConsumerStatus::Creating;
        let created = born_after(stream.newest_gone, now);
        let registered = Consumer { created, status, tags, policy: None };
        stream.consumers.insert(consumer, registered);
        Ok(Change::Made)
    }

    fn deregister_consumer(
        &mut self,
        name: StreamName,
        consumer: ConsumerName,
        created: Timestamp,
    ) -> Result<Change, Refusal> {
        let Some(stream) = self.streams.get_mut(&name) else {
            return Err(Refusal::StreamNotFound { name });
        };
        match stream.consumers.get_mut(&consumer).filter(|known| known.created == created) {
            None => Err(Refusal::ConsumerNotFound { consumer }),
            Some(known) if known.status == ConsumerStatus::Deleting => Ok(Change::AlreadySo),
            Some(known) => {
                known.status = ConsumerStatus::Deleting;
                Ok(Change::Made)
            }
        }
    }

    fn settle_consumers(&mut self, name: &StreamName, id: StreamId) -> Result<Change, Refusal> {
        let stream = self.streams.get_mut(name).filter(|stream| stream.id == id);
        let Some(stream) = stream else {
            return Err(Refusal::StreamNotFound { name: name.clone() });
        };
        if !stream.has_unsettled_consumers() {
            return Ok(Change::AlreadySo);
        }
        let is_gone = |consumer: &Consumer| consumer.status == ConsumerStatus::Deleting;
        // Later consumers under these names must not repeat an ARN, so the newest birth is kept.
        let gone = stream.consumers.values().filter(|known| is_gone(known));
        let newest = gone.map(|consumer| consumer.created).max().unwrap_or_default();
        stream.newest_gone = stream.newest_gone.max(newest);
        stream.consumers.retain(|_, consumer| !is_gone(consumer));
        for consumer in stream.consumers.values_mut() {
            consumer.status = ConsumerStatus::Active;
        }
        Ok(Change::Made)
    }
}

impl Stream {
    /// Whether a consumer is CREATING or DELETING, so that the controller has work.
    pub fn has_unsettled_consumers(&self) -> bool {
        self.consumers.values().any(|consumer| consumer.status != ConsumerStatus::Active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::AccountCommand;
    use crate::model::{StreamMode, StreamStatus};
    use crate::outcome::Outcome;
    use crate::script::{NOW, Script};
    use crate::streams::StreamCommand;

    fn name() -> StreamName {
        "s".parse().unwrap()
    }

    fn script() -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, StreamMode::Provisioned);
        script
    }

    fn consumer(text: &str) -> ConsumerName {
        text.parse().unwrap()
    }

    fn register(text: &str) -> ConsumerCommand {
        let (tags, now) = (BTreeMap::new(), NOW);
        ConsumerCommand::Register { name: name(), consumer: consumer(text), tags, now }
    }

    fn deregister(text: &str, created: Timestamp) -> ConsumerCommand {
        ConsumerCommand::Deregister { name: name(), consumer: consumer(text), created }
    }

    fn settle(script: &Script) -> ConsumerCommand {
        ConsumerCommand::Settle { name: name(), id: script.stream("s").id }
    }

    #[test]
    fn a_consumer_goes_from_creating_over_active_and_deleting_to_gone() {
        let mut script = script();
        script.done(register("app"));
        let status = |script: &Script| script.stream("s").consumers[&consumer("app")].status;
        assert_eq!(status(&script), ConsumerStatus::Creating);
        let exists = Refusal::ConsumerExists { consumer: consumer("app") };
        assert_eq!(script.refused(register("app")), exists);
        script.done(settle(&script));
        assert_eq!(status(&script), ConsumerStatus::Active);
        let version = script.catalog.version;
        assert_eq!(script.run(settle(&script)), Outcome::Done { version });
        let earlier = Timestamp::from_millis(1);
        let not_found = Refusal::ConsumerNotFound { consumer: consumer("app") };
        assert_eq!(
            script.refused(deregister("app", earlier)),
            not_found,
            "an earlier consumer of the name"
        );
        script.done(deregister("app", NOW));
        assert_eq!(status(&script), ConsumerStatus::Deleting);
        script.done(deregister("app", NOW));
        script.done(settle(&script));
        assert!(script.stream("s").consumers.is_empty());
    }

    #[test]
    fn a_stream_has_twenty_consumers_and_fifty_with_a_commitment() {
        let mut script = script();
        let fill = |script: &mut Script, from: usize, to: usize| {
            (from..to).for_each(|number| script.done(register(&format!("app{number}"))));
        };
        fill(&mut script, 0, 20);
        let over = |actual, limit| Refusal::Limit { what: "consumers", actual, limit };
        assert_eq!(script.refused(register("more")), over(21, 20));
        script.done(AccountCommand::SetCommitment { enabled: true, now: NOW });
        fill(&mut script, 20, 50);
        assert_eq!(script.refused(register("more")), over(51, 50));
    }

    #[test]
    fn a_stream_with_consumers_is_deleted_only_with_them() {
        let mut script = script();
        script.done(register("app"));
        let delete = |with_consumers| StreamCommand::Delete { name: name(), with_consumers };
        assert_eq!(script.refused(delete(false)), Refusal::StreamHasConsumers { name: name() });
        script.done(delete(true));
        assert_eq!(script.stream("s").status, StreamStatus::Deleting);
        let not_active = Refusal::StreamNotActive { name: name() };
        assert_eq!(script.refused(register("other")), not_active);
    }
}
