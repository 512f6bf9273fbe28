//! Cost of the steps that every record of a call needs.

use std::fmt::Write;

use anabranch_cost::counted;

use crate::{SequenceNumber, SequenceNumberParts, ShardId, partition_key_hash};

const RECORDS: u64 = 500;

fn number(place: u64) -> SequenceNumber {
    SequenceNumber::new(SequenceNumberParts {
        shard_born_seconds: 1_764_000_000,
        shard: ShardId(7),
        log_index: 1_000_000 + place / 100,
        offset: u16::try_from(place % 100).unwrap(),
        arrival_seconds: 1_764_100_000,
    })
}

#[test]
fn makes_sequence_numbers() {
    let numbers = counted(|| (0..RECORDS).map(number).collect::<Vec<_>>());
    assert!(numbers.is_sorted());
}

#[test]
fn writes_sequence_numbers() {
    let numbers: Vec<_> = (0..RECORDS).map(number).collect();
    let mut text = String::with_capacity(1 << 16);
    counted(|| numbers.iter().for_each(|number| write!(text, "{number} ").unwrap()));
    let read: Vec<SequenceNumber> = text.split_whitespace().map(|t| t.parse().unwrap()).collect();
    assert_eq!(read, numbers);
}

#[test]
fn parses_sequence_numbers() {
    let numbers: Vec<_> = (0..RECORDS).map(number).collect();
    let texts: Vec<_> = numbers.iter().map(SequenceNumber::to_string).collect();
    let parse = |text: &String| text.parse::<SequenceNumber>().unwrap();
    let read = counted(|| texts.iter().map(parse).collect::<Vec<_>>());
    assert_eq!(read, numbers);
}

#[test]
fn hashes_partition_keys() {
    let keys: Vec<_> = (0..RECORDS).map(|i| format!("{i:016x}")).collect();
    let hashes = counted(|| keys.iter().map(|key| partition_key_hash(key)).collect::<Vec<_>>());
    assert_eq!(hashes[0].0, 0x1e4a_1b03_d1b6_cd8a_174a_826f_76e0_09f4);
}
