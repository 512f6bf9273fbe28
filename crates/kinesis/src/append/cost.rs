//! Cost of batching the records of a decoded call, and of turning positions into sequence numbers.

use anabranch_catalog::Catalog;
use anabranch_cost::{counted, noise};
use anabranch_types::{Timestamp, partition_key_hash};
use base64_simd::STANDARD;
use bytes::Bytes;

use super::*;
use crate::lineage::tests::stream;

const RECORDS: usize = 500;

/// A view with eight open shards.
fn view(name: &StreamName) -> View {
    let shards: Vec<_> = (0..8).map(|eighth| (eighth, eighth + 1, &[][..], 1, None)).collect();
    let streams = [(name.clone(), stream(&shards))].into();
    View::new(Catalog { streams, ..Catalog::default() })
}

fn call() -> Vec<(String, String)> {
    let record = |i| (format!("{i:016x}"), STANDARD.encode_to_string(noise(i, 1024)));
    (0..RECORDS as u64).map(record).collect()
}

fn producer() -> Producer {
    Producer { id: Bytes::from_static(b"6f1ed002-ab5b-4f1e-9d3c-000000000001"), sequence: 0 }
}

#[test]
fn batches_records_by_shard() {
    let name: StreamName = "orders".parse().unwrap();
    let (view, call, producer) = (view(&name), call(), producer());
    let blobs: Vec<_> = call.iter().map(|(_, data)| Blob::Base64(data)).collect();
    let entries = call.iter().zip(&blobs).map(|((key, _), data)| Entry {
        partition_key: key,
        hash: partition_key_hash(key),
        data,
    });
    let entries: Vec<Entry<'_>> = entries.collect();
    let pending: Vec<usize> = (0..RECORDS).collect();
    let (batches, unrouted) =
        counted(|| group_by_shard(&view, &name, &entries, &pending, &producer));
    assert!(unrouted.is_empty());
    assert_eq!(batches.len(), 8);
    let records: usize = batches.iter().map(|batch| batch.records.records().count()).sum();
    assert_eq!(records, RECORDS);
}

#[test]
fn numbers_records() {
    let name: StreamName = "orders".parse().unwrap();
    let view = view(&name);
    let data = Blob::Base64("");
    let entry = Entry { partition_key: "key", hash: partition_key_hash("key"), data: &data };
    let pending: Vec<usize> = (0..RECORDS).collect();
    let (batches, _) = group_by_shard(&view, &name, &[entry; RECORDS], &pending, &producer());
    let records = u32::try_from(RECORDS).unwrap();
    let arrival = Timestamp::from_millis(1_764_000_000_000);
    let first = anabranch_shard::Position::entry(1_000_000);
    let runs = [Run { first, records, arrival }];
    let mut outcomes: Vec<Outcome> = (0..RECORDS).map(|_| Err(Error::Internal)).collect();
    counted(|| settle(&mut outcomes, &batches[0], &runs));
    let numbers: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().number).collect();
    assert!(numbers.is_sorted() && numbers[0] < numbers[RECORDS - 1]);
}
