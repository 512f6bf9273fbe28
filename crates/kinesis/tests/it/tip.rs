//! GetRecords at the tip of a shard.

use std::time::Duration;

use anabranch_kinesis::KinesisSettings;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::http::{Server, settings, start_kinesis, within};

/// So long that a call that waits for all of it fails its test.
const FOREVER: Duration = Duration::from_secs(3600);

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
async fn an_empty_answer_waits_for_the_first_record() {
    let (server, read) = with_wait(FOREVER, false).await;
    let (page, ()) =
        within(async { tokio::join!(server.ok("GetRecords", read), put(&server)) }).await;
    assert_eq!(records(&page), 1);
}

#[tokio::test]
async fn an_answer_with_records_waits_for_no_more() {
    let (server, read) = with_wait(FOREVER, false).await;
    put(&server).await;
    assert_eq!(records(&within(server.ok("GetRecords", read)).await), 1);
}

#[tokio::test]
async fn an_empty_answer_comes_after_the_wait() {
    let wait = Duration::from_millis(30);
    let (server, read) = with_wait(wait, false).await;
    let asked = Instant::now();
    let page = server.ok("GetRecords", read).await;
    assert!(asked.elapsed() >= wait);
    assert_eq!((records(&page), &page["MillisBehindLatest"]), (0, &json!(0)));
    assert!(page["NextShardIterator"].is_string());
}

#[tokio::test]
async fn the_end_of_a_shard_and_the_limits_of_the_service_know_no_wait() {
    let (server, read) = with_wait(FOREVER, true).await;
    assert_eq!(records(&within(server.ok("GetRecords", read)).await), 0);
    let (server, read) = with_wait(FOREVER, false).await;
    server.cluster.split("s", 0);
    server.cluster.publish();
    let page = within(server.ok("GetRecords", read)).await;
    assert_eq!((records(&page), &page["NextShardIterator"]), (0, &Value::Null));
}
