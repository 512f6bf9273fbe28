//! Knows every record that was sent and every record that was acknowledged, and checks what readers return.
//!
//! A record carries its number, its length and a checksum; the rest of its bytes is computed from the number. So the
//! oracle can tell a record from every other record, and from a damaged one, without keeping its bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anabranch_client::Error;
use anabranch_shard::{Batch, BatchBuilder, Position, Producer, Run};
use anabranch_types::{GroupId, Timestamp};
use bytes::Bytes;

use crate::cluster::{RETENTION_HOURS, Seen};

/// The records sent to each shard, and how their calls ended.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    shards: BTreeMap<GroupId, Ledger>,
    sent_records: u64,
    pub(crate) counts: Counts,
}

/// How calls ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Records that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Calls with unknown outcome.
    pub(crate) unknown: u64,
    /// Calls with unknown outcome whose records were found later.
    pub(crate) found: u64,
    /// Calls that were refused: nothing was written.
    pub(crate) refused: u64,
    /// Records that expired.
    pub(crate) expired: u64,
}

#[derive(Debug, Default)]
struct Ledger {
    /// Records with a known position: acknowledged there, or read there once. They must be readable until they
    /// expire.
    placed: BTreeMap<Position, Placed>,
    /// Records of calls without a response, or with unknown outcome; with their call.
    open: HashMap<u64, Sent>,
    /// Records of calls that failed with an error which guarantees that nothing was written.
    refused: HashSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    number: u64,
    bytes: usize,
    arrival: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Number of the call's first record, and the number of its records.
    call: (u64, u32),
    bytes: usize,
}

/// A call to be sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) batch: Batch,
    group: GroupId,
    first: u64,
}

impl Oracle {
    /// A call to `group` with records of these lengths.
    pub(crate) fn call(
        &mut self,
        group: GroupId,
        producer: Option<Producer>,
        lengths: &[usize],
    ) -> Call {
        let first = self.sent_records;
        let call = (first, u32::try_from(lengths.len()).unwrap());
        let ledger = self.shards.entry(group).or_default();
        let mut builder = BatchBuilder::new(producer);
        for ((number, index), bytes) in (first..).zip(0..).zip(lengths) {
            builder.push(index, &partition_key(number), &data(number, *bytes));
            ledger.open.insert(number, Sent { call, bytes: *bytes });
        }
        self.sent_records += lengths.len() as u64;
        Call { batch: builder.finish().unwrap(), group, first }
    }

    /// Records how a call ended.
    pub(crate) fn ended(&mut self, call: &Call, result: &Result<Vec<Run>, Error>) {
        let ledger = self.shards.get_mut(&call.group).unwrap();
        let numbers = call.first..call.first + u64::from(call.batch.record_count());
        match result {
            Ok(runs) => {
                let places = runs.iter().flat_map(places);
                let mut placed = 0;
                for (number, (position, arrival)) in numbers.clone().zip(places) {
                    let sent = ledger.open.remove(&number).unwrap();
                    let before = ledger
                        .placed
                        .insert(position, Placed { number, bytes: sent.bytes, arrival });
                    assert!(
                        before.is_none(),
                        "two records were acknowledged at {position:?}: {before:?}, {number}"
                    );
                    placed += 1;
                }
                assert_eq!(placed, u64::from(call.batch.record_count()), "places in {runs:?}");
                self.counts.acknowledged += placed;
            }
            Err(Error::Unknown(_)) => self.counts.unknown += 1,
            Err(_) => {
                self.counts.refused += 1;
                ledger.open.retain(|number, _| !numbers.contains(number));
                ledger.refused.extend(numbers);
            }
        }
    }

    /// Checks the `records` that a reader got of `group`. The reader began and ended between the two moments of
    /// `during`, after every call had ended.
    pub(crate) fn judge(
        &mut self,
        group: GroupId,
        records: &[Seen],
        during: (Timestamp, Timestamp),
    ) {
        let ledger = self.shards.entry(group).or_default();
        let retained_from = during.1.minus(RETENTION);
        let shown_from = during.0.minus(RETENTION + NOTICE);
        let retained = first_since(&ledger.placed, retained_from);
        let kept = ledger
            .placed
            .split_off(&retained.unwrap_or(Position { log_index: u64::MAX, offset: 0 }));
        let expired = std::mem::replace(&mut ledger.placed, kept);
        self.counts.expired += expired.len() as u64;
        let mut before = None;
        let mut missing = ledger.placed.keys().copied().peekable();
        let mut adopted = Vec::new();
        for (position, arrival, record) in records {
            let order = (*position, *arrival);
            assert!(before < Some(order), "group {group}: {order:?} comes after {before:?}");
            assert!(
                before.is_none_or(|(_, at)| at <= *arrival),
                "group {group}: time falls at {position:?}"
            );
            assert!(
                *arrival >= shown_from,
                "group {group}: {position:?} of {arrival} is expired and shown"
            );
            before = Some(order);
            let number = number_of(&record.data, *position);
            let right = Placed { number, bytes: record.data.len(), arrival: *arrival };
            assert_eq!(
                &record.partition_key[..],
                partition_key(number),
                "group {group}: key at {position:?}"
            );
            if missing.peek() == Some(position) {
                missing.next();
                right.assert_is(&ledger.placed[position], group, *position);
            } else if let Some(gone) = expired.get(position) {
                right.assert_is(gone, group, *position);
            } else {
                let lost = missing.peek().filter(|lost| *lost < position);
                assert!(lost.is_none(), "group {group}: {lost:?} was acknowledged and is missing");
                let open = ledger.open.remove(&number);
                let is_refused = ledger.refused.contains(&number);
                let placed = ledger.placed.iter().find(|(_, placed)| placed.number == number);
                let sent = open.unwrap_or_else(|| {
                    panic!("group {group}: record {number} at {position:?} must not be there (refused: {is_refused}, known: {placed:?})")
                });
                assert_eq!(sent.bytes, record.data.len(), "group {group}: length at {position:?}");
                adopted.push((*position, right, sent.call));
            }
        }
        let lost: Vec<_> = missing.collect();
        assert!(
            lost.is_empty(),
            "group {group}: {} records are lost, first {:?}",
            lost.len(),
            lost[0]
        );
        self.adopt(group, adopted);
    }

    /// Takes over records of unknown outcome that were found. From now on they must stay. A call must be there as a
    /// whole.
    fn adopt(&mut self, group: GroupId, adopted: Vec<(Position, Placed, (u64, u32))>) {
        let ledger = self.shards.get_mut(&group).unwrap();
        let mut calls: HashMap<(u64, u32), u32> = HashMap::new();
        for (position, placed, call) in adopted {
            ledger.placed.insert(position, placed);
            *calls.entry(call).or_default() += 1;
        }
        for ((first, records), found) in &calls {
            assert_eq!(
                found, records,
                "group {group}: a part of the call of record {first} was written"
            );
        }
        self.counts.found += calls.len() as u64;
    }
}

impl Placed {
    fn assert_is(&self, expected: &Self, group: GroupId, at: Position) {
        let same = self.number == expected.number
            && self.bytes == expected.bytes
            && self.arrival == expected.arrival;
        assert!(same, "group {group}, {at:?}: expected {expected:?}, found {self:?}");
    }
}

const RETENTION: Duration = Duration::from_secs(RETENTION_HOURS as u64 * 3600);
/// Largest difference between two readings of one clock.
const NOTICE: Duration = Duration::from_secs(2);

/// Position of the first record that arrived at `time` or later. Arrival times never fall from one position to the
/// next.
fn first_since(placed: &BTreeMap<Position, Placed>, time: Timestamp) -> Option<Position> {
    placed.iter().find(|(_, placed)| placed.arrival >= time).map(|(position, _)| *position)
}

fn places(run: &Run) -> impl Iterator<Item = (Position, Timestamp)> {
    let (first, arrival) = (run.first, run.arrival);
    let offsets = (first.offset..=u16::MAX).take(run.records as usize);
    offsets.map(move |offset| (Position { log_index: first.log_index, offset }, arrival))
}

fn partition_key(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

const HEAD_BYTES: usize = 16;

/// The data of a record: number, length, checksum of the rest, and bytes that are computed from the number.
fn data(number: u64, bytes: usize) -> Vec<u8> {
    assert!(bytes >= HEAD_BYTES);
    let mut filler = Vec::with_capacity(bytes);
    let mut state = number;
    while filler.len() < bytes - HEAD_BYTES {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        filler.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    filler.truncate(bytes - HEAD_BYTES);
    let mut data = Vec::with_capacity(bytes);
    data.extend_from_slice(&number.to_le_bytes());
    data.extend_from_slice(&u32::try_from(bytes).unwrap().to_le_bytes());
    data.extend_from_slice(&crc32c::crc32c(&filler).to_le_bytes());
    data.extend_from_slice(&filler);
    data
}

/// The number of the record with the data `found`. Fails unless every byte is the expected one.
fn number_of(found: &Bytes, at: Position) -> u64 {
    assert!(found.len() >= HEAD_BYTES, "no call wrote the data at {at:?}: {found:?}");
    let number = u64::from_le_bytes(found[..8].try_into().unwrap());
    let bytes = u32::from_le_bytes(found[8..12].try_into().unwrap()) as usize;
    let crc = u32::from_le_bytes(found[12..16].try_into().unwrap());
    assert_eq!(bytes, found.len(), "record {number} at {at:?} has another length");
    assert_eq!(crc, crc32c::crc32c(&found[16..]), "record {number} at {at:?} is damaged");
    assert!(data(number, bytes) == found[..], "record {number} at {at:?} is another one");
    number
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use anabranch_shard::Record;

    use super::*;

    const GROUP: GroupId = GroupId(1);
    const NOW: Timestamp = Timestamp::from_millis(1 << 40);

    /// An oracle with one acknowledged call of two records, and the records that a reader should get.
    fn acknowledged() -> (Oracle, Vec<Seen>) {
        let mut oracle = Oracle::default();
        let call = oracle.call(GROUP, None, &[16, 40]);
        let run = Run { first: Position::entry(7), records: 2, arrival: NOW };
        oracle.ended(&call, &Ok(vec![run]));
        (oracle, seen(&call, 7, NOW))
    }

    fn seen(call: &Call, log_index: u64, arrival: Timestamp) -> Vec<Seen> {
        let positions = (0..).map(|offset| Position { log_index, offset });
        positions
            .zip(call.batch.records())
            .map(|(position, record)| (position, arrival, record))
            .collect()
    }

    fn failure(mut oracle: Oracle, records: &[Seen]) -> String {
        let judged = catch_unwind(AssertUnwindSafe(|| oracle.judge(GROUP, records, (NOW, NOW))));
        *judged.unwrap_err().downcast::<String>().unwrap()
    }

    #[test]
    fn correct_records_pass_until_they_expire() {
        let (mut oracle, records) = acknowledged();
        oracle.judge(GROUP, &records, (NOW, NOW));
        oracle.judge(GROUP, &records, (NOW, NOW));
        let late = NOW.plus(RETENTION + Duration::from_secs(60));
        oracle.judge(GROUP, &[], (late, late));
        assert_eq!(oracle.counts.expired, 2);
    }

    #[test]
    fn lost_changed_and_repeated_records_are_found() {
        let (oracle, records) = acknowledged();
        assert!(failure(oracle, &records[..1]).contains("1 records are lost"));
        let (oracle, records) = acknowledged();
        assert!(failure(oracle, &records[1..]).contains("is missing"));
        let (oracle, mut records) = acknowledged();
        let mut bytes = records[1].2.data.to_vec();
        bytes[30] ^= 1;
        records[1].2.data = bytes.into();
        assert!(failure(oracle, &records).contains("is damaged"));
        let (oracle, mut records) = acknowledged();
        let (_, arrival, record) = records[0].clone();
        records.push((Position::entry(8), arrival, record));
        assert!(failure(oracle, &records).contains("must not be there"));
        let (oracle, mut records) = acknowledged();
        records.swap(0, 1);
        assert!(!failure(oracle, &records).is_empty());
        let (oracle, mut records) = acknowledged();
        records[0].2 = Record { partition_key: Bytes::from_static(b"k"), ..records[0].2.clone() };
        assert!(failure(oracle, &records).contains("key at"));
    }

    #[test]
    fn the_first_reader_settles_an_unknown_outcome() {
        let (mut oracle, mut records) = acknowledged();
        let call = oracle.call(GROUP, None, &[20, 20]);
        oracle.ended(&call, &Err(Error::Unknown(String::new())));
        oracle.judge(GROUP, &records, (NOW, NOW));
        let without_call = records.clone();
        records.extend(seen(&call, 9, NOW));
        oracle.judge(GROUP, &records, (NOW, NOW));
        assert_eq!(oracle.counts.found, 1);
        assert!(failure(oracle, &without_call).contains("2 records are lost"));
    }

    #[test]
    fn a_partial_call_and_records_of_a_refused_call_are_found() {
        let (mut oracle, mut records) = acknowledged();
        let call = oracle.call(GROUP, None, &[20, 20]);
        oracle.ended(&call, &Err(Error::Unknown(String::new())));
        records.push(seen(&call, 9, NOW)[0].clone());
        assert!(failure(oracle, &records).contains("a part of the call"));
        let (mut oracle, mut records) = acknowledged();
        let call = oracle.call(GROUP, None, &[20]);
        oracle.ended(&call, &Err(Error::NoLeader));
        records.extend(seen(&call, 9, NOW));
        assert!(failure(oracle, &records).contains("refused: true"));
    }

    #[test]
    fn an_expired_record_must_not_be_shown() {
        let (mut oracle, records) = acknowledged();
        let late = NOW.plus(RETENTION + Duration::from_secs(60));
        oracle.judge(GROUP, &records, (NOW, late));
        let (mut oracle, records) = acknowledged();
        let judged = catch_unwind(AssertUnwindSafe(|| oracle.judge(GROUP, &records, (late, late))));
        assert!(judged.unwrap_err().downcast::<String>().unwrap().contains("is expired and shown"));
    }
}
