//! Shards that are replaced by others, and forgotten once they have expired.

mod pieces;
mod reshard;

use std::collections::BTreeMap;

use anabranch_types::{HashKey, SequenceNumber, ShardId, StreamName, Timestamp};

use crate::apply::Change;
use crate::model::{Catalog, StreamId};
use crate::outcome::Refusal;

pub(crate) use pieces::Piece;
pub(crate) use reshard::Dates;

/// How shards are to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChange {
    /// One shard by two.
    Split {
        /// The shard.
        shard: ShardId,
        /// First hash key of the upper child.
        at: HashKey,
    },
    /// Two neighbours by one.
    Merge {
        /// The one with the lower hash keys.
        lower: ShardId,
        /// The one with the higher hash keys.
        upper: ShardId,
    },
    /// All shards by so many of equal size.
    Count(u32),
}

/// A change to the shards of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardsCommand {
    /// A user has shards replaced by others.
    Reshard {
        /// The stream.
        name: StreamName,
        /// Which shards, and by what.
        change: ShardChange,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// The controller has the shards of an on-demand stream follow its load.
    Scale {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// One split or one merge.
        change: ShardChange,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// The controller has the answer of every parent of a job that it takes no more records.
    Commit {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// The job.
        job: u64,
        /// Of each parent, the number of its last record.
        endings: BTreeMap<ShardId, SequenceNumber>,
        /// The proposer's clock.
        now: Timestamp,
    },
    /// The controller gives a job up: its shards stay as they are.
    Abort {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// The job.
        job: u64,
    },
    /// The controller saw that closed shards hold nothing that is retained any more.
    Expire {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
        /// The proposer's clock.
        now: Timestamp,
    },
}

impl ShardsCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog, log_index: u64) -> Result<Change, Refusal> {
        match self {
            Self::Reshard { name, change, now } => catalog.reshard(log_index, name, change, now),
            Self::Commit { name, id, job, endings, now } => {
                catalog.commit_reshard(log_index, &name, id, job, &endings, now)
            }
            Self::Abort { name, id, job } => catalog.abort_reshard(&name, id, job),
            Self::Expire { name, id, now } => catalog.expire_shards(&name, id, now),
            Self::Scale { name, id, change, now } => {
                catalog.scale(log_index, name, id, change, now)
            }
        }
    }
}

impl Catalog {
    fn expire_shards(
        &mut self,
        name: &StreamName,
        id: StreamId,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let Some(stream) = self.streams.get_mut(name).filter(|stream| stream.id == id) else {
            return Err(Refusal::StreamNotFound { name: name.clone() });
        };
        let before = stream.shards.len();
        let retention = stream.retention();
        let expired = stream.shards.values().filter(|shard| shard.has_expired(retention, now));
        let newest = expired.map(|shard| shard.birth).max().unwrap_or_default();
        stream.newest_gone = stream.newest_gone.max(newest);
        stream.shards.retain(|_, shard| !shard.has_expired(retention, now));
        Ok(if stream.shards.len() == before { Change::AlreadySo } else { Change::Made })
    }
}
