//! Payloads by tables, and the bound of the decompression.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::record::tests::record;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn decompressed(data: Vec<u8>, limit_bytes: usize) -> Result<Bytes, String> {
    let result = decompress(&record(data), limit_bytes);
    result.map(|record| record.data).map_err(|failure| failure.message.into_owned())
}

fn extracted(payload: &str) -> Result<Option<String>, String> {
    let text = |record: Record| String::from_utf8(record.data.to_vec()).unwrap();
    let result = extract_messages(&record(payload));
    result.map(|record| record.map(text)).map_err(|failure| failure.message.into_owned())
}

#[test]
fn members_are_joined() {
    let twice = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(decompressed(twice, 7).unwrap(), "one two");
    assert_eq!(decompressed(gzip(b""), 0).unwrap(), "");
}

#[test]
fn records_that_are_not_gzip_fail() {
    let whole = gzip(b"{\"messageType\":\"DATA_MESSAGE\"}");
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for data in [b"{}".to_vec(), Vec::new(), whole[..20].to_vec(), damaged] {
        let message = decompressed(data, 1000).unwrap_err();
        assert!(message.starts_with("record is not gzip: "), "{message}");
    }
}

#[test]
fn the_output_is_bounded() {
    let bomb = gzip(&vec![0; 10_000_000]);
    assert!(bomb.len() < 100_000);
    let message = decompressed(bomb, 1_000_000).unwrap_err();
    assert_eq!(message, "decompressed data has more than 1000000 bytes");
    assert_eq!(decompressed(gzip(&[0; 1000]), 1000).unwrap().len(), 1000);
    assert!(decompressed(gzip(&[0; 1001]), 1000).is_err());
}

#[test]
fn messages_of_a_payload() {
    let data = r#"{"messageType":"DATA_MESSAGE","owner":"000000000000","logGroup":"g","logStream":"s",
        "subscriptionFilters":["f"],"logEvents":[
        {"id":"1","timestamp":1510109208016,"message":"say \"é\"\t1"},
        {"id":"2","timestamp":1510109208017,"message":"two\n"}]}"#;
    let control = r#"{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"",
        "logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1,
        "message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}]}"#;
    let empty = r#"{"messageType":"DATA_MESSAGE","logEvents":[]}"#;
    assert_eq!(extracted(data).unwrap().unwrap(), "say \"é\"\t1\ntwo\n");
    assert_eq!(extracted(control), Ok(None));
    assert_eq!(extracted(empty), Ok(None));
    let several = format!("{data}{control}\n{data}");
    assert_eq!(extracted(&several).unwrap().unwrap().lines().count(), 5);
}

#[test]
fn records_that_are_no_payload_fail() {
    for payload in [
        "hello",
        "[]",
        "{}",
        r#"{"messageType":"OTHER"}"#,
        r#"{"messageType":"DATA_MESSAGE","logEvents":[{}]}"#,
        r#"{"messageType":"DATA_MESSAGE","logEvents":[]"#,
    ] {
        assert!(extracted(payload).is_err(), "{payload}");
    }
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(data: Vec<u8>) {
        let _ = decompressed(data.clone(), 100);
        let _ = extract_messages(&record(data.clone()));
        prop_assert_eq!(decompressed(gzip(&data), data.len()).unwrap(), data);
    }
}
