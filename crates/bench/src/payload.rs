//! What is written: random bytes, which no compression makes smaller.

use bytes::Bytes;
use rand::RngCore;
use rand::seq::IndexedRandom;

/// What every call holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) records: u32,
    pub(crate) record_bytes: usize,
}

/// Request bodies made ahead, so that sending one costs nothing but the sending.
#[derive(Debug)]
pub(crate) struct Bodies(Vec<Bytes>);

/// Enough different bodies that nothing profits from seeing one again...
const MOST_BODIES: usize = 256;
/// ...within this much memory.
const MOST_BYTES: usize = 128 << 20;

impl Bodies {
    /// Bodies for PutRecord or, with more than one record a call, PutRecords.
    pub(crate) fn new(stream: &str, record_bytes: usize, records_per_call: u32) -> Self {
        Self::repeat(|| body(stream, record_bytes, records_per_call))
    }

    /// As many of what `make` makes as there should be.
    pub(crate) fn repeat(mut make: impl FnMut() -> Bytes) -> Self {
        let first = make();
        let rest = (1..copies(first.len())).map(|_| make());
        Self(std::iter::once(first).chain(rest).collect())
    }

    /// Any of them.
    pub(crate) fn any(&self) -> Bytes {
        self.0.choose(&mut rand::rng()).cloned().unwrap_or_default()
    }
}

/// The data of a record.
pub(crate) fn random_data(bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    rand::rng().fill_bytes(&mut data);
    data
}

/// How many bodies of `body_bytes` to make.
pub(crate) fn copies(body_bytes: usize) -> usize {
    (MOST_BYTES / body_bytes).clamp(2, MOST_BODIES)
}

fn body(stream: &str, record_bytes: usize, records_per_call: u32) -> Bytes {
    let record = || record_members(&random_data(record_bytes));
    if records_per_call == 1 {
        return put_record(stream, &record());
    }
    let records: Vec<String> = (0..records_per_call).map(|_| format!("{{{}}}", record())).collect();
    format!(r#"{{"StreamName":"{stream}","Records":[{}]}}"#, records.join(",")).into()
}

/// The body of a PutRecord.
pub(crate) fn put_record(stream: &str, record_members: &str) -> Bytes {
    format!(r#"{{"StreamName":"{stream}",{record_members}}}"#).into()
}

/// Data and a random partition key, as members of a JSON object.
pub(crate) fn record_members(data: &[u8]) -> String {
    let key: u64 = rand::random();
    let data = base64_simd::STANDARD.encode_to_string(data);
    format!(r#""PartitionKey":"{key:016x}","Data":"{data}""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_valid_and_differ() {
        let bodies = Bodies::new("s", 100, 2);
        assert_eq!(bodies.0.len(), MOST_BODIES);
        assert_ne!(bodies.0[0], bodies.0[1]);
        let parsed: serde_json::Value = serde_json::from_slice(&bodies.any()).unwrap();
        assert_eq!(parsed["Records"].as_array().unwrap().len(), 2);
        let single: serde_json::Value =
            serde_json::from_slice(&Bodies::new("s", 100, 1).any()).unwrap();
        let data = single["Data"].as_str().unwrap();
        assert_eq!(base64_simd::STANDARD.decode_to_vec(data).unwrap().len(), 100);
    }

    #[test]
    fn large_bodies_are_few() {
        assert_eq!([copies(100), copies(1 << 20), copies(1 << 30)], [MOST_BODIES, 128, 2]);
    }
}
