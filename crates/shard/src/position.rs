use anabranch_types::{SequenceNumber, SequenceNumberParts, ShardId, Timestamp};

/// Where a record stands in its shard: the log index of its entry and its place in that entry's batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Log index of the entry.
    pub log_index: u64,
    /// Place in the entry's batch, from 0.
    pub offset: u16,
}

impl Position {
    /// The first place of the entry at `log_index`.
    pub const fn entry(log_index: u64) -> Self {
        Self { log_index, offset: 0 }
    }

    /// The position just after this one; the next entry if this one's batch is full.
    pub const fn next(self) -> Self {
        match self.offset.checked_add(1) {
            Some(offset) => Self { log_index: self.log_index, offset },
            None => Self { log_index: self.log_index + 1, offset: 0 },
        }
    }

    /// The position that [`Self::next`] is just after; the first one of all has none before it and is its own.
    pub const fn previous(self) -> Self {
        match (self.offset.checked_sub(1), self.log_index.checked_sub(1)) {
            (Some(offset), _) => Self { log_index: self.log_index, offset },
            (None, Some(log_index)) => Self { log_index, offset: u16::MAX },
            (None, None) => self,
        }
    }

    /// The public number of the record at this position.
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

    /// The position that `number` names.
    pub fn of(number: SequenceNumber) -> Self {
        let parts = number.parts();
        Self { log_index: parts.log_index, offset: parts.offset }
    }
}

/// Neighbouring records that one append put into one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Where the first of them stands.
    pub first: Position,
    /// How many they are; at least 1.
    pub records: u32,
    /// When they arrived, by the leader's clock.
    pub arrival: Timestamp,
}

/// Where a reader wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// At the oldest record that is retained.
    TrimHorizon,
    /// After the newest record that was acknowledged when the question was asked.
    Latest,
    /// At this position, or at the next record if none stands there.
    At(Position),
    /// At the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}
