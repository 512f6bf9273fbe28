//! Cost of sealing and opening a batch with one record of 1 KiB.

use anabranch_catalog::StreamId;
use anabranch_cost::{counted, noise};
use anabranch_shard::{Batch, BatchBuilder, Producer};
use anabranch_types::ShardId;
use bytes::Bytes;

use crate::provider::DataKeySecret;
use crate::sealed_batch::{BatchOpener, BatchSealer, Header, Place};

const PLACE: Place = Place { stream: StreamId(7), shard: ShardId(3) };

fn batch() -> Batch {
    let id = Bytes::from_static(b"6f1ed002-ab5b-4f1e-9d3c-000000000001");
    let mut builder = BatchBuilder::new(Some(Producer { id, sequence: 0 }));
    builder.push(0, b"0123456789abcdef", &noise(1, 1024));
    builder.finish().unwrap()
}

#[test]
fn seals_a_batch_of_one() {
    let (batch, secret) = (batch(), DataKeySecret::new([9; 32]));
    let sealer = BatchSealer::new(PLACE, 1, &secret, [1; 16]);
    // The crypto library detects the features of the processor at its first use. That must not be counted.
    sealer.seal(&batch);
    let stored = counted(|| sealer.seal(&batch));
    assert!(stored.len() > batch.bytes().len());
}

#[test]
fn opens_a_batch_of_one() {
    let (batch, secret) = (batch(), DataKeySecret::new([9; 32]));
    let stored = BatchSealer::new(PLACE, 1, &secret, [1; 16]).seal(&batch);
    let (head, sealed) = Batch::sealed_part(&stored).unwrap();
    let header = Header::of(&sealed).unwrap();
    let opener = BatchOpener::new(PLACE, header, &secret);
    let opened = counted(|| {
        let (head, sealed) = Batch::sealed_part(&stored)?;
        opener.open(Header::of(&sealed)?, &head, &sealed)
    });
    assert_eq!(opened, opener.open(header, &head, &sealed));
    assert_eq!(opened.as_ref(), Some(batch.bytes()));
}
