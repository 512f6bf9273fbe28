//! How the capacity of a stream is decided: by its user, or by its load.

use anabranch_types::{StreamName, limits};

use crate::apply::Change;
use crate::model::{Catalog, StreamMode};
use crate::outcome::Refusal;
use crate::streams::Distribution;

impl Catalog {
    pub(super) fn set_stream_mode(
        &mut self,
        name: StreamName,
        mode: StreamMode,
        warm_throughput_mibps: Option<u32>,
    ) -> Result<Change, Refusal> {
        let stream = self.changeable_stream(&name)?;
        let warm = match mode {
            StreamMode::OnDemand => warm_throughput_mibps.unwrap_or(stream.warm_throughput_mibps),
            StreamMode::Provisioned => 0,
        };
        check_warm_throughput(warm)?;
        let wanted = (mode, warm);
        let is_so = (stream.mode, stream.warm_throughput_mibps) == wanted;
        (stream.mode, stream.warm_throughput_mibps) = wanted;
        if mode == StreamMode::Provisioned {
            stream.distribution = Distribution::UserPartitionKey;
        }
        Ok(if is_so { Change::AlreadySo } else { Change::Made })
    }

    pub(super) fn set_warm_throughput(
        &mut self,
        name: StreamName,
        mibps: u32,
    ) -> Result<Change, Refusal> {
        let stream = self.changeable_stream(&name)?;
        if stream.mode != StreamMode::OnDemand {
            return Err(Refusal::NotOnDemand { name });
        }
        self.set_stream_mode(name, StreamMode::OnDemand, Some(mibps))
    }
}

/// Bounded by the shards that a stream may have (API reference, UpdateStreamWarmThroughput: 10 GiB/s).
pub(super) fn check_warm_throughput(mibps: u32) -> Result<(), Refusal> {
    let [actual, limit] = [mibps, limits::MAX_WARM_THROUGHPUT_MIBPS].map(u64::from);
    if actual > limit {
        return Err(Refusal::Limit { what: "WarmThroughputMiBps", actual, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anabranch_types::{HashKey, ShardId};

    use super::*;
    use crate::model::{StreamId, StreamStatus};
    use crate::script::{NOW, Script};
    use crate::shards::{ShardChange, ShardsCommand};
    use crate::streams::StreamCommand;

    const NAME: &str = "s";

    fn name() -> StreamName {
        NAME.parse().unwrap()
    }

    fn with_stream(mode: StreamMode) -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active(NAME, 4, mode);
        script
    }

    fn set_mode(mode: StreamMode, warm_throughput_mibps: Option<u32>) -> StreamCommand {
        StreamCommand::SetMode { name: name(), mode, warm_throughput_mibps }
    }

    fn split() -> ShardChange {
        ShardChange::Split { shard: ShardId(0), at: HashKey(1 << 100) }
    }

    #[test]
    fn a_stream_goes_over_to_on_demand_and_back_with_the_shards_it_has() {
        let mut script = with_stream(StreamMode::Provisioned);
        script.done(set_mode(StreamMode::OnDemand, Some(20)));
        let stream = script.stream(NAME);
        assert_eq!((stream.mode, stream.warm_throughput_mibps), (StreamMode::OnDemand, 20));
        assert_eq!(stream.open_shards().count(), 4);
        script.done(set_mode(StreamMode::OnDemand, None));
        assert_eq!(script.stream(NAME).warm_throughput_mibps, 20, "not said, so left");
        script.done(set_mode(StreamMode::Provisioned, None));
        let stream = script.stream(NAME);
        assert_eq!((stream.mode, stream.warm_throughput_mibps), (StreamMode::Provisioned, 0));
    }

    #[test]
    fn warm_throughput_is_for_on_demand_streams_and_bounded() {
        let mut script = with_stream(StreamMode::Provisioned);
        let warm = |mibps| StreamCommand::SetWarmThroughput { name: name(), mibps };
        assert_eq!(script.refused(warm(8)), Refusal::NotOnDemand { name: name() });
        script.done(set_mode(StreamMode::OnDemand, None));
        script.done(warm(8));
        let refused = script.refused(warm(limits::MAX_WARM_THROUGHPUT_MIBPS + 1));
        assert!(matches!(refused, Refusal::Limit { what: "WarmThroughputMiBps", .. }));
        assert_eq!(script.stream(NAME).warm_throughput_mibps, 8);
    }

    #[test]
    fn only_streams_in_on_demand_mode_are_scaled_and_only_the_very_one() {
        let mut script = with_stream(StreamMode::Provisioned);
        let id = script.stream(NAME).id;
        let scale = |id| ShardsCommand::Scale { name: name(), id, change: split(), now: NOW };
        assert_eq!(script.refused(scale(id)), Refusal::NotOnDemand { name: name() });
        script.done(set_mode(StreamMode::OnDemand, None));
        let other = StreamId(id.0 + 1);
        assert_eq!(script.refused(scale(other)), Refusal::StreamNotFound { name: name() });
        script.done(scale(id));
        assert_eq!(script.stream(NAME).status, StreamStatus::Updating);
        assert_eq!(script.refused(scale(id)), Refusal::StreamNotActive { name: name() });
    }

    #[test]
    fn the_job_of_a_scaled_stream_is_in_nobodys_way() {
        let mut script = with_stream(StreamMode::OnDemand);
        let id = script.stream(NAME).id;
        script.done(ShardsCommand::Scale { name: name(), id, change: split(), now: NOW });
        script.done(StreamCommand::SetWarmThroughput { name: name(), mibps: 8 });
        script.done(StreamCommand::Delete { name: name(), with_consumers: false });
        let stream = script.stream(NAME);
        assert_eq!((stream.status, &stream.job), (StreamStatus::Deleting, &None));
    }
}
