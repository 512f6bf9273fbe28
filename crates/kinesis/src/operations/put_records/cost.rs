//! Cost of a call with 500 records of 1 KiB: decoding, checking, hashing keys, and writing the response.

use anabranch_aws::constraints;
use anabranch_aws::wire::{Format, decode};
use anabranch_cost::{counted, noise};
use anabranch_types::{SequenceNumber, ShardId, Timestamp};

use super::*;
use crate::append::StoredRecord;

const RECORDS: usize = 500;

fn body(format: Format) -> Vec<u8> {
    let mut writer = Writer::new(format, 1 << 20);
    writer.structure(|w| {
        w.member("StreamName").text("orders");
        w.member("Records").list(|w| {
            for i in 0..RECORDS as u64 {
                w.structure(|w| {
                    w.member("Data").blob(&noise(i, 1024));
                    w.member("PartitionKey").text(&format!("{i:016x}"));
                });
            }
        });
    });
    writer.finish()
}

fn reads(format: Format) {
    let body = body(format);
    let request = counted(|| {
        let request: PutRecords<'_> = decode(format, &body).unwrap();
        constraints::check(&request).unwrap();
        request
    });
    let entries = request.entries(KeyRouting::ByKey).unwrap();
    assert_eq!(entries.len(), RECORDS);
    assert!(entries.iter().all(|entry| entry.data.len() == 1024));
}

#[test]
fn reads_json() {
    reads(Format::Json);
}

#[test]
fn reads_cbor() {
    reads(Format::Cbor);
}

#[test]
fn hashes_keys() {
    let body = body(Format::Json);
    let request: PutRecords<'_> = decode(Format::Json, &body).unwrap();
    let entries = counted(|| request.entries(KeyRouting::ByKey)).unwrap();
    assert_eq!(entries.len(), RECORDS);
}

fn writes(format: Format) {
    let shard = ShardId(1);
    let second = Timestamp::from_millis(1_764_000_000_000);
    let number = SequenceNumber::shard_start(shard, second, second);
    let response =
        PutMany { outcomes: vec![Ok(StoredRecord { shard, number }); RECORDS], encrypted: false };
    let bytes = counted(|| {
        let mut writer = Writer::new(format, response.expected_bytes());
        response.write(&mut writer);
        writer.finish()
    });
    let number = number.to_string();
    assert_eq!(bytes.windows(number.len()).filter(|w| *w == number.as_bytes()).count(), RECORDS);
}

#[test]
fn writes_json() {
    writes(Format::Json);
}

#[test]
fn writes_cbor() {
    writes(Format::Cbor);
}
