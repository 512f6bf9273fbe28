//! Slow, silent, greedy and countless clients.

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
async fn a_body_over_the_limit_is_413_before_it_is_sent() {
    let mut settings = settings();
    settings.max_body_bytes = 1000;
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    stream.write_all(head(1001).as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "RequestEntityTooLargeException\",").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let mut settings = settings();
    settings.max_body_bytes = 1000;
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let request = head_of("PutRecord", "Transfer-Encoding: chunked") + &chunk + &chunk;
    let answer = exchange(&mut stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_timed_out() {
    let mut settings = settings();
    settings.body_read_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    let answer = exchange(&mut stream, &(head(100) + "{\"Stream")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("RequestTimeoutException"), "{answer}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_closed() {
    let mut settings = settings();
    settings.header_read_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    assert_eq!(exchange(&mut stream, "POST / HTTP/1.1\r\nHost: x\r\n").await, "");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut after_one = server.connect().await;
    let answer =
        exchange(&mut after_one, &(head_of("ListStreams", "Content-Length: 2") + "{}")).await;
    assert!(answer.contains("HasMoreStreams"), "{answer}");
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed_too() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(50);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    // Preface, then an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    assert_ne!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn two_thousand_idle_connections_leave_room_for_a_call() {
    const IDLE: usize = 2_000;
    let server = start_with(settings(), |gateway| gateway).await;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(server.connect().await);
    }
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
    // Each of them is served when it wakes up.
    let last = idle.last_mut().unwrap();
    let request = head_of("ListStreams", "Connection: close\r\nContent-Length: 2") + "{}";
    assert!(exchange(last, &request).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_connection_over_the_cap_is_served_when_another_ends() {
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
async fn a_full_gateway_throttles_each_operation_in_its_own_words() {
    let mut settings = settings();
    settings.max_in_flight_bytes = 40_000;
    let server = start_with(settings, |gateway| gateway).await;
    let code = async |operation: &str| {
        let mut stream = server.connect().await;
        let request =
            head_of(operation, "Connection: close\r\nContent-Length: 10001") + &"x".repeat(10_001);
        let answer = exchange(&mut stream, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let header = answer.lines().find_map(|line| line.strip_prefix("x-amzn-errortype: "));
        header.unwrap_or_default().to_owned()
    };
    for data in ["PutRecord", "PutRecords", "GetRecords", "GetShardIterator"] {
        assert_eq!(code(data).await, "ProvisionedThroughputExceededException", "{data}");
    }
    assert_eq!(code("CreateStream").await, "LimitExceededException");
    assert_eq!(code("Nonsense").await, "LimitExceededException");
    // Nothing is held after the answers.
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_takes_no_answer_gives_its_memory_back() {
    let mut settings = settings();
    settings.write_timeout = Duration::from_secs(2);
    settings.max_in_flight_bytes = 60 * 1024 * 1024;
    let server = start_with(settings, |gateway| gateway).await;
    let body = json!({"StreamName": "s", "ShardCount": 1, "MaxRecordSizeInKiB": 10_240});
    server.ok("CreateStream", body).await;
    server.cluster.activate();
    // More than the sockets of both sides take by themselves.
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
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        if !answer.starts_with("HTTP/1.1 200 ") {
            break answer;
        }
        greedy.push(stream);
    };
    assert!(throttled.contains("ProvisionedThroughputExceededException"), "{throttled}");
    // Readers that take all that answers may take leave writers theirs.
    server.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": data})).await;
    // Their writes time out; then there is room again.
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
async fn answers_of_control_operations_are_counted_until_they_are_taken() {
    let mut settings = settings();
    settings.max_in_flight_bytes = 200_000;
    let server = start_with(settings, |gateway| gateway).await;
    server.create("s", 300).await;
    // A client that takes nothing of an answer of about 60,000 bytes.
    let mut held = frames::connect(&server).await;
    held.write_all(&frames::call(1, "ListShards", "{\"StreamName\":\"s\"}")).await.unwrap();
    frames::read_until(&mut held, frames::HEADERS, 1).await.unwrap();
    let list = || server.call("ListShards", json!({"StreamName": "s"}));
    assert_eq!(list().await.error().0, "LimitExceededException");
    // A small answer, and one of what was done, come all the same.
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
async fn shutdown_finishes_what_is_open_and_takes_nothing_new() {
    let server = start_with(settings(), |gateway| gateway).await;
    let mut idle = server.connect().await;
    let mut open = server.connect().await;
    let head = head_of("ListStreams", "Content-Length: 2");
    open.write_all(head.as_bytes()).await.unwrap();
    // An answer on a third connection: the server has long seen the other two.
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
    let stopped = tokio::spawn(server.stop());
    assert_eq!(read_to_end(&mut idle).await, "");
    open.write_all(b"{}").await.unwrap();
    let answer = read_to_end(&mut open).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    within(stopped).await.unwrap();
}
