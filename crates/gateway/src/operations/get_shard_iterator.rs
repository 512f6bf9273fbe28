use anabranch_types::ShardId;
use serde::Deserialize;

use super::beginning::Beginning;
use super::{Answer, Context, Request, shards};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::token::ShardIterator;
use crate::wire::{Flag, Moment, Text, Writer};

/// `GetShardIteratorInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetShardIterator<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
    #[serde(borrow)]
    shard_iterator_type: Option<Text<'a>>,
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
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        checks.text("ShardId", &self.shard_id, &rules::SHARD_ID.required());
        let kind = &self.shard_iterator_type;
        checks.text("ShardIteratorType", kind, &rules::SHARD_ITERATOR_TYPE.required());
        let number = &self.starting_sequence_number;
        checks.text("StartingSequenceNumber", number, &rules::SEQUENCE_NUMBER);
    }
}

/// `GetShardIteratorOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct SealedIterator(String);

impl Request for GetShardIterator<'_> {
    type Answer = SealedIterator;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    fn shard(&self) -> Option<ShardId> {
        shards::named(self.shard_id.as_deref()?)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<SealedIterator, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let text = self.shard_id.as_deref().unwrap_or_default();
        let shard = shards::parse_id(gateway, &name, text)?;
        let missing = || shards::missing(gateway, &name, shard);
        let route = {
            let view = gateway.cluster.view();
            // Of a stream that is being created the service says that its shard isn't there.
            gateway.find(&view, &name)?;
            let found = gateway.find_for_data(&view, &name).map_err(|_| missing())?;
            found.shard(shard).ok_or_else(missing)?.clone()
        };
        let beginning = Beginning {
            operation: "GetShardIterator",
            number_member: "StartingSequenceNumber",
            kind: self.shard_iterator_type.as_deref().unwrap_or_default(),
            number: self.starting_sequence_number.as_deref(),
            moment: self.timestamp,
        };
        let start = beginning.start(gateway, &name, &route)?;
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let subject = || format!("Shard {shard} in stream {name}");
        let position = gateway.cluster.seek(&route, start).await;
        let position = position.map_err(|error| Error::from_client(error, subject))?;
        let (stream_id, stream) = (route.stream_id, name);
        let iterator = ShardIterator { stream, stream_id, shard, position };
        Ok(SealedIterator(gateway.sealer.seal(&iterator, gateway.clock.now())))
    }
}

impl Answer for SealedIterator {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| w.member("ShardIterator").plain(&self.0));
    }
}
