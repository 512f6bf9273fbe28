//! Tests of GetRecords at the tip of a shard.

use std::time::Duration;

use anabranch_kinesis::KinesisSettings;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::http::{Server, settings, start_kinesis, within};

/// A call that waits for all of this time fails its test.
const VERY_LONG: Duration = Duration::from_secs(3600);

/// A server with a stream, and a call that reads it from the start.
async fn with_wait(tip_wait: Duration, service_limits: bool) -> (Server, Value) {
    let mut settings = settings();
    settings.service_limits = service_limits;
    let kinesis = KinesisSettings { tip_wait, ..KinesisSettings::default() };
    let server = start_kinesis(settings, kinesis, |gateway| gateway).await;
    server.create("s", 1).await;
    let body = json!({"StreamName": "s", "ShardId": "0", "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = server.ok("GetShardIterator", body).await["ShardIterator"].clone();
    (server, json!({"ShardIterator": iterator}))
}

async fn put(server: &Server) {
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    server.ok("PutRecord", body).await;
}

fn records(page: &Value) -> usize {
    page["Records"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_empty_response_waits_for_the_first_record() {
    let (server, read) = with_wait(VERY_LONG, false).await;
    let (page, ()) =
        within(async { tokio::join!(server.ok("GetRecords", read), put(&server)) }).await;
    assert_eq!(records(&page), 1);
}

#[tokio::test]
async fn a_response_with_records_waits_for_no_more_records() {
    let (server, read) = with_wait(VERY_LONG, false).await;
    put(&server).await;
    assert_eq!(records(&within(server.ok("GetRecords", read)).await), 1);
}

#[tokio::test]
async fn an_empty_response_comes_after_the_wait() {
    let wait = Duration::from_millis(30);
    let (server, read) = with_wait(wait, false).await;
    let asked = Instant::now();
    let page = server.ok("GetRecords", read).await;
    assert!(asked.elapsed() >= wait);
    assert_eq!((records(&page), &page["MillisBehindLatest"]), (0, &json!(0)));
    assert!(page["NextShardIterator"].is_string());
}

#[tokio::test]
async fn there_is_no_wait_at_the_end_of_a_shard_or_with_service_limits() {
    let (server, read) = with_wait(VERY_LONG, true).await;
    assert_eq!(records(&within(server.ok("GetRecords", read)).await), 0);
    let (server, read) = with_wait(VERY_LONG, false).await;
    server.cluster.split("s", 0);
    server.cluster.publish();
    let page = within(server.ok("GetRecords", read)).await;
    assert_eq!((records(&page), &page["NextShardIterator"]), (0, &Value::Null));
}
