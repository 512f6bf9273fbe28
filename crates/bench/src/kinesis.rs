//! The Kinesis calls of the measurements. Only the needed members of responses are parsed, as parsing costs the
//! generator CPU time.

use std::borrow::Cow;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde::Deserialize;

use crate::connection::Connection;

/// A response to GetRecords.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Page<'a> {
    #[serde(borrow)]
    pub(crate) records: Vec<Record<'a>>,
    /// Iterator for the next call; `None` at the end of a closed shard.
    pub(crate) next_shard_iterator: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) millis_behind_latest: u64,
}

/// A record in a response to GetRecords.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Record<'a> {
    #[serde(borrow)]
    pub(crate) sequence_number: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) data: Cow<'a, str>,
}

impl Record<'_> {
    /// Size of the data in bytes, computed without decoding.
    pub(crate) fn data_bytes(&self) -> u64 {
        let padding = self.data.bytes().rev().take_while(|byte| *byte == b'=').count();
        (self.data.len() / 4 * 3).saturating_sub(padding) as u64
    }

    /// The data, decoded.
    pub(crate) fn decoded(&self) -> Result<Vec<u8>> {
        base64_simd::STANDARD.decode_to_vec(self.data.as_bytes()).context("Data is no base64")
    }
}

/// Whether `later` is the greater sequence number. Both are decimal without leading zeros, so the longer one is
/// greater.
pub(crate) fn follows(later: &str, earlier: &str) -> bool {
    (later.len(), later) > (earlier.len(), earlier)
}

/// Ids of all shards of `stream`.
pub(crate) async fn list_shards(connection: &mut Connection, stream: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        shards: Vec<Shard>,
        next_token: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Shard {
        shard_id: String,
    }
    let mut ids = Vec::new();
    let mut request = serde_json::json!({ "StreamName": stream });
    loop {
        let body = connection.call("ListShards", request.to_string().into()).await;
        let body = body.context("ListShards")?;
        let answer: Answer = serde_json::from_slice(&body).context("answer to ListShards")?;
        ids.extend(answer.shards.into_iter().map(|shard| shard.shard_id));
        match answer.next_token {
            Some(token) => request = serde_json::json!({ "NextToken": token }),
            None => return Ok(ids),
        }
    }
}

/// An iterator at `TRIM_HORIZON` or `LATEST`.
pub(crate) async fn shard_iterator(
    connection: &mut Connection,
    stream: &str,
    shard: &str,
    position: &str,
) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        shard_iterator: String,
    }
    let request = serde_json::json!({
        "StreamName": stream, "ShardId": shard, "ShardIteratorType": position,
    });
    let body = connection.call("GetShardIterator", request.to_string().into()).await;
    let body = body.context("GetShardIterator")?;
    let answer: Answer = serde_json::from_slice(&body).context("answer to GetShardIterator")?;
    Ok(answer.shard_iterator)
}

/// The body of a GetRecords.
pub(crate) fn get_records(iterator: &str, limit: u32) -> Bytes {
    serde_json::json!({ "ShardIterator": iterator, "Limit": limit }).to_string().into()
}

/// Number of refused records in a response to PutRecords.
pub(crate) fn refused_records(answer: &[u8]) -> Result<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        failed_record_count: u64,
    }
    let answer: Answer = serde_json::from_slice(answer).context("answer to PutRecords")?;
    Ok(answer.failed_record_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_compare_as_numbers() {
        assert!(follows("10", "9"));
        assert!(follows("11", "10"));
        assert!(!follows("10", "10"));
        assert!(!follows("9", "10"));
    }

    #[test]
    fn a_page_knows_the_size_of_its_data() {
        let page = br#"{"Records":[{"SequenceNumber":"1","Data":"AAEC","PartitionKey":"k"},
            {"SequenceNumber":"2","Data":"AA==","PartitionKey":"k"}],
            "NextShardIterator":"next","MillisBehindLatest":0}"#;
        let page: Page<'_> = serde_json::from_slice(page).unwrap();
        let sizes: Vec<u64> = page.records.iter().map(Record::data_bytes).collect();
        assert_eq!(sizes, [3, 1]);
        assert_eq!(page.records[0].decoded().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn refusals_within_a_call_are_counted() {
        let answer = br#"{"FailedRecordCount":2,"Records":[{},{"ErrorCode":"x"}]}"#;
        assert_eq!(refused_records(answer).unwrap(), 2);
        assert_eq!(refused_records(br#"{"SequenceNumber":"1"}"#).unwrap(), 0);
        assert!(refused_records(b"<html>").is_err());
    }
}
