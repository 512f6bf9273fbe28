//! UpdateShardCount: starts a job that changes the number of open shards, so that each has the same share of hash
//! keys.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Required, Text, Writer};
use anabranch_catalog::ShardChange;
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{StreamArn, StreamName};
use serde::Deserialize;

use super::shards;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `UpdateShardCountInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateShardCount<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(default)]
    target_shard_count: Required<Integer>,
    #[serde(borrow, default)]
    scaling_type: Required<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for UpdateShardCount<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        let target = &self.target_shard_count;
        checks.number("TargetShardCount", target, &rules::POSITIVE);
        checks.text("ScalingType", &self.scaling_type, &rules::SCALING_TYPE);
    }
}

/// `UpdateShardCountOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct ShardCounts {
    name: StreamName,
    arn: StreamArn,
    current: usize,
    target: u32,
}

impl Request<Kinesis> for UpdateShardCount<'_> {
    type Target = StreamTarget;
    type Response = ShardCounts;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<ShardCounts, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let view = kinesis.cluster.view();
        let current = kinesis.find(&view, name)?.stream.open_shards().count();
        let count = self.target_shard_count.as_u32();
        shards::reshard(cx, name, ShardChange::Count(count)).await?;
        Ok(ShardCounts { arn: kinesis.arn(name), name: name.clone(), current, target: count })
    }
}

impl Response for ShardCounts {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamName").plain(&self.name);
            w.member("CurrentShardCount").number(self.current as u64);
            w.member("TargetShardCount").number(u64::from(self.target));
            w.member("StreamARN").plain(&self.arn);
        });
    }
}
