//! Conversions of `anabranch.v1`: positions, runs of records, and faults of master keys.

use anabranch_shard::{Position, Run};
use anabranch_types::{KeyFault, Timestamp};

use crate::error::Error;
use crate::generated::v1;

/// The kind of error for a fault of a master key.
pub const fn key_error_kind(fault: KeyFault) -> v1::ErrorKind {
    match fault {
        KeyFault::AccessDenied => v1::ErrorKind::KeyAccessDenied,
        KeyFault::Disabled => v1::ErrorKind::KeyDisabled,
        KeyFault::InvalidState => v1::ErrorKind::KeyInvalidState,
        KeyFault::NotFound => v1::ErrorKind::KeyNotFound,
        KeyFault::OptInRequired => v1::ErrorKind::KeyOptInRequired,
        KeyFault::Throttled => v1::ErrorKind::KeyThrottled,
    }
}

/// The fault of a master key for a kind of error. `None` for a kind of another fault.
pub fn key_fault(kind: v1::ErrorKind) -> Option<KeyFault> {
    KeyFault::ALL.into_iter().find(|fault| key_error_kind(*fault) == kind)
}

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        Self { log_index: position.log_index, offset: u32::from(position.offset) }
    }
}

impl TryFrom<v1::Position> for Position {
    type Error = Error;

    fn try_from(position: v1::Position) -> Result<Self, Error> {
        let offset = u16::try_from(position.offset).map_err(|_| Error::Invalid {
            field: "position.offset",
            rule: "must be at most 65535".into(),
        })?;
        Ok(Self { log_index: position.log_index, offset })
    }
}

impl From<Run> for v1::Run {
    fn from(run: Run) -> Self {
        Self {
            first: Some(run.first.into()),
            records: run.records,
            arrival_millis: run.arrival.as_millis(),
        }
    }
}

impl TryFrom<v1::Run> for Run {
    type Error = Error;

    fn try_from(run: v1::Run) -> Result<Self, Error> {
        Ok(Self {
            first: run.first.ok_or(Error::Missing("run.first"))?.try_into()?,
            records: run.records,
            arrival: Timestamp::from_millis(run.arrival_millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use anabranch_shard::{Batch, BatchBuilder, Producer};
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        /// Batches that `shard` writes by hand have the bytes of the message of the native API, and the other way
        /// round.
        #[test]
        fn a_batch_has_the_bytes_of_the_protobuf_message(
            records in proptest::collection::vec((any::<u32>(), "[a-z]{1,9}", any::<[u8; 9]>()), 1..9),
            id in proptest::option::of(any::<[u8; 5]>()),
        ) {
            let producer = id.map(|id| Producer { id: Bytes::copy_from_slice(&id), sequence: 7 });
            let mut builder = BatchBuilder::new(producer.clone());
            for (index, key, data) in &records {
                builder.push(*index, key.as_bytes(), data);
            }
            let batch = builder.finish().unwrap();
            let message = v1::RecordBatch::decode(batch.bytes().clone()).unwrap();
            prop_assert_eq!(message.records.len(), records.len());
            for (record, (_, key, data)) in message.records.iter().zip(&records) {
                prop_assert_eq!(&record.partition_key[..], key.as_bytes());
                prop_assert_eq!(&record.data[..], &data[..]);
            }
            prop_assert_eq!(message.producer.is_some(), producer.is_some());
            let encoded = Bytes::from(message.encode_to_vec());
            let parsed = Batch::parse(encoded).unwrap();
            prop_assert_eq!(parsed.call_indexes().collect::<Vec<_>>(), batch.call_indexes().collect::<Vec<_>>());
            prop_assert_eq!(parsed.producer(), batch.producer());
        }
    }
}
