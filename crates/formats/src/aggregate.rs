//! Aggregated records: many user records in one, as the Kinesis Producer Library writes them.
//!
//! A cluster stores an aggregated record as it is and never looks inside. A delivery stream takes the records of its
//! source stream apart, before every other stage.
//!
//! Shape: `F3 89 9A C2`, a protobuf message, the MD5 of the message (16 bytes). Fields of the message: 1 repeated
//! string, the table of partition keys; 2 repeated string, the table of explicit hash keys in decimal; 3 repeated
//! record. Fields of a record: 1 index of its partition key, 2 index of its explicit hash key if it has one, 3 its
//! data, 4 repeated tags, which no program uses. Source: `AGGREGATION.md` of `awslabs/amazon-kinesis-producer`.
//!
//! Invariant: taking a record apart needs at most eight bytes of memory for two bytes of the record, and never
//! panics.

use std::ops::Range;

use anabranch_types::{HashKey, HashKeyRange, partition_key_hash};
use bytes::Bytes;
use md5::{Digest, Md5};

use crate::record::Record;

/// The user records of one aggregated record. All of them have been checked.
#[derive(Clone, Debug)]
pub struct Aggregate {
    message: Bytes,
    partition_keys: Vec<Piece>,
    hash_keys: Vec<HashKey>,
    records: usize,
}

/// One user record of an aggregated record. Its bytes are slices of the aggregated record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Index in the aggregated record, from 0. It is the `subSequenceNumber` of the Kinesis Client Library, as long
    /// as no record before it is left out.
    pub place: u32,
    /// Partition key. It was checked to be UTF-8.
    pub partition_key: Bytes,
    /// Hash key that the producer gave the record.
    pub explicit_hash_key: Option<HashKey>,
    /// Data of the user.
    pub data: Bytes,
}

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const DIGEST_BYTES: usize = 16;

const PARTITION_KEY: u64 = 0x0a; // field 1, length-delimited
const HASH_KEY: u64 = 0x12; // field 2, length-delimited
const RECORD: u64 = 0x1a; // field 3, length-delimited
const RECORD_PARTITION_KEY: u64 = 0x08; // field 1, varint
const RECORD_HASH_KEY: u64 = 0x10; // field 2, varint
const RECORD_DATA: u64 = 0x1a; // field 3, length-delimited

impl Aggregate {
    /// Takes a record's data apart. `None` for a record that is not aggregated: without the magic bytes, with a wrong
    /// MD5, or with a message that is not valid.
    pub fn parse(data: &Bytes) -> Option<Self> {
        let body = data.strip_prefix(&MAGIC)?;
        let (message, digest) = body.split_at_checked(body.len().checked_sub(DIGEST_BYTES)?)?;
        if message.is_empty() || Md5::digest(message)[..] != *digest {
            return None;
        }
        Self::read(data.slice_ref(message))
    }

    fn read(message: Bytes) -> Option<Self> {
        let (mut partition_keys, mut hash_keys, mut records) = (Vec::new(), Vec::new(), 0);
        let mut fields = Fields::new(&message);
        while let Some((tag, value)) = fields.next()? {
            match (tag, value) {
                (PARTITION_KEY, Value::Bytes(range)) => {
                    std::str::from_utf8(&message[range.clone()]).ok()?;
                    partition_keys.push(Piece::of(range)?);
                }
                (HASH_KEY, Value::Bytes(range)) => {
                    let text = std::str::from_utf8(&message[range]).ok()?;
                    hash_keys.push(HashKey(text.parse().ok()?));
                }
                (RECORD, Value::Bytes(_)) => records += 1,
                _ => {}
            }
        }
        let aggregate = Self { message, partition_keys, hash_keys, records };
        let whole = aggregate.records().count() == aggregate.records;
        whole.then_some(aggregate)
    }

    /// How many user records there are. There may be none.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// The user records in the producer's order.
    pub fn records(&self) -> impl Iterator<Item = UserRecord> + '_ {
        let mut fields = Fields::new(&self.message);
        let records = std::iter::from_fn(move || {
            loop {
                if let (RECORD, Value::Bytes(range)) = fields.next()?? {
                    return Some(range);
                }
            }
        });
        (0..).zip(records).map_while(|(place, range)| self.record(place, range))
    }

    /// The user records of `record`, which was parsed. With `hash_keys`, the range of the shard that the record was
    /// read from, it leaves out copies that belong to another shard: see [`UserRecord::hash_key`].
    pub fn parts<'a>(
        &'a self,
        record: &'a Record,
        hash_keys: Option<HashKeyRange>,
    ) -> impl Iterator<Item = Record> + 'a {
        let belongs =
            move |user: &UserRecord| hash_keys.is_none_or(|range| range.contains(user.hash_key()));
        self.records().filter(belongs).map(|user| Record {
            data: user.data,
            partition_key: user.partition_key,
            sub_sequence: user.place,
            ..record.clone()
        })
    }

    fn record(&self, place: u32, range: Range<usize>) -> Option<UserRecord> {
        let record = self.message.slice(range);
        let (mut partition_key, mut hash_key, mut data) = (None, None, None);
        let mut fields = Fields::new(&record);
        while let Some((tag, value)) = fields.next()? {
            match (tag, value) {
                (RECORD_PARTITION_KEY, Value::Number(at)) => partition_key = Some(at),
                (RECORD_HASH_KEY, Value::Number(at)) => hash_key = Some(at),
                (RECORD_DATA, Value::Bytes(range)) => data = Some(record.slice(range)),
                _ => {}
            }
        }
        let partition_key = self.partition_keys.get(usize::try_from(partition_key?).ok()?)?;
        let explicit_hash_key = match hash_key {
            Some(at) => Some(*self.hash_keys.get(usize::try_from(at).ok()?)?),
            None => None,
        };
        let partition_key = self.message.slice(partition_key.range());
        Some(UserRecord { place, partition_key, explicit_hash_key, data: data? })
    }
}

impl UserRecord {
    /// The hash key that decides which shard the record belongs to. A producer puts records for one shard together,
    /// by the shards that it knows. After a split some of them may belong to another shard. The producer sends those
    /// again, to that shard, so a reader leaves out the copies whose hash key is outside of the shard that it reads
    /// (`KinesisProducer`'s retries, and `AggregatorUtil` of the Kinesis Client Library).
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key.unwrap_or_else(|| {
            let key = std::str::from_utf8(&self.partition_key);
            partition_key_hash(key.expect("keys were checked when the record was taken apart"))
        })
    }
}

/// A range of the message. It takes half the memory of a `Range<usize>`, because a table may have an entry for every
/// two bytes of the message.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    end: u32,
}

impl Piece {
    fn of(range: Range<usize>) -> Option<Self> {
        Some(Self { start: range.start.try_into().ok()?, end: range.end.try_into().ok()? })
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

enum Value {
    Number(u64),
    Bytes(Range<usize>),
}

/// Walks the fields of a protobuf message.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next field. The inner `None` is the end of the message; the outer `None` says that the bytes are not a
    /// message.
    fn next(&mut self) -> Option<Option<(u64, Value)>> {
        if self.at == self.bytes.len() {
            return Some(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.skip(length)?
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        Some(Some((tag, value)))
    }

    fn skip(&mut self, length: usize) -> Option<Value> {
        let start = self.at;
        let end = start.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(Value::Bytes(start..end))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
