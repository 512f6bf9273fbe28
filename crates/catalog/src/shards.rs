//! Shards of a stream: they are split, merged, and forgotten once all their records have expired.
//!
//! A split or a merge is a resharding job, which runs through the logs of several groups (ADR-0013). This is the part
//! of the catalog:
//!
//! 1. `Reshard` or `Scale` (called PREPARE in ADR-0013) makes hidden children with groups of their own. The stream is
//!    UPDATING.
//! 2. The controller freezes the parents in their logs, and gets the last sequence number of each.
//! 3. `Commit` closes the parents at these numbers and shows the children, in one step. Or `Abort` drops the children.
//! 4. `Expire` forgets closed shards after the retention.
//!
//! `pieces.rs` computes the children, `reshard.rs` begins and ends jobs. In every version the open shards cover all
//! hash keys exactly once. `fencing.rs` is a model of the whole protocol and searches it for errors.

mod pieces;
mod reshard;

use std::collections::BTreeMap;

use anabranch_types::{GroupId, HashKey, SequenceNumber, ShardId, StreamName, Timestamp};

use crate::apply::Change;
use crate::model::{Catalog, StreamId};
use crate::outcome::Refusal;

pub(crate) use pieces::Piece;
pub(crate) use reshard::Dates;
use reshard::FrozenJob;

/// A way to replace shards by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChange {
    /// Replaces one shard by two.
    Split {
        /// Shard that is split. It must be open.
        shard: ShardId,
        /// First hash key of the upper child.
        at: HashKey,
    },
    /// Replaces two neighbours by one.
    Merge {
        /// Shard with the lower hash keys.
        lower: ShardId,
        /// Shard with the higher hash keys. It begins right after the end of `lower`.
        upper: ShardId,
    },
    /// Replaces shards until there are this many of equal size. May take several jobs.
    Count(u32),
}

/// A change to the shards of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardsCommand {
    /// A user replaces shards by others. Begins a job, unless the shards are already as the user wants them.
    Reshard {
        /// Name of the stream, which must be ACTIVE and in provisioned mode.
        name: StreamName,
        /// Shards that are replaced, and how.
        change: ShardChange,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// The controller follows the load of an on-demand stream. Begins a job, as `Reshard` does.
    Scale {
        /// Name of the stream, which must be ACTIVE and in on-demand mode.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
        /// One split or one merge.
        change: ShardChange,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// The controller has frozen every parent of a job. Ends the job: parents are closed and children are open.
    Commit {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
        /// Log index of the command that began the job.
        job: u64,
        /// Sequence number of the last record of each parent; its starting one if it has no records.
        endings: BTreeMap<ShardId, SequenceNumber>,
        /// [`newest_group`](crate::newest_group) of the children whose leaders the controller saw. `None` in entries
        /// of versions that did not say it.
        newest_group: Option<GroupId>,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// The controller gives a job up. Ends the job: the children are dropped and the parents stay open.
    Abort {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
        /// Log index of the command that began the job.
        job: u64,
    },
    /// The controller saw that the retention of closed shards is over. Forgets them.
    Expire {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
}

impl ShardsCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog, log_index: u64) -> Result<Change, Refusal> {
        match self {
            Self::Reshard { name, change, now } => catalog.reshard(log_index, name, change, now),
            Self::Commit { name, id, job, endings, newest_group, now } => {
                let job = FrozenJob { job, endings, newest_group };
                catalog.commit_reshard(log_index, &name, id, job, now)
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
        // Later shards under this stream's name must not repeat an identity, so the newest birth is kept.
        let expired = stream.shards.values().filter(|shard| shard.has_expired(retention, now));
        let newest = expired.map(|shard| shard.birth).max().unwrap_or_default();
        stream.newest_gone = stream.newest_gone.max(newest);
        stream.shards.retain(|_, shard| !shard.has_expired(retention, now));
        Ok(if stream.shards.len() == before { Change::AlreadySo } else { Change::Made })
    }
}
