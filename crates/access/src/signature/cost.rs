//! Cost of verifying the signature of a PutRecord of 1 KiB, as an SDK sends it.

use anabranch_cost::{counted, noise};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_440_938_160_000);

/// Size of the body of a PutRecord with 1 KiB of data, in base64.
const BODY_BYTES: usize = 1448;

fn headers() -> [(&'static str, &'static [u8]); 6] {
    [
        ("host", b"127.0.0.1:4567"),
        ("content-type", b"application/x-amz-json-1.1"),
        ("x-amz-target", b"Kinesis_20131202.PutRecord"),
        ("user-agent", b"aws-sdk"),
        ("amz-sdk-invocation-id", b"5a9f3ee8-3f0b-4b3a-a3c3-d2d2a1a7f6f1"),
        ("amz-sdk-request", b"attempt=1; max=3"),
    ]
}

#[test]
fn verifies_a_put() {
    let body = noise(1, BODY_BYTES);
    let sent = headers();
    let unsigned =
        Request { method: "POST", path: "/", query: "", headers: sent.into_iter(), body: &body };
    let credentials = Credentials {
        key_id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        token: None,
    };
    let signed = Signer::new(credentials, "us-east-1", "kinesis").sign(&unsigned, NOW);
    let added = [("authorization", &signed.authorization), ("x-amz-date", &signed.date)];
    let added = added.map(|(name, value)| (name, value.as_bytes()));
    let request = Request {
        method: "POST",
        path: "/",
        query: "",
        headers: sent.into_iter().chain(added),
        body: &body,
    };
    let key = Signature::parse(&request)
        .unwrap()
        .signing_key(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let verified = counted(|| {
        let signature = Signature::parse(&request)?;
        signature.check("kinesis", NOW)?;
        signature.verify(&request, &key)
    });
    assert_eq!(verified, Ok(()));
}
