//! The written data: random bytes, which cannot be compressed.
//!
//! Bodies are made before the measurement begins, within a fixed amount of memory, and are sent in random order.

use bytes::Bytes;
use rand::RngCore;
use rand::seq::IndexedRandom;

/// Size of every call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) records: u32,
    pub(crate) record_bytes: usize,
}

/// Request bodies that are made before the measurement, so that a call costs only the sending.
#[derive(Debug)]
pub(crate) struct Bodies(Vec<Bytes>);

/// Largest number of different bodies. There are several, as a server must not profit from seeing one body again and
/// again.
const MOST_BODIES: usize = 256;
/// Most memory for all bodies.
const MOST_BYTES: usize = 128 << 20;

impl Bodies {
    /// Bodies for PutRecord or, with more than one record a call, PutRecords.
    pub(crate) fn new(stream: &str, record_bytes: usize, records_per_call: u32) -> Self {
        Self::repeat(|| body(stream, record_bytes, records_per_call))
    }

    /// As many results of `make` as memory allows.
    pub(crate) fn repeat(mut make: impl FnMut() -> Bytes) -> Self {
        let first = make();
        let rest = (1..copies(first.len())).map(|_| make());
        Self(std::iter::once(first).chain(rest).collect())
    }

    /// A random body.
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

/// Number of bodies to make if each has `body_bytes`.
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
    fn bodies_are_valid_json_and_different() {
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
    fn there_are_fewer_large_bodies() {
        assert_eq!([copies(100), copies(1 << 20), copies(1 << 30)], [MOST_BODIES, 128, 2]);
    }
}
