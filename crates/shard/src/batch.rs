//! The batch: records as they travel from a gateway to the log and back to readers. They are encoded only once.
//!
//! Shape: the protobuf message `anabranch.v1.RecordBatch`. It is written and read here by hand, so that a record
//! costs two lengths and no allocation. The builder writes producer and call indexes before the records. The reader
//! takes fields in any order and skips fields that it does not know.
//!
//! The leader may seal a batch (ADR-0020). Then producer and call indexes stay in plain text, and one field holds
//! the rest.

use anabranch_types::{HashKey, partition_key_hash};
use bytes::Bytes;

/// Identifies a call, so that a retry of it can be told from a new call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Producer {
    /// `amz-sdk-invocation-id` of an SDK's call, or the id that a gRPC client chose. 1 to 64 bytes.
    pub id: Bytes,
    /// The client's own count of its calls. 0 for an SDK's call, whose id is new each time.
    pub sequence: u64,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A length or a tag runs past the end, or a tag has a type that the field does not have.
    #[error("batch: malformed at byte {at}")]
    Malformed {
        /// Byte at which reading stopped, from the start of the malformed message.
        at: usize,
    },
    /// There is no record, or more than fit the 16-bit offset of a position.
    #[error("batch: has {records} records, must have 1 to 65536")]
    RecordCount {
        /// Number of records.
        records: usize,
    },
    /// There are call indexes, but their number is not the number of records.
    #[error("batch: has {indexes} call indexes for {records} records")]
    CallIndexes {
        /// Number of call indexes.
        indexes: usize,
        /// Number of records.
        records: usize,
    },
    /// The producer id is empty or longer than 64 bytes.
    #[error("batch: producer id has {bytes} bytes, must have 1 to 64")]
    ProducerId {
        /// Length of the id in bytes.
        bytes: usize,
    },
    /// There is a sealed part. Only the shard's leader seals batches, so no client may send one.
    #[error("batch: must not be sealed")]
    Sealed,
    /// A partition key is not UTF-8 or is longer than 256 characters.
    #[error("batch: partition key must be UTF-8 of at most 256 characters")]
    PartitionKey,
}

/// A record inside a batch. Its bytes are slices of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The user's data.
    pub data: Bytes,
    /// The user's partition key, UTF-8.
    pub partition_key: Bytes,
}

/// A batch that has been checked: it has at least one record, and every length is in bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    records: u32,
    producer: Option<Producer>,
    call_indexes: Vec<u32>,
    hash_keys: Bytes,
}

const RECORD: u8 = 0x0a; // field 1, length-delimited
const PRODUCER: u8 = 0x12; // field 2, length-delimited
const CALL_INDEXES: u8 = 0x1a; // field 3, packed varints
const SEALED: u8 = 0x22; // field 4, length-delimited
const RECORD_DATA: u8 = 0x0a;
const RECORD_PARTITION_KEY: u8 = 0x12;
const PRODUCER_ID: u8 = 0x0a;
const PRODUCER_SEQUENCE: u8 = 0x10;

const MAX_RECORDS: usize = 1 << 16;
const MAX_PRODUCER_ID_BYTES: usize = 64;

impl Batch {
    /// Checks `bytes` and keeps them as they are.
    ///
    /// # Errors
    /// [`BatchError`], with the place of the error if the bytes are malformed.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let (mut records, mut producer, mut call_indexes) = (0usize, None, Vec::new());
        let mut fields = Fields::new(&bytes);
        while let Some(field) = fields.next()? {
            match field {
                (RECORD, Value::Bytes(range)) => {
                    check_record(&bytes[range])?;
                    records += 1;
                }
                (PRODUCER, Value::Bytes(range)) => {
                    producer = Some(parse_producer(bytes.slice(range))?)
                }
                (CALL_INDEXES, Value::Bytes(range)) => {
                    parse_call_indexes(&bytes[range], &mut call_indexes)?;
                }
                (RECORD | PRODUCER | CALL_INDEXES, _) => return Err(fields.malformed()),
                (SEALED, _) => return Err(BatchError::Sealed),
                _ => {}
            }
        }
        if !(1..=MAX_RECORDS).contains(&records) {
            return Err(BatchError::RecordCount { records });
        }
        if !call_indexes.is_empty() && call_indexes.len() != records {
            return Err(BatchError::CallIndexes { indexes: call_indexes.len(), records });
        }
        let records = u32::try_from(records).expect("at most 65536");
        Ok(Self { bytes, records, producer, call_indexes, hash_keys: Bytes::new() })
    }

    /// The producer and the call indexes of an encoded batch, without a look into its records. `None` if the batch
    /// names no producer.
    pub fn call_of(bytes: &Bytes) -> Option<(Producer, Vec<u32>)> {
        let (mut producer, mut call_indexes) = (None, Vec::new());
        let mut fields = Fields::new(bytes);
        while let Ok(Some(field)) = fields.next() {
            match field {
                (PRODUCER, Value::Bytes(range)) => {
                    producer = parse_producer(bytes.slice(range)).ok()
                }
                (CALL_INDEXES, Value::Bytes(range)) => {
                    parse_call_indexes(&bytes[range], &mut call_indexes).ok()?;
                }
                _ => {}
            }
        }
        // The id is a slice of the batch. A copy of it does not keep the records in memory.
        let Producer { id, sequence } = producer?;
        Some((Producer { id: Bytes::copy_from_slice(&id), sequence }, call_indexes))
    }

    /// The bytes that are stored before the sealed part of the batch, which has `sealed_bytes` bytes. First producer
    /// and call indexes in plain text, so that retries are recognised without a key. Then tag and length of the
    /// sealed part.
    pub fn sealed_head(&self, sealed_bytes: usize) -> Vec<u8> {
        let mut head = encode_head(self.producer.as_ref(), &self.call_indexes);
        put_head(&mut head, SEALED, sealed_bytes);
        head
    }

    /// The bytes before the sealed part of a stored batch, and the sealed part. `None` if the batch is not sealed.
    pub fn sealed_part(stored: &Bytes) -> Option<(Bytes, Bytes)> {
        let mut fields = Fields::new(stored);
        loop {
            match fields.next().ok()?? {
                (SEALED, Value::Bytes(range)) => {
                    return Some((stored.slice(..range.start), stored.slice(range)));
                }
                (PRODUCER | CALL_INDEXES, _) => {}
                _ => return None,
            }
        }
    }

    /// The encoded batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of records, 1 to 65,536.
    pub fn record_count(&self) -> u32 {
        self.records
    }

    /// The producer, if the batch names one.
    pub fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    /// For each record its index in the call that it came with: 0, 1, 2, … unless the batch has call indexes.
    pub fn call_indexes(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.records).map(|i| self.call_indexes.get(i as usize).copied().unwrap_or(i))
    }

    /// The batch with the hash keys by which its records were routed, 16 bytes each, big endian. They are not
    /// encoded with the batch, and nothing may rely on them. The measurement of load uses them. If they are missing,
    /// it uses the partition keys.
    pub fn with_hash_keys(mut self, hash_keys: Bytes) -> Self {
        self.hash_keys = hash_keys;
        self
    }

    /// The hash keys that [`Self::with_hash_keys`] got, or empty.
    pub fn hash_keys(&self) -> &Bytes {
        &self.hash_keys
    }

    /// For each record its hash key and its size in bytes, partition key included.
    pub fn loads(&self) -> impl Iterator<Item = (HashKey, u64)> + '_ {
        let are_given = self.hash_keys.len() == self.records as usize * size_of::<u128>();
        let mut given = self.hash_keys.chunks_exact(size_of::<u128>());
        self.records().map(move |record| {
            let given = given.next().filter(|_| are_given).and_then(|key| key.try_into().ok());
            let key = match given {
                Some(key) => HashKey(u128::from_be_bytes(key)),
                None => {
                    let key = std::str::from_utf8(&record.partition_key);
                    partition_key_hash(key.unwrap_or_default())
                }
            };
            (key, (record.data.len() + record.partition_key.len()) as u64)
        })
    }

    /// Iterates over the records. Each is decoded when it is reached.
    pub fn records(&self) -> Records {
        Records::new(self.bytes.clone())
    }

    /// The batch with only those records for whose index in the batch `keep` returns true, in order. `None` if no
    /// record is left.
    pub fn retain(&self, keep: impl Fn(usize) -> bool) -> Option<Self> {
        let mut builder = BatchBuilder::new(self.producer.clone());
        let indexes = self.call_indexes();
        for (_, (record, index)) in
            self.records().zip(indexes).enumerate().filter(|(place, _)| keep(*place))
        {
            builder.push(index, &record.partition_key, &record.data);
        }
        builder.finish()
    }
}

fn check_record(record: &[u8]) -> Result<(), BatchError> {
    let mut fields = Fields::new(record);
    while let Some(field) = fields.next()? {
        match field {
            (RECORD_PARTITION_KEY, Value::Bytes(range)) => {
                let key =
                    std::str::from_utf8(&record[range]).map_err(|_| BatchError::PartitionKey)?;
                let max = anabranch_types::limits::PARTITION_KEY_MAX_CHARACTERS;
                if key.len() > max && key.chars().count() > max {
                    return Err(BatchError::PartitionKey);
                }
            }
            (RECORD_DATA | RECORD_PARTITION_KEY, Value::Number(_)) => {
                return Err(fields.malformed());
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse_producer(bytes: Bytes) -> Result<Producer, BatchError> {
    let mut producer = Producer { id: Bytes::new(), sequence: 0 };
    let mut fields = Fields::new(&bytes);
    while let Some(field) = fields.next()? {
        match field {
            (PRODUCER_ID, Value::Bytes(range)) => producer.id = bytes.slice(range),
            (PRODUCER_SEQUENCE, Value::Number(number)) => producer.sequence = number,
            _ => {}
        }
    }
    if !(1..=MAX_PRODUCER_ID_BYTES).contains(&producer.id.len()) {
        return Err(BatchError::ProducerId { bytes: producer.id.len() });
    }
    Ok(producer)
}

fn parse_call_indexes(packed: &[u8], indexes: &mut Vec<u32>) -> Result<(), BatchError> {
    let mut cursor = Fields::new(packed);
    while cursor.at < packed.len() {
        let index = cursor.varint()?;
        indexes.push(u32::try_from(index).map_err(|_| cursor.malformed())?);
        if indexes.len() > MAX_RECORDS {
            return Err(BatchError::RecordCount { records: indexes.len() });
        }
    }
    Ok(())
}

/// Iterator over the records of a batch. Stops at the end, or at malformed bytes, which no checked batch has.
#[derive(Clone, Debug)]
pub struct Records {
    bytes: Bytes,
    at: usize,
}

impl Records {
    /// Records of `bytes`, which [`Batch::parse`] accepted when they were stored.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let mut fields = Fields { bytes: &self.bytes, at: self.at };
        let range = loop {
            if let (RECORD, Value::Bytes(range)) = fields.next().ok()?? {
                break range;
            }
        };
        self.at = fields.at;
        let record = self.bytes.slice(range);
        let (mut data, mut partition_key) = (Bytes::new(), Bytes::new());
        let mut fields = Fields::new(&record);
        while let Some((tag, Value::Bytes(range))) = fields.next().ok()? {
            match tag {
                RECORD_DATA => data = record.slice(range),
                RECORD_PARTITION_KEY => partition_key = record.slice(range),
                _ => {}
            }
        }
        Some(Record { data, partition_key })
    }
}

/// Builds a batch record by record.
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder {
    /// `reserved` bytes for the fields before the records, then the records.
    bytes: Vec<u8>,
    reserved: usize,
    count: usize,
    producer: Option<Producer>,
    call_indexes: Vec<u32>,
}

/// Maximum bytes of a record besides its data and its partition key: three tags and lengths.
const RECORD_OVERHEAD_BYTES: usize = 3 * (1 + 5);
/// Maximum bytes of a producer besides its id.
const PRODUCER_OVERHEAD_BYTES: usize = 2 * (1 + 2) + (1 + 10);
/// Maximum bytes of a call index, in a call of up to two million records.
const CALL_INDEX_BYTES: usize = 3;

impl BatchBuilder {
    /// An empty batch of `producer`, whose id has 1 to 64 bytes.
    pub fn new(producer: Option<Producer>) -> Self {
        Self { producer, ..Self::default() }
    }

    /// As [`Self::new`], but with memory for `records` records with `bytes` bytes of data and partition keys
    /// together. A batch that keeps to these sizes is built in one allocation.
    pub fn with_room(producer: Option<Producer>, records: usize, bytes: usize) -> Self {
        let reserved = producer.as_ref().map_or(0, |producer| {
            PRODUCER_OVERHEAD_BYTES + producer.id.len() + (1 + 5) + records * CALL_INDEX_BYTES
        });
        let mut buffer = Vec::with_capacity(reserved + records * RECORD_OVERHEAD_BYTES + bytes);
        buffer.resize(reserved, 0);
        let indexes = if producer.is_some() { records } else { 0 };
        let call_indexes = Vec::with_capacity(indexes);
        Self { bytes: buffer, reserved, count: 0, producer, call_indexes }
    }

    /// Adds a record that has index `call_index` in its call.
    pub fn push(&mut self, call_index: u32, partition_key: &[u8], data: &[u8]) {
        self.push_with(call_index, partition_key, data.len(), |out| out.extend_from_slice(data));
    }

    /// As [`Self::push`], but `write` appends the data: exactly `data_bytes` bytes.
    pub fn push_with(
        &mut self,
        call_index: u32,
        partition_key: &[u8],
        data_bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let key_field_bytes = 1 + varint_bytes(partition_key.len()) + partition_key.len();
        let data_field_bytes = 1 + varint_bytes(data_bytes) + data_bytes;
        let out = &mut self.bytes;
        out.reserve(key_field_bytes + data_field_bytes + RECORD_OVERHEAD_BYTES);
        put_head(out, RECORD, key_field_bytes + data_field_bytes);
        put_head(out, RECORD_DATA, data_bytes);
        let start = out.len();
        write(out);
        assert_eq!(out.len() - start, data_bytes, "the data has another length than `data_bytes`");
        put_bytes(out, RECORD_PARTITION_KEY, partition_key);
        self.count += 1;
        if self.producer.is_some() {
            self.call_indexes.push(call_index);
        }
    }

    /// Encoded bytes of the records so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.reserved
    }

    /// Whether it has no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The finished batch. `None` if it has no record or more than 65,536.
    pub fn finish(mut self) -> Option<Batch> {
        if !(1..=MAX_RECORDS).contains(&self.count) {
            return None;
        }
        let in_order = self.call_indexes.iter().zip(0..).all(|(index, place)| *index == place);
        let call_indexes = if in_order { Vec::new() } else { self.call_indexes };
        let head = encode_head(self.producer.as_ref(), &call_indexes);
        // The fields before the records go into the reserved bytes, directly in front of the records. If these are
        // too few, the records are moved.
        let start = match self.reserved.checked_sub(head.len()) {
            Some(start) => {
                self.bytes[start..self.reserved].copy_from_slice(&head);
                start
            }
            None => {
                self.bytes.splice(..self.reserved, head);
                0
            }
        };
        let bytes = Bytes::from(self.bytes).slice(start..);
        let records = u32::try_from(self.count).expect("at most 65536");
        let (producer, hash_keys) = (self.producer, Bytes::new());
        Some(Batch { bytes, records, producer, call_indexes, hash_keys })
    }
}

/// The fields before the records: producer and call indexes.
fn encode_head(producer: Option<&Producer>, call_indexes: &[u32]) -> Vec<u8> {
    let mut head = Vec::new();
    if let Some(producer) = producer {
        let mut message = Vec::with_capacity(PRODUCER_OVERHEAD_BYTES + producer.id.len());
        put_bytes(&mut message, PRODUCER_ID, &producer.id);
        message.push(PRODUCER_SEQUENCE);
        put_varint(&mut message, producer.sequence);
        put_bytes(&mut head, PRODUCER, &message);
    }
    if !call_indexes.is_empty() {
        let mut packed = Vec::with_capacity(call_indexes.len() * CALL_INDEX_BYTES);
        call_indexes.iter().for_each(|index| put_varint(&mut packed, u64::from(*index)));
        put_bytes(&mut head, CALL_INDEXES, &packed);
    }
    head
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    put_head(out, tag, bytes.len());
    out.extend_from_slice(bytes);
}

/// Tag and length of a field of `length` bytes.
fn put_head(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    put_varint(out, length as u64);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn varint_bytes(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

enum Value {
    Number(u64),
    Bytes(std::ops::Range<usize>),
}

/// Walks the fields of a protobuf message whose tags are below 16.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn malformed(&self) -> BatchError {
        BatchError::Malformed { at: self.at }
    }

    fn next(&mut self) -> Result<Option<(u8, Value)>, BatchError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = u8::try_from(self.varint()?).unwrap_or(u8::MAX);
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| self.malformed())?;
                self.skip(length)?
            }
            5 => self.skip(4)?,
            _ => return Err(self.malformed()),
        };
        Ok(Some((tag, value)))
    }

    fn skip(&mut self, length: usize) -> Result<Value, BatchError> {
        let start = self.at;
        let end = start.checked_add(length).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or_else(|| self.malformed())?;
        Ok(Value::Bytes(start..self.at))
    }

    fn varint(&mut self) -> Result<u64, BatchError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.malformed())?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Told = [(u32, String, Vec<u8>)];

    fn build(producer: Option<Producer>, records: &Told) -> Batch {
        fill(BatchBuilder::new(producer), records)
    }

    fn fill(mut builder: BatchBuilder, records: &Told) -> Batch {
        for (index, key, data) in records {
            builder.push(*index, key.as_bytes(), data);
        }
        builder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn built_batches_parse_to_the_same_records(
            records in vec((0u32..500, "\\PC{1,40}", vec(any::<u8>(), 0..300)), 1..20),
            producer in proptest::option::of((vec(any::<u8>(), 1..65), any::<u64>())),
        ) {
            let producer = producer.map(|(id, sequence)| Producer { id: id.into(), sequence });
            let batch = build(producer.clone(), &records);
            let parsed = Batch::parse(batch.bytes().clone()).unwrap();
            prop_assert_eq!(&parsed, &batch);
            for (count, bytes) in [(records.len(), 10_000), (records.len(), 0), (1, 1)] {
                let roomy = BatchBuilder::with_room(producer.clone(), count, bytes);
                prop_assert_eq!(&fill(roomy, &records), &batch);
            }
            let call = Batch::call_of(batch.bytes());
            prop_assert_eq!(call.map(|(producer, _)| producer), producer.clone());
            let read: Vec<_> = parsed.records().collect();
            prop_assert_eq!(read.len(), records.len());
            for (record, (_, key, data)) in read.iter().zip(&records) {
                prop_assert_eq!(&record.data[..], &data[..]);
                prop_assert_eq!(&record.partition_key[..], key.as_bytes());
            }
            if producer.is_some() {
                let indexes: Vec<_> = records.iter().map(|(index, ..)| *index).collect();
                prop_assert_eq!(parsed.call_indexes().collect::<Vec<_>>(), indexes);
            }
        }

        #[test]
        fn garbage_never_panics(bytes in vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            if let Ok(batch) = Batch::parse(bytes.clone()) {
                prop_assert_eq!(batch.records().count(), batch.record_count() as usize);
            }
            let _ = Records::new(bytes).count();
        }
    }

    #[test]
    fn golden_bytes_of_the_first_version() {
        let producer = Producer { id: Bytes::from_static(b"id"), sequence: 3 };
        let batch = build(Some(producer), &[(7, "k".into(), b"data".to_vec())]);
        let expected = b"\x12\x06\x0a\x02id\x10\x03\x1a\x01\x07\x0a\x09\x0a\x04data\x12\x01k";
        assert_eq!(&batch.bytes()[..], expected);
    }

    #[test]
    fn empty_and_mismatched_batches_are_refused() {
        assert_eq!(Batch::parse(Bytes::new()), Err(BatchError::RecordCount { records: 0 }));
        let two_indexes = Bytes::from_static(b"\x1a\x02\x01\x02\x0a\x03\x0a\x01x");
        let expected = BatchError::CallIndexes { indexes: 2, records: 1 };
        assert_eq!(Batch::parse(two_indexes), Err(expected));
        let cut = Bytes::from_static(b"\x0a\x05\x0a\x01x");
        assert!(matches!(Batch::parse(cut), Err(BatchError::Malformed { .. })));
    }

    #[test]
    fn retain_keeps_the_call_indexes_of_its_records() {
        let producer = Producer { id: Bytes::from_static(b"p"), sequence: 0 };
        let records = ["a", "b", "c"].map(|k| (0, k.to_owned(), k.as_bytes().to_vec()));
        let mut records = records.to_vec();
        (0..).zip(&mut records).for_each(|(i, r)| r.0 = i);
        let kept = build(Some(producer), &records).retain(|place| place != 1).unwrap();
        assert_eq!(kept.call_indexes().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(kept.records().map(|r| r.data).collect::<Vec<_>>(), ["a", "c"]);
    }
}
