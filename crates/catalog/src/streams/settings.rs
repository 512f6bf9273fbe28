//! Settings of a stream: retention, size limit of records, metrics of shards, and how a record's shard is chosen.
//!
//! Each setting is one field of [`crate::Stream`]. Setting the value that it has already is no change. The gateway
//! has checked the values that the API constrains; here are only the rules that need the state of the stream.

use anabranch_types::{StreamName, limits};

use crate::apply::{Change, assign};
use crate::model::{Catalog, StreamMode, StreamStatus};
use crate::outcome::Refusal;

/// How a record's shard is chosen (API reference, `RecordDistributionStrategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// By the partition key of the record.
    #[default]
    UserPartitionKey,
    /// Evenly over all shards, whatever the partition key. Only in on-demand mode.
    Auto,
}

impl Distribution {
    /// The name that the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserPartitionKey => "USER_PARTITION_KEY",
            Self::Auto => "AUTO",
        }
    }
}

/// A set of metrics of shards (API reference, `MetricsName`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardMetrics(u8);

impl ShardMetrics {
    /// All metrics by name, in the order of the API reference. The order defines [`Self::bits`].
    pub const NAMES: [&'static str; 7] = [
        "IncomingBytes",
        "IncomingRecords",
        "OutgoingBytes",
        "OutgoingRecords",
        "WriteProvisionedThroughputExceeded",
        "ReadProvisionedThroughputExceeded",
        "IteratorAgeMilliseconds",
    ];
    /// Words that a request may contain: the names, and `ALL`.
    pub const WORDS: [&'static str; 8] = {
        let [a, b, c, d, e, f, g] = Self::NAMES;
        [a, b, c, d, e, f, g, "ALL"]
    };
    /// The set of all metrics.
    pub const ALL: Self = Self((1 << Self::NAMES.len()) - 1);

    /// The metric of that name, or all metrics for `ALL`. `None` for any other word.
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

    /// Reads [`Self::bits`]. Bits that have no metric are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The union of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The metrics of this set that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names of the metrics in the set, in the order of [`Self::NAMES`].
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
        // The value that is set already is accepted in both directions, so that a retry succeeds.
        let is_in_direction = if longer { hours >= current } else { hours <= current };
        if !is_in_direction || !bounds.contains(&hours) {
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
    fn retention_changes_only_in_the_named_direction_and_within_bounds() {
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
    fn only_an_on_demand_stream_spreads_its_records_evenly() {
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
