//! `Shard` and `ChildShard` of the API reference, and reading a shard id.

use anabranch_catalog::{Command, Shard, ShardChange, ShardStatus};
use anabranch_types::{HashKeyRange, SequenceNumber, ShardId, StreamName};

use super::{Context, Empty};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::Writer;

/// A shard as DescribeStream and ListShards show it.
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
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            id: shard.id,
            parent: shard.parents.first().copied(),
            adjacent_parent: shard.parents.get(1).copied(),
            range: shard.range,
            starting: shard.starting_sequence_number(),
            ending: match shard.status {
                ShardStatus::Open => None,
                ShardStatus::Closed { ending, .. } => Some(ending),
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

/// `HashKeyRange`
pub(super) fn write_range(writer: &mut Writer, range: HashKeyRange) {
    writer.structure(|w| {
        w.member("StartingHashKey").plain(range.start());
        w.member("EndingHashKey").plain(range.end());
    });
}

/// The shard that a text names, which may be none that the stream has.
///
/// # Errors
/// [`Error::NotFound`] for text that no shard could be called.
pub(super) fn parse_id(
    gateway: &Gateway,
    stream: &StreamName,
    text: &str,
) -> Result<ShardId, Error> {
    let account = &gateway.settings.account;
    let unknown =
        |_| format!("Could not find shard {text} in stream {stream} under account {account}.");
    text.parse().map_err(unknown).map_err(Error::NotFound)
}

/// The error for a shard that the stream doesn't have.
pub(super) fn missing(gateway: &Gateway, stream: &StreamName, shard: ShardId) -> Error {
    let account = &gateway.settings.account;
    Error::NotFound(format!(
        "Shard {shard} in stream {stream} under account {account} does not exist"
    ))
}

/// Has shards replaced by others: the job that does it has begun when this returns.
///
/// # Errors
/// As the catalog refuses it: the stream isn't ACTIVE, a shard isn't there or closed, a limit.
pub(super) async fn reshard(
    cx: &Context<'_>,
    name: StreamName,
    change: ShardChange,
) -> Result<Empty, Error> {
    let now = cx.gateway.clock.now();
    let command = Command::Reshard { name: name.clone(), change, now };
    cx.gateway.change(&name, command).await.map(|_| Empty)
}
