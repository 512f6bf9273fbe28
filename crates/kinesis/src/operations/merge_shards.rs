use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text};
use anabranch_catalog::ShardChange;
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use super::shards;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `MergeShardsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MergeShards<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    shard_to_merge: Required<Text<'a>>,
    #[serde(borrow, default)]
    adjacent_shard_to_merge: Required<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for MergeShards<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        let rule = rules::SHARD_ID;
        checks.text("ShardToMerge", &self.shard_to_merge, &rule);
        checks.text("AdjacentShardToMerge", &self.adjacent_shard_to_merge, &rule);
    }
}

impl Request<Kinesis> for MergeShards<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let shard = |text: &str| shards::parse_id(kinesis, name, text);
        let lower = shard(&self.shard_to_merge)?;
        let upper = shard(&self.adjacent_shard_to_merge)?;
        kinesis.find(&kinesis.cluster.view(), name)?;
        shards::reshard(cx, name, ShardChange::Merge { lower, upper }).await
    }
}
