//! A page of records, as a reader of a shard gets it.
//!
//! A page holds parts of entries. The batches are not copied: each record is a slice of its batch.

use std::time::Duration;

use anabranch_types::Timestamp;
use bytes::Bytes;

use crate::batch::{Record, Records};
use crate::position::Position;

/// Records of a shard from some position on, in log order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Parts of consecutive entries, in order. Empty at the tip of the shard.
    pub batches: Vec<PageBatch>,
    /// Position at which the next page begins.
    pub next: Position,
    /// Age of the first record that is not in this page. Zero at the tip of the shard.
    pub behind: Duration,
}

/// Part of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageBatch {
    /// Log index of the entry.
    pub log_index: u64,
    /// Arrival time of its records.
    pub arrival: Timestamp,
    /// Offset in the entry of the first record that belongs to the page.
    pub first: u16,
    /// Number of records of the entry that belong to the page.
    pub records: u32,
    /// The entry's whole batch, encoded.
    pub batch: Bytes,
    /// Whether the entry is stored encrypted. `batch` is in plain text in any case.
    pub encrypted: bool,
}

impl Page {
    /// Whether the entry of a record of this page is stored encrypted.
    pub fn is_encrypted(&self, position: Position) -> bool {
        let at = self.batches.partition_point(|batch| batch.log_index < position.log_index);
        self.batches.get(at).is_some_and(|batch| batch.encrypted)
    }

    /// The records with their positions and arrival times, in order. The data of a record is a slice of its batch.
    pub fn records(&self) -> impl Iterator<Item = (Position, Timestamp, Record)> + '_ {
        self.batches.iter().flat_map(|batch| {
            let log_index = batch.log_index;
            (0..=u16::MAX)
                .zip(Records::new(batch.batch.clone()))
                .skip(usize::from(batch.first))
                .take(batch.records as usize)
                .map(move |(offset, record)| {
                    (Position { log_index, offset }, batch.arrival, record)
                })
        })
    }

    /// How many records the page holds.
    pub fn record_count(&self) -> usize {
        self.batches.iter().map(|batch| batch.records as usize).sum()
    }
}
