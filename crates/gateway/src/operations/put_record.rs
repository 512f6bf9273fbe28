use anabranch_client::StreamView;
use anabranch_types::{
    HashKey, SequenceNumber, SequenceNumberParts, ShardId, StreamName, partition_key_hash,
};
use serde::Deserialize;

use super::{Answer, Context, Request};
use crate::append::{self, Entry, Placed};
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::wire::{Blob, Flag, Text, Writer};

/// `PutRecordInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecord<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Blob<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
    #[serde(borrow)]
    sequence_number_for_ordering: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    dry_run: Option<Flag>,
}

impl Constrained for PutRecord<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        checks.blob("Data", &self.data, &rules::DATA.required());
        // The model no longer requires it, but every stream here is one of USER_PARTITION_KEY.
        checks.text("PartitionKey", &self.partition_key, &rules::PARTITION_KEY.required());
        checks.text("ExplicitHashKey", &self.explicit_hash_key, &rules::HASH_KEY);
        let number = &self.sequence_number_for_ordering;
        checks.text("SequenceNumberForOrdering", number, &rules::SEQUENCE_NUMBER);
    }
}

/// `PutRecordOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Put(Placed);

/// How far the clocks of two machines may be apart before a number is from the future.
const CLOCK_SKEW_SECONDS: u64 = 30;

impl Request for PutRecord<'_> {
    type Answer = Put;

    async fn run(&self, cx: &Context<'_>) -> Result<Put, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let (Some(data), Some(key)) = (&self.data, &self.partition_key) else {
            return Err(Error::Internal);
        };
        let hash = hash_key(self.explicit_hash_key.as_deref(), key)?;
        {
            let view = gateway.cluster.view();
            let found = gateway.find_for_data(&view, &name)?;
            check_size(cx, &name, found, key.len() + data.len())?;
            self.check_ordering(cx, &name, found)?;
        }
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let entry = Entry { partition_key: key, hash, data };
        let outcome = append::append(cx, &name, &[entry]).await.pop();
        outcome.unwrap_or(Err(Error::Internal)).map(Put)
    }
}

impl PutRecord<'_> {
    /// The number must be of this stream and not from the future. A later number than that of any
    /// record that was acknowledged before is what every put gets anyhow.
    fn check_ordering(
        &self,
        cx: &Context<'_>,
        name: &StreamName,
        found: StreamView<'_>,
    ) -> Result<(), Error> {
        let Some(text) = self.sequence_number_for_ordering.as_deref() else { return Ok(()) };
        let now = cx.gateway.clock.now().as_secs();
        let account = &cx.gateway.settings.account;
        let invalid = || {
            Error::InvalidArgument(format!(
                "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {name} under \
                 account {account} is invalid."
            ))
        };
        let number: SequenceNumber = text.parse().map_err(|_| invalid())?;
        let parts = number.parts();
        let is_past = parts.arrival_seconds <= now.saturating_add(CLOCK_SKEW_SECONDS);
        if is_past && is_of_stream(&parts, found) { Ok(()) } else { Err(invalid()) }
    }
}

/// Whether a shard of the stream could have given the number. One that has expired is not known any
/// more, only that it was older than the shards that are.
fn is_of_stream(parts: &SequenceNumberParts, found: StreamView<'_>) -> bool {
    match found.stream.shards.get(&parts.shard) {
        Some(shard) => shard.created.as_secs() == parts.shard_created_seconds,
        None => {
            let newest = found.stream.shards.keys().next_back().copied().unwrap_or(ShardId(0));
            parts.shard < newest && parts.shard_created_seconds >= found.stream.created.as_secs()
        }
    }
}

/// The explicit hash key, or the MD5 of the partition key.
pub(super) fn hash_key(explicit: Option<&str>, partition_key: &str) -> Result<HashKey, Error> {
    let Some(text) = explicit else { return Ok(partition_key_hash(partition_key)) };
    text.parse().map_err(|_| {
        Error::InvalidArgument(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. \
             Specified value was {text}"
        ))
    })
}

/// Data and partition key together against the stream's limit (API reference, `MaxRecordSizeInKiB`).
pub(super) fn check_size(
    cx: &Context<'_>,
    name: &StreamName,
    found: StreamView<'_>,
    bytes: usize,
) -> Result<(), Error> {
    let limit_kib = found.stream.max_record_size_kib;
    if bytes as u64 <= u64::from(limit_kib) * 1024 {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "Record of {bytes} bytes of data and partition key exceeds the maximum record size of \
         {limit_kib} KiB of stream {name} under account {}.",
        cx.gateway.settings.account
    )))
}

impl Answer for Put {
    fn expected_bytes(&self) -> usize {
        160
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| write_placed(w, self.0));
    }
}

/// The two members that say where a record stands.
pub(super) fn write_placed(w: &mut Writer, placed: Placed) {
    w.member("ShardId").plain(placed.shard);
    w.member("SequenceNumber").plain(placed.number);
}

#[cfg(test)]
mod guard;
