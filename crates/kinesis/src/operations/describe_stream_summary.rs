//! DescribeStreamSummary: the description of a stream without its shards.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Text, Writer};
use anabranch_catalog::{Distribution, StreamMode, StreamStatus};
use anabranch_gateway::service::{Request, Response};
use serde::Deserialize;

use super::stream_basics::StreamBasics;
use super::warm_throughput::WarmThroughput;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `DescribeStreamSummaryInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeStreamSummary<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for DescribeStreamSummary<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
    }
}

/// `StreamDescriptionSummary` of the API reference. The response never contains a `StreamId`: a client that gets one
/// sends its next calls to the public AWS endpoint.
#[derive(Debug)]
pub(crate) struct StreamDescriptionSummary {
    basics: StreamBasics,
    open_shards: usize,
    consumers: usize,
    distribution: Distribution,
    max_record_size_kib: u32,
    warm_throughput: Option<WarmThroughput>,
}

impl Request<Kinesis> for DescribeStreamSummary<'_> {
    type Target = StreamTarget;
    type Response = StreamDescriptionSummary;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(
        &self,
        cx: &Context<'_>,
        target: &StreamTarget,
    ) -> Result<StreamDescriptionSummary, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let view = kinesis.cluster.view();
        let stream = kinesis.find(&view, name)?.stream;
        let creating = stream.status == StreamStatus::Creating;
        Ok(StreamDescriptionSummary {
            basics: StreamBasics::of(kinesis, name, stream),
            consumers: stream.consumers.len(),
            distribution: stream.distribution,
            open_shards: if creating { 0 } else { stream.open_shards().count() },
            max_record_size_kib: stream.max_record_size_kib,
            warm_throughput: WarmThroughput::requested(stream),
        })
    }
}

impl Response for StreamDescriptionSummary {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamDescriptionSummary").structure(|w| self.write_members(w));
        });
    }
}

impl StreamDescriptionSummary {
    fn write_members(&self, w: &mut Writer) {
        self.basics.write_state(w);
        self.basics.write_settings(w);
        w.member("OpenShardCount").number(self.open_shards as u64);
        w.member("ConsumerCount").number(self.consumers as u64);
        if let Some(warm_throughput) = self.warm_throughput {
            warm_throughput.write(w);
        }
        w.member("MaxRecordSizeInKiB").number(u64::from(self.max_record_size_kib));
        if self.basics.mode() == StreamMode::OnDemand {
            w.member("RecordDistributionStrategy").plain(self.distribution.name());
        }
    }
}
