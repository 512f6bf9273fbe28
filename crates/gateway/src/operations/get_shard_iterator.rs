use anabranch_client::ShardRoute;
use anabranch_shard::{Position, Start};
use anabranch_types::{SequenceNumber, StreamName};
use serde::Deserialize;

use super::{Answer, Context, Request, shards};
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
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

    async fn run(&self, cx: &Context<'_>) -> Result<SealedIterator, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let text = self.shard_id.as_deref().unwrap_or_default();
        let shard = shards::parse_id(gateway, &name, text)?;
        let missing = || shards::missing(gateway, &name, shard);
        let route = {
            let view = gateway.cluster.view();
            let found = gateway.find_for_data(&view, &name)?;
            found.shard(shard).ok_or_else(missing)?.clone()
        };
        let start = self.start(cx, &name, &route)?;
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

impl GetShardIterator<'_> {
    /// Where to start. Which members go together: API reference, `ShardIteratorType`.
    fn start(
        &self,
        cx: &Context<'_>,
        name: &StreamName,
        route: &ShardRoute,
    ) -> Result<Start, Error> {
        let kind = self.shard_iterator_type.as_deref().unwrap_or_default();
        match (kind, &self.starting_sequence_number, self.timestamp) {
            ("AT_SEQUENCE_NUMBER", Some(number), _) => {
                Ok(Start::At(position(cx, name, route, number)?))
            }
            ("AFTER_SEQUENCE_NUMBER", Some(number), _) => {
                Ok(Start::At(position(cx, name, route, number)?.next()))
            }
            ("TRIM_HORIZON", None, _) => Ok(Start::TrimHorizon),
            ("LATEST", None, _) => Ok(Start::Latest),
            ("AT_TIMESTAMP", None, Some(Moment(moment))) => {
                let now = cx.gateway.clock.now();
                if moment > now {
                    return Err(Error::InvalidArgument(format!(
                        "The timestampInMillis parameter cannot be greater than the \
                         currentTimestampInMillis. timestampInMillis: {}, \
                         currentTimestampInMillis: {}",
                        moment.as_millis(),
                        now.as_millis()
                    )));
                }
                Ok(Start::AtTimestamp(moment))
            }
            ("AT_TIMESTAMP", None, None) => Err(Error::InvalidArgument(
                "Must specify a Timestamp with ShardIteratorType AT_TIMESTAMP.".to_owned(),
            )),
            (_, number, _) => Err(mismatched(kind, number.is_some())),
        }
    }
}

fn mismatched(kind: &str, has_number: bool) -> Error {
    let number = if has_number { "also a" } else { "no" };
    Error::InvalidArgument(format!(
        "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and \
         StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. \
         Request specified {kind} and {number} StartingSequenceNumber."
    ))
}

/// The position that a number of this very shard names.
fn position(
    cx: &Context<'_>,
    name: &StreamName,
    route: &ShardRoute,
    text: &str,
) -> Result<Position, Error> {
    let (shard, account) = (route.shard, &cx.gateway.settings.account);
    let invalid = |reason: &str| {
        Error::InvalidArgument(format!(
            "StartingSequenceNumber {text} used in GetShardIterator on shard {shard} in stream \
             {name} under account {account} is invalid{reason}."
        ))
    };
    let number: SequenceNumber = text.parse().map_err(|_| invalid(""))?;
    let parts = number.parts();
    if parts.shard != shard {
        return Err(Error::InvalidArgument(format!(
            "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard \
             with {shard}",
            parts.shard
        )));
    }
    if parts.shard_created_seconds != route.created.as_secs() {
        return Err(invalid(" because it did not come from this stream"));
    }
    Ok(Position::of(number))
}

impl Answer for SealedIterator {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| w.member("ShardIterator").plain(&self.0));
    }
}
