//! Tests of the metrics that the gateway shows about calls.

use std::time::Duration;

use anabranch_kinesis::KinesisSettings;
use http::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use crate::http::{JSON, SIGNATURE, Server, settings, start, start_kinesis, within};

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The text of `GET /metrics`.
async fn metrics(server: &Server) -> String {
    let response = server.request(Method::GET, "/metrics", &[], Vec::new()).await;
    assert!(response.status.is_success(), "{response:?}");
    String::from_utf8(response.body.to_vec()).unwrap()
}

/// Waits until the metrics have this line.
async fn shows(server: &Server, line: &str) {
    within(async {
        while !metrics(server).await.lines().any(|shown| shown == line) {
            sleep(BETWEEN_LOOKS).await;
        }
    })
    .await;
}

/// Value of the series, which must be shown.
async fn value(server: &Server, series: &str) -> u64 {
    let text = metrics(server).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.expect("the series is shown").parse().unwrap()
}

#[tokio::test]
async fn a_call_whose_client_has_gone_away_is_counted_as_abandoned() {
    let kinesis = KinesisSettings { tip_wait: Duration::from_secs(3600), ..Default::default() };
    let server = start_kinesis(settings(), kinesis, |gateway| gateway).await;
    server.create("s", 1).await;
    let from = json!({"StreamName": "s", "ShardId": "0", "ShardIteratorType": "LATEST"});
    let body = json!({"ShardIterator": server.ok("GetShardIterator", from).await["ShardIterator"]});
    let body = body.to_string();
    // GetRecords of an empty shard: its response would come after an hour.
    let request = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: {JSON}\r\nx-amz-target: Kinesis_20131202.GetRecords\r\n\
         x-amz-date: 20260101T000000Z\r\nauthorization: {SIGNATURE}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = server.connect().await;
    client.write_all(request.as_bytes()).await.unwrap();
    drop(client);
    let calls = "anabranch_gateway_calls_total{operation=\"GetRecords\",outcome=\"abandoned\",protocol=\"json\"} 1";
    shows(&server, calls).await;
    let times = "anabranch_gateway_call_duration_seconds_count{operation=\"GetRecords\"} 1";
    shows(&server, times).await;
}

#[tokio::test]
async fn stages_of_a_put_that_is_refused_are_not_counted() {
    let append = "anabranch_gateway_put_stage_duration_seconds_count{stage=\"append\"}";
    let decode = "anabranch_gateway_put_stage_duration_seconds_count{stage=\"decode\"}";
    let server = start().await;
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    server.error("PutRecord", put.clone()).await;
    assert_eq!((value(&server, decode).await, value(&server, append).await), (1, 0));
    server.create("s", 1).await;
    server.ok("PutRecord", put).await;
    assert_eq!((value(&server, decode).await, value(&server, append).await), (2, 1));
}
