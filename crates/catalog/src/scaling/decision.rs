use std::fmt;

use anabranch_types::limits::{ON_DEMAND_INITIAL_SHARDS, STREAM_MAX_SHARDS};
use anabranch_types::{HashKey, HashKeyRange, ShardId};

use super::limits::{DEFAULT_CEILING_SHARDS, SHARDS_PER_WARM_MIB_PER_SECOND};
use super::load::ShardLoad;

/// An open shard and what is known of the load on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenShard {
    /// Its number.
    pub id: ShardId,
    /// Its range.
    pub range: HashKeyRange,
    /// What its leader said last. `None` if that is too long ago to go by: a shard that nobody
    /// reports on counts neither as hot nor as quiet.
    pub load: Option<ShardLoad>,
}

/// Between which numbers of shards a stream is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    floor: u32,
    ceiling: u32,
}

/// One change to a stream's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Cut a shard in two.
    Split {
        /// Which one.
        shard: ShardId,
        /// First key of the upper child (`NewStartingHashKey`).
        at: HashKey,
    },
    /// Join two neighbours.
    Merge {
        /// The one with the lower keys (`ShardToMerge`).
        lower: ShardId,
        /// The one with the higher keys (`AdjacentShardToMerge`).
        upper: ShardId,
    },
}

/// What to do with a stream, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do, if anything.
    pub action: Option<Action>,
    /// Why, or what it waits for: for operators to read.
    pub reason: Reason,
}

/// Why something is done or not. `Display` makes a sentence of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A shard took too much for a minute: it is split.
    Hot {
        /// The shard.
        shard: ShardId,
        /// Its load in thousandths of its limit.
        permille: u64,
    },
    /// The stream has too few shards: its widest one is split.
    BelowFloor {
        /// How many it has.
        open_shards: u32,
        /// How many it must have.
        floor: u32,
    },
    /// Two neighbours took little for twenty minutes: they are merged.
    Quiet {
        /// The lower one.
        lower: ShardId,
        /// The upper one.
        upper: ShardId,
        /// Their load together, in thousandths of one shard's limit.
        permille: u64,
    },
    /// Nothing to do.
    Steady,
    /// Nothing can be done: one key is too much for a shard, and only its producers can spread it.
    HotKey {
        /// The shard.
        shard: ShardId,
        /// Hash of that key.
        key: HashKey,
    },
    /// A hot shard has too few keys to be cut.
    TooNarrow {
        /// The shard.
        shard: ShardId,
    },
    /// A split waits: the stream has as many shards as it may.
    AtCeiling {
        /// How many that is.
        ceiling: u32,
    },
    /// A split waits for the next one of this minute.
    SplitsSpent {
        /// How many there are in a minute.
        per_minute: u32,
    },
    /// A merge waits until the last split is long enough ago.
    SplitLately,
    /// A merge waits for the next one of this minute.
    MergesSpent {
        /// How many there are in a minute.
        per_minute: u32,
    },
}

impl Bounds {
    /// From `floor` up to `ceiling` shards; `None` unless `1 <= floor <= ceiling`.
    pub fn new(floor: u32, ceiling: u32) -> Option<Self> {
        (1 <= floor && floor <= ceiling).then_some(Self { floor, ceiling })
    }

    /// Of a stream whose warm throughput is set to this; zero if it is not set.
    ///
    /// The floor is a shard for each MiB/s, four at the least; the ceiling leaves room to double.
    pub fn for_warm_throughput(mib_per_second: u32) -> Self {
        let warm = mib_per_second.saturating_mul(SHARDS_PER_WARM_MIB_PER_SECOND);
        let floor = warm.clamp(ON_DEMAND_INITIAL_SHARDS, STREAM_MAX_SHARDS);
        let ceiling = floor.saturating_mul(2).clamp(DEFAULT_CEILING_SHARDS, STREAM_MAX_SHARDS);
        Self { floor, ceiling }
    }

    /// Fewest shards.
    pub const fn floor(self) -> u32 {
        self.floor
    }

    /// Most shards.
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

/// Thousandths, shown as per cent.
struct Percent(u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10, self.0 % 10)
    }
}
