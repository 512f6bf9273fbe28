//! Positions of records in a shard, and where a reader may begin.
//!
//! ```text
//! log index    7                  8              9
//! entry        append of three    no records     append of two
//! positions    7.0  7.1  7.2                     9.0  9.1
//! ```
//!
//! A position is an entry's log index and the offset of a record in that entry. Positions rise in commit order, and
//! the position of an acknowledged record is never used again. A sequence number carries a position.

use anabranch_types::{SequenceNumber, SequenceNumberParts, ShardId, Timestamp};

/// Position of a record in its shard: the log index of its entry, and its offset in the batch of that entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Log index of the entry.
    pub log_index: u64,
    /// Offset in the batch of the entry, from 0.
    pub offset: u16,
}

impl Position {
    /// The first position of the entry at `log_index`.
    pub const fn entry(log_index: u64) -> Self {
        Self { log_index, offset: 0 }
    }

    /// The position just after this one. That is in the next entry if the batch of this one is full.
    pub const fn next(self) -> Self {
        match self.offset.checked_add(1) {
            Some(offset) => Self { log_index: self.log_index, offset },
            None => Self { log_index: self.log_index + 1, offset: 0 },
        }
    }

    /// The position just before this one. The first position of all has none before it, so it is returned itself.
    pub const fn previous(self) -> Self {
        match (self.offset.checked_sub(1), self.log_index.checked_sub(1)) {
            (Some(offset), _) => Self { log_index: self.log_index, offset },
            (None, Some(log_index)) => Self { log_index, offset: u16::MAX },
            (None, None) => self,
        }
    }

    /// The Kinesis sequence number of the record at this position.
    pub fn sequence_number(
        self,
        shard: ShardId,
        shard_birth: Timestamp,
        arrival: Timestamp,
    ) -> SequenceNumber {
        SequenceNumber::new(SequenceNumberParts {
            shard_born_seconds: shard_birth.as_secs(),
            shard,
            log_index: self.log_index,
            offset: self.offset,
            arrival_seconds: arrival.as_secs(),
        })
    }

    /// The position in `number`.
    pub fn of(number: SequenceNumber) -> Self {
        let parts = number.parts();
        Self { log_index: parts.log_index, offset: parts.offset }
    }
}

/// Consecutive records that one append put into one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Position of the first record.
    pub first: Position,
    /// Number of records, at least 1.
    pub records: u32,
    /// Arrival time of the records, by the leader's clock.
    pub arrival: Timestamp,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// At the oldest record that is retained.
    TrimHorizon,
    /// After the newest record that was acknowledged when the request came.
    Latest,
    /// At this position, or at the next record if there is no record at it.
    At(Position),
    /// At the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}
