//! The limits of the Kinesis service for one shard, for clusters that turn them on.
//!
//! Each limit is a token bucket that holds one second's worth. A call passes while anything is left and may take
//! more than is left. Then the next calls are throttled until the bucket is above zero again. So the limits hold on
//! average.
//!
//! Source: API reference, PutRecord, PutRecords and GetRecords. Where they say 1 MiB per second, that is the
//! average.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_shard::{Batch, Page};
use anabranch_types::{Timestamp, TokenBucket, limits};

use crate::error::Error;

/// Counts the calls, records and bytes of a shard, on its leader.
#[derive(Debug)]
pub(crate) struct ShardMeter(Mutex<Meter>);

#[derive(Debug)]
struct Meter {
    records: TokenBucket,
    bytes: TokenBucket,
    reads: TokenBucket,
    read_bytes: TokenBucket,
}

impl ShardMeter {
    pub(crate) fn new(now: Timestamp) -> Self {
        let limit = |per_second| TokenBucket::new(per_second, now);
        Self(Mutex::new(Meter {
            records: limit(limits::SHARD_RECORDS_PER_SECOND),
            bytes: limit(limits::SHARD_BYTES_PER_SECOND),
            reads: limit(limits::SHARD_READS_PER_SECOND),
            read_bytes: limit(limits::SHARD_READ_BYTES_PER_SECOND),
        }))
    }

    /// Counts a batch that is to be written.
    ///
    /// # Errors
    /// [`Error::Throttled`] if the records or bytes of the shard are used up.
    pub(crate) fn write(&self, batch: &Batch, now: Timestamp) -> Result<(), Error> {
        let mut meter = self.lock();
        let (records, bytes) = (meter.records.has_any(now), meter.bytes.has_any(now));
        if !records || !bytes {
            return Err(Error::Throttled("the shard's records or bytes per second are used up"));
        }
        meter.records.take(batch.record_count().into());
        meter.bytes.take(batch.bytes().len() as u64);
        Ok(())
    }

    /// Counts one call of a reader.
    ///
    /// # Errors
    /// [`Error::Throttled`] if the calls or bytes of readers are used up.
    pub(crate) fn read(&self, now: Timestamp) -> Result<(), Error> {
        let mut meter = self.lock();
        let (reads, bytes) = (meter.reads.has_any(now), meter.read_bytes.has_any(now));
        if !reads || !bytes {
            return Err(Error::Throttled("the shard's reads or read bytes per second are used up"));
        }
        meter.reads.take(1);
        Ok(())
    }

    /// Counts the bytes that a call returned.
    pub(crate) fn got(&self, page: &Page) {
        let bytes =
            page.records().map(|(_, _, record)| record.data.len() + record.partition_key.len());
        let bytes: usize = bytes.sum();
        self.lock().read_bytes.take(bytes as u64);
    }

    fn lock(&self) -> MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use anabranch_shard::BatchBuilder;

    use super::*;

    fn batch(records: u32, bytes: usize) -> Batch {
        let mut builder = BatchBuilder::new(None);
        (0..records).for_each(|index| builder.push(index, b"k", &vec![0; bytes]));
        builder.finish().unwrap()
    }

    #[test]
    fn a_shard_takes_a_thousand_records_or_a_mebibyte_a_second() {
        let at = Timestamp::from_millis;
        let meter = ShardMeter::new(at(1_000));
        assert_eq!(meter.write(&batch(500, 10), at(1_000)), Ok(()));
        assert_eq!(meter.write(&batch(500, 10), at(1_000)), Ok(()));
        assert!(matches!(meter.write(&batch(1, 10), at(1_000)), Err(Error::Throttled(_))));
        assert_eq!(meter.write(&batch(1, 3 << 20), at(1_900)), Ok(()), "a large one passes");
        assert!(matches!(meter.write(&batch(1, 10), at(3_800)), Err(Error::Throttled(_))));
        assert_eq!(meter.write(&batch(1, 10), at(4_100)), Ok(()));
    }

    #[test]
    fn a_shard_is_read_five_times_a_second() {
        let at = Timestamp::from_millis;
        let meter = ShardMeter::new(at(1_000));
        (0..5).for_each(|_| assert_eq!(meter.read(at(1_000)), Ok(())));
        assert!(matches!(meter.read(at(1_000)), Err(Error::Throttled(_))));
        assert_eq!(meter.read(at(1_300)), Ok(()));
    }
}
