//! Clients that mean no good. Each of them costs a bounded piece of memory, which comes back, and the others are served.
//!
//! What slow, silent and greedy clients get is in `limits.rs`; these are those that know HTTP and the encodings well.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anabranch_gateway::{Gateway, fuzzing};
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
    Answer, CBOR, JSON, SIGNATURE, Server, gzip, read_to_end, settings, start, start_with, within,
};

const MIB: usize = 1024 * 1024;
/// Far more than any of these floods is let through.
const FLOOD_BYTES: usize = 64 * MIB;

async fn serves(server: &Server) {
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
}

/// A gateway that has room for one body of the largest size and a little more.
async fn small() -> Server {
    let mut settings = settings();
    settings.max_body_bytes = MIB;
    settings.max_in_flight_bytes = 4 * MIB + MIB / 2;
    start_with(settings, |gateway| gateway).await
}

/// That nothing is held any more: the largest body finds room.
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

async fn post_gzip(server: &Server, operation: &str, body: Vec<u8>) -> Answer {
    server.post(operation, &[("content-encoding", "gzip")], JSON, body).await
}

fn code(answer: &Answer) -> String {
    let header = answer.headers.get("x-amzn-errortype");
    header.map(|code| code.to_str().unwrap().to_owned()).unwrap_or_default()
}

// Compressed bodies.

#[tokio::test]
async fn bodies_in_gzip_are_taken_in_both_formats() {
    let server = start().await;
    server.create("s", 1).await;
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "eHh4"}).to_string();
    let answer = post_gzip(&server, "PutRecord", gzip(body.as_bytes())).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let mut cbor =
        b"\xa3\x6aStreamName\x61s\x6cPartitionKey\x61k\x64Data\x5a\x00\x08\x00\x00".to_vec();
    cbor.resize(cbor.len() + (512 << 10), b'x');
    let encoded = [("content-encoding", "GZIP")];
    let answer = server.post("PutRecord", &encoded, CBOR, gzip(&cbor)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn a_body_that_is_no_gzip_though_it_says_so_is_refused() {
    let server = small().await;
    let whole = gzip(b"{\"Limit\":1}");
    let mut other = whole.clone();
    let last = other.len() - 8;
    other[last] ^= 1; // its checksum
    let trailing = [whole.clone(), b"{}".to_vec()].concat();
    let bodies: [&[u8]; 5] = [b"{}", &whole[..whole.len() - 1], &whole[..12], &other, &trailing];
    for body in bodies {
        let answer = post_gzip(&server, "ListStreams", body.to_vec()).await;
        assert_eq!(answer.error().0, "SerializationException", "{body:x?}");
    }
    // Its inside is read like any other.
    let answer = post_gzip(&server, "ListStreams", gzip(b"{")).await;
    assert_eq!(answer.error().0, "SerializationException");
    let answer = post_gzip(&server, "ListStreams", gzip(b"")).await;
    assert_eq!(answer.error().0, "SerializationException");
    is_empty(&server).await;
}

/// What is refused, and with what, however much of it there is.
#[tokio::test]
async fn a_body_of_more_than_one_member_is_refused() {
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

/// A mebibyte of blocks that say nothing.
fn empty_blocks() -> Vec<u8> {
    let (head, last) = (gzip(b"")[..10].to_vec(), b"\x01\0\0\xff\xff\0\0\0\0\0\0\0\0");
    [head, b"\0\0\0\xff\xff".repeat(MIB / 5), last.to_vec()].concat()
}

#[tokio::test]
async fn inflating_lets_others_have_their_turn_also_while_it_makes_nothing() {
    let clock = Arc::new(ManualClock::default());
    let cluster = Arc::new(MemoryCluster::new(Arc::clone(&clock)));
    let gateway = Gateway::over(cluster, settings(), clock);
    for (body, bytes) in [(empty_blocks(), 0), (gzip(&vec![b' '; MIB]), MIB)] {
        let mut inflated = pin!(fuzzing::inflate(&gateway, &body));
        let mut turns = 0;
        let inflated = poll_fn(|cx| {
            turns += 1;
            inflated.as_mut().poll(cx)
        });
        assert_eq!(inflated.await.map(|inflated| inflated.len()), Some(bytes));
        let pieces = (body.len() / (16 << 10)).max(bytes / (256 << 10));
        assert!(turns >= pieces, "{turns} turns for {pieces} pieces");
    }
}

#[tokio::test]
async fn a_small_body_that_would_be_a_huge_one_is_too_large() {
    let server = small().await;
    let bomb = gzip(&vec![b' '; 100 * MIB]);
    assert!(bomb.len() < MIB / 4, "{}", bomb.len());
    for _ in 0..4 {
        let answer = post_gzip(&server, "PutRecords", bomb.clone()).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(code(&answer), "RequestEntityTooLargeException");
    }
    // One that is just as large as may be is no bomb.
    let largest = format!("{{\"Unknown\":\"{}\"}}", "x".repeat(MIB - 14));
    let answer = post_gzip(&server, "ListStreams", gzip(largest.as_bytes())).await;
    assert_eq!(answer.status, StatusCode::OK);
    is_empty(&server).await;
}

#[tokio::test]
async fn bombs_at_once_are_throttled_by_what_they_become() {
    let server = small().await;
    let bomb = gzip(&vec![b' '; 100 * MIB]);
    let answers = (0..16).map(|_| post_gzip(&server, "PutRecords", bomb.clone()));
    for answer in futures::future::join_all(answers).await {
        let code = code(&answer);
        let refused = ["RequestEntityTooLargeException", "ProvisionedThroughputExceededException"];
        assert!(refused.contains(&code.as_str()), "{code}");
    }
    is_empty(&server).await;
}

// Bodies that are more than they say.

#[tokio::test]
async fn a_hundred_megabytes_are_refused_whether_they_are_declared_or_not() {
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
        let mut answer = Vec::new();
        let _either_way = within(reader.read_to_end(&mut answer)).await;
        drop(reader);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(writing.await.unwrap() < 100 * MIB, "all of it was taken");
    }
    is_empty(&server).await;
}

#[tokio::test]
async fn lists_and_maps_in_each_other_a_million_deep_are_refused_or_skipped() {
    let server = start().await;
    let depth = 1_000_000;
    let deep = |open: &str, close: &str| open.repeat(depth) + "1" + &close.repeat(depth);
    for body in ["[".repeat(depth), "{\"a\":".repeat(depth), deep("[", "]"), deep("{\"a\":", "}")] {
        for body in
            [body.clone(), format!("{{\"Unknown\":{body}}}"), format!("{{\"Limit\":{body}}}")]
        {
            let answer = server.post("ListStreams", &[], JSON, body.into()).await;
            let refused = code(&answer) == "SerializationException";
            assert!(refused || answer.status == StatusCode::OK, "{answer:?}");
        }
    }
    for open in
        [&b"\x81"[..], b"\x82\x9f", b"\x9f", b"\xa1\x61a", b"\xbf\x61a", b"\xc1", b"\xda\0\0\0\x01"]
    {
        let body = open.repeat(depth);
        let unknown = [b"\xa1\x67Unknown", &body[..]].concat();
        let limit = [b"\xa1\x65Limit", &body[..]].concat();
        for body in [body, unknown, limit] {
            let answer = server.post("ListStreams", &[], CBOR, body).await;
            assert_eq!(code(&answer), "SerializationException", "{open:x?}");
        }
    }
    serves(&server).await;
}

#[tokio::test]
async fn lengths_that_nothing_follows_allocate_nothing() {
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
            let answer = server.post("PutRecords", &[], CBOR, body).await;
            assert_eq!(code(&answer), "SerializationException", "{member:x?} {value:x?}");
        }
    }
    serves(&server).await;
}

#[tokio::test]
async fn a_member_twice_and_text_that_is_no_utf_8_are_refused() {
    let server = start().await;
    // In JSON the text of a member that nobody knows is not looked into.
    let bodies: [&[u8]; 4] = [
        b"{\"StreamName\":\"a\",\"StreamName\":\"b\"}",
        b"{\"StreamName\":\"\xff\xfe\"}",
        b"{\"\xff\":1}",
        b"{\"StreamName\":\"\\ud800\"}",
    ];
    for body in bodies {
        let answer = server.post("DescribeStream", &[], JSON, body.to_vec()).await;
        assert_eq!(answer.error().0, "SerializationException", "{}", String::from_utf8_lossy(body));
    }
    let twice = b"\xa2\x6aStreamName\x61a\x6aStreamName\x61b";
    let bodies: [&[u8]; 4] = [
        twice,
        b"\xa1\x6aStreamName\x62\xff\xfe",
        b"\xa1\x67Unknown\x62\xff\xfe",
        b"\xa1\x61\xff\x01",
    ];
    for body in bodies {
        let answer = server.post("DescribeStream", &[], CBOR, body.to_vec()).await;
        assert_eq!(code(&answer), "SerializationException", "{body:x?}");
    }
}

// Heads.

#[tokio::test]
async fn a_head_byte_by_byte_is_cut_off() {
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
async fn heads_of_many_or_of_large_fields_are_refused() {
    let server = start().await;
    let many = "X: y\r\n".repeat(10_000);
    let large = format!("X: {}\r\n", "y".repeat(MIB));
    for field in [many, large] {
        let mut stream = server.connect().await;
        // The answer may come, and the connection end, before all of it is written.
        let _ = stream.write_all(format!("POST / HTTP/1.1\r\n{field}\r\n").as_bytes()).await;
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    serves(&server).await;
}

#[tokio::test]
async fn an_http_2_head_over_the_limit_is_refused_and_one_of_a_few_bytes_may_not_name_it_either() {
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
    // A field put into the table once and named by an index of one byte: 4,096 bytes each.
    let mut stream = connect(&server).await;
    let mut block = vec![0x40, 1, b'x', 0x7f, 0xe1, 0x1e]; // 4,000 bytes, with incremental indexing
    block.resize(block.len() + 4_000, b'y');
    block.extend(vec![0xbe; 10_000]);
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await.unwrap();
    refused(&mut stream).await;
    serves(&server).await;
}

/// That stream 1 is not answered as a call: reset, refused with 431, or the end of the connection.
async fn refused(stream: &mut TcpStream) {
    while let Some(frame) = read_frame(stream).await {
        match frame.kind {
            GOAWAY | RST_STREAM => return,
            // 431 in full, as an incremental or plain field.
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
async fn an_http_2_head_that_never_ends_is_cut_off() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(300);
    let server = start_with(settings, |gateway| gateway).await;
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("ListStreams"))).await.unwrap();
    while read_frame(&mut stream).await.is_some() {}
    // Nor one that is empty a hundred thousand times.
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("ListStreams"))).await.unwrap();
    let piece = frame(CONTINUATION, 0, 1, &[]).repeat(1_000);
    assert!(flood(stream, &piece, FLOOD_BYTES).await < FLOOD_BYTES, "none of it was refused");
    let mut stream = connect(&server).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("ListStreams"))).await.unwrap();
    let piece = frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]).repeat(1_000));
    assert!(flood(stream, &piece, FLOOD_BYTES).await < FLOOD_BYTES, "none of it was refused");
    serves(&server).await;
}

// Floods of frames.

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let server = start().await;
    server.create("s", 1).await;
    let mut stream = connect(&server).await;
    let mut bytes = Vec::new();
    for number in 0..20_000u32 {
        let (body, id) = ("{\"StreamName\":\"s\"}", 2 * number + 1);
        bytes.extend(call(id, "DescribeStream", body));
        bytes.extend(frame(RST_STREAM, 0, id, &8u32.to_be_bytes()));
    }
    // Written while what comes back is read: the server gives up in the middle.
    let (mut reader, mut writer) = stream.split();
    let mut answers = Vec::new();
    let (_, _) = tokio::join!(async { within(writer.write_all(&bytes)).await }, async {
        within(reader.read_to_end(&mut answers)).await
    },);
    let calm = frame(GOAWAY, 0, 0, &[]);
    let goaway = answers.windows(9).position(|head| head[3..] == calm[3..]);
    assert!(goaway.is_some(), "the connection went on");
    serves(&server).await;
}

#[tokio::test]
async fn pings_and_settings_whose_answers_nobody_reads_end_the_connection() {
    let mut settings = settings();
    settings.write_timeout = Duration::from_millis(500);
    settings.idle_timeout = Duration::from_secs(2);
    let server = start_with(settings, |gateway| gateway).await;
    for piece in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
        let stream = connect(&server).await;
        let piece = piece.repeat(1_000);
        let sent = flood(stream, &piece, 16 * FLOOD_BYTES).await;
        assert!(sent < 16 * FLOOD_BYTES, "it went on");
        serves(&server).await;
    }
}

// Answers that nobody takes.

/// A stream of one shard with one record of ten megabytes.
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
async fn an_answer_that_is_not_taken_ends_its_connection_however_busy_that_is() {
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
        // The client goes on with calls that it takes, until the server has enough of it.
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
        assert!(closed, "a window of {window} holds the answer for ever");
        // Its memory is free: an answer of the same size has room beside another one that is being made.
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
async fn a_subscriber_that_takes_nothing_is_cut_off_however_busy_its_connection_is() {
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
    // Room for the first frame, and for a part of the record.
    stream.write_all(&window_update(1, 5_000)).await.unwrap();
    let first = read_until(&mut stream, DATA, 1).await.unwrap();
    assert!(!first.payload.is_empty());
    let began = Instant::now();
    let mut number = 1;
    loop {
        assert!(began.elapsed() < Duration::from_secs(20), "it is subscribed for ever");
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
async fn a_flood_of_connections_waits_while_those_that_are_open_go_on() {
    let mut settings = settings();
    settings.max_connections = 20;
    settings.idle_timeout = Duration::from_secs(1);
    let server = start_with(settings, |gateway| gateway).await;
    // The client of the tests has a connection now, and keeps it.
    serves(&server).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(server.connect().await);
    }
    for _ in 0..50 {
        serves(&server).await;
    }
    // The silent ones are closed round by round, and one that speaks has its turn.
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
async fn an_http_2_body_that_never_comes_is_timed_out_and_the_connection_goes_on() {
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
        let answer = read_until(&mut stream, DATA, number).await.unwrap();
        let text = String::from_utf8_lossy(&answer.payload);
        assert!(text.contains("RequestTimeoutException"), "{text}");
    }
    let mut bytes = call(7, "ListStreams", "{}");
    bytes.extend(window_update(7, 10_000));
    stream.write_all(&bytes).await.unwrap();
    let answer = read_until(&mut stream, DATA, 7).await.unwrap();
    assert!(String::from_utf8_lossy(&answer.payload).contains("HasMoreStreams"));
}
