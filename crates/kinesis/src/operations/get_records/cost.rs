//! Cost of writing a response with 500 records of 1 KiB in five batches.

use std::time::Duration;

use anabranch_aws::wire::Format;
use anabranch_catalog::StreamId;
use anabranch_cost::{counted, noise};
use anabranch_gateway::Budget;
use anabranch_shard::Position;
use anabranch_shard::{BatchBuilder, PageBatch};
use anabranch_types::ShardId;
use anabranch_types::{GroupId, HashKey, Timestamp};

use super::*;

const BATCHES: u64 = 5;
const RECORDS: u32 = 100;

fn page() -> Page {
    let arrival = Timestamp::from_millis(1_764_000_000_000);
    let batch = |log_index| {
        let mut builder = BatchBuilder::new(None);
        (0..RECORDS).for_each(|i| builder.push(i, b"0123456789abcdef", &noise(log_index, 1024)));
        let batch = builder.finish().unwrap().bytes().clone();
        PageBatch { log_index, arrival, first: 0, records: RECORDS, batch, encrypted: false }
    };
    let batches = (1..=BATCHES).map(batch).collect();
    Page { batches, next: Position::entry(BATCHES + 1), behind: Duration::ZERO }
}

fn route() -> Arc<ShardRoute> {
    Arc::new(ShardRoute {
        stream: "orders".parse().unwrap(),
        stream_id: StreamId(1),
        shard: ShardId(1),
        group: GroupId(2),
        birth: Timestamp::from_millis(1_763_000_000_000),
        retention_hours: 24,
        end: HashKey(u128::MAX),
        is_measured: false,
        nodes: Vec::new(),
    })
}

/// Does the same as the operation after the read: counts the bytes of the page, then writes the response.
fn writes(format: Format) {
    let (page, route) = (page(), route());
    let permit = Budget::new(1 << 20).take(1).unwrap();
    let next = Some("i".repeat(200));
    let (bytes, records) = counted(|| {
        let bytes = page::bytes(&page);
        let records = Records { page, bytes, route, next, children: Vec::new(), permit };
        let mut writer = Writer::new(format, records.expected_bytes());
        records.write(&mut writer);
        (writer.finish(), records)
    });
    let all = u64::from(RECORDS) * BATCHES;
    assert_eq!(records.bytes as u64, all * (1024 + 16));
    let key = b"0123456789abcdef";
    let found = bytes.windows(key.len()).filter(|window| window == key).count();
    assert_eq!(found as u64, all);
}

#[test]
fn writes_json() {
    writes(Format::Json);
}

#[test]
fn writes_cbor() {
    writes(Format::Cbor);
}
