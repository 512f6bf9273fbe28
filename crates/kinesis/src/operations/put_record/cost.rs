//! Cost of decoding and checking a call with one record of 1 KiB.

use anabranch_aws::constraints;
use anabranch_aws::wire::{Format, decode};
use anabranch_cost::{counted, noise};

use super::*;

fn reads(format: Format) {
    let mut writer = Writer::new(format, 4096);
    writer.structure(|w| {
        w.member("StreamName").text("orders");
        w.member("Data").blob(&noise(1, 1024));
        w.member("PartitionKey").text("0123456789abcdef");
    });
    let body = writer.finish();
    let request = counted(|| {
        let request: PutRecord<'_> = decode(format, &body).unwrap();
        constraints::check(&request).unwrap();
        request
    });
    assert_eq!(request.data.len(), 1024);
}

#[test]
fn reads_json() {
    reads(Format::Json);
}

#[test]
fn reads_cbor() {
    reads(Format::Cbor);
}
