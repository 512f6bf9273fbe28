//! A record on its way through the stages, and a record that a stage could not take.

use std::borrow::Cow;

use anabranch_types::{SequenceNumber, ShardId, Timestamp};
use bytes::Bytes;

use crate::error_type::ErrorType;

/// A record on its way through the stages. Cheap to clone: `data` and `partition_key` are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Data, as the stage before left it.
    pub data: Bytes,
    /// When the record arrived at its shard.
    pub arrival: Timestamp,
    /// Shard that the record was read from.
    pub shard: ShardId,
    /// Position of the stored record in its shard.
    pub sequence: SequenceNumber,
    /// Which part of the stored record this is, from 0. A record that was never taken apart has 0.
    pub sub_sequence: u32,
    /// Partition key, UTF-8.
    pub partition_key: Bytes,
}

/// A record that a stage could not take. It becomes a line of an error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The record as the stage got it.
    pub record: Record,
    /// Decides the key of the error object.
    pub error_type: ErrorType,
    /// For programs: `Lambda.FunctionError`.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: Cow<'static, str>,
}

impl Record {
    /// The same record with other data.
    #[must_use]
    pub fn with_data(&self, data: Bytes) -> Self {
        Self { data, ..self.clone() }
    }

    /// A failure of this record in a stage before the destination.
    pub fn failed(
        self,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Failure {
        let error_type = ErrorType::ProcessingFailed;
        Failure { record: self, error_type, code: code.into(), message: message.into() }
    }
}

/// Numbers the parts of each stored record from 0. Use it behind the last stage that takes records apart: each of
/// those stages knows only the parts that it made itself.
///
/// Parts of one stored record must be neighbours, which they are if no stage changes the order.
#[derive(Clone, Debug, Default)]
pub struct Numbering(Option<(ShardId, SequenceNumber, u32)>);

impl Numbering {
    /// Numbers the next record of a shard.
    pub fn number(&mut self, record: &mut Record) {
        let key = (record.shard, record.sequence);
        let before = self.0.filter(|(shard, sequence, _)| (*shard, *sequence) == key);
        record.sub_sequence = before.map_or(0, |(_, _, place)| place + 1);
        self.0 = Some((record.shard, record.sequence, record.sub_sequence));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use anabranch_types::SequenceNumberParts;

    use super::*;

    /// A sequence number of shard 0 for tests; a larger `log_index` is a later number.
    pub(crate) fn sequence(log_index: u64) -> SequenceNumber {
        SequenceNumber::new(SequenceNumberParts {
            shard_born_seconds: 1_700_000_000,
            shard: ShardId(0),
            log_index,
            offset: 0,
            arrival_seconds: 1_700_000_100,
        })
    }

    /// A record of shard 0 for tests.
    pub(crate) fn record(data: impl Into<Vec<u8>>) -> Record {
        Record {
            data: Bytes::from(data.into()),
            arrival: Timestamp::from_millis(1_700_000_100_250),
            shard: ShardId(0),
            sequence: sequence(7),
            sub_sequence: 0,
            partition_key: Bytes::from_static(b"key"),
        }
    }

    #[test]
    fn parts_are_numbered_within_their_stored_record() {
        let at = |log_index| Record { sequence: sequence(log_index), ..record("") };
        let mut records = [at(1), at(2), at(2), at(2), at(3)];
        records[1].sub_sequence = 9;
        let mut numbering = Numbering::default();
        records.iter_mut().for_each(|record| numbering.number(record));
        let places: Vec<u32> = records.iter().map(|record| record.sub_sequence).collect();
        assert_eq!(places, [0, 0, 1, 2, 0]);
    }
}
