//! Cost tests: applying the entries of a shard's log, as every replica does.

use std::sync::{Arc, Mutex};

use anabranch_cost::{counted, noise};
use anabranch_shard::{BatchBuilder, Command, DeduplicationWindow, Producer};
use anabranch_types::Timestamp;
use bytes::{Bytes, BytesMut};

use crate::machine::{Machine, ShardMachine};
use crate::payload::Payload;

const ENTRIES: u64 = 64;

/// Payload of an append of 8 records of 1 KiB each. Each number `call` is a call of its own.
fn stored(call: u64) -> Bytes {
    let id = Bytes::from(format!("6f1ed002-ab5b-4f1e-9d3c-{call:012x}"));
    let mut builder = BatchBuilder::new(Some(Producer { id, sequence: 0 }));
    (0..8).for_each(|i| builder.push(3 * i, b"0123456789abcdef", &noise(call, 1024)));
    let batch = builder.finish().unwrap();
    let records = batch.record_count();
    let arrival = Timestamp::from_millis(1_764_000_000_000 + call);
    let mut command = BytesMut::new();
    Command::Append { arrival, records, batch: batch.bytes().clone() }.encode(&mut command);
    Payload::Command(command.freeze()).encode()
}

#[test]
fn applies_entries() {
    let entries: Vec<_> = (1..=ENTRIES).map(stored).collect();
    let window = Arc::new(Mutex::new(DeduplicationWindow::default()));
    let mut machine = ShardMachine::new(0, Arc::clone(&window));
    counted(|| {
        for (index, entry) in (1..).zip(entries) {
            let Ok(Payload::Command(command)) = Payload::decode(entry) else { unreachable!() };
            machine.apply(index, command).unwrap();
        }
    });
    assert_eq!(machine.last_arrival(), Timestamp::from_millis(1_764_000_000_000 + ENTRIES));
    assert_eq!(window.lock().unwrap().len() as u64, ENTRIES);
}

#[test]
fn encodes_a_payload() {
    let command = Bytes::from(noise(1, 64 << 10));
    let payload = Payload::Command(command);
    let stored = counted(|| payload.encode());
    assert_eq!(Payload::decode(stored), Ok(payload));
}
