//! Cost tests: a call of 500 records of 1 KiB on its way through a shard, and the deduplication window.

use anabranch_cost::{counted, noise};
use anabranch_types::Timestamp;
use bytes::{Bytes, BytesMut};

use crate::{
    Batch, BatchBuilder, Command, DeduplicationWindow, Outcome, Page, PageBatch, Position,
    Producer, ShardState,
};

const RECORDS: u32 = 500;
const RECORD_BYTES: usize = 1024;
const ENTRIES: usize = 1000;
/// Large enough to even out the random hashes of the map.
const CALLS: u64 = 10_000;
const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

/// A batch as the gateway builds it. It holds every other record of a call, so that call indexes are stored.
fn build(producer: Option<Producer>, records: u32, data: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(producer);
    for i in 0..records {
        builder.push(2 * i, b"0123456789abcdef", data);
    }
    builder.finish().unwrap()
}

fn producer(call: u64) -> Option<Producer> {
    let id = format!("6f1ed002-ab5b-4f1e-9d3c-{call:012x}");
    Some(Producer { id: Bytes::from(id), sequence: 0 })
}

fn batch() -> Batch {
    build(producer(1), RECORDS, &noise(1, RECORD_BYTES))
}

/// Producers and call indexes of calls of four records.
fn calls(range: std::ops::Range<u64>) -> Vec<(Producer, Vec<u32>)> {
    range.map(|call| (producer(call).unwrap(), vec![0, 2, 4, 6])).collect()
}

fn remember(window: &mut DeduplicationWindow, calls: Vec<(Producer, Vec<u32>)>) {
    for (log_index, (producer, indexes)) in (1..).zip(calls) {
        window.insert(producer, indexes, 4, log_index, NOW);
    }
}

fn window() -> DeduplicationWindow {
    let mut window = DeduplicationWindow::default();
    remember(&mut window, calls(0..CALLS));
    window
}

#[test]
fn builds_a_batch() {
    let (data, producer) = (noise(1, RECORD_BYTES), producer(1));
    let batch = counted(|| build(producer, RECORDS, &data));
    assert_eq!(batch.record_count(), RECORDS);
}

#[test]
fn builds_a_batch_of_one() {
    let (data, producer) = (noise(1, RECORD_BYTES), producer(1));
    let batch = counted(|| build(producer, 1, &data));
    assert_eq!(batch.record_count(), 1);
}

#[test]
fn parses_a_batch() {
    let bytes = batch().bytes().clone();
    let parsed = counted(|| Batch::parse(bytes)).unwrap();
    assert_eq!(parsed, batch());
}

#[test]
fn finds_the_call_of_a_batch() {
    let bytes = batch().bytes().clone();
    let (found, indexes) = counted(|| Batch::call_of(&bytes)).unwrap();
    assert_eq!((Some(found), indexes.len()), (producer(1), RECORDS as usize));
}

#[test]
fn walks_a_page() {
    let piece = PageBatch {
        log_index: 1,
        arrival: NOW,
        first: 0,
        records: RECORDS,
        batch: batch().bytes().clone(),
        encrypted: false,
    };
    let next = Position::entry(2);
    let page = Page { batches: vec![piece], next, behind: std::time::Duration::ZERO };
    let bytes = counted(|| page.records().map(|(.., record)| record.data.len()).sum::<usize>());
    assert_eq!(bytes, RECORDS as usize * RECORD_BYTES);
}

#[test]
fn encodes_an_append() {
    let command =
        Command::Append { arrival: NOW, records: RECORDS, batch: batch().bytes().clone() };
    let bytes = counted(|| {
        let mut bytes = BytesMut::with_capacity(command.encoded_bytes());
        command.encode(&mut bytes);
        bytes.freeze()
    });
    assert_eq!(Command::decode(bytes), Ok(command));
}

#[test]
fn applies_appends() {
    let mut command = BytesMut::new();
    Command::Append { arrival: NOW, records: RECORDS, batch: batch().bytes().clone() }
        .encode(&mut command);
    let stored = vec![command.freeze(); ENTRIES];
    let mut shard = ShardState::default();
    let last = counted(|| {
        let commands = stored.into_iter().map(|stored| Command::decode(stored).unwrap());
        (1..).zip(commands).map(|(index, command)| shard.apply(index, &command)).last()
    });
    assert_eq!(last, Some(Outcome::Appended { log_index: ENTRIES as u64, arrival: NOW }));
}

#[test]
fn remembers_calls() {
    let (mut window, calls) = (window(), calls(CALLS..2 * CALLS));
    counted(|| remember(&mut window, calls));
    assert_eq!(window.len() as u64, 2 * CALLS);
}

#[test]
fn finds_repeats() {
    let window = window();
    let repeats: Vec<_> = (0..CALLS).map(|call| build(producer(call), 4, b"data")).collect();
    let known = counted(|| repeats.iter().filter(|call| window.find(call).is_some()).count());
    assert_eq!(known, repeats.len());
}

#[test]
fn tells_new_calls_from_repeats() {
    let window = window();
    let new: Vec<_> = (CALLS..2 * CALLS).map(|call| build(producer(call), 4, b"data")).collect();
    let known = counted(|| new.iter().filter(|call| window.find(call).is_some()).count());
    assert_eq!(known, 0);
}
