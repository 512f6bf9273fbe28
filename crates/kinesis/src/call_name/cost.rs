//! Cost of the name of a call with one record of 1 KiB.

use anabranch_aws::wire::Blob;
use anabranch_cost::{counted, noise};
use anabranch_types::partition_key_hash;
use base64_simd::STANDARD;

use super::*;

#[test]
fn names_a_call() {
    let names = CallNames::new(&TokenKey::new([7; 32]));
    let text = STANDARD.encode_to_string(noise(1, 1024));
    let (key, data) = ("0123456789abcdef", Blob::Base64(&text));
    let entry = Entry { partition_key: key, hash: partition_key_hash(key), data: &data };
    let invocation = Invocation::Named(b"6f1ed002-ab5b-4f1e-9d3c-000000000001");
    let arn = "arn:aws:iam::000000000000:user/ann";
    let producer = counted(|| names.producer(arn, &invocation, &[entry]));
    assert_eq!(producer.id.len(), 16);
}
