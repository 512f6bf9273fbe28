//! `Shard` and `HashKeyRange` of the API reference, reading a shard id, and the start of a resharding job.

use anabranch_aws::wire::Writer;
use anabranch_catalog::{Shard, ShardChange, ShardStatus, ShardsCommand};
use anabranch_gateway::service::Empty;
use anabranch_types::{HashKeyRange, SequenceNumber, ShardId, StreamName};

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};

/// A shard in the form of DescribeStream and ListShards.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardSummary {
    id: ShardId,
    parent: Option<ShardId>,
    adjacent_parent: Option<ShardId>,
    range: HashKeyRange,
    starting: SequenceNumber,
    ending: Option<SequenceNumber>,
}

impl ShardSummary {
    /// The shard with the given status. The status may be an earlier one than `shard.status`, see ListShards.
    pub(super) fn new(shard: &Shard, status: ShardStatus) -> Self {
        Self {
            id: shard.id,
            parent: shard.parents.first().copied(),
            adjacent_parent: shard.parents.get(1).copied(),
            range: shard.range,
            starting: shard.starting_sequence_number(),
            ending: match status {
                ShardStatus::Open => None,
                // As in AWS, no record has this number.
                ShardStatus::Closed { at, .. } => {
                    Some(SequenceNumber::shard_end(shard.id, shard.birth, at))
                }
            },
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("ShardId").plain(self.id);
            if let Some(parent) = self.parent {
                w.member("ParentShardId").plain(parent);
            }
            if let Some(parent) = self.adjacent_parent {
                w.member("AdjacentParentShardId").plain(parent);
            }
            write_range(w.member("HashKeyRange"), self.range);
            w.member("SequenceNumberRange").structure(|w| {
                w.member("StartingSequenceNumber").plain(self.starting);
                if let Some(ending) = self.ending {
                    w.member("EndingSequenceNumber").plain(ending);
                }
            });
        });
    }
}

/// Writes `HashKeyRange`.
pub(super) fn write_range(writer: &mut Writer, range: HashKeyRange) {
    writer.structure(|w| {
        w.member("StartingHashKey").plain(range.start());
        w.member("EndingHashKey").plain(range.end());
    });
}

/// Reads a shard id. Only the number after the last hyphen counts, so `0`, `shard-0` and `shardId-000000000000` name
/// the same shard. The stream need not have such a shard.
pub(super) fn named(text: &str) -> Option<ShardId> {
    let digits = text.rsplit('-').next().unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok().map(ShardId)).flatten()
}

/// Like [`named`], but with an error.
///
/// # Errors
/// [`Error::NotFound`] for text that cannot be the id of a shard.
pub(super) fn parse_id(
    kinesis: &Kinesis,
    stream: &StreamName,
    text: &str,
) -> Result<ShardId, Error> {
    named(text).ok_or_else(|| unknown(kinesis, stream, text))
}

/// The error for text that cannot be the id of a shard.
pub(super) fn unknown(kinesis: &Kinesis, stream: &StreamName, text: &str) -> Error {
    let account = &kinesis.account;
    Error::NotFound(format!(
        "Could not find shard {text} in stream {stream} under account {account}."
    ))
}

/// The error for a shard that the stream does not have.
pub(super) fn missing(kinesis: &Kinesis, stream: &StreamName, shard: ShardId) -> Error {
    let account = &kinesis.account;
    Error::NotFound(format!(
        "Shard {shard} in stream {stream} under account {account} does not exist"
    ))
}

/// Starts a resharding job. The job runs on after this function has returned.
///
/// # Errors
/// The refusal of the catalog: the stream is not ACTIVE, a shard does not exist or is closed, or a limit is reached.
pub(super) async fn reshard(
    cx: &Context<'_>,
    name: &StreamName,
    change: ShardChange,
) -> Result<Empty, Error> {
    let now = cx.service.clock.now();
    let command = ShardsCommand::Reshard { name: name.clone(), change, now };
    cx.service.change(name, command).await.map(|_| Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_after_the_last_hyphen_names_a_shard() {
        for text in ["7", "007", "shard-7", "x-0-7", "shardId-7", "shardId-000000000007"] {
            assert_eq!(named(text), Some(ShardId(7)), "{text}");
        }
        for text in ["", "-", "ABC", "7-", "shardId-x", "+7", "shardId-4294967296"] {
            assert_eq!(named(text), None, "{text}");
        }
    }
}
