//! The members that DescribeStream and DescribeStreamSummary share: name, state and settings of a stream.

use anabranch_aws::wire::Writer;
use anabranch_catalog::{ShardMetrics, Stream, StreamMode, StreamStatus};
use anabranch_types::{StreamArn, StreamName, Timestamp};

use super::enhanced_monitoring::write_enhanced_monitoring;
use super::stream_encryption::write_encryption;
use crate::kinesis::Kinesis;
use crate::streams::mode_text;

/// The shared members of `StreamDescription` and `StreamDescriptionSummary` of the API reference.
#[derive(Debug)]
pub(super) struct StreamBasics {
    name: StreamName,
    arn: StreamArn,
    status: StreamStatus,
    mode: StreamMode,
    retention_hours: u32,
    created: Timestamp,
    shard_metrics: ShardMetrics,
    master_key: Option<String>,
}

impl StreamBasics {
    pub(super) fn of(kinesis: &Kinesis, name: &StreamName, stream: &Stream) -> Self {
        Self {
            name: name.clone(),
            arn: kinesis.arn(name),
            status: stream.status,
            mode: stream.mode,
            retention_hours: stream.retention_hours,
            created: stream.created,
            shard_metrics: stream.shard_metrics,
            master_key: stream.encryption.master_key.clone(),
        }
    }

    /// The mode of the stream.
    pub(super) const fn mode(&self) -> StreamMode {
        self.mode
    }

    /// Writes the members before the shards.
    pub(super) fn write_state(&self, w: &mut Writer) {
        w.member("StreamName").plain(&self.name);
        w.member("StreamARN").plain(&self.arn);
        w.member("StreamStatus").plain(self.status.name());
        w.member("StreamModeDetails").structure(|w| {
            w.member("StreamMode").plain(mode_text(self.mode));
        });
    }

    /// Writes the members after the shards.
    pub(super) fn write_settings(&self, w: &mut Writer) {
        w.member("RetentionPeriodHours").number(u64::from(self.retention_hours));
        w.member("StreamCreationTimestamp").timestamp(self.created);
        write_enhanced_monitoring(w, self.shard_metrics);
        write_encryption(w, self.master_key.as_deref());
    }
}
