use anabranch_catalog::{Shard, ShardChange};
use serde::Deserialize;

use super::{Context, Empty, Request, shards};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::{Error, cannot_split};
use crate::gateway::Gateway;
use crate::wire::Text;

/// `SplitShardInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SplitShard<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    shard_to_split: Option<Text<'a>>,
    #[serde(borrow)]
    new_starting_hash_key: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for SplitShard<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        checks.text("ShardToSplit", &self.shard_to_split, &rules::SHARD_ID.required());
        let key = &self.new_starting_hash_key;
        checks.text("NewStartingHashKey", key, &rules::HASH_KEY.required());
    }
}

impl Request for SplitShard<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let shard = self.shard_to_split.as_deref().unwrap_or_default();
        let shard = shards::parse_id(gateway, &name, shard)?;
        let key = self.new_starting_hash_key.as_deref().unwrap_or_default();
        let at = {
            let view = gateway.cluster.view();
            let stream = gateway.find(&view, &name)?.stream;
            // 2^128 and above are outside of every shard.
            let beyond = |known: &Shard| {
                let subject = || gateway.subject(&name);
                Error::InvalidArgument(cannot_split(subject, shard, known.range, key))
            };
            let missing = || shards::missing(gateway, &name, shard);
            let known = stream.shards.get(&shard);
            key.parse().map_err(|_| known.map_or_else(missing, beyond))?
        };
        shards::reshard(cx, name, ShardChange::Split { shard, at }).await
    }
}
