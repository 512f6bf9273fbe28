//! GetShardIterator: seals a position of a shard as an iterator.
//!
//! Order of events: find the shard, check which members go together (`beginning.rs`), stop if it is a dry run, ask
//! the shard for the position (`seek`), seal it.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Flag, Moment, Required, Text, Writer};
use anabranch_gateway::service::{Request, Response};
use serde::Deserialize;

use super::beginning::Beginning;
use super::shards;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::ShardTarget;
use crate::tokens::ShardIterator;

/// `GetShardIteratorInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetShardIterator<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    shard_id: Required<Text<'a>>,
    #[serde(borrow, default)]
    shard_iterator_type: Required<Text<'a>>,
    #[serde(borrow)]
    starting_sequence_number: Option<Text<'a>>,
    timestamp: Option<Moment>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    dry_run: Option<Flag>,
}

impl Constrained for GetShardIterator<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.text("ShardId", &self.shard_id, &rules::SHARD_ID);
        let kind = &self.shard_iterator_type;
        checks.text("ShardIteratorType", kind, &rules::SHARD_ITERATOR_TYPE);
        let number = &self.starting_sequence_number;
        checks.text("StartingSequenceNumber", number, &rules::SEQUENCE_NUMBER);
    }
}

/// `GetShardIteratorOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct SealedIterator(String);

impl Request<Kinesis> for GetShardIterator<'_> {
    type Target = ShardTarget;
    type Response = SealedIterator;

    fn target(&self, kinesis: &Kinesis) -> Result<ShardTarget, Error> {
        let stream = kinesis.stream_target(&self.stream_name, &self.stream_arn)?;
        Ok(ShardTarget { stream, shard: shards::named(&self.shard_id) })
    }

    async fn run(&self, cx: &Context<'_>, target: &ShardTarget) -> Result<SealedIterator, Error> {
        let kinesis = cx.service;
        let name = &target.stream.name;
        let unknown = || shards::unknown(kinesis, name, &self.shard_id);
        let shard = target.shard.ok_or_else(unknown)?;
        let missing = || shards::missing(kinesis, name, shard);
        let route = {
            let view = kinesis.cluster.view();
            // For a stream that is being created, AWS reports that the shard does not exist.
            kinesis.find(&view, name)?;
            let found = kinesis.find_for_data(&view, name).map_err(|_| missing())?;
            found.shard(shard).ok_or_else(missing)?.clone()
        };
        let beginning = Beginning {
            operation: "GetShardIterator",
            number_member: "StartingSequenceNumber",
            kind: &self.shard_iterator_type,
            number: self.starting_sequence_number.as_deref(),
            moment: self.timestamp,
        };
        let start = beginning.start(kinesis, name, &route)?;
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let subject = || format!("Shard {shard} in stream {name}");
        let position = kinesis.cluster.seek(&route, start).await;
        let position = position.map_err(|error| Error::from_client(error, subject))?;
        let (stream_id, stream) = (route.stream_id, name.clone());
        let iterator = ShardIterator { stream, stream_id, shard, position };
        Ok(SealedIterator(kinesis.sealer.seal(&iterator, kinesis.clock.now())))
    }
}

impl Response for SealedIterator {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| w.member("ShardIterator").plain(&self.0));
    }
}
