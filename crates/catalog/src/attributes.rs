//! What users attach to streams, consumers and the account: tags, policies, a record size, metrics, a way to spread
//! records, a commitment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch_types::{StreamName, Timestamp, limits};

use crate::apply::Change;
use crate::command::Refusal;
use crate::model::{Catalog, Resource, Stream, StreamMode, StreamStatus};

/// How the records of a stream find their shards (API reference, `RecordDistributionStrategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// By their partition keys.
    #[default]
    UserPartitionKey,
    /// Evenly, whatever their keys; only in on-demand mode.
    Auto,
}

impl Distribution {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserPartitionKey => "USER_PARTITION_KEY",
            Self::Auto => "AUTO",
        }
    }
}

/// A set of the metrics that a user may ask for of each shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardMetrics(u8);

impl ShardMetrics {
    /// The metrics by their names in the API, in the order in which it lists them (API reference, `MetricsName`).
    pub const NAMES: [&'static str; 7] = [
        "IncomingBytes",
        "IncomingRecords",
        "OutgoingBytes",
        "OutgoingRecords",
        "WriteProvisionedThroughputExceeded",
        "ReadProvisionedThroughputExceeded",
        "IteratorAgeMilliseconds",
    ];
    /// What a request may say: a name, or `ALL`.
    pub const WORDS: [&'static str; 8] = {
        let [a, b, c, d, e, f, g] = Self::NAMES;
        [a, b, c, d, e, f, g, "ALL"]
    };
    /// All of them.
    pub const ALL: Self = Self((1 << Self::NAMES.len()) - 1);

    /// The metric of that name, or all for `ALL`.
    pub fn of_name(name: &str) -> Option<Self> {
        if name == "ALL" {
            return Some(Self::ALL);
        }
        Self::NAMES.iter().position(|known| *known == name).map(|at| Self(1 << at))
    }

    /// The set as a number below 128: bit `i` is metric `i` of [`Self::NAMES`].
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set that [`Self::bits`] wrote; bits without a metric are left out.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// What is in either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one only.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let has = move |at: &usize| self.0 & (1 << at) != 0;
        (0..Self::NAMES.len()).filter(has).map(|at| Self::NAMES[at])
    }
}

/// What an account promised to use at least: the service bills less for it and allows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Since when.
    pub started: Timestamp,
    /// Until when, once it was given up.
    pub ends: Option<Timestamp>,
}

impl Commitment {
    /// The earliest end.
    pub fn earliest_end(&self) -> Timestamp {
        self.started.plus(Duration::from_secs(limits::MIN_COMMITMENT_HOURS * 3600))
    }

    /// Whether it holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

impl Catalog {
    pub(crate) fn set_tags(
        &mut self,
        resource: &Resource,
        set: BTreeMap<String, String>,
        removed: &BTreeSet<String>,
    ) -> Result<Change, Refusal> {
        let attached = self.attached_bytes(&resource.stream);
        let tags = self.attached_to(resource)?.0;
        let mut wanted = tags.clone();
        wanted.retain(|key, _| !removed.contains(key));
        wanted.extend(set);
        check_tags(&wanted)?;
        check_room(attached, tags_bytes(tags), tags_bytes(&wanted))?;
        Ok(assign(tags, wanted))
    }

    pub(crate) fn set_policy(
        &mut self,
        resource: &Resource,
        policy: Option<String>,
    ) -> Result<Change, Refusal> {
        let attached = self.attached_bytes(&resource.stream);
        let place = self.attached_to(resource)?.1;
        check_room(attached, policy_bytes(place), policy_bytes(&policy))?;
        Ok(assign(place, policy))
    }

    /// Bytes of tags and policies of a stream and its consumers.
    fn attached_bytes(&self, name: &StreamName) -> usize {
        self.streams.get(name).map_or(0, attached_bytes)
    }

    /// Tags and policy of a resource.
    fn attached_to(
        &mut self,
        resource: &Resource,
    ) -> Result<(&mut BTreeMap<String, String>, &mut Option<String>), Refusal> {
        let name = || resource.stream.clone();
        let Some(stream) = self.streams.get_mut(&resource.stream) else {
            return Err(Refusal::StreamNotFound { name: name() });
        };
        if matches!(stream.status, StreamStatus::Creating | StreamStatus::Deleting) {
            return Err(Refusal::StreamNotActive { name: name() });
        }
        let Some(consumer) = &resource.consumer else {
            return Ok((&mut stream.tags, &mut stream.policy));
        };
        match stream.consumers.get_mut(consumer) {
            Some(known) => Ok((&mut known.tags, &mut known.policy)),
            None => Err(Refusal::ConsumerNotFound { consumer: consumer.clone() }),
        }
    }

    pub(crate) fn set_max_record_size(
        &mut self,
        name: &StreamName,
        kib: u32,
    ) -> Result<Change, Refusal> {
        Ok(assign(&mut self.changeable_stream(name)?.max_record_size_kib, kib))
    }

    pub(crate) fn set_shard_metrics(
        &mut self,
        name: &StreamName,
        on: ShardMetrics,
        off: ShardMetrics,
    ) -> Result<Change, Refusal> {
        let metrics = &mut self.changeable_stream(name)?.shard_metrics;
        let wanted = metrics.with(on).without(off);
        Ok(assign(metrics, wanted))
    }

    pub(crate) fn set_distribution(
        &mut self,
        name: StreamName,
        distribution: Distribution,
    ) -> Result<Change, Refusal> {
        let stream = self.changeable_stream(&name)?;
        if stream.mode != StreamMode::OnDemand && distribution == Distribution::Auto {
            return Err(Refusal::NotOnDemand { name });
        }
        Ok(assign(&mut stream.distribution, distribution))
    }

    /// A commitment that is given up goes on until its earliest end; enabling it again before takes that back.
    pub(crate) fn set_commitment(&mut self, enabled: bool, now: Timestamp) -> Change {
        let holding = self.commitment.filter(|commitment| commitment.holds(now));
        let wanted = match (holding, enabled) {
            (Some(commitment), true) => Some(Commitment { ends: None, ..commitment }),
            (None, true) => Some(Commitment { started: now, ends: None }),
            (Some(commitment), false) if commitment.ends.is_none() => {
                Some(Commitment { ends: Some(commitment.earliest_end().max(now)), ..commitment })
            }
            (_, false) => self.commitment,
        };
        assign(&mut self.commitment, wanted)
    }
}

fn assign<T: PartialEq>(place: &mut T, wanted: T) -> Change {
    if *place == wanted {
        return Change::AlreadySo;
    }
    *place = wanted;
    Change::Made
}

pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if tags.len() > limits::MAX_TAGS {
        return Err(Refusal::TooManyTags { limit: limits::MAX_TAGS as u64 });
    }
    Ok(())
}

/// Bytes of tags and policies of a stream and its consumers.
pub(crate) fn attached_bytes(stream: &Stream) -> usize {
    let consumers = stream.consumers.values();
    let of_consumers: usize =
        consumers.map(|known| tags_bytes(&known.tags) + policy_bytes(&known.policy)).sum();
    tags_bytes(&stream.tags) + policy_bytes(&stream.policy) + of_consumers
}

pub(crate) fn tags_bytes(tags: &BTreeMap<String, String>) -> usize {
    tags.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn policy_bytes(policy: &Option<String>) -> usize {
    policy.as_ref().map_or(0, String::len)
}

/// Whether, of `attached` bytes of a stream, `old` may become `new`. What gets smaller always may.
pub(crate) fn check_room(attached: usize, old: usize, new: usize) -> Result<(), Refusal> {
    let wanted = (attached - old) + new;
    if new <= old || wanted <= limits::MAX_ATTACHED_BYTES {
        return Ok(());
    }
    let [actual, limit] = [wanted, limits::MAX_ATTACHED_BYTES].map(|bytes| bytes as u64);
    Err(Refusal::Limit { what: ATTACHED, actual, limit })
}

/// What is limited, in the words of a refusal.
const ATTACHED: &str = "bytes of tags and policies";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::script::{NOW, Script};

    fn name() -> StreamName {
        "s".parse().unwrap()
    }

    fn with_stream(mode: StreamMode) -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, mode);
        script
    }

    fn set_tags(consumer: Option<&str>, set: &[&str], removed: &[&str]) -> Command {
        let consumer = consumer.map(|consumer| consumer.parse().unwrap());
        Command::SetTags {
            resource: Resource { stream: name(), consumer },
            set: set.iter().map(|key| ((*key).to_owned(), "v".to_owned())).collect(),
            removed: removed.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    fn keys(tags: &BTreeMap<String, String>) -> Vec<&str> {
        tags.keys().map(String::as_str).collect()
    }

    #[test]
    fn tags_are_added_replaced_and_removed_on_streams_and_consumers() {
        let mut script = with_stream(StreamMode::Provisioned);
        script.done(set_tags(None, &["a", "b"], &[]));
        script.done(set_tags(None, &["c"], &["a", "none"]));
        assert_eq!(keys(&script.stream("s").tags), ["b", "c"]);
        let consumer: anabranch_types::ConsumerName = "app".parse().unwrap();
        let not_found = Refusal::ConsumerNotFound { consumer: consumer.clone() };
        assert_eq!(script.refused(set_tags(Some("app"), &["a"], &[])), not_found);
        let (tags, now) = (BTreeMap::new(), NOW);
        let register =
            Command::RegisterConsumer { name: name(), consumer: consumer.clone(), tags, now };
        script.done(register);
        script.done(set_tags(Some("app"), &["x"], &[]));
        assert_eq!(keys(&script.stream("s").consumers[&consumer].tags), ["x"]);
        assert_eq!(keys(&script.stream("s").tags), ["b", "c"]);
    }

    #[test]
    fn a_resource_has_fifty_tags_at_most_and_a_refusal_changes_nothing() {
        let mut script = with_stream(StreamMode::Provisioned);
        let many: Vec<_> = (0..50).map(|number| format!("k{number:02}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        script.done(set_tags(None, &many, &[]));
        assert_eq!(script.refused(set_tags(None, &["x"], &[])), Refusal::TooManyTags { limit: 50 });
        assert_eq!(script.stream("s").tags.len(), 50);
        script.done(set_tags(None, &["x"], &["k00"]));
        assert_eq!(script.stream("s").tags.len(), 50);
    }

    #[test]
    fn tags_and_policies_of_a_stream_and_its_consumers_have_a_limit_together() {
        let mut script = with_stream(StreamMode::Provisioned);
        let consumers = (0..20).map(|number| format!("app-{number}"));
        let resources: Vec<_> = consumers
            .map(|consumer| {
                let consumer: anabranch_types::ConsumerName = consumer.parse().unwrap();
                script.done(Command::RegisterConsumer {
                    name: name(),
                    consumer: consumer.clone(),
                    tags: BTreeMap::new(),
                    now: NOW,
                });
                Resource { stream: name(), consumer: Some(consumer) }
            })
            .collect();
        let set = |at: usize, bytes: usize| Command::SetPolicy {
            resource: resources[at].clone(),
            policy: Some("p".repeat(bytes)),
        };
        for at in 0..12 {
            script.done(set(at, 20 * 1024));
        }
        let (actual, limit) = (13 * 20 * 1024, 256 * 1024);
        assert_eq!(
            script.refused(set(12, 20 * 1024)),
            Refusal::Limit { what: ATTACHED, actual, limit }
        );
        script.done(set(12, 16 * 1024));
        let Refusal::Limit { what: ATTACHED, .. } = script.refused(set_tags(None, &["k"], &[]))
        else {
            panic!("tags count as well");
        };
        script.done(set(0, 10));
        script.done(set_tags(None, &["k"], &[]));
    }

    #[test]
    fn a_repeatable_command_comes_to_the_same_when_it_is_repeated() {
        let mut script = with_stream(StreamMode::Provisioned);
        let all = ShardMetrics::of_name("ALL").unwrap();
        let resource = Resource { stream: name(), consumer: None };
        let commands = [
            set_tags(None, &["a", "b"], &["c"]),
            Command::SetPolicy { resource: resource.clone(), policy: Some("p".into()) },
            Command::SetPolicy { resource, policy: None },
            Command::SetMaxRecordSize { name: name(), kib: 2048 },
            Command::SetShardMetrics { name: name(), on: all, off: ShardMetrics::default() },
        ];
        for command in commands {
            let now = NOW;
            for command in
                [command.clone(), Command::Limited { command: Box::new(command.clone()), now }]
            {
                assert!(command.is_repeatable());
                script.done(command.clone());
                let after = script.catalog.clone();
                script.done(command);
                assert_eq!(script.catalog, after);
            }
        }
        let create = Command::DeleteStream { name: name(), with_consumers: false };
        assert!(!create.is_repeatable());
    }

    #[test]
    fn metrics_are_switched_on_and_off_one_by_one() {
        let mut script = with_stream(StreamMode::Provisioned);
        let [bytes, age] = ["IncomingBytes", "IteratorAgeMilliseconds"]
            .map(|name| ShardMetrics::of_name(name).unwrap());
        let none = ShardMetrics::default();
        let set = |on, off| Command::SetShardMetrics { name: name(), on, off };
        script.done(set(bytes.with(age), none));
        let names = |script: &Script| script.stream("s").shard_metrics.names().collect::<Vec<_>>();
        assert_eq!(names(&script), ["IncomingBytes", "IteratorAgeMilliseconds"]);
        script.done(set(none, bytes));
        assert_eq!(names(&script), ["IteratorAgeMilliseconds"]);
        script.done(set(ShardMetrics::of_name("ALL").unwrap(), none));
        assert_eq!(names(&script), ShardMetrics::NAMES);
        assert_eq!(ShardMetrics::of_name("Other"), None);
        assert_eq!(ShardMetrics::from_bits(255), ShardMetrics::ALL);
    }

    #[test]
    fn only_on_demand_streams_spread_their_records_and_only_as_long_as_they_are() {
        let mut script = with_stream(StreamMode::Provisioned);
        let spread = Command::SetDistribution { name: name(), distribution: Distribution::Auto };
        assert_eq!(script.refused(spread.clone()), Refusal::NotOnDemand { name: name() });
        let set_mode =
            |mode| Command::SetStreamMode { name: name(), mode, warm_throughput_mibps: None };
        script.done(set_mode(StreamMode::OnDemand));
        script.done(spread);
        assert_eq!(script.stream("s").distribution, Distribution::Auto);
        script.done(set_mode(StreamMode::Provisioned));
        assert_eq!(script.stream("s").distribution, Distribution::UserPartitionKey);
    }

    #[test]
    fn a_commitment_lasts_a_day_and_can_be_taken_up_again() {
        let mut script = with_stream(StreamMode::OnDemand);
        let hour = |hours: u64| NOW.plus(Duration::from_secs(hours * 3600));
        let mut set = |enabled, now| {
            script.done(Command::SetCommitment { enabled, now });
            script.catalog.commitment
        };
        assert_eq!(set(false, NOW), None);
        let running = Some(Commitment { started: NOW, ends: None });
        assert_eq!(set(true, NOW), running);
        let ending = Some(Commitment { started: NOW, ends: Some(hour(24)) });
        assert_eq!(set(false, hour(1)), ending);
        assert_eq!(set(false, hour(2)), ending);
        assert_eq!(set(true, hour(3)), running);
        let ended = Commitment { started: NOW, ends: Some(hour(30)) };
        assert_eq!(set(false, hour(30)), Some(ended));
        assert!(!ended.holds(hour(30)));
        assert_eq!(set(true, hour(31)), Some(Commitment { started: hour(31), ends: None }));
    }
}
