//! SplitShard: starts a job that replaces a shard by two children.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text};
use anabranch_catalog::{Shard, ShardChange};
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use super::shards;
use crate::error::{Error, cannot_split};
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `SplitShardInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SplitShard<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    shard_to_split: Required<Text<'a>>,
    #[serde(borrow, default)]
    new_starting_hash_key: Required<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for SplitShard<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.text("ShardToSplit", &self.shard_to_split, &rules::SHARD_ID);
        let key = &self.new_starting_hash_key;
        checks.text("NewStartingHashKey", key, &rules::HASH_KEY);
    }
}

impl Request<Kinesis> for SplitShard<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let shard = shards::parse_id(kinesis, name, &self.shard_to_split)?;
        let key = &**self.new_starting_hash_key;
        let at = {
            let view = kinesis.cluster.view();
            let stream = kinesis.find(&view, name)?.stream;
            // Numbers from 2^128 on are hash keys of no shard, so they cannot be parsed as hash key.
            let beyond = |known: &Shard| {
                let subject = || kinesis.subject(name);
                Error::InvalidArgument(cannot_split(subject, shard, known.range, key))
            };
            let missing = || shards::missing(kinesis, name, shard);
            let known = stream.shards.get(&shard);
            key.parse().map_err(|_| known.map_or_else(missing, beyond))?
        };
        shards::reshard(cx, name, ShardChange::Split { shard, at }).await
    }
}
