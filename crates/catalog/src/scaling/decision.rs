//! The words between the controller and the scaler: shards with their loads, bounds, actions and reasons.
//!
//! A decision always has a reason, for operators: why a shard is split or merged, or what a split or a merge waits for.

use std::fmt;

use anabranch_types::limits::{ON_DEMAND_INITIAL_SHARDS, STREAM_MAX_SHARDS};
use anabranch_types::{HashKey, HashKeyRange, ShardId};

use super::limits::{DEFAULT_CEILING_SHARDS, SHARDS_PER_WARM_MIB_PER_SECOND};
use super::load::ShardLoad;

/// An open shard and its load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenShard {
    /// Number of the shard.
    pub id: ShardId,
    /// Hash keys of the shard.
    pub range: HashKeyRange,
    /// The last report of the shard's leader. `None` if there is no recent one; then the shard is neither hot nor
    /// quiet.
    pub load: Option<ShardLoad>,
}

/// Lowest and highest number of shards of a stream, both inclusive. Invariant: `1 <= floor <= ceiling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    floor: u32,
    ceiling: u32,
}

/// One change to the shards of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Split a shard in two.
    Split {
        /// Number of the shard (`ShardToSplit`).
        shard: ShardId,
        /// First key of the upper child (`NewStartingHashKey`).
        at: HashKey,
    },
    /// Merge two neighbours.
    Merge {
        /// Shard with the lower keys (`ShardToMerge`).
        lower: ShardId,
        /// Shard with the higher keys (`AdjacentShardToMerge`).
        upper: ShardId,
    },
}

/// The result of one decision about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The change to make now, if any.
    pub action: Option<Action>,
    /// The reason for the action, or the reason why there is no action.
    pub reason: Reason,
}

/// The reason for a decision. `Display` writes it as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The load of a shard was above the threshold for a minute. The shard is split.
    Hot {
        /// Number of the shard.
        shard: ShardId,
        /// Load in thousandths of the shard's limit.
        permille: u64,
    },
    /// The stream has too few shards. The widest one is split.
    BelowFloor {
        /// Number of open shards.
        open_shards: u32,
        /// Lowest number that is allowed.
        floor: u32,
    },
    /// The loads of two neighbours were below the thresholds for twenty minutes. They are merged.
    Quiet {
        /// Shard with the lower keys.
        lower: ShardId,
        /// Shard with the higher keys.
        upper: ShardId,
        /// Load of both together, in thousandths of one shard's limit.
        permille: u64,
    },
    /// No shard is hot and no neighbours are quiet.
    Steady,
    /// One partition key has more load than a shard can take. A split does not help: producers have to use more keys.
    HotKey {
        /// Number of the shard.
        shard: ShardId,
        /// Hash of the key.
        key: HashKey,
    },
    /// A hot shard has too few hash keys to be split.
    TooNarrow {
        /// Number of the shard.
        shard: ShardId,
    },
    /// A split waits, because the stream has as many shards as are allowed.
    AtCeiling {
        /// Highest number that is allowed.
        ceiling: u32,
    },
    /// A split waits for its token bucket.
    SplitsSpent {
        /// Number of splits that are allowed per minute.
        per_minute: u32,
    },
    /// A merge waits, because the stream was split a short time ago.
    SplitLately,
    /// A merge waits for its token bucket.
    MergesSpent {
        /// Number of merges that are allowed per minute.
        per_minute: u32,
    },
}

impl Bounds {
    /// These bounds; `None` unless `1 <= floor <= ceiling`.
    pub fn new(floor: u32, ceiling: u32) -> Option<Self> {
        (1 <= floor && floor <= ceiling).then_some(Self { floor, ceiling })
    }

    /// Bounds of a stream with this warm throughput; 0 if it has none.
    ///
    /// The floor is one shard per MiB/s and at least four. The ceiling is double the floor and at least
    /// [`DEFAULT_CEILING_SHARDS`].
    pub fn for_warm_throughput(mib_per_second: u32) -> Self {
        let warm = mib_per_second.saturating_mul(SHARDS_PER_WARM_MIB_PER_SECOND);
        let floor = warm.clamp(ON_DEMAND_INITIAL_SHARDS, STREAM_MAX_SHARDS);
        let ceiling = floor.saturating_mul(2).clamp(DEFAULT_CEILING_SHARDS, STREAM_MAX_SHARDS);
        Self { floor, ceiling }
    }

    /// Lowest number of shards.
    pub const fn floor(self) -> u32 {
        self.floor
    }

    /// Highest number of shards.
    pub const fn ceiling(self) -> u32 {
        self.ceiling
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hot { shard, permille } => {
                write!(f, "{shard} took {} of its limit for a minute", Percent(*permille))
            }
            Self::BelowFloor { open_shards, floor } => {
                write!(f, "the stream has {open_shards} shards and shall have {floor}")
            }
            Self::Quiet { lower, upper, permille } => write!(
                f,
                "{lower} and {upper} took little for twenty minutes, now {} of one shard's limit together",
                Percent(*permille)
            ),
            Self::Steady => f.write_str("the shards fit the load"),
            Self::HotKey { shard, key } => {
                write!(f, "one key is too much for {shard}, and no split helps: its hash is {key}")
            }
            Self::TooNarrow { shard } => {
                write!(f, "{shard} is hot and has too few hash keys to be split")
            }
            Self::AtCeiling { ceiling } => {
                write!(f, "a split waits: the stream may have {ceiling} shards")
            }
            Self::SplitsSpent { per_minute } => {
                write!(f, "a split waits: the stream may split {per_minute} shards in a minute")
            }
            Self::SplitLately => f.write_str("a merge waits: a shard was split lately"),
            Self::MergesSpent { per_minute } => {
                write!(f, "a merge waits: the stream may make {per_minute} in a minute")
            }
        }
    }
}

/// A number of thousandths that is written as per cent.
struct Percent(u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10, self.0 % 10)
    }
}
