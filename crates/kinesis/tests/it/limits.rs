//! Tests of slow, silent and greedy clients, and of very many clients.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::frames;
use crate::http::{
    JSON, SIGNATURE, exchange, read_to_end, read_until, settings, start_with, within,
};

fn head(content_length: usize) -> String {
    head_of("PutRecord", &format!("Content-Length: {content_length}"))
}

fn head_of(operation: &str, framing: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nX-Amz-Target: \
         Kinesis_20131202.{operation}\r\nX-Amz-Date: x\r\nAuthorization: {SIGNATURE}\r\n\
         {framing}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_over_the_limit_gets_413_before_it_is_sent() {
    let mut settings = settings();
    settings.max_body_bytes = 1000;
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    stream.write_all(head(1001).as_bytes()).await.unwrap();
    let response = read_until(&mut stream, "RequestEntityTooLargeException\",").await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let mut settings = settings();
    settings.max_body_bytes = 1000;
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let request = head_of("PutRecord", "Transfer-Encoding: chunked") + &chunk + &chunk;
    let response = exchange(&mut stream, &request).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn an_incomplete_body_is_timed_out() {
    let mut settings = settings();
    settings.body_read_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    let response = exchange(&mut stream, &(head(100) + "{\"Stream")).await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("RequestTimeoutException"), "{response}");
}

#[tokio::test]
async fn a_connection_with_an_incomplete_head_is_closed() {
    let mut settings = settings();
    settings.header_read_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    assert_eq!(exchange(&mut stream, "POST / HTTP/1.1\r\nHost: x\r\n").await, "");
}

#[tokio::test]
async fn an_idle_http_1_connection_is_closed() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut after_one = server.connect().await;
    let response =
        exchange(&mut after_one, &(head_of("ListStreams", "Content-Length: 2") + "{}")).await;
    assert!(response.contains("HasMoreStreams"), "{response}");
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed_too() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    // The preface and an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    assert_ne!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_call_succeeds_beside_two_thousand_idle_connections() {
    const IDLE: usize = 2_000;
    let server = start_with(settings(), |gateway| gateway).await;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(server.connect().await);
    }
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
    // An idle connection still works.
    let last = idle.last_mut().unwrap();
    let request = head_of("ListStreams", "Connection: close\r\nContent-Length: 2") + "{}";
    assert!(exchange(last, &request).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_connection_over_the_limit_is_served_when_another_one_ends() {
    let mut settings = settings();
    settings.max_connections = 2;
    let server = start_with(settings, |gateway| gateway).await;
    let first = server.connect().await;
    let second = server.connect().await;
    let mut third = server.connect().await;
    let request = head_of("ListStreams", "Connection: close\r\nContent-Length: 2") + "{}";
    third.write_all(request.as_bytes()).await.unwrap();
    drop(first);
    assert!(read_to_end(&mut third).await.starts_with("HTTP/1.1 200 "));
    drop(second);
}

#[tokio::test]
async fn a_full_gateway_throttles_each_operation_with_its_own_code() {
    let mut settings = settings();
    settings.max_in_flight_bytes = 40_000;
    let server = start_with(settings, |gateway| gateway).await;
    let code = async |operation: &str| {
        let mut stream = server.connect().await;
        let request =
            head_of(operation, "Connection: close\r\nContent-Length: 10001") + &"x".repeat(10_001);
        let response = exchange(&mut stream, &request).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
        let header = response.lines().find_map(|line| line.strip_prefix("x-amzn-errortype: "));
        header.unwrap_or_default().to_owned()
    };
    for data in ["PutRecord", "PutRecords", "GetRecords", "GetShardIterator"] {
        assert_eq!(code(data).await, "ProvisionedThroughputExceededException", "{data}");
    }
    assert_eq!(code("CreateStream").await, "LimitExceededException");
    assert_eq!(code("Nonsense").await, "LimitExceededException");
    // The memory is free again after the responses.
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn memory_of_a_response_that_the_client_does_not_take_is_freed() {
    let mut settings = settings();
    settings.write_timeout = Duration::from_secs(2);
    settings.max_in_flight_bytes = 60 * 1024 * 1024;
    let server = start_with(settings, |gateway| gateway).await;
    let body = json!({"StreamName": "s", "ShardCount": 1, "MaxRecordSizeInKiB": 10_240});
    server.ok("CreateStream", body).await;
    server.cluster.activate();
    // More bytes than the sockets of both sides buffer.
    let data = "eHh4".repeat(3 << 20);
    server.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": data})).await;
    let body = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
                      "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = server.ok("GetShardIterator", body).await["ShardIterator"].clone();
    let body = json!({"ShardIterator": iterator}).to_string();
    let request = head_of("GetRecords", &format!("Content-Length: {}", body.len())) + &body;
    let mut greedy = Vec::new();
    let throttled = loop {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = read_until(&mut stream, "\r\n\r\n").await;
        if !response.starts_with("HTTP/1.1 200 ") {
            break response;
        }
        greedy.push(stream);
    };
    assert!(throttled.contains("ProvisionedThroughputExceededException"), "{throttled}");
    // Writers have a budget of their own, even while readers use up the budget for responses.
    server.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": data})).await;
    // The writes of the greedy clients time out. Then memory is free again.
    within(async {
        while server.call("GetRecords", json!({"ShardIterator": iterator})).await.status
            != StatusCode::OK
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn responses_of_control_operations_are_counted_until_they_are_taken() {
    let mut settings = settings();
    settings.max_in_flight_bytes = 200_000;
    let server = start_with(settings, |gateway| gateway).await;
    server.create("s", 300).await;
    // A client that takes nothing of a response of about 60,000 bytes.
    let mut held = frames::connect(&server).await;
    held.write_all(&frames::call(1, "ListShards", "{\"StreamName\":\"s\"}")).await.unwrap();
    frames::read_until(&mut held, frames::HEADERS, 1).await.unwrap();
    let list = || server.call("ListShards", json!({"StreamName": "s"}));
    assert_eq!(list().await.error().0, "LimitExceededException");
    // A small response and a response that reports a change are sent all the same.
    server.ok("ListStreams", json!({})).await;
    let records: Vec<_> =
        (0..100).map(|n| json!({"PartitionKey": n.to_string(), "Data": ""})).collect();
    server.ok("PutRecords", json!({"StreamName": "s", "Records": records})).await;
    drop(held);
    within(async {
        while list().await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn shutdown_finishes_open_requests_and_accepts_no_new_ones() {
    let server = start_with(settings(), |gateway| gateway).await;
    let mut idle = server.connect().await;
    let mut open = server.connect().await;
    let head = head_of("ListStreams", "Content-Length: 2");
    open.write_all(head.as_bytes()).await.unwrap();
    // A response on a third connection proves that the server has accepted the other two.
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
    let stopped = tokio::spawn(server.stop());
    assert_eq!(read_to_end(&mut idle).await, "");
    open.write_all(b"{}").await.unwrap();
    let response = read_to_end(&mut open).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    within(stopped).await.unwrap();
}
