use anabranch_catalog::{Command, Stream, StreamCommand};
use anabranch_types::{StreamArn, StreamName};
use serde::Deserialize;

use super::{Answer, Context, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Integer, Text, Writer};

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
    #[serde(rename = "WarmThroughputMiBps")]
    warm_throughput: Option<Integer>,
}

impl Constrained for UpdateStreamWarmThroughput<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        let rule = rules::NATURAL.required();
        checks.number("WarmThroughputMiBps", &self.warm_throughput, &rule);
    }
}

/// `WarmThroughputObject` of the API reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WarmThroughput {
    target_mibps: u32,
    current_mibps: u32,
}

impl WarmThroughput {
    /// Of a stream that has to have it. A shard takes a MiB a second.
    fn of(stream: &Stream, target_mibps: u32) -> Self {
        let open_shards = u32::try_from(stream.open_shards().count()).unwrap_or(u32::MAX);
        Self { target_mibps, current_mibps: open_shards.min(target_mibps) }
    }

    /// What was asked for, if it was.
    pub(super) fn asked_for(stream: &Stream) -> Option<Self> {
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

impl Request for UpdateStreamWarmThroughput<'_> {
    type Answer = Updated;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Updated, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let view = gateway.cluster.view();
        let mibps = self.warm_throughput.map_or(0, Integer::as_u32);
        let throughput = WarmThroughput::of(gateway.find(&view, &name)?.stream, mibps);
        gateway
            .change(
                &name,
                Command::Stream(StreamCommand::SetWarmThroughput { name: name.clone(), mibps }),
            )
            .await?;
        Ok(Updated { arn: gateway.arn(&name), name, throughput })
    }
}

impl Answer for Updated {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamARN").plain(&self.arn);
            w.member("StreamName").plain(&self.name);
            self.throughput.write(w);
        });
    }
}
