//! The log of one shard: a vector of batches, and the deduplication window over them.
//!
//! Entry `n` of the vector has log index `n + 1`. Nothing is trimmed and nothing expires.

use std::time::Duration;

use anabranch_shard::{Batch, DeduplicationWindow, Page, PageBatch, Position, Run, Start};
use anabranch_types::Timestamp;

/// Log index of the first entry of every shard.
const FIRST: u64 = 1;

#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<(Timestamp, Batch)>,
    window: DeduplicationWindow,
}

impl Log {
    /// Position of the newest record.
    pub(super) fn last(&self) -> Option<Position> {
        let (_, batch) = self.entries.last()?;
        Some(Position { log_index: self.end() - 1, offset: offset(batch.record_count() - 1) })
    }

    /// Log index of the next entry.
    fn end(&self) -> u64 {
        FIRST + self.entries.len() as u64
    }

    /// For each record of `batch`, where an earlier call of the same producer has put it.
    pub(super) fn find(&self, batch: &Batch) -> Vec<Option<Run>> {
        let known = self.window.find(batch);
        known.unwrap_or_else(|| vec![None; batch.record_count() as usize])
    }

    /// Appends the records of `batch` that are not in the log yet. Returns the position of each record.
    pub(super) fn append(&mut self, batch: &Batch, arrival: Timestamp) -> Vec<Run> {
        let known = self.window.find(batch).unwrap_or_default();
        let fresh = batch.retain(|place| known.get(place).is_none_or(Option::is_none));
        let log_index = self.end();
        if let Some(fresh) = fresh {
            if let Some((producer, indexes)) = Batch::call_of(fresh.bytes()) {
                self.window.insert(producer, indexes, fresh.record_count(), log_index, arrival);
            }
            self.entries.push((arrival, fresh));
        }
        let mut next_offset = 0u16;
        let runs = (0..batch.record_count() as usize).map(|place| {
            known.get(place).copied().flatten().unwrap_or_else(|| {
                let first = Position { log_index, offset: next_offset };
                next_offset += 1;
                Run { first, records: 1, arrival }
            })
        });
        runs.collect()
    }

    pub(super) fn seek(&self, start: Start) -> Position {
        match start {
            Start::TrimHorizon => Position::default(),
            Start::At(position) => position,
            Start::Latest => Position::entry(self.end()),
            Start::AtTimestamp(moment) => {
                let before = self.entries.iter().take_while(|(arrival, _)| *arrival < moment);
                Position::entry(FIRST + before.count() as u64)
            }
        }
    }

    /// Records from `from` on: at most `max_records` of at most `max_bytes` bytes of data and keys, but at least one.
    pub(super) fn read(
        &self,
        from: Position,
        max_records: u32,
        max_bytes: usize,
        now: Timestamp,
    ) -> Page {
        let (mut batches, mut next) = (Vec::new(), from.max(Position::entry(FIRST)));
        let (mut records, mut bytes) = (0, 0);
        for (log_index, (arrival, batch)) in (FIRST..).zip(&self.entries) {
            if log_index < next.log_index {
                continue;
            }
            let first = if log_index == next.log_index { next.offset } else { 0 };
            let (mut taken, mut is_full) = (0, false);
            for record in batch.records().skip(usize::from(first)) {
                let size = record.data.len() + record.partition_key.len();
                is_full = records == max_records || (records > 0 && bytes + size > max_bytes);
                if is_full {
                    break;
                }
                (records, bytes, taken) = (records + 1, bytes + size, taken + 1);
            }
            if taken > 0 {
                let (arrival, batch) = (*arrival, batch.bytes().clone());
                let (records, encrypted) = (taken, false);
                batches.push(PageBatch { log_index, arrival, first, records, batch, encrypted });
                next = Position { log_index, offset: first + offset(taken) };
            }
            if is_full {
                return Page { batches, next, behind: now.since(*arrival) };
            }
            next = Position::entry(log_index + 1);
        }
        Page { batches, next, behind: Duration::ZERO }
    }
}

fn offset(records: u32) -> u16 {
    u16::try_from(records).expect("a batch of a test has fewer than 2^16 records")
}
