//! Records, batches, and the entries of logs.

use anabranch_client::Aggregate;
use anabranch_replica::fuzzing;
use anabranch_shard::{Batch, Command, Records};
use anabranch_storage::StateKey;
use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};

/// Input: an aggregated record as it is, and the same bytes with the right magic bytes and checksum.
pub(super) fn aggregate(input: &[u8]) {
    let mut sealed = vec![0xf3, 0x89, 0x9a, 0xc2];
    sealed.extend_from_slice(input);
    sealed.extend_from_slice(&Md5::digest(input));
    for data in [Bytes::copy_from_slice(input), sealed.into()] {
        let Some(aggregate) = Aggregate::parse(&data) else { continue };
        assert_eq!(aggregate.records().count(), aggregate.record_count());
        let _highest = aggregate.records().map(|record| record.hash_key()).max();
    }
}

/// Input: a batch, as a gateway of another node or a native client sends it.
pub(super) fn batch(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    drop(Batch::call_of(&bytes));
    let _any = Records::new(bytes.clone()).count();
    let Ok(batch) = Batch::parse(bytes) else { return };
    assert_eq!(batch.records().count(), batch.record_count() as usize);
    assert_eq!(batch.call_indexes().count(), batch.record_count() as usize);
    let bytes: u64 = batch.loads().map(|(_, bytes)| bytes).sum();
    assert!(bytes <= input.len() as u64);
    let odd = batch.retain(|place| place % 2 == 1);
    let expected = batch.record_count() / 2;
    assert_eq!(odd.map_or(0, |odd| odd.record_count()), expected);
}

/// Input: a command of a shard, as a log entry contains it.
pub(super) fn command(input: &[u8]) {
    let Ok(command) = Command::decode(Bytes::copy_from_slice(input)) else { return };
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    assert_eq!(bytes.len(), command.encoded_bytes());
    assert_eq!(Command::decode(bytes.freeze()), Ok(command));
}

/// Input: the payload of an entry, and the key of a state row, as they are on the disk.
pub(super) fn entry(input: &[u8]) {
    let _either_way = fuzzing::payload(Bytes::copy_from_slice(input));
    if let Some(key) = StateKey::decode(input) {
        assert_eq!(key.encode()[..], *input);
    }
}
