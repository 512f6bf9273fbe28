//! Tests of requests without a valid signature: their memory is bounded, and they take none from other callers.

use anabranch_access::signature::{self, Credentials, Signer};
use anabranch_types::Clock;
use futures::future::join_all;
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::access::{Client, record, start, start_required};
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, connect, fields, frame, read_until, window_update,
};
use crate::http::{CBOR, JSON, Server, read_to_end, read_until as read_text_until, settings};

const MIB: usize = 1024 * 1024;
/// Largest number of concurrent requests on a connection without a valid signature.
const UNTRUSTED_REQUESTS: u32 = 32;

/// The head of a call with content type `kind`, signed by `client` for the body `signed`.
fn head(client: &Client, server: &Server, kind: &str, signed: &[u8]) -> Vec<(String, String)> {
    let own = [
        ("host", server.address.to_string()),
        ("content-type", kind.to_owned()),
        ("x-amz-target", "Kinesis_20131202.PutRecord".to_owned()),
    ];
    let headers = own.iter().map(|(name, value)| (*name, value.as_bytes()));
    let request =
        signature::Request { method: "POST", path: "/", query: "", headers, body: signed };
    let signer = Signer::new(client.0.clone(), "us-east-1", "kinesis");
    let signed = signer.sign(&request, server.clock.now());
    let added = [("authorization", signed.authorization), ("x-amz-date", signed.date)];
    let all = own.into_iter().chain(added);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Encodes the head for HTTP/1.1. The body has `bytes` bytes.
fn http1(head: &[(String, String)], bytes: usize) -> Vec<u8> {
    let fields: String = head.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("POST / HTTP/1.1\r\n{fields}connection: close\r\ncontent-length: {bytes}\r\n\r\n")
        .into_bytes()
}

/// Encodes the head for HTTP/2.
fn http2(head: &[(String, String)], more: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![(":method", "POST"), (":scheme", "http"), (":path", "/")];
    for (name, value) in head {
        all.push(if name == "host" { (":authority", value) } else { (name, value) });
    }
    all.extend(more);
    fields(&all)
}

/// Puts a record on a new connection and returns the response.
async fn put(client: &Client, server: &Server) -> String {
    let body = serde_json::to_vec(&record()).unwrap();
    let mut stream = server.connect().await;
    let request = [http1(&head(client, server, JSON, &body), body.len()), body].concat();
    stream.write_all(&request).await.unwrap();
    read_to_end(&mut stream).await
}

async fn puts_succeed(client: &Client, server: &Server) {
    for _ in 0..5 {
        let response = put(client, server).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
}

/// Credentials with the key id of `client` and a guessed secret.
fn guessed(client: &Client) -> Client {
    Client(Credentials { secret: "guess".into(), ..client.0.clone() })
}

#[tokio::test]
async fn a_large_body_of_an_unknown_caller_is_refused_before_it_is_sent() {
    let (server, root) = start().await;
    let stranger = Client(Credentials { key_id: "AKIASTRANGER".into(), ..root.0.clone() });
    let unsigned: Vec<_> = head(&root, &server, JSON, b"").into_iter().take(3).collect();
    let refused = [
        (unsigned, "MissingAuthenticationTokenException"),
        (head(&stranger, &server, JSON, b""), "UnrecognizedClientException"),
    ];
    for (head, code) in refused {
        let mut stream = server.connect().await;
        stream.write_all(&http1(&head, 16 * MIB)).await.unwrap();
        let response = read_text_until(&mut stream, "\"}").await;
        assert!(response.contains(code), "{response}");
        // A client that sends the whole body gets the same error.
        let mut stream = server.connect().await;
        stream.write_all(&http1(&head, 8 * MIB)).await.unwrap();
        stream.write_all(&vec![b'x'; 8 * MIB]).await.unwrap();
        let response = read_to_end(&mut stream).await;
        assert!(response.contains(code), "{response}");
        let mut stream = server.connect().await;
        let chunked = String::from_utf8(http1(&head, 0)).unwrap();
        let chunked = chunked.replace("content-length: 0", "transfer-encoding: chunked");
        stream.write_all(chunked.as_bytes()).await.unwrap();
        let response = read_text_until(&mut stream, "\"}").await;
        assert!(response.contains(code), "{response}");
    }
    puts_succeed(&root, &server).await;
}

#[tokio::test]
async fn a_large_body_is_decoded_only_after_its_signature_is_verified() {
    let (server, root) = start().await;
    // A list without an end. Decoding it fails with SerializationException.
    let body = [&b"\xa1\x67Records\x9f"[..], &vec![0xa0; 100_000]].concat();
    for (client, code) in
        [(&guessed(&root), "InvalidSignatureException"), (&root, "SerializationException")]
    {
        let mut stream = server.connect().await;
        let head = http1(&head(client, &server, CBOR, &body), body.len());
        stream.write_all(&[head, body.clone()].concat()).await.unwrap();
        let response = read_to_end(&mut stream).await;
        assert!(response.contains(code), "{response}");
    }
}

#[tokio::test]
async fn endless_bodies_take_no_memory_from_callers_with_a_key() {
    let mut settings = settings();
    settings.max_body_bytes = MIB;
    settings.max_unverified_bytes = 3 * MIB;
    settings.max_in_flight_bytes = 8 * MIB;
    let (server, root) = start_required(settings).await;
    let head = http1(&head(&guessed(&root), &server, JSON, b""), MIB);
    let mut hogs = Vec::new();
    for _ in 0..20 {
        let mut stream = server.connect().await;
        stream.write_all(&head).await.unwrap();
        // The server may have closed an older connection by now, but never this one.
        stream.write_all(&vec![b'x'; MIB - 1]).await.unwrap();
        hogs.push(stream);
        puts_succeed(&root, &server).await;
    }
    // The oldest connections got an error, because no capacity was left for them.
    let response = read_to_end(&mut hogs[0]).await;
    assert!(response.contains("ProvisionedThroughputExceededException"), "{response}");
    // They take no memory from large bodies on connections with valid signatures either.
    let large = serde_json::json!({"StreamName": "orders", "PartitionKey": "k", "Data": "x".repeat(900_000)});
    assert_eq!(root.call(&server, "PutRecord", large).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_connection_has_few_streams_until_its_first_valid_signature() {
    let (server, root) = start().await;
    let body = serde_json::to_vec(&record()).unwrap();
    let block = http2(&head(&root, &server, JSON, &body), &[]);
    let mut stream = connect(&server).await;
    stream.write_all(&window_update(0, 1_000_000)).await.unwrap();
    let id = |number: u32| 2 * number + 1;
    for number in 0..=UNTRUSTED_REQUESTS {
        let mut bytes = frame(HEADERS, END_HEADERS, id(number), &block);
        bytes.extend(window_update(id(number), 10_000));
        stream.write_all(&bytes).await.unwrap();
    }
    let refused = read_until(&mut stream, DATA, id(UNTRUSTED_REQUESTS)).await.unwrap();
    let text = String::from_utf8_lossy(&refused.payload).into_owned();
    assert!(text.contains("ProvisionedThroughputExceededException"), "{text}");
    // One of the other requests completes with a valid signature. Then the connection may have twice as many.
    stream.write_all(&frame(DATA, END_STREAM, id(0), &body)).await.unwrap();
    let response = read_until(&mut stream, DATA, id(0)).await.unwrap();
    let text = String::from_utf8_lossy(&response.payload).into_owned();
    assert!(text.contains("SequenceNumber"), "{text}");
    let last = 3 * UNTRUSTED_REQUESTS;
    for number in UNTRUSTED_REQUESTS + 1..=last {
        let mut bytes = frame(HEADERS, END_HEADERS, id(number), &block);
        bytes.extend(window_update(id(number), 10_000));
        stream.write_all(&bytes).await.unwrap();
    }
    stream.write_all(&frame(DATA, END_STREAM, id(last), &body)).await.unwrap();
    let response = read_until(&mut stream, DATA, id(last)).await.unwrap();
    let text = String::from_utf8_lossy(&response.payload).into_owned();
    assert!(text.contains("SequenceNumber"), "{text}");
}

#[tokio::test]
async fn heads_of_many_streams_are_counted_and_the_oldest_are_refused() {
    let mut settings = settings();
    settings.max_body_bytes = MIB;
    settings.max_unverified_bytes = 2 * MIB;
    let (server, root) = start_required(settings).await;
    // Each head costs about 60 kB, because it has many small fields.
    let many: Vec<_> = (0..400).map(|_| ("a", "")).collect();
    let block = http2(&head(&root, &server, JSON, b""), &many);
    let mut connections = Vec::new();
    for _ in 0..10 {
        let mut stream = connect(&server).await;
        let mut bytes = window_update(0, 1_000_000);
        for number in 0..10 {
            bytes.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &block));
            bytes.extend(window_update(2 * number + 1, 10_000));
        }
        stream.write_all(&bytes).await.unwrap();
        connections.push(stream);
    }
    for stream in &mut connections[..5] {
        let refused = read_until(stream, DATA, 1).await.unwrap();
        let text = String::from_utf8_lossy(&refused.payload).into_owned();
        assert!(text.contains("ProvisionedThroughputExceededException"), "{text}");
    }
    puts_succeed(&root, &server).await;
}

#[tokio::test]
async fn unfinished_heads_are_counted_and_the_oldest_connections_are_closed() {
    let mut settings = settings();
    settings.max_body_bytes = 64 * 1024;
    settings.max_unverified_bytes = MIB;
    let (server, root) = start_required(settings).await;
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nx: {}", "y".repeat(60_000));
    let open = async || {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut connections: Vec<TcpStream> = join_all((0..40).map(|_| open())).await;
    let ended = futures::future::select_all(
        connections.iter_mut().map(|stream| Box::pin(read_to_end(stream))),
    );
    assert_eq!(ended.await.0, "");
    puts_succeed(&root, &server).await;
}
