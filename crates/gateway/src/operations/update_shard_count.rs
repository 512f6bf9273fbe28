use anabranch_catalog::ShardChange;
use anabranch_types::{StreamArn, StreamName};
use serde::Deserialize;

use super::{Answer, Context, Request, shards};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Integer, Text, Writer};

/// `UpdateShardCountInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateShardCount<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    target_shard_count: Option<Integer>,
    #[serde(borrow)]
    scaling_type: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for UpdateShardCount<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        let target = &self.target_shard_count;
        checks.number("TargetShardCount", target, &rules::POSITIVE.required());
        checks.text("ScalingType", &self.scaling_type, &rules::SCALING_TYPE.required());
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

impl Request for UpdateShardCount<'_> {
    type Answer = ShardCounts;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<ShardCounts, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let view = gateway.cluster.view();
        let current = gateway.find(&view, &name)?.stream.open_shards().count();
        let target = self.target_shard_count.map_or(0, Integer::as_u32);
        shards::reshard(cx, name.clone(), ShardChange::Count(target)).await?;
        Ok(ShardCounts { arn: gateway.arn(&name), name, current, target })
    }
}

impl Answer for ShardCounts {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamName").plain(&self.name);
            w.member("CurrentShardCount").number(self.current as u64);
            w.member("TargetShardCount").number(u64::from(self.target));
            w.member("StreamARN").plain(&self.arn);
        });
    }
}
