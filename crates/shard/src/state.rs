use anabranch_types::Timestamp;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::command::{Command, CommandError};
use crate::position::Position;

/// The state machine of a shard: as little as its log does not say at a glance.
///
/// Invariant: `last_arrival` never falls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    last_arrival: Timestamp,
    last_record: Option<Position>,
}

/// What applying a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The records stand at the entry's index, in the order of the batch.
    Appended {
        /// Index of the entry.
        log_index: u64,
        /// When they arrived.
        arrival: Timestamp,
    },
}

impl ShardState {
    /// Applies the command at `log_index`. Equal on every replica: it depends on nothing else.
    pub fn apply(&mut self, log_index: u64, command: &Command) -> Outcome {
        let Command::Append { arrival, records, .. } = command;
        let last = u16::try_from(records.saturating_sub(1)).unwrap_or(u16::MAX);
        // A leader stamps no earlier than the last arrival it applied, so this clamp only guards
        // against an entry that another program wrote.
        self.last_arrival = self.last_arrival.max(*arrival);
        self.last_record = Some(Position { log_index, offset: last });
        Outcome::Appended { log_index, arrival: self.last_arrival }
    }

    /// When the newest record arrived; the epoch if there was none.
    pub fn last_arrival(&self) -> Timestamp {
        self.last_arrival
    }

    /// Where the newest record stands, trimmed or not.
    pub fn last_record(&self) -> Option<Position> {
        self.last_record
    }

    /// The state as a checkpoint stores it: version 1, arrival (8), flag (1), index (8), offset (2).
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(20);
        out.put_u8(1);
        out.put_u64_le(self.last_arrival.as_millis());
        let last = self.last_record.unwrap_or_default();
        out.put_u8(u8::from(self.last_record.is_some()));
        out.put_u64_le(last.log_index);
        out.put_u16_le(last.offset);
        out.freeze()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`CommandError`] for another version or missing bytes.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, CommandError> {
        if bytes.len() < 20 {
            return Err(CommandError::Short);
        }
        match bytes.get_u8() {
            1 => {}
            version => return Err(CommandError::UnknownTag(version)),
        }
        let last_arrival = Timestamp::from_millis(bytes.get_u64_le());
        let has_record = bytes.get_u8() != 0;
        let last = Position { log_index: bytes.get_u64_le(), offset: bytes.get_u16_le() };
        Ok(Self { last_arrival, last_record: has_record.then_some(last) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(arrival: u64, records: u32) -> Command {
        Command::Append { arrival: Timestamp::from_millis(arrival), records, batch: Bytes::new() }
    }

    #[test]
    fn arrival_times_never_fall() {
        let mut shard = ShardState::default();
        shard.apply(1, &append(50, 1));
        let outcome = shard.apply(2, &append(40, 2));
        let arrival = Timestamp::from_millis(50);
        assert_eq!(outcome, Outcome::Appended { log_index: 2, arrival });
        assert_eq!(shard.last_record(), Some(Position { log_index: 2, offset: 1 }));
    }

    #[test]
    fn checkpoints_read_what_they_wrote() {
        let mut shard = ShardState::default();
        assert_eq!(ShardState::decode(&shard.encode()), Ok(shard.clone()));
        shard.apply(9, &append(7, 3));
        assert_eq!(ShardState::decode(&shard.encode()), Ok(shard));
        assert_eq!(ShardState::decode(&[1, 2]), Err(CommandError::Short));
        assert_eq!(ShardState::decode(&[9; 20]), Err(CommandError::UnknownTag(9)));
    }
}
