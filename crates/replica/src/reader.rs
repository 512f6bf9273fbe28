//! Reads the records of a shard from a replica's log.
//!
//! A page begins at a position and takes entry after entry: it skips entries without records, entries that are
//! trimmed or expired, and appends that do not count because the shard was shut. A sealed batch is opened. The page
//! ends when it is full, or at the last applied entry. A search by time is a binary search between two checkpoints.
//!
//! This never happens: a reader sees a record that is not applied.

use std::time::Duration;

use anabranch_encryption::{KeyError, Opened, ShardKeys};
use anabranch_planted::{Bug, planted};
use anabranch_shard::{Command, Page, PageBatch, Position, Records};
use anabranch_types::{Clock, Timestamp};
use bytes::Bytes;

use crate::error::Error;
use crate::group::Group;
use crate::intact;
use crate::payload::Payload;

/// The append in an entry. Its head is decoded, its records are not.
struct Appended {
    arrival: Timestamp,
    records: u32,
    batch: Bytes,
}

/// Maximum size of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageBounds {
    pub(crate) max_records: u32,
    pub(crate) max_bytes: usize,
}

/// Minimum lag of a page that is not known to end at the tip of the shard, because zero means the tip. By the clock
/// the lag may be zero: arrival times come from the clock of another machine.
pub(crate) const LEAST_BEHIND: Duration = Duration::from_millis(1);
/// Bytes of one read of the log. A page of small records needs one or a few reads.
const READ_BYTES: usize = 1 << 20;

impl Group {
    /// A page of applied records from `from` on, without trimmed and expired ones.
    pub(crate) async fn read_page(
        &self,
        from: Position,
        bounds: PageBounds,
        retained_from: Timestamp,
        clock: &dyn Clock,
        keys: Option<&ShardKeys>,
    ) -> Result<Page, Error> {
        let mut page = Page { batches: Vec::new(), next: from, behind: Duration::ZERO };
        let horizon = Position::entry(self.progress.trim_horizon());
        page.next = page.next.max(horizon);
        let (mut bytes_left, mut records_left) = (bounds.max_bytes, bounds.max_records);
        let mut skipped_expired = false;
        loop {
            let mut applied = self.progress.applied();
            if planted(Bug::ServeUncommitted) {
                applied = self.log.log_state().last.map_or(applied, |last| last.index + 1);
            }
            if page.next.log_index >= applied {
                return Ok(page);
            }
            // Read after `applied`: so these are complete for all entries of this read.
            let voids = self.progress.voids();
            let want = READ_BYTES.min(bytes_left.saturating_add(4096));
            let entries = match self.read_entries(page.next.log_index, applied, want).await {
                Err(anabranch_storage::Error::Purged { first }) => {
                    page.next = page.next.max(Position::entry(first));
                    continue;
                }
                entries => entries?,
            };
            for entry in entries {
                let index = entry.log_id.index;
                let counts = !voids.contain(index);
                let Some(appended) = appended(entry.payload)?.filter(|_| counts) else {
                    page.next = Position::entry(index + 1);
                    continue;
                };
                if appended.arrival < retained_from && !skipped_expired {
                    // Expired but not trimmed yet: no reader may see it. Go on at the first record that has not
                    // expired.
                    skipped_expired = true;
                    page.next = self.first_arrival_since(retained_from).await?;
                    break;
                }
                let arrival = appended.arrival;
                let Opened { batch, encrypted } = match open(appended.batch, keys).await {
                    Ok(opened) => opened,
                    // Return what was read before. The next call begins with this batch and reports the error.
                    Err(_) if !page.batches.is_empty() => {
                        page.behind = clock.now().since(arrival).max(LEAST_BEHIND);
                        return Ok(page);
                    }
                    Err(error) => return Err(error.into()),
                };
                let appended = Appended { batch, ..appended };
                let first = if index == page.next.log_index { page.next.offset } else { 0 };
                let taken = take(
                    &appended,
                    first,
                    &mut bytes_left,
                    &mut records_left,
                    page.batches.is_empty(),
                );
                let available = appended.records.saturating_sub(u32::from(first));
                let batch = appended.batch;
                if taken > 0 {
                    page.batches.push(PageBatch {
                        log_index: index,
                        arrival,
                        first,
                        records: taken,
                        batch,
                        encrypted,
                    });
                }
                if taken < available {
                    let offset = first.saturating_add(u16::try_from(taken).unwrap_or(u16::MAX));
                    page.next = Position { log_index: index, offset };
                    page.behind = clock.now().since(arrival).max(LEAST_BEHIND);
                    return Ok(page);
                }
                page.next = Position::entry(index + 1);
            }
        }
    }

    /// Position of the first record that arrived at `time` or later. The end of the applied log if no such record is
    /// applied.
    ///
    /// Arrival times never fall along the log, so a binary search finds it.
    pub(crate) async fn first_arrival_since(&self, time: Timestamp) -> Result<Position, Error> {
        let mut low = self.progress.trim_horizon(); // everything below is earlier or trimmed
        let mut high = self.progress.applied(); // everything from here on is not earlier, or not applied
        let (before, after) = self.progress.checkpoints().around(time);
        low = low.max(before.map_or(0, |kept| kept.index));
        high = high.min(after.map_or(u64::MAX, |kept| kept.index));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_append(middle, high).await? {
                Some((index, arrival)) if arrival < time => low = index + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(Position::entry(low))
    }

    /// Index and arrival time of the first append at or after `from` and before `to`.
    async fn next_append(&self, from: u64, to: u64) -> Result<Option<(u64, Timestamp)>, Error> {
        let mut from = from;
        let voids = self.progress.voids();
        while from < to {
            let entries = match self.read_entries(from, to, 1).await {
                Err(anabranch_storage::Error::Purged { first }) => {
                    from = first;
                    continue;
                }
                entries => entries?,
            };
            for entry in entries {
                from = entry.log_id.index + 1;
                if voids.contain(entry.log_id.index) {
                    continue;
                }
                if let Some(appended) = appended(entry.payload)? {
                    return Ok(Some((entry.log_id.index, appended.arrival)));
                }
            }
        }
        Ok(None)
    }

    pub(crate) async fn read_entries(
        &self,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<anabranch_storage::Entry>, anabranch_storage::Error> {
        intact::read(&*self.log, from..to, max_bytes, intact::READER_PATIENCE).await
    }
}

/// The batch of an entry in plain text. Opens it if it is sealed.
async fn open(stored: Bytes, keys: Option<&ShardKeys>) -> Result<Opened, KeyError> {
    match keys {
        Some(keys) => keys.open(stored).await,
        None => Ok(Opened { batch: stored, encrypted: false }),
    }
}

fn appended(payload: Bytes) -> Result<Option<Appended>, Error> {
    let broken = |error: &dyn std::fmt::Display| Error::OutOfService(error.to_string());
    match Payload::decode(payload).map_err(|error| broken(&error))? {
        Payload::Command(command) => {
            match Command::decode(command).map_err(|error| broken(&error))? {
                Command::Append { arrival, records, batch } => {
                    Ok(Some(Appended { arrival, records, batch }))
                }
                Command::Reshard(_) => Ok(None),
            }
        }
        Payload::Blank | Payload::Membership(_) | Payload::Checkpoint | Payload::Trim { .. } => {
            Ok(None)
        }
    }
}

/// The append command in a payload, and its arrival time. `None` if the payload is no append.
pub(crate) fn append_of(payload: Bytes) -> Option<(Command, Timestamp)> {
    match Payload::decode(payload).ok()? {
        Payload::Command(command) => match Command::decode(command).ok()? {
            Command::Append { arrival, records, batch } => {
                Some((Command::Append { arrival, records, batch }, arrival))
            }
            Command::Reshard(_) => None,
        },
        Payload::Blank | Payload::Membership(_) | Payload::Checkpoint | Payload::Trim { .. } => {
            None
        }
    }
}

/// How many records from `first` on fit into the rest of the page. At least one if the page is empty, or a large
/// record could never be read.
fn take(
    appended: &Appended,
    first: u16,
    bytes_left: &mut usize,
    records_left: &mut u32,
    page_is_empty: bool,
) -> u32 {
    let available = appended.records.saturating_sub(u32::from(first));
    // An encoded batch is larger than the data and keys in it. So if the encoded batch fits, all its records fit.
    if available <= *records_left && appended.batch.len() <= *bytes_left {
        let sizes = Records::new(appended.batch.clone()).skip(usize::from(first)).map(|r| size(&r));
        *bytes_left -= sizes.sum::<usize>();
        *records_left -= available;
        return available;
    }
    let mut taken = 0;
    for record in Records::new(appended.batch.clone()).skip(usize::from(first)) {
        let bytes = size(&record);
        let fits = bytes <= *bytes_left || (page_is_empty && taken == 0);
        if *records_left == 0 || !fits {
            *bytes_left = 0;
            break;
        }
        *bytes_left = bytes_left.saturating_sub(bytes);
        *records_left -= 1;
        taken += 1;
    }
    taken
}

fn size(record: &anabranch_shard::Record) -> usize {
    record.data.len() + record.partition_key.len()
}
