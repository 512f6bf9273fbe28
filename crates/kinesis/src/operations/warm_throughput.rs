//! UpdateStreamWarmThroughput: asks for shards ahead of the load of an on-demand stream.
//!
//! The operation only records the target in the catalog. The scaling of on-demand streams then splits shards until it
//! is reached (`docs/on-demand.md`).

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Required, Text, Writer};
use anabranch_catalog::{Stream, StreamCommand};
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{StreamArn, StreamName};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `UpdateStreamWarmThroughputInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateStreamWarmThroughput<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(rename = "WarmThroughputMiBps", default)]
    warm_throughput: Required<Integer>,
}

impl Constrained for UpdateStreamWarmThroughput<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        let throughput = &self.warm_throughput;
        checks.number("WarmThroughputMiBps", throughput, &rules::NATURAL);
    }
}

/// `WarmThroughputObject` of the API reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WarmThroughput {
    target_mibps: u32,
    current_mibps: u32,
}

impl WarmThroughput {
    /// The warm throughput of a stream with this target. Each open shard provides one MiB per second, and the current
    /// throughput is shown up to the target.
    fn of(stream: &Stream, target_mibps: u32) -> Self {
        let open_shards = u32::try_from(stream.open_shards().count()).unwrap_or(u32::MAX);
        Self { target_mibps, current_mibps: open_shards.min(target_mibps) }
    }

    /// The warm throughput of a stream. `None` if no target was set.
    pub(super) fn requested(stream: &Stream) -> Option<Self> {
        let target = stream.warm_throughput_mibps;
        (target > 0).then(|| Self::of(stream, target))
    }

    pub(super) fn write(self, w: &mut Writer) {
        w.member("WarmThroughput").structure(|w| {
            w.member("TargetMiBps").number(u64::from(self.target_mibps));
            w.member("CurrentMiBps").number(u64::from(self.current_mibps));
        });
    }
}

/// `UpdateStreamWarmThroughputOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Updated {
    name: StreamName,
    arn: StreamArn,
    throughput: WarmThroughput,
}

impl Request<Kinesis> for UpdateStreamWarmThroughput<'_> {
    type Target = StreamTarget;
    type Response = Updated;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Updated, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let view = kinesis.cluster.view();
        let mibps = self.warm_throughput.as_u32();
        let throughput = WarmThroughput::of(kinesis.find(&view, name)?.stream, mibps);
        kinesis
            .change(name, StreamCommand::SetWarmThroughput { name: name.clone(), mibps })
            .await?;
        Ok(Updated { arn: kinesis.arn(name), name: name.clone(), throughput })
    }
}

impl Response for Updated {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamARN").plain(&self.arn);
            w.member("StreamName").plain(&self.name);
            self.throughput.write(w);
        });
    }
}
