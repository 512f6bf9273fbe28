//! Cost tests: writing a round of 64 entries to the disk, and reading it back.

use std::fs::File;
use std::sync::Arc;

use anabranch_cost::{counted, noise};
use anabranch_types::{GroupId, Incarnation, LogId};
use bytes::Bytes;
use tempfile::TempDir;

use crate::{
    Entry,
    cache::GroupCache,
    group::{Wanted, read_wanted},
    keys::Loc,
    model::Budget,
    segment::{
        file::{DATA_START, SegmentFile},
        frame::{self, HEADER_BYTES, Header, Kind, RawHeader},
        round::{LogEnd, Place, Round, Written},
    },
};

const ENTRIES: u64 = 64;
const GROUP: GroupId = GroupId(7);
const SEGMENT_BYTES: u64 = 1 << 20;
const SEED: u32 = 5;

fn entries(payload_bytes: usize) -> Vec<Entry> {
    let payload = |index| Bytes::from(noise(index, payload_bytes));
    let entry = |index| Entry { log_id: LogId { term: 3, index }, payload: payload(index) };
    (1..=ENTRIES).map(entry).collect()
}

fn header(entry: &Entry) -> Header {
    let LogId { term, index } = entry.log_id;
    Header { kind: Kind::Entry, group: GROUP.0, term, index }
}

fn segment() -> (TempDir, Arc<SegmentFile>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(SEGMENT_BYTES).unwrap();
    let segment = SegmentFile::begin(file, dir.path(), 1, SEGMENT_BYTES, Incarnation(9)).unwrap();
    (dir, Arc::new(segment))
}

/// Puts the entries into a round and writes it. The work of the kernel is not counted.
fn write(segment: &Arc<SegmentFile>, heads: Vec<u8>, entries: &[Entry]) -> (Written, Vec<Place>) {
    let bytes = entries.iter().map(|entry| (HEADER_BYTES + entry.payload.len()) as u64).sum();
    let end = LogEnd { segment: 1, offset: DATA_START, round: 0 };
    let mut round = Round::begin(heads, Arc::clone(segment), end, 1, bytes).unwrap();
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let full = || unreachable!("the segment has room");
        places.push(round.frame(header(entry), &[], &entry.payload, full).unwrap());
    }
    (round.write(|| unreachable!("the disk of the test has room")).unwrap(), places)
}

fn wanted(places: &[Place], entries: &[Entry]) -> Vec<Wanted> {
    let wanted = |(place, entry): (&Place, &Entry)| {
        let payload_bytes = u32::try_from(entry.payload.len()).unwrap();
        Wanted { id: entry.log_id, loc: Loc { offset: place.offset, payload_bytes } }
    };
    places.iter().zip(entries).map(wanted).collect()
}

fn writes_a_round_of(payload_bytes: usize) {
    let (entries, (_dir, segment)) = (entries(payload_bytes), segment());
    let heads = Vec::with_capacity(1 << 16);
    let (written, places) = counted(|| write(&segment, heads, &entries));
    assert!(written.bytes > ENTRIES * (HEADER_BYTES + payload_bytes) as u64);
    let read = read_wanted(&segment, GROUP, &wanted(&places, &entries)).ok();
    assert_eq!(read, Some(entries));
}

#[test]
fn writes_a_round() {
    writes_a_round_of(1024);
}

#[test]
fn writes_a_round_of_small_entries() {
    writes_a_round_of(100);
}

#[test]
fn reads_entries() {
    let (entries, (_dir, segment)) = (entries(1024), segment());
    let (_, places) = write(&segment, Vec::new(), &entries);
    let wanted = wanted(&places, &entries);
    let read = counted(|| read_wanted(&segment, GROUP, &wanted)).ok();
    assert_eq!(read, Some(entries));
}

#[test]
fn validates_frames() {
    let entries = entries(1024);
    let mut bytes = Vec::new();
    for entry in &entries {
        frame::encode_header(&mut bytes, SEED, header(entry), &[], &entry.payload).unwrap();
        bytes.extend_from_slice(&entry.payload);
    }
    let valid = counted(|| {
        let frames = bytes.chunks(HEADER_BYTES + 1024);
        let valid = |frame: &&[u8]| {
            let raw = RawHeader::read(frame).unwrap();
            raw.validate(SEED, &frame[HEADER_BYTES..]).is_some()
        };
        frames.filter(valid).count()
    });
    assert_eq!(valid, entries.len());
}

#[test]
fn caches_entries() {
    let entries = entries(1024);
    let mut cache = GroupCache::default();
    let read = counted(|| {
        cache.push(&entries, 1);
        let mut read = Vec::new();
        cache.read(1, ENTRIES + 1, &mut Budget::new(usize::MAX), &mut read);
        read
    });
    assert_eq!(read, entries);
}
