//! A batch: records on their way from the source into objects.
//!
//! ```text
//! record -> source copy
//!        -> processors -> data of the object          (compressed in pieces, spooled)
//!             | failed
//!             +--------> line of the error object
//! ```
//!
//! No I/O but the spool, and no clock. The same runs with the same configuration give the same objects, byte for byte
//! and name for name, so a second owner can finish what a first one began.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path as Folder;
use std::sync::Arc;

use anabranch_client::StreamRecord;
use anabranch_formats::compression::{Compression, Encoder};
use anabranch_formats::jq::EXTRACTION_ERROR_CODE;
use anabranch_formats::name::{Identity, ObjectKind, ShardRange, object_name};
use anabranch_formats::prefix::{
    Context as PrefixContext, Keys, TOO_MANY_PARTITIONS_CODE, TOO_MANY_PARTITIONS_MESSAGE,
};
use anabranch_formats::{ErrorType, Failure, Record};
use anabranch_shard::Position;
use anabranch_types::{ShardId, Timestamp};
use aws_lc_rs::digest::{Context as Digest, SHA256};
use object_store::path::Path;

use crate::definition::{Definition, Destination};
use crate::intent::{Intent, IntentObject, ReadRun};
use crate::settings::{Invalid, ObjectSettings, Settings};
use crate::spool::Spool;
use crate::stages;

/// A batch is full with records of this many shards: its commit is one transaction with a key for each shard, and a
/// transaction has at most 100 keys.
const MAX_SHARDS: usize = 80;
/// A batch is full when its intent may have this many bytes. A row has at most 400 KiB.
const MAX_INTENT_BYTES: usize = 256 << 10;
/// Most bytes of a run in an intent, and of an object without its partition.
const RUN_BYTES: usize = 90;
const OBJECT_BYTES: usize = 450;
/// Bytes of a key. Source: Amazon S3 user guide, object keys.
const MAX_KEY_BYTES: usize = 1024;
/// Bytes of a part of a key between slashes, which is a file name in a folder.
const MAX_FILE_NAME_BYTES: usize = 240;
/// Error lines and copies of the source close a batch, too.
const MAX_OTHER_BYTES: u64 = 64 << 20;
/// Active partitions of a delivery stream.
/// Source: Firehose developer guide, Quota.
const MAX_PARTITIONS: usize = 500;
/// Bytes before compression in all objects of a batch.
const MAX_BYTES: u64 = 512 << 20;

/// The parts that all batches of a configuration share.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Id of the delivery stream.
    pub(crate) id_text: String,
    /// Name of the delivery stream.
    pub(crate) name: String,
    /// Number of the configuration.
    pub(crate) version: u64,
    /// The configuration.
    pub(crate) destination: Destination,
    /// Its meaning.
    pub(crate) settings: Settings,
    /// Where large objects wait.
    pub(crate) spool: Arc<Folder>,
}

/// A batch that takes records.
pub(crate) struct Batch {
    recipe: Arc<Recipe>,
    runs: Vec<ReadRun>,
    /// First and last record of each shard.
    ranges: BTreeMap<ShardId, ShardRange>,
    /// By kind and partition. Without dynamic partitioning there is one partition.
    objects: BTreeMap<(ObjectKind, String), Object>,
    /// When the oldest record arrived.
    oldest: Option<Timestamp>,
}

struct Object {
    /// Partition keys of its records.
    keys: Keys,
    encoder: Encoder,
    spool: Spool,
    records: u64,
    bytes: u64,
    oldest: Timestamp,
    digest: Digest,
}

/// A batch that takes no more records.
pub(crate) struct Closed {
    /// The row that says what is delivered.
    pub(crate) intent: Intent,
    /// The bodies of the objects, in the order of the intent, with their content encodings.
    pub(crate) bodies: Vec<(Spool, Option<&'static str>)>,
}

impl Recipe {
    /// The recipe of a configuration of a delivery stream.
    ///
    /// # Errors
    /// As [`Settings::parse`].
    pub(crate) fn new(
        definition: &Definition,
        version: u64,
        destination: Destination,
        spool: Arc<Folder>,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            id_text: definition.id.to_string(),
            name: definition.name.clone(),
            version,
            settings: Settings::parse(&destination)?,
            destination,
            spool,
        })
    }
}

impl Batch {
    pub(crate) fn new(recipe: Arc<Recipe>) -> Self {
        let (ranges, objects) = (BTreeMap::new(), BTreeMap::new());
        Self { recipe, runs: Vec::new(), ranges, objects, oldest: None }
    }

    /// Whether there is nothing to deliver and no position to move.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether the batch should be closed.
    pub(crate) fn is_full(&self) -> bool {
        let settings = &self.recipe.settings;
        let limit = |kind: &ObjectKind| match kind {
            ObjectKind::Data => settings.object.size,
            ObjectKind::SourceCopy => {
                settings.backup.as_ref().map_or(MAX_OTHER_BYTES, |backup| backup.size)
            }
            ObjectKind::Error(_) => MAX_OTHER_BYTES,
        };
        let shards = || self.runs.iter().map(|run| run.shard).collect::<BTreeSet<_>>().len();
        let objects = self.objects.keys();
        let objects: usize = objects.map(|(_, partition)| OBJECT_BYTES + partition.len()).sum();
        self.runs.len() * RUN_BYTES + objects >= MAX_INTENT_BYTES
            || self.runs.len() >= MAX_SHARDS && shards() >= MAX_SHARDS
            || self.objects.iter().any(|((kind, _), object)| object.bytes >= limit(kind))
            || self.objects.values().map(|object| object.bytes).sum::<u64>() >= MAX_BYTES
    }

    /// When the oldest record arrived.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// Number of records that a processor refused.
    pub(crate) fn failed(&self) -> u64 {
        let failed = self.objects.iter();
        let failed = failed.filter(|((kind, _), _)| matches!(kind, ObjectKind::Error(_)));
        failed.map(|(_, object)| object.records).sum()
    }

    /// Says that the batch has everything of a shard from `first` up to `next`. `ends`: nothing comes after that.
    pub(crate) fn covers(&mut self, shard: ShardId, first: Position, next: Position, ends: bool) {
        let (first, next) = ((first.log_index, first.offset), (next.log_index, next.offset));
        match self.runs.last_mut() {
            Some(run) if run.shard == shard.0 && run.next == first && !run.ends => {
                (run.next, run.ends) = (next, ends);
            }
            _ => self.runs.push(ReadRun { shard: shard.0, first, next, ends }),
        }
    }

    /// Adds a record. [`Self::covers`] must have named its position.
    ///
    /// # Errors
    /// Of the spool.
    pub(crate) fn add(&mut self, stored: &StreamRecord) -> io::Result<()> {
        let recipe = Arc::clone(&self.recipe);
        let (shard, number) = (stored.shard, stored.number);
        let range = ShardRange { shard, first: number, last: number };
        self.ranges.entry(shard).or_insert(range).last = number;
        self.oldest = Some(self.oldest.map_or(stored.arrival, |oldest| oldest.min(stored.arrival)));
        let record = Record {
            data: stored.data.clone(),
            arrival: stored.arrival,
            shard,
            sequence: number,
            sub_sequence: stored.place.unwrap_or_default(),
            partition_key: stored.partition_key.clone(),
        };
        if recipe.settings.backup.is_some() {
            self.write(ObjectKind::SourceCopy, None, &record, &record.data)?;
        }
        let delimiter = recipe.settings.processors.delimiter.as_ref();
        for result in stages::process(&recipe.settings.processors, record) {
            match result.and_then(|record| Ok((self.partition(&recipe, &record)?, record))) {
                Ok((partition, record)) => {
                    let data = delimiter.map(|delimiter| delimiter.append_to(&record.data));
                    let data = data.as_ref().unwrap_or(&record.data);
                    self.write(ObjectKind::Data, partition, &record, data)?;
                }
                Err(failure) => {
                    let line = stages::error_line(&failure);
                    let kind = ObjectKind::Error(failure.error_type);
                    self.write(kind, None, &failure.record, &line)?;
                }
            }
        }
        Ok(())
    }

    /// The partition of a record, as text and as keys. `None` without dynamic partitioning.
    fn partition(
        &self,
        recipe: &Recipe,
        record: &Record,
    ) -> Result<Option<(String, Keys)>, Box<Failure>> {
        let Some(query) = &recipe.settings.processors.keys else { return Ok(None) };
        let keys = query.keys(record)?;
        let partition = recipe.settings.object.prefix.partition(&keys, &Keys::new());
        let partition = partition.map_err(|error| {
            Box::new(record.clone().failed(EXTRACTION_ERROR_CODE, error.to_string()))
        })?;
        let is_new = !self.objects.contains_key(&(ObjectKind::Data, partition.clone()));
        let partitions = || self.objects.keys().filter(|(kind, _)| *kind == ObjectKind::Data);
        if is_new && partitions().count() >= MAX_PARTITIONS {
            let failure =
                record.clone().failed(TOO_MANY_PARTITIONS_CODE, TOO_MANY_PARTITIONS_MESSAGE);
            let error_type = ErrorType::ActivePartitionExceeded;
            return Err(Box::new(Failure { error_type, ..failure }));
        }
        Ok(Some((partition, keys)))
    }

    fn write(
        &mut self,
        kind: ObjectKind,
        partition: Option<(String, Keys)>,
        record: &Record,
        data: &[u8],
    ) -> io::Result<()> {
        let (partition, keys) = partition.unwrap_or_default();
        let compression = self.recipe.object(kind).1;
        let entry = self.entry_name();
        let object = self.objects.entry((kind, partition)).or_insert_with(|| Object {
            keys,
            encoder: Encoder::new(compression, &entry),
            spool: Spool::new(Arc::clone(&self.recipe.spool)),
            records: 0,
            bytes: 0,
            oldest: record.arrival,
            digest: Digest::new(&SHA256),
        });
        let position = Position::of(record.sequence);
        object.digest.update(&record.shard.0.to_be_bytes());
        object.digest.update(&position.log_index.to_be_bytes());
        object.digest.update(&position.offset.to_be_bytes());
        object.digest.update(&(data.len() as u64).to_be_bytes());
        object.digest.update(data);
        object.records += 1;
        object.bytes += data.len() as u64;
        object.oldest = object.oldest.min(record.arrival);
        object.encoder.write(data);
        let output = object.encoder.take_output();
        if output.is_empty() { Ok(()) } else { object.spool.write(&output) }
    }

    /// The name of the entry in a ZIP archive. It is needed before the batch has all its records.
    fn entry_name(&self) -> String {
        let first = self.ranges.values().next();
        let ranges: Vec<_> =
            first.map(|range| ShardRange { last: range.first, ..*range }).into_iter().collect();
        let recipe = &self.recipe;
        recipe.identity(&ranges, "zip", ObjectKind::Data, None).hash().uuid().to_string()
    }

    /// Takes no more records. `attempt` is the digest of the objects if an earlier attempt at these records made other
    /// objects.
    ///
    /// # Errors
    /// Of the spool.
    pub(crate) fn close(self, attempt: Option<[u8; 32]>) -> io::Result<Closed> {
        let Self { recipe, runs, ranges, objects, .. } = self;
        let ranges: Vec<_> = ranges.into_values().collect();
        let (mut named, mut bodies) = (Vec::new(), Vec::new());
        for ((kind, _), mut object) in objects {
            let rest = object.encoder.finish();
            object.spool.write(&rest)?;
            let (settings, compression) = recipe.object(kind);
            let key = recipe.key(kind, &object.keys, &ranges, object.oldest, attempt.as_ref());
            named.push(IntentObject {
                bucket: settings.bucket.clone(),
                key,
                records: object.records,
                digest: hex(object.digest.finish().as_ref()),
            });
            bodies.push((object.spool, compression.content_encoding()));
        }
        let intent = Intent {
            version: recipe.version,
            destination: recipe.destination.clone(),
            runs,
            objects: named,
        };
        Ok(Closed { intent, bodies })
    }
}

impl Recipe {
    /// Settings and compression of an object. Error lines are not compressed.
    fn object(&self, kind: ObjectKind) -> (&ObjectSettings, Compression) {
        let data = &self.settings.object;
        match kind {
            ObjectKind::Data => (data, data.compression),
            ObjectKind::SourceCopy => {
                let backup = self.settings.backup.as_ref().unwrap_or(data);
                (backup, backup.compression)
            }
            ObjectKind::Error(_) => (data, Compression::None),
        }
    }

    fn identity<'a>(
        &'a self,
        ranges: &'a [ShardRange],
        prefix: &'a str,
        kind: ObjectKind,
        attempt: Option<&'a [u8; 32]>,
    ) -> Identity<'a> {
        Identity {
            delivery_stream: &self.id_text,
            configuration_version: self.version,
            ranges,
            prefix,
            kind,
            attempt,
        }
    }

    fn key(
        &self,
        kind: ObjectKind,
        keys: &Keys,
        ranges: &[ShardRange],
        oldest: Timestamp,
        attempt: Option<&[u8; 32]>,
    ) -> String {
        let (settings, compression) = self.object(kind);
        let (template, error_type) = match kind {
            ObjectKind::Data | ObjectKind::SourceCopy => (&settings.prefix, None),
            ObjectKind::Error(error_type) => (&settings.error_prefix, Some(error_type)),
        };
        let none = Keys::new();
        let partition = template.partition(keys, &none).unwrap_or_default();
        let name = self.identity(ranges, &partition, kind, attempt).hash();
        let context = PrefixContext {
            instant: oldest,
            zone: &settings.zone,
            random: &|nth| name.random_string(nth),
            error_type,
            keys_from_query: keys,
            keys_from_lambda: &none,
        };
        let prefix = template.evaluate(&context).unwrap_or_default();
        let extension = match (kind, &settings.extension) {
            (ObjectKind::Data, Some(extension)) => extension,
            _ => compression.extension(),
        };
        let object = object_name(&self.name, self.version, oldest, name.uuid(), extension);
        let key = prefix + &object;
        // A prefix that makes no key of a store is left out: the records matter more than where they are.
        if is_key(&key) { key } else { format!("{}/{object}", kind.as_str()) }
    }
}

/// Whether every store takes a key.
fn is_key(key: &str) -> bool {
    let longest = key.split('/').map(str::len).max().unwrap_or_default();
    Path::parse(key).is_ok_and(|path| path.as_ref() == key)
        && key.len() <= MAX_KEY_BYTES
        && longest <= MAX_FILE_NAME_BYTES
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One digest of all objects of an intent.
pub(crate) fn digest_of(objects: &[IntentObject]) -> [u8; 32] {
    let mut context = Digest::new(&SHA256);
    for object in objects {
        context.update(object.key.as_bytes());
        context.update(object.digest.as_bytes());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use anabranch_types::{SequenceNumber, SequenceNumberParts};
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::definition::Kind;

    fn recipe(members: Value) -> Arc<Recipe> {
        let mut configuration = json!({
            "RoleARN": "r", "BucketARN": "arn:aws:s3:::bucket",
            "ProcessingConfiguration": {"Processors": [{"Type": "AppendDelimiterToRecord"}]}
        });
        let Value::Object(members) = members else { panic!("members") };
        configuration.as_object_mut().unwrap().extend(members);
        let destination = Destination { kind: Kind::ExtendedS3, configuration };
        Arc::new(Recipe {
            id_text: "id".into(),
            name: "orders".into(),
            version: 3,
            settings: Settings::parse(&destination).unwrap(),
            destination,
            spool: std::env::temp_dir().into(),
        })
    }

    fn record(shard: u32, log_index: u64, data: &str) -> StreamRecord {
        let parts = SequenceNumberParts {
            shard_born_seconds: 1_700_000_000,
            shard: ShardId(shard),
            log_index,
            offset: 0,
            arrival_seconds: 1_700_000_100,
        };
        StreamRecord {
            shard: ShardId(shard),
            number: SequenceNumber::new(parts),
            place: None,
            arrival: Timestamp::from_millis(1_700_000_100_000 + log_index),
            partition_key: Bytes::new(),
            explicit_hash_key: None,
            data: Bytes::copy_from_slice(data.as_bytes()),
        }
    }

    fn bodies(closed: &mut Closed) -> Vec<Vec<u8>> {
        closed.bodies.iter_mut().map(|(spool, _)| spool.read().unwrap().concat()).collect()
    }

    fn batch(recipe: &Arc<Recipe>, records: &[StreamRecord]) -> Batch {
        let mut batch = Batch::new(Arc::clone(recipe));
        let mut read = BTreeMap::new();
        for record in records {
            let position = Position::of(record.number);
            let first = read.insert(record.shard, position.next()).unwrap_or(position);
            batch.covers(record.shard, first, position.next(), false);
            batch.add(record).unwrap();
        }
        batch
    }

    #[test]
    fn the_same_records_make_the_same_objects_and_another_attempt_has_other_names() {
        let recipe = recipe(json!({"CompressionFormat": "GZIP", "S3BackupMode": "Enabled",
            "S3BackupConfiguration": {"BucketARN": "arn:aws:s3:::copies", "Prefix": "raw/"}}));
        let records = [record(0, 5, "a"), record(1, 3, "b"), record(0, 6, "c")];
        let [mut first, mut second] =
            [(); 2].map(|()| batch(&recipe, &records).close(None).unwrap());
        assert_eq!(first.intent, second.intent);
        let made = bodies(&mut first);
        assert_eq!(made, bodies(&mut second));
        let buckets: Vec<_> =
            first.intent.objects.iter().map(|o| (&*o.bucket, o.records)).collect();
        assert_eq!(buckets, [("bucket", 3), ("copies", 3)]);
        let [data, copy] = &first.intent.objects[..] else { panic!("two objects") };
        assert!(
            data.key.starts_with("2023/11/14/22/orders-3-2023-11-14-22-15-00-"),
            "{}",
            data.key
        );
        assert!(data.key.ends_with(".gz") && copy.key.starts_with("raw/"), "{}", copy.key);
        assert_eq!(made[1], b"abc", "copies are as they came");
        let attempt = digest_of(&first.intent.objects);
        let mut other = batch(&recipe, &records).close(Some(attempt)).unwrap();
        assert_eq!(bodies(&mut other), made);
        for (other, first) in other.intent.objects.iter().zip(&first.intent.objects) {
            assert_eq!(other.digest, first.digest);
            assert_ne!(other.key, first.key);
        }
    }

    #[test]
    fn records_are_in_the_objects_of_their_partitions() {
        let parameter =
            |name: &str, value: &str| json!({"ParameterName": name, "ParameterValue": value});
        let query = [
            parameter("MetadataExtractionQuery", "{c: .customer}"),
            parameter("JsonParsingEngine", "JQ-1.6"),
        ];
        let recipe = recipe(json!({
            "Prefix": "c=!{partitionKeyFromQuery:c}/", "ErrorOutputPrefix": "bad/",
            "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 60},
            "DynamicPartitioningConfiguration": {"Enabled": true},
            "ProcessingConfiguration": {"Processors": [
                {"Type": "MetadataExtraction", "Parameters": query}, {"Type": "AppendDelimiterToRecord"}
            ]}
        }));
        let data = [r#"{"customer":1}"#, r#"{"customer":2}"#, "no json", r#"{"customer":1}"#, "{}"];
        let records: Vec<_> = (1..).zip(data).map(|(at, data)| record(0, at, data)).collect();
        let closed = batch(&recipe, &records).close(None).unwrap();
        let found: Vec<_> =
            closed.intent.objects.iter().map(|o| (&o.key[..4], o.records)).collect();
        assert_eq!(found, [("c=1/", 2), ("c=2/", 1), ("bad/", 2)]);
        let many: Vec<_> = (0..502)
            .map(|customer| record(0, customer + 1, &format!(r#"{{"customer":{customer}}}"#)))
            .collect();
        let closed = batch(&recipe, &many).close(None).unwrap();
        assert_eq!(closed.intent.objects.len(), 501);
        assert_eq!(closed.intent.objects.last().unwrap().records, 2, "too many partitions");
    }

    #[test]
    fn neighbours_of_a_shard_are_one_run() {
        let recipe = recipe(json!({}));
        let records = [record(0, 5, "a"), record(0, 6, "b"), record(1, 3, "c"), record(0, 7, "d")];
        let mut batch = batch(&recipe, &records);
        let end = Position { log_index: 8, offset: 0 };
        batch.covers(ShardId(0), Position::of(record(0, 7, "").number).next(), end, true);
        let runs = batch.close(None).unwrap().intent.runs;
        let found: Vec<_> = runs.iter().map(|run| (run.shard, run.first.0, run.ends)).collect();
        assert_eq!(found, [(0, 5, false), (1, 3, false), (0, 6, true)]);
        assert_eq!(runs[2].next(), end);
    }

    #[test]
    fn a_batch_is_full_when_an_object_has_its_size() {
        let recipe = recipe(json!({"BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 60}}));
        let half = "x".repeat(1 << 19);
        assert!(!batch(&recipe, &[record(0, 1, &half)]).is_full());
        assert!(batch(&recipe, &[record(0, 1, &half), record(0, 2, &half)]).is_full());
    }
}
