//! Tests of HTTPS: which protocol is negotiated, which clients are refused, and how idle connections end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anabranch_gateway::GatewaySettings;
use anabranch_tls::issue::{Authority, Validity};
use anabranch_tls::{ApiTls, KeyFiles, Role};
use anabranch_types::NodeId;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::{
    JSON, Response, SIGNATURE, Server, collect, exchange, read_to_end, settings, start_with, within,
};

/// A gateway with TLS, and the authority that issued its certificate.
struct Https {
    server: Server,
    authority: Authority,
    roots: RootCertStore,
    files: KeyFiles,
    _dir: TempDir,
}

fn days(days: u32) -> Validity {
    Validity::days(days, SystemTime::now())
}

async fn start_https(settings: GatewaySettings) -> Https {
    let dir = TempDir::new().unwrap();
    let (authority, issued) = Authority::new("c", days(1)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()).unwrap();
    let files =
        KeyFiles { certificate: dir.path().join("node.pem"), key: dir.path().join("node.key") };
    write_certificate(&authority, &files);
    let tls = ApiTls::load(files.clone(), Duration::from_millis(10)).unwrap();
    let server = start_with(settings, |gateway| gateway.with_tls(tls)).await;
    Https { server, authority, roots, files, _dir: dir }
}

fn write_certificate(authority: &Authority, files: &KeyFiles) {
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = authority.issue(Role::Node(NodeId(1)), &hosts, days(1)).unwrap();
    let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    write(&files.certificate, &issued.certificate);
    write(&files.key, &issued.key);
}

impl Https {
    async fn connect(
        &self,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.server.connect().await).await
    }

    fn request(&self) -> Request<Full<Bytes>> {
        Request::post("https://localhost/")
            .header("host", "localhost")
            .header("content-type", JSON)
            .header("x-amz-target", "Kinesis_20131202.ListStreams")
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", SIGNATURE)
            .body(Full::from("{}"))
            .unwrap()
    }

    /// Calls ListStreams over HTTP/2, whatever protocol was negotiated.
    async fn over_http2(&self, stream: TlsStream<tokio::net::TcpStream>) -> Response {
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        let response = collect(sender.send_request(self.request()).await.unwrap()).await;
        connection.abort();
        response
    }

    async fn over_http1(&self, stream: TlsStream<tokio::net::TcpStream>) -> Response {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let response = collect(sender.send_request(self.request()).await.unwrap()).await;
        connection.abort();
        response
    }
}

fn agreed(stream: &TlsStream<tokio::net::TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}

#[tokio::test]
async fn http_2_is_negotiated_if_the_client_offers_it() {
    let https = start_https(settings()).await;
    let stream = https.connect(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(agreed(&stream), Some(&b"h2"[..]));
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(https.over_http2(stream).await.status, StatusCode::OK);
}

#[tokio::test]
async fn http_1_1_is_negotiated_if_the_client_offers_only_that() {
    let https = start_https(settings()).await;
    let stream = https.connect(&["http/1.1"]).await.unwrap();
    assert_eq!(agreed(&stream), Some(&b"http/1.1"[..]));
    assert_eq!(https.over_http1(stream).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_offers_no_protocol_may_use_either_version() {
    let https = start_https(settings()).await;
    let stream = https.connect(&[]).await.unwrap();
    assert_eq!(agreed(&stream), None);
    assert_eq!(https.over_http2(stream).await.status, StatusCode::OK);
    let stream = https.connect(&[]).await.unwrap();
    assert_eq!(https.over_http1(stream).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_offers_only_another_protocol_is_refused() {
    let https = start_https(settings()).await;
    assert!(https.connect(&["smtp"]).await.is_err());
}

#[tokio::test]
async fn plain_http_gets_a_plain_response_that_names_https() {
    let https = start_https(settings()).await;
    let mut stream = https.server.connect().await;
    let body = "x".repeat(1 << 20);
    let request =
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let response = exchange(&mut stream, &request).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.ends_with("\r\n\r\nthis port speaks HTTPS\n"), "{response}");
}

#[tokio::test]
async fn a_connection_with_neither_tls_nor_http_is_closed() {
    let https = start_https(settings()).await;
    let mut stream = https.server.connect().await;
    assert_eq!(exchange(&mut stream, "\0\0\0").await, "");
}

#[tokio::test]
async fn an_incomplete_handshake_is_ended_and_its_slot_is_freed() {
    let mut settings = settings();
    settings.header_read_timeout = Duration::from_millis(300);
    settings.max_connections = 2;
    let https = start_https(settings).await;
    let mut silent = https.server.connect().await;
    let mut slow = https.server.connect().await;
    // Only the head of a handshake record.
    slow.write_all(&[0x16, 3, 1, 1, 0]).await.unwrap();
    let stream = within(https.connect(&["http/1.1"])).await.unwrap();
    assert_eq!(https.over_http1(stream).await.status, StatusCode::OK);
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut slow).await, "");
}

#[tokio::test]
async fn a_silent_connection_is_closed_over_tls_too() {
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(300);
    let https = start_https(settings).await;
    let mut stream = https.connect(&["http/1.1"]).await.unwrap();
    // The server does not know the HTTP version before the first byte, so it closes without a message.
    let ended = within(tokio::io::AsyncReadExt::read_u8(&mut stream)).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_handshake() {
    let https = start_https(settings()).await;
    let mut silent = https.server.connect().await;
    let stream = https.connect(&["http/1.1"]).await.unwrap();
    assert_eq!(https.over_http1(stream).await.status, StatusCode::OK);
    within(https.server.stop()).await;
    assert_eq!(read_to_end(&mut silent).await, "");
}

#[tokio::test]
async fn memory_of_a_response_that_a_tls_client_does_not_take_is_freed() {
    let mut settings = settings();
    settings.write_timeout = Duration::from_secs(1);
    settings.max_in_flight_bytes = 60 * 1024 * 1024;
    let https = start_https(settings).await;
    let call = async |operation: &str, body: serde_json::Value| {
        let mut request = https.request().map(|_| Full::<Bytes>::from(body.to_string()));
        let target = format!("Kinesis_20131202.{operation}").parse().unwrap();
        request.headers_mut().insert("x-amz-target", target);
        let stream = https.connect(&["http/1.1"]).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        (sender.send_request(request).await.unwrap(), sender, connection)
    };
    let body = json!({"StreamName": "s", "ShardCount": 1, "MaxRecordSizeInKiB": 10_240});
    assert_eq!(call("CreateStream", body).await.0.status(), StatusCode::OK);
    https.server.cluster.activate();
    // More bytes than the sockets of both sides buffer.
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "eHh4".repeat(3 << 20)});
    assert_eq!(call("PutRecord", body).await.0.status(), StatusCode::OK);
    let body = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
                      "ShardIteratorType": "TRIM_HORIZON"});
    let found = collect(call("GetShardIterator", body).await.0).await.json();
    let read = json!({"ShardIterator": found["ShardIterator"]});
    let mut greedy = Vec::new();
    loop {
        let response = call("GetRecords", read.clone()).await;
        if response.0.status() != StatusCode::OK {
            break;
        }
        greedy.push(response);
    }
    // The writes of the greedy clients time out. Then memory is free again.
    within(async { while call("GetRecords", read.clone()).await.0.status() != StatusCode::OK {} })
        .await;
}

#[tokio::test]
async fn new_connections_get_a_new_certificate_and_old_connections_go_on() {
    let https = start_https(settings()).await;
    let shown = |stream: &TlsStream<tokio::net::TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].as_ref().to_vec()
    };
    let old = https.connect(&["http/1.1"]).await.unwrap();
    let before = shown(&old);
    write_certificate(&https.authority, &https.files);
    within(async {
        while shown(&https.connect(&["http/1.1"]).await.unwrap()) == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(https.over_http1(old).await.status, StatusCode::OK);
}
