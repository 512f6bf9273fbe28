//! What a user sets on a stream: how long records are kept, how large they may be, how they find their shards, and which metrics
//! each shard has.

use anabranch_types::{StreamName, limits};

use crate::apply::{Change, assign};
use crate::model::{Catalog, StreamMode, StreamStatus};
use crate::outcome::Refusal;

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

impl Catalog {
    pub(super) fn set_retention(
        &mut self,
        name: StreamName,
        hours: u32,
        longer: bool,
    ) -> Result<Change, Refusal> {
        let Some(stream) = self.streams.get_mut(&name) else {
            return Err(Refusal::StreamNotFound { name });
        };
        if !matches!(stream.status, StreamStatus::Active | StreamStatus::Updating) {
            return Err(Refusal::StreamNotActive { name });
        }
        let current = stream.retention_hours;
        let bounds = limits::DEFAULT_RETENTION_HOURS..=limits::MAX_RETENTION_HOURS;
        let is_so = if longer { hours >= current } else { hours <= current };
        if !is_so || !bounds.contains(&hours) {
            return Err(Refusal::Retention { current, asked: hours });
        }
        stream.retention_hours = hours;
        Ok(if hours == current { Change::AlreadySo } else { Change::Made })
    }

    pub(super) fn set_max_record_size(
        &mut self,
        name: &StreamName,
        kib: u32,
    ) -> Result<Change, Refusal> {
        Ok(assign(&mut self.changeable_stream(name)?.max_record_size_kib, kib))
    }

    pub(super) fn set_shard_metrics(
        &mut self,
        name: &StreamName,
        on: ShardMetrics,
        off: ShardMetrics,
    ) -> Result<Change, Refusal> {
        let metrics = &mut self.changeable_stream(name)?.shard_metrics;
        let wanted = metrics.with(on).without(off);
        Ok(assign(metrics, wanted))
    }

    pub(super) fn set_distribution(
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::script::Script;
    use crate::streams::StreamCommand;

    fn name() -> StreamName {
        "s".parse().unwrap()
    }

    fn with_stream(mode: StreamMode) -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, mode);
        script
    }

    #[test]
    fn retention_goes_where_the_user_says_within_its_bounds() {
        let mut script = with_stream(StreamMode::Provisioned);
        let mut set =
            |hours, longer| script.run(StreamCommand::SetRetention { name: name(), hours, longer });
        let refused = |current, asked| Outcome::Refused(Refusal::Retention { current, asked });
        assert_eq!(set(23, false), refused(24, 23));
        assert_eq!(set(8761, true), refused(24, 8761));
        assert!(matches!(set(8760, true), Outcome::Done { .. }));
        assert_eq!(set(100, true), refused(8760, 100));
        assert!(matches!(set(24, false), Outcome::Done { .. }));
        assert_eq!(set(25, false), refused(24, 25));
    }

    #[test]
    fn metrics_are_switched_on_and_off_one_by_one() {
        let mut script = with_stream(StreamMode::Provisioned);
        let [bytes, age] = ["IncomingBytes", "IteratorAgeMilliseconds"]
            .map(|name| ShardMetrics::of_name(name).unwrap());
        let none = ShardMetrics::default();
        let set = |on, off| StreamCommand::SetShardMetrics { name: name(), on, off };
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
        let spread =
            StreamCommand::SetDistribution { name: name(), distribution: Distribution::Auto };
        assert_eq!(script.refused(spread.clone()), Refusal::NotOnDemand { name: name() });
        let set_mode =
            |mode| StreamCommand::SetMode { name: name(), mode, warm_throughput_mibps: None };
        script.done(set_mode(StreamMode::OnDemand));
        script.done(spread);
        assert_eq!(script.stream("s").distribution, Distribution::Auto);
        script.done(set_mode(StreamMode::Provisioned));
        assert_eq!(script.stream("s").distribution, Distribution::UserPartitionKey);
    }
}
