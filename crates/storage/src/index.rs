//! RocksDB: the locations of old entries, and all state that is looked up by key.
//!
//! Its write-ahead log is off. After a crash, the rows that only its memtables had are replayed from the segment log,
//! from [`Position`] on. Both column families are flushed together, so their rows always belong to one position. Any
//! damage that a call finds is remembered in [`Index::damage`].

mod checkpoint;
pub(crate) mod copy;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{OnceLock, PoisonError, RwLock},
};

use anabranch_types::GroupId;
use bytes::Bytes;
pub(crate) use checkpoint::{Changes, Checkpoint, Moved};
pub(crate) use copy::Copy;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    Direction, FlushOptions, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use crate::{
    Error, StateKey,
    keys::{self, GroupRow, Key, Position, Run, RunHead, SegmentRow},
};

const INDEX_FAMILY: &str = "index";
const STATE_FAMILY: &str = "state";
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// Bytes of rows that are verified between two pauses.
const VERIFY_BYTES: u64 = 1 << 20;
const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// Head of a run, and the run's value, which also has the locations of its entries.
pub(crate) type RunRow = (RunHead, Box<[u8]>);

/// The open database. [`Index::close`] releases it even while handles to the store exist.
pub(crate) struct Index {
    db: RwLock<Option<DB>>,
    /// The first damage that was found.
    damage: OnceLock<String>,
}

impl Index {
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_max_background_jobs(2);
        options.set_max_open_files(128);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        // By default RocksDB reserves four megabytes at each opening. A full disk may not have them.
        options.set_manifest_preallocation_size(64 << 10);
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let family = |name| ColumnFamilyDescriptor::new(name, family_options(&cache));
        let families = [family("default"), family(INDEX_FAMILY), family(STATE_FAMILY)];
        let db = DB::open_cf_descriptors(&options, dir, families)?;
        Ok(Self { db: RwLock::new(Some(db)), damage: OnceLock::new() })
    }

    /// The run that contains an entry of a group.
    pub(crate) fn find_run(&self, group: GroupId, index: u64) -> Result<Option<Run>, Error> {
        let found = self.with(|db| {
            let key = Key::Run { group, first: index }.encode();
            let mode = IteratorMode::From(&key, Direction::Reverse);
            db.iterator_cf(index_family(db)?, mode).next().transpose().map_err(Error::from)
        })?;
        let Some((key, value)) = found else { return Ok(None) };
        let run = match Key::decode(&key) {
            Some(Key::Run { group: owner, first }) if owner == group => {
                let run = Run::decode(first, &value).ok_or_else(|| malformed(&key));
                Some(run.inspect_err(|error| self.note(error))?)
            }
            _ => None,
        };
        Ok(run.filter(|run| index < run.end()))
    }

    /// Runs of a group that end above `from`, in index order. Stops before the first run that begins at `to` or
    /// above.
    pub(crate) fn runs(&self, group: GroupId, from: u64, to: u64) -> Result<Vec<RunRow>, Error> {
        let start = self.find_run(group, from)?.map_or(from, |run| run.first);
        self.with(|db| {
            let prefix = keys::prefix(keys::RUN_TAG, &[group.0]);
            let mut runs = Vec::new();
            for row in
                scan(db, index_family(db)?, &Key::Run { group, first: start }.encode(), &prefix)
            {
                let (key, value) = row?;
                let Some(Key::Run { first, .. }) = Key::decode(&key) else {
                    return Err(malformed(&key));
                };
                if first >= to {
                    break;
                }
                let head = RunHead::decode(first, &value).ok_or_else(|| malformed(&key))?;
                runs.push((head, value));
            }
            Ok(runs)
        })
    }

    /// Group and first index of every run in a segment.
    pub(crate) fn placed(&self, segment: u64) -> Result<Vec<(GroupId, u64)>, Error> {
        let prefix = keys::prefix(keys::PLACED_TAG, &[segment]);
        self.with(|db| {
            scan(db, index_family(db)?, &prefix, &prefix)
                .map(|row| {
                    let (key, _) = row?;
                    match Key::decode(&key) {
                        Some(Key::Placed { group, first, .. }) => Ok((group, first)),
                        _ => Err(malformed(&key)),
                    }
                })
                .collect()
        })
    }

    pub(crate) fn position(&self) -> Result<Option<Position>, Error> {
        let key = Key::Position.encode();
        let value = self.with(|db| Ok(db.get_cf(state_family(db)?, &key)?))?;
        value.map(|value| Position::decode(&value).ok_or_else(|| malformed(&key))).transpose()
    }

    pub(crate) fn segments(&self) -> Result<BTreeMap<u64, SegmentRow>, Error> {
        self.state_rows(keys::SEGMENT_TAG, |key, value| {
            let Key::Segment { serial } = key else { return None };
            Some((serial, SegmentRow::decode(value)?))
        })
    }

    pub(crate) fn groups(&self) -> Result<BTreeMap<GroupId, GroupRow>, Error> {
        self.state_rows(keys::GROUP_TAG, |key, value| {
            let Key::Group { group } = key else { return None };
            Some((group, GroupRow::decode(value)?))
        })
    }

    pub(crate) fn states(&self) -> Result<BTreeMap<(GroupId, StateKey), Bytes>, Error> {
        self.state_rows(keys::STATE_TAG, |key, value| {
            let Key::State { group, key } = key else { return None };
            Some(((group, key), Bytes::copy_from_slice(value)))
        })
    }

    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.with(|db| Ok(db.write_opt(batch, &options)?))
    }

    /// All state rows at one moment, so all of them belong to one position.
    pub(crate) fn state_dump(&self) -> Result<copy::RawRows, Error> {
        self.with(|db| {
            let snapshot = db.snapshot();
            let rows = snapshot.iterator_cf(state_family(db)?, IteratorMode::Start);
            rows.map(|row| row.map_err(Error::from)).collect()
        })
    }

    pub(crate) fn put_state_rows(&self, rows: &copy::RawRows) -> Result<(), Error> {
        let batch = self.with(|db| {
            let mut batch = WriteBatch::default();
            for (key, value) in rows {
                batch.put_cf(state_family(db)?, key, value);
            }
            Ok(batch)
        })?;
        self.write(batch)
    }

    /// Deletes the rows of dead segments.
    pub(crate) fn forget_segments(&self, serials: &[u64]) -> Result<(), Error> {
        let batch = self.with(|db| {
            let mut batch = WriteBatch::default();
            for serial in serials {
                batch.delete_cf(state_family(db)?, Key::Segment { serial: *serial }.encode());
            }
            Ok(batch)
        })?;
        self.write(batch)
    }

    /// Makes all rows durable that were written so far.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.with(|db| {
            let families = [index_family(db)?, state_family(db)?];
            Ok(db.flush_cfs_opt(&families, &FlushOptions::default())?)
        })
    }

    /// Reads every row, so that RocksDB checks the blocks of the rows. Calls `pace` with the number of bytes read,
    /// and stops if `pace` returns true. Damage appears in [`Index::damage`].
    pub(crate) fn verify(&self, mut pace: impl FnMut(u64) -> bool) -> Result<(), Error> {
        for family in [INDEX_FAMILY, STATE_FAMILY] {
            let mut from = Vec::new();
            while let Some((last, bytes)) = self.verify_rows(family, &from)? {
                if pace(bytes) {
                    return Ok(());
                }
                from = [&last[..], &[0]].concat();
            }
        }
        Ok(())
    }

    /// Reads rows from a key on. Returns the key of the last row and the bytes of all rows, or `None` if there are no
    /// rows.
    fn verify_rows(&self, name: &str, from: &[u8]) -> Result<Option<Verified>, Error> {
        self.with(|db| {
            let mut options = ReadOptions::default();
            options.fill_cache(false);
            let mode = IteratorMode::From(from, Direction::Forward);
            let (mut last, mut bytes) = (None, 0);
            for row in db.iterator_cf_opt(family(db, name)?, options, mode) {
                let (key, value) = row?;
                bytes += (key.len() + value.len()) as u64;
                last = Some(key);
                if bytes >= VERIFY_BYTES {
                    break;
                }
            }
            Ok(last.map(|key| (key, bytes)))
        })
    }

    pub(crate) fn close(&self) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn state_rows<K: Ord, V>(
        &self,
        tag: u8,
        decode: impl Fn(Key, &[u8]) -> Option<(K, V)>,
    ) -> Result<BTreeMap<K, V>, Error> {
        let prefix = keys::prefix(tag, &[]);
        self.with(|db| {
            scan(db, state_family(db)?, &prefix, &prefix)
                .map(|row| {
                    let (key, value) = row?;
                    let decoded = Key::decode(&key).and_then(|key| decode(key, &value));
                    decoded.ok_or_else(|| malformed(&key))
                })
                .collect()
        })
    }

    fn with<T>(&self, call: impl FnOnce(&DB) -> Result<T, Error>) -> Result<T, Error> {
        let called = match self.db.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(db) => call(db),
            None => Err(Error::Closed),
        };
        called.inspect_err(|error| self.note(error))
    }

    /// Remembers the damage in an error, whichever call found it.
    fn note(&self, error: &Error) {
        if let Error::IndexDamaged { detail } = error {
            self.damage.get_or_init(|| detail.clone());
        }
    }

    /// The damage that was found first, if any.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }
}

fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_target_file_size_base(8 << 20);
    options.set_block_based_table_factory(&table);
    options
}

/// Result of reading rows: the key of the last row, and the bytes of all rows.
type Verified = (Box<[u8]>, u64);

type Row = (Box<[u8]>, Box<[u8]>);

/// The rows from `from` on whose keys begin with `prefix`.
fn scan<'a>(
    db: &'a DB,
    family: &ColumnFamily,
    from: &[u8],
    prefix: &'a [u8],
) -> impl Iterator<Item = Result<Row, Error>> + use<'a> {
    db.iterator_cf(family, IteratorMode::From(from, Direction::Forward))
        .map(|row| row.map_err(Error::from))
        .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
}

fn index_family(db: &DB) -> Result<&ColumnFamily, Error> {
    family(db, INDEX_FAMILY)
}

fn state_family(db: &DB) -> Result<&ColumnFamily, Error> {
    family(db, STATE_FAMILY)
}

fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, Error> {
    db.cf_handle(name)
        .ok_or_else(|| Error::IndexDamaged { detail: format!("column family {name} is missing") })
}

fn malformed(key: &[u8]) -> Error {
    Error::IndexDamaged { detail: format!("row {key:02x?} cannot be read") }
}
