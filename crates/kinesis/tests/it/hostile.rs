//! Tests of hostile clients. Each of them costs a bounded amount of memory, which is freed, and other clients are
//! served.
//!
//! `limits.rs` tests slow, silent and greedy clients. The clients here attack with details of HTTP and of the
//! encodings.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anabranch_gateway::{Gateway, Platform, fuzzing};
use anabranch_metrics::Registry;
use anabranch_testkit::MemoryCluster;
use anabranch_types::ManualClock;
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, call,
    connect, fields, flood, frame, head, read_frame, read_until, window_update,
};
use crate::http::{
    CBOR, JSON, Response, SIGNATURE, Server, gzip, read_to_end, settings, start, start_with, within,
};

const MIB: usize = 1024 * 1024;
/// Far more than the server takes of any flood.
const FLOOD_BYTES: usize = 64 * MIB;

async fn serves(server: &Server) {
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
}

/// A gateway with memory for one body of the largest size and a little more.
async fn small() -> Server {
    let mut settings = settings();
    settings.max_body_bytes = MIB;
    settings.max_in_flight_bytes = 4 * MIB + MIB / 2;
    start_with(settings, |gateway| gateway).await
}

/// Waits until no memory is in use: then a body of the largest size is accepted.
async fn is_empty(server: &Server) {
    let body = format!("{{\"Unknown\":\"{}\"}}", "x".repeat(MIB - 14));
    let largest = async || server.post("ListStreams", &[], JSON, body.clone().into()).await.status;
    within(async {
        while largest().await != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn post_gzip(server: &Server, operation: &str, body: Vec<u8>) -> Response {
    server.post(operation, &[("content-encoding", "gzip")], JSON, body).await
}

fn code(response: &Response) -> String {
    let header = response.headers.get("x-amzn-errortype");
    header.map(|code| code.to_str().unwrap().to_owned()).unwrap_or_default()
}

// Compressed bodies.

#[tokio::test]
async fn gzip_bodies_are_accepted_in_both_formats() {
    let server = start().await;
    server.create("s", 1).await;
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "eHh4"}).to_string();
    let response = post_gzip(&server, "PutRecord", gzip(body.as_bytes())).await;
    assert_eq!(response.status, StatusCode::OK, "{response:?}");
    let mut cbor =
        b"\xa3\x6aStreamName\x61s\x6cPartitionKey\x61k\x64Data\x5a\x00\x08\x00\x00".to_vec();
    cbor.resize(cbor.len() + (512 << 10), b'x');
    let encoded = [("content-encoding", "GZIP")];
    let response = server.post("PutRecord", &encoded, CBOR, gzip(&cbor)).await;
    assert_eq!(response.status, StatusCode::OK, "{response:?}");
}

#[tokio::test]
async fn a_body_that_is_not_the_gzip_it_claims_to_be_is_refused() {
    let server = small().await;
    let whole = gzip(b"{\"Limit\":1}");
    let mut other = whole.clone();
    let last = other.len() - 8;
    other[last] ^= 1; // its checksum
    let trailing = [whole.clone(), b"{}".to_vec()].concat();
    let bodies: [&[u8]; 5] = [b"{}", &whole[..whole.len() - 1], &whole[..12], &other, &trailing];
    for body in bodies {
        let response = post_gzip(&server, "ListStreams", body.to_vec()).await;
        assert_eq!(response.error().0, "SerializationException", "{body:x?}");
    }
    // The inflated body is checked like any other body.
    let response = post_gzip(&server, "ListStreams", gzip(b"{")).await;
    assert_eq!(response.error().0, "SerializationException");
    let response = post_gzip(&server, "ListStreams", gzip(b"")).await;
    assert_eq!(response.error().0, "SerializationException");
    is_empty(&server).await;
}

/// The error is the same for two members, for trailing bytes and for very many members.
#[tokio::test]
async fn a_gzip_body_with_more_than_one_member_is_refused() {
    let server = small().await;
    let (first, second) = (gzip(b"{\"Limit\""), gzip(b":1}"));
    let bodies = [
        [first, second].concat(),
        [gzip(b"{\"Limit\":1}"), gzip(b"")].concat(),
        [gzip(b"{\"Limit\":1}"), vec![0; 512]].concat(),
        gzip(b"").repeat(MIB / gzip(b"").len()),
    ];
    for body in bodies {
        let (code, message) = post_gzip(&server, "ListStreams", body).await.error();
        let rule = "The request body in gzip must be one member and nothing after it";
        assert_eq!((&*code, &*message), ("SerializationException", rule));
    }
    is_empty(&server).await;
}

/// A gzip body with one MiB of empty blocks.
fn empty_blocks() -> Vec<u8> {
    let (head, last) = (gzip(b"")[..10].to_vec(), b"\x01\0\0\xff\xff\0\0\0\0\0\0\0\0");
    [head, b"\0\0\0\xff\xff".repeat(MIB / 5), last.to_vec()].concat()
}

#[tokio::test]
async fn inflating_yields_to_other_tasks_even_without_output() {
    let clock = Arc::new(ManualClock::default());
    let cluster = Arc::new(MemoryCluster::new(Arc::clone(&clock)));
    let gateway = Gateway::new(Platform::new(cluster, settings(), clock, Registry::default()));
    for (body, bytes) in [(empty_blocks(), 0), (gzip(&vec![b' '; MIB]), MIB)] {
        let mut inflated = pin!(fuzzing::inflate(&gateway, &body));
        let mut turns = 0;
        let inflated = poll_fn(|cx| {
            turns += 1;
            inflated.as_mut().poll(cx)
        });
        assert_eq!(inflated.await.map(|inflated| inflated.len()), Some(bytes));
        let pieces = (body.len() / (16 << 10)).max(bytes / (256 << 10));
        assert!(turns >= pieces, "{turns} polls for {pieces} pieces");
    }
}

#[tokio::test]
async fn a_small_gzip_body_that_inflates_to_a_huge_one_is_too_large() {
    let server = small().await;
    let bomb = gzip(&vec![b' '; 100 * MIB]);
    assert!(bomb.len() < MIB / 4, "{}", bomb.len());
    for _ in 0..4 {
        let response = post_gzip(&server, "PutRecords", bomb.clone()).await;
        assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(code(&response), "RequestEntityTooLargeException");
    }
    // A body that inflates to exactly the limit is accepted.
    let largest = format!("{{\"Unknown\":\"{}\"}}", "x".repeat(MIB - 14));
    let response = post_gzip(&server, "ListStreams", gzip(largest.as_bytes())).await;
    assert_eq!(response.status, StatusCode::OK);
    is_empty(&server).await;
}

#[tokio::test]
async fn concurrent_gzip_bombs_are_throttled_by_their_inflated_size() {
    let server = small().await;
    let bomb = gzip(&vec![b' '; 100 * MIB]);
    let responses = (0..16).map(|_| post_gzip(&server, "PutRecords", bomb.clone()));
    for response in futures::future::join_all(responses).await {
        let code = code(&response);
        let refused = ["RequestEntityTooLargeException", "ProvisionedThroughputExceededException"];
        assert!(refused.contains(&code.as_str()), "{code}");
    }
    is_empty(&server).await;
}

// Bodies that do not match their declaration.

#[tokio::test]
async fn a_body_of_100_mib_is_refused_with_and_without_a_declared_length() {
    let server = small().await;
    for framing in [format!("Content-Length: {}", 100 * MIB), "Transfer-Encoding: chunked".into()] {
        let mut stream = server.connect().await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nX-Amz-Target: \
             Kinesis_20131202.PutRecords\r\nX-Amz-Date: x\r\nAuthorization: {SIGNATURE}\r\n\
             {framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
        let (mut reader, mut writer) = stream.into_split();
        let writing = tokio::spawn(async move {
            let mut sent = 0;
            while sent < 100 * MIB && within(writer.write_all(chunk.as_bytes())).await.is_ok() {
                sent += chunk.len();
            }
            sent
        });
        let mut response = Vec::new();
        let _either_way = within(reader.read_to_end(&mut response)).await;
        drop(reader);
        let response = String::from_utf8_lossy(&response);
        assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
        assert!(writing.await.unwrap() < 100 * MIB, "the server took the whole body");
    }
    is_empty(&server).await;
}

#[tokio::test]
async fn lists_and_maps_nested_a_million_deep_are_refused_or_skipped() {
    let server = start().await;
    let depth = 1_000_000;
    let deep = |open: &str, close: &str| open.repeat(depth) + "1" + &close.repeat(depth);
    for body in ["[".repeat(depth), "{\"a\":".repeat(depth), deep("[", "]"), deep("{\"a\":", "}")] {
        for body in
            [body.clone(), format!("{{\"Unknown\":{body}}}"), format!("{{\"Limit\":{body}}}")]
        {
            let response = server.post("ListStreams", &[], JSON, body.into()).await;
            let refused = code(&response) == "SerializationException";
            assert!(refused || response.status == StatusCode::OK, "{response:?}");
        }
    }
    for open in
        [&b"\x81"[..], b"\x82\x9f", b"\x9f", b"\xa1\x61a", b"\xbf\x61a", b"\xc1", b"\xda\0\0\0\x01"]
    {
        let body = open.repeat(depth);
        let unknown = [b"\xa1\x67Unknown", &body[..]].concat();
        let limit = [b"\xa1\x65Limit", &body[..]].concat();
        for body in [body, unknown, limit] {
            let response = server.post("ListStreams", &[], CBOR, body).await;
            assert_eq!(code(&response), "SerializationException", "{open:x?}");
        }
    }
    serves(&server).await;
}

#[tokio::test]
async fn a_length_without_content_allocates_nothing() {
    let server = start().await;
    let huge: [&[u8]; 8] = [
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x7b\x00\x00\x00\x7f\xff\xff\xff\xff",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x9b\x00\x00\x00\x10\x00\x00\x00\x00",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5f\x5a\xff\xff\xff\xff",
        b"\x7f\x7a\xff\xff\xff\xff",
    ];
    for value in huge {
        for member in [&b"\xa1\x67Records"[..], b"\xa1\x6aStreamName", b"\xa1\x67Unknown", b""] {
            let body = [member, value].concat();
            let response = server.post("PutRecords", &[], CBOR, body).await;
            assert_eq!(code(&response), "SerializationException", "{member:x?} {value:x?}");
        }
    }
    serves(&server).await;
}

#[tokio::test]
async fn a_duplicate_member_and_invalid_utf_8_are_refused() {
    let server = start().await;
    // In JSON the text of an unknown member is not checked.
    let bodies: [&[u8]; 4] = [
        b"{\"StreamName\":\"a\",\"StreamName\":\"b\"}",
        b"{\"StreamName\":\"\xff\xfe\"}",
        b"{\"\xff\":1}",
        b"{\"StreamName\":\"\\ud800\"}",
    ];
    for body in bodies {
        let response = server.post("DescribeStream", &[], JSON, body.to_vec()).await;
        assert_eq!(
            response.error().0,
            "SerializationException",
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    let twice = b"\xa2\x6aStreamName\x61a\x6aStreamName\x61b";
    let bodies: [&[u8]; 4] = [
        twice,
        b"\xa1\x6aStreamName\x62\xff\xfe",
        b"\xa1\x67Unknown\x62\xff\xfe",
        b"\xa1\x61\xff\x01",
    ];
    for body in bodies {
        let response = server.post("DescribeStream", &[], CBOR, body.to_vec()).await;
        assert_eq!(code(&response), "SerializationException", "{body:x?}");
    }
}

// Heads.

#[tokio::test]
async fn a_connection_that_sends_its_head_byte_by_byte_is_closed() {
    let mut settings = settings();
    settings.header_read_timeout = Duration::from_millis(300);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nX: ").await.unwrap();
    let mut ticks = interval(Duration::from_millis(5));
    within(async {
        while stream.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    })
    .await;
    serves(&server).await;
}

#[tokio::test]
async fn heads_with_many_or_large_fields_are_refused() {
    let server = start().await;
    let many = "X: y\r\n".repeat(10_000);
    let large = format!("X: {}\r\n", "y".repeat(MIB));
    for field in [many, large] {
        let mut stream = server.connect().await;
        // The server may respond and close the connection before the whole head is written.
        let _ = stream.write_all(format!("POST / HTTP/1.1\r\n{field}\r\n").as_bytes()).await;
        let response = read_to_end(&mut stream).await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 431 "), "{response}");
    }
    serves(&server).await;
}

#[tokio::test]
async fn an_http_2_head_over_the_limit_is_refused_even_if_compression_makes_it_small() {
    let server = start().await;
    let large = fields(&[("x", &"y".repeat(12_000))]);
    let mut stream = connect(&server).await;
    let mut bytes = frame(HEADERS, END_STREAM, 1, &head("ListStreams"));
    for _ in 0..9 {
        bytes.extend(frame(CONTINUATION, 0, 1, &large));
    }
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &large));
    stream.write_all(&bytes).await.unwrap();
    refused(&mut stream).await;
    // A field of 4,000 bytes is stored in the table once. Then each index of one byte repeats it.
    let mut stream = connect(&server).await;
    let mut block = vec![0x40, 1, b'x', 0x7f, 0xe1, 0x1e]; // 4,000 bytes, with incremental indexing
    block.resize(block.len() + 4_000, b'y');
    block.extend(vec![0xbe; 10_000]);
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await.unwrap();
    refused(&mut stream).await;
    serves(&server).await;
}

/// Checks that the call on stream 1 is refused: by a reset, by status 431, or by the end of the connection.
async fn refused(stream: &mut TcpStream) {
    while let Some(frame) = read_frame(stream).await {
        match frame.kind {
            GOAWAY | RST_STREAM => return,
            // Status 431 as plain text or in Huffman code.
            HEADERS => {
                let text = String::from_utf8_lossy(&frame.payload);
                let huffman = frame.payload.windows(2).any(|pair| pair == [0x68, 0x0b]);
                assert!(text.contains("431") || huffman, "{:x?}", frame.payload);
                return;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_connection_with_an_endless_http_2_head_is_closed() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(300);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("ListStreams"))).await.unwrap();
    while read_frame(&mut stream).await.is_some() {}
    // The same with very many empty CONTINUATION frames.
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("ListStreams"))).await.unwrap();
    let piece = frame(CONTINUATION, 0, 1, &[]).repeat(1_000);
    assert!(
        flood(stream, &piece, FLOOD_BYTES).await < FLOOD_BYTES,
        "the server took the whole flood"
    );
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("ListStreams"))).await.unwrap();
    let piece = frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]).repeat(1_000));
    assert!(
        flood(stream, &piece, FLOOD_BYTES).await < FLOOD_BYTES,
        "the server took the whole flood"
    );
    serves(&server).await;
}

// Floods of frames.

#[tokio::test]
async fn many_streams_that_are_reset_at_once_end_the_connection() {
    let server = start().await;
    server.create("s", 1).await;
    let mut stream = connect(&server).await;
    let mut bytes = Vec::new();
    for number in 0..20_000u32 {
        let (body, id) = ("{\"StreamName\":\"s\"}", 2 * number + 1);
        bytes.extend(call(id, "DescribeStream", body));
        bytes.extend(frame(RST_STREAM, 0, id, &8u32.to_be_bytes()));
    }
    // Write and read at the same time, because the server closes the connection in the middle.
    let (mut reader, mut writer) = stream.split();
    let mut responses = Vec::new();
    let (_, _) = tokio::join!(async { within(writer.write_all(&bytes)).await }, async {
        within(reader.read_to_end(&mut responses)).await
    },);
    let calm = frame(GOAWAY, 0, 0, &[]);
    let goaway = responses.windows(9).position(|head| head[3..] == calm[3..]);
    assert!(goaway.is_some(), "the connection was not closed");
    serves(&server).await;
}

#[tokio::test]
async fn pings_and_settings_whose_responses_are_not_read_end_the_connection() {
    let mut settings = settings();
    settings.write_timeout = Duration::from_millis(500);
    settings.idle_timeout = Duration::from_secs(2);
    let server = start_with(settings, |gateway| gateway).await;
    for piece in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
        let stream = connect(&server).await;
        let piece = piece.repeat(1_000);
        let sent = flood(stream, &piece, 16 * FLOOD_BYTES).await;
        assert!(sent < 16 * FLOOD_BYTES, "the server took the whole flood");
        serves(&server).await;
    }
}

// Responses that the client does not take.

/// Creates a stream with one shard and one record of about 9 MiB. Returns a request that reads it.
async fn with_large_record(server: &Server) -> String {
    let body = json!({"StreamName": "s", "ShardCount": 1, "MaxRecordSizeInKiB": 10_240});
    server.ok("CreateStream", body).await;
    server.cluster.activate();
    let data = "eHh4".repeat(3 << 20);
    server.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": data})).await;
    let body = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
                      "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = server.ok("GetShardIterator", body).await["ShardIterator"].clone();
    json!({ "ShardIterator": iterator }).to_string()
}

#[tokio::test]
async fn a_response_that_is_not_taken_ends_even_a_busy_connection() {
    for window in [0, 1, 100_000] {
        let mut settings = settings();
        settings.idle_timeout = Duration::from_millis(500);
        settings.max_in_flight_bytes = 60 * MIB;
        let server = start_with(settings, |gateway| gateway).await;
        let request = with_large_record(&server).await;
        let mut stream = connect(&server).await;
        stream.write_all(&call(1, "GetRecords", &request)).await.unwrap();
        if window > 0 {
            stream.write_all(&window_update(1, window)).await.unwrap();
        }
        // The client sends further calls and takes their responses, until the server closes the connection.
        let began = Instant::now();
        let mut number = 1;
        let closed = loop {
            number += 2;
            let mut bytes = call(number, "ListStreams", "{}");
            bytes.extend(window_update(number, 10_000));
            if stream.write_all(&bytes).await.is_err() {
                break true;
            }
            match read_until(&mut stream, HEADERS, number).await {
                None => break true,
                Some(_) if began.elapsed() > Duration::from_secs(20) => break false,
                Some(_) => {}
            }
        };
        assert!(closed, "with a window of {window} the response is held for ever");
        // The memory is free: a response of the same size can be made.
        within(async {
            let get =
                async || server.post("GetRecords", &[], JSON, request.clone().into()).await.status;
            while get().await != StatusCode::OK {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_subscriber_that_takes_nothing_is_disconnected_even_on_a_busy_connection() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(500);
    let server = start_with(settings, |gateway| gateway).await;
    with_large_record(&server).await;
    let summary = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    let arn = &summary["StreamDescriptionSummary"]["StreamARN"];
    let body = json!({"StreamARN": arn, "ConsumerName": "app"});
    let consumer =
        server.ok("RegisterStreamConsumer", body).await["Consumer"]["ConsumerARN"].clone();
    server.cluster.settle_consumers("s");
    let body = json!({"ConsumerARN": consumer, "ShardId": "shardId-000000000000",
                      "StartingPosition": {"Type": "TRIM_HORIZON"}});
    let mut stream = connect(&server).await;
    stream.write_all(&call(1, "SubscribeToShard", &body.to_string())).await.unwrap();
    // The window is enough for the first frame and for a part of the record.
    stream.write_all(&window_update(1, 5_000)).await.unwrap();
    let first = read_until(&mut stream, DATA, 1).await.unwrap();
    assert!(!first.payload.is_empty());
    let began = Instant::now();
    let mut number = 1;
    loop {
        assert!(began.elapsed() < Duration::from_secs(20), "the subscription never ends");
        number += 2;
        let mut bytes = call(number, "ListStreams", "{}");
        bytes.extend(window_update(number, 10_000));
        let sent = stream.write_all(&bytes).await;
        if sent.is_err() || read_until(&mut stream, HEADERS, number).await.is_none() {
            break;
        }
    }
    serves(&server).await;
}

// Connections.

#[tokio::test]
async fn a_flood_of_connections_waits_while_open_connections_are_served() {
    let mut settings = settings();
    settings.max_connections = 20;
    settings.idle_timeout = Duration::from_secs(1);
    let server = start_with(settings, |gateway| gateway).await;
    // From now on the client of the tests has an open connection.
    serves(&server).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(server.connect().await);
    }
    for _ in 0..50 {
        serves(&server).await;
    }
    // The server closes the silent connections, so a later connection with a request is served.
    let mut late = server.connect().await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nX-Amz-Target: \
         Kinesis_20131202.ListStreams\r\nX-Amz-Date: x\r\nAuthorization: {SIGNATURE}\r\n\
         Connection: close\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    late.write_all(request.as_bytes()).await.unwrap();
    assert!(read_to_end(&mut late).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_incomplete_http_2_body_is_timed_out_and_the_connection_goes_on() {
    let mut settings = settings();
    settings.body_read_timeout = Duration::from_millis(100);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = connect(&server).await;
    for number in [1, 3, 5] {
        let mut bytes = frame(HEADERS, END_HEADERS, number, &head("PutRecords"));
        bytes.extend(frame(DATA, 0, number, b"{\"Records\":["));
        bytes.extend(window_update(number, 10_000));
        stream.write_all(&bytes).await.unwrap();
    }
    for number in [1, 3, 5] {
        let response = read_until(&mut stream, DATA, number).await.unwrap();
        let text = String::from_utf8_lossy(&response.payload);
        assert!(text.contains("RequestTimeoutException"), "{text}");
    }
    let mut bytes = call(7, "ListStreams", "{}");
    bytes.extend(window_update(7, 10_000));
    stream.write_all(&bytes).await.unwrap();
    let response = read_until(&mut stream, DATA, 7).await.unwrap();
    assert!(String::from_utf8_lossy(&response.payload).contains("HasMoreStreams"));
}
