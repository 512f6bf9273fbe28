//! Capacity mode and warm throughput of streams.
//!
//! A change of mode leaves the shards as they are. From then on users set their number, or the controller follows the
//! load (`scaling.rs`) and keeps at least the shards that the warm throughput needs.

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
            // Only on-demand streams may spread records evenly.
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

/// Refuses more than a stream can have shards for (API reference, UpdateStreamWarmThroughput: 10 GiB/s).
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
    fn a_change_of_mode_keeps_the_shards() {
        let mut script = with_stream(StreamMode::Provisioned);
        script.done(set_mode(StreamMode::OnDemand, Some(20)));
        let stream = script.stream(NAME);
        assert_eq!((stream.mode, stream.warm_throughput_mibps), (StreamMode::OnDemand, 20));
        assert_eq!(stream.open_shards().count(), 4);
        script.done(set_mode(StreamMode::OnDemand, None));
        assert_eq!(
            script.stream(NAME).warm_throughput_mibps,
            20,
            "kept, because the command has none"
        );
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
    fn only_the_named_stream_is_scaled_and_only_in_on_demand_mode() {
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
    fn a_user_can_change_and_delete_a_stream_while_it_is_scaled() {
        let mut script = with_stream(StreamMode::OnDemand);
        let id = script.stream(NAME).id;
        script.done(ShardsCommand::Scale { name: name(), id, change: split(), now: NOW });
        script.done(StreamCommand::SetWarmThroughput { name: name(), mibps: 8 });
        script.done(StreamCommand::Delete { name: name(), with_consumers: false });
        let stream = script.stream(NAME);
        assert_eq!((stream.status, &stream.job), (StreamStatus::Deleting, &None));
    }
}
