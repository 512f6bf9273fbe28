use anabranch_catalog::ShardChange;
use serde::Deserialize;

use super::{Context, Empty, Request, shards};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::Text;

/// `MergeShardsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MergeShards<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    shard_to_merge: Option<Text<'a>>,
    #[serde(borrow)]
    adjacent_shard_to_merge: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for MergeShards<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        let rule = rules::SHARD_ID.required();
        checks.text("ShardToMerge", &self.shard_to_merge, &rule);
        checks.text("AdjacentShardToMerge", &self.adjacent_shard_to_merge, &rule);
    }
}

impl Request for MergeShards<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let shard = |text: &Option<Text<'_>>| {
            shards::parse_id(gateway, &name, text.as_deref().unwrap_or_default())
        };
        let lower = shard(&self.shard_to_merge)?;
        let upper = shard(&self.adjacent_shard_to_merge)?;
        gateway.find(&gateway.cluster.view(), &name)?;
        shards::reshard(cx, name, ShardChange::Merge { lower, upper }).await
    }
}
