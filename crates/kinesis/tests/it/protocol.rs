//! Tests of the checks before an operation runs: routing, signatures, encodings, browsers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::http::{
    CBOR, JSON, SIGNATURE, collect, exchange, read_until, settings, start, start_with,
};

#[tokio::test]
async fn every_response_has_the_headers_of_aws() {
    let server = start().await;
    let response = server.call("ListStreams", json!({})).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.headers["content-type"], JSON);
    let id = response.headers["x-amzn-requestid"].to_str().unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
    assert!(response.headers["x-amz-id-2"].len() >= 64);
    assert!(response.headers.contains_key("date"));
    let again = server.call("ListStreams", json!({})).await;
    assert_ne!(again.headers["x-amzn-requestid"], id);
}

#[tokio::test]
async fn a_request_other_than_post_is_denied() {
    let server = start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = server.request(method, "/", &[], Vec::new()).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN);
        assert!(response.body.starts_with(b"<AccessDeniedException>"), "{response:?}");
        assert!(response.headers.contains_key("x-amzn-requestid"));
    }
}

#[tokio::test]
async fn a_content_type_or_target_of_another_protocol_is_unknown() {
    let server = start().await;
    for content_type in ["application/json", "application/x-amz-json-1.0", "text/plain"] {
        let response = server.post("ListStreams", &[], content_type, b"{}".to_vec()).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{content_type}");
        assert_eq!(response.headers["x-amzn-errortype"], "UnknownOperationException");
        let stranger = [("content-type", content_type)];
        let response = server.request(Method::POST, "/", &stranger, b"{}".to_vec()).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{content_type}");
        assert_eq!(&response.body[..], b"<UnknownOperationException/>\n");
    }
    for target in ["Firehose_20150804.ListDeliveryStreams", "ListStreams", "Kinesis_20131202"] {
        let headers = [("content-type", JSON), ("x-amz-target", target)];
        let response = server.request(Method::POST, "/", &headers, b"{}".to_vec()).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{target}");
        assert_eq!(response.error().0, "UnknownOperationException");
    }
}

#[tokio::test]
async fn an_unknown_operation_is_refused_after_its_body_is_read() {
    let server = start().await;
    for operation in ["Nonsense", "CreateQueue", "CreateChannel", ""] {
        let response = server.call(operation, json!({})).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST);
        assert_eq!(response.error().0, "UnknownOperationException");
    }
    let response = server.post("Nonsense", &[], JSON, b"{".to_vec()).await;
    assert_eq!(response.error().0, "SerializationException");
}

#[tokio::test]
async fn malformed_bodies_are_refused_before_the_signature_is_checked() {
    let server = start().await;
    for body in ["", "{", "nonsense", "{\"Limit\":}", "{\"Limit\":1,}", "{} {}", "\u{1}"] {
        let unsigned = [("content-type", JSON), ("x-amz-target", "Kinesis_20131202.ListStreams")];
        let response = server.request(Method::POST, "/", &unsigned, body.into()).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(response.error().0, "SerializationException", "{body}");
    }
    for body in [&b"\xff"[..], b"\xa1", b"\xa1\x65Limit", b"\xa0\xa0", b"\xbf", b"{}"] {
        let response = server.post("ListStreams", &[], CBOR, body.to_vec()).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{body:x?}");
        assert_eq!(response.headers["x-amzn-errortype"], "SerializationException");
        assert_eq!(response.headers["content-type"], CBOR);
        assert!(response.body.starts_with(b"\xbf\x66__type"), "{response:?}");
    }
}

#[tokio::test]
async fn a_request_needs_exactly_one_complete_signature() {
    let server = start().await;
    let base = [("content-type", JSON), ("x-amz-target", "Kinesis_20131202.ListStreams")];
    let code = async |path: &str, more: &[(&str, &str)]| {
        let headers: Vec<_> = base.iter().chain(more).copied().collect();
        server.request(Method::POST, path, &headers, b"{\"Limit\":\"x\"}".to_vec()).await.error().0
    };
    let signed = ("authorization", SIGNATURE);
    assert_eq!(code("/", &[]).await, "MissingAuthenticationTokenException");
    assert_eq!(code("/", &[signed]).await, "IncompleteSignatureException");
    assert_eq!(code("/", &[("authorization", "Bearer x")]).await, "IncompleteSignatureException");
    assert_eq!(code("/?X-Amz-Signature=00", &[signed]).await, "InvalidSignatureException");
    assert_eq!(code("/?X-Amz-Signature=00", &[]).await, "IncompleteSignatureException");
    // With a complete signature the next fault is reported.
    let date = ("x-amz-date", "20260101T000000Z");
    assert_eq!(code("/", &[signed, date]).await, "SerializationException");
    let presigned = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=b\
                     &X-Amz-SignedHeaders=host&X-Amz-Date=c";
    assert_eq!(code(presigned, &[]).await, "SerializationException");
}

#[tokio::test]
async fn wrong_types_are_reported_before_constraints_and_constraints_before_wrong_meaning() {
    let server = start().await;
    let body = json!({"StreamName": 7, "Limit": 0});
    let (code, message) = server.error("DescribeStream", body).await;
    assert_eq!(code, "SerializationException");
    assert_eq!(
        message,
        "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String"
    );
    let body = json!({"StreamName": "a b", "Limit": 0});
    let (code, message) = server.error("DescribeStream", body).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(
        message,
        "2 validation errors detected: Value 'a b' at 'streamName' failed to satisfy constraint: \
         Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value '0' at 'limit' \
         failed to satisfy constraint: Member must have value greater than or equal to 1"
    );
    let (code, message) = server.error("DescribeStream", json!({"StreamName": "gone"})).await;
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(message, "Stream gone under account 000000000000 not found.");
}

#[tokio::test]
async fn body_encodings_other_than_gzip_are_refused_with_a_clear_message() {
    let server = start().await;
    for encoding in ["br", "zstd", "gzip, gzip"] {
        let encoded = [("content-encoding", encoding)];
        let response = server.post("ListStreams", &encoded, JSON, b"{}".to_vec()).await;
        let (code, message) = response.error();
        assert_eq!(code, "SerializationException");
        assert_eq!(message, "Content-Encoding must be gzip or identity, and only one");
    }
    let identity = [("content-encoding", "identity")];
    let response = server.post("ListStreams", &identity, JSON, b"{}".to_vec()).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test]
async fn browsers_get_cors_headers() {
    let server = start().await;
    let asked = [
        ("origin", "http://localhost:3000"),
        ("access-control-request-headers", "x-amz-target,authorization"),
        ("access-control-request-method", "POST"),
    ];
    let response = server.request(Method::OPTIONS, "/", &asked, Vec::new()).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.headers["access-control-allow-origin"], "*");
    assert_eq!(response.headers["access-control-allow-headers"], "x-amz-target,authorization");
    assert_eq!(response.headers["access-control-allow-methods"], "POST");
    assert_eq!(response.headers["access-control-max-age"], "172800");
    let origin = [("origin", "http://localhost:3000")];
    let response = server.post("ListStreams", &origin, JSON, b"{}".to_vec()).await;
    assert_eq!(response.headers["access-control-allow-origin"], "*");
    let exposed = response.headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("x-amzn-RequestId"), "{exposed}");
    let response = server.call("ListStreams", json!({})).await;
    assert!(!response.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn pages_of_foreign_origins_may_not_call_if_any_credentials_are_accepted() {
    let mut settings = settings();
    settings.allowed_origins = vec!["https://console.example".into()];
    let server = start_with(settings, |gateway| gateway).await;
    server.create("s", 1).await;
    for foreign in ["https://example.org", "null", "http://localhost.example.org"] {
        let origin = ("origin", foreign);
        let body = b"{\"StreamName\":\"s\"}".to_vec();
        let response = server.post("DeleteStream", &[origin], JSON, body).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{foreign}");
        let method = ("access-control-request-method", "POST");
        let preflight = server.request(Method::OPTIONS, "/", &[origin, method], Vec::new()).await;
        assert_eq!(preflight.status, StatusCode::FORBIDDEN, "{foreign}");
        let report = server.request(Method::GET, "/cluster", &[origin], Vec::new()).await;
        assert_eq!(report.status, StatusCode::FORBIDDEN, "{foreign}");
        for response in [response, preflight, report] {
            assert!(!response.headers.contains_key("access-control-allow-origin"), "{foreign}");
        }
    }
    for allowed in ["https://console.example", "http://localhost:3000", "http://[::1]:80"] {
        let response =
            server.post("ListStreams", &[("origin", allowed)], JSON, b"{}".to_vec()).await;
        assert_eq!(response.json()["StreamNames"], json!(["s"]), "{allowed}");
        assert_eq!(response.headers["access-control-allow-origin"], "*");
    }
}

#[tokio::test]
async fn an_http_1_1_request_must_name_its_host_exactly_once() {
    let server = start().await;
    let response = async |version: &str, hosts: &str| {
        let mut stream = server.connect().await;
        exchange(
            &mut stream,
            &format!("GET /healthz {version}\r\n{hosts}connection: close\r\n\r\n"),
        )
        .await
    };
    for (version, hosts, status) in [
        ("HTTP/1.1", "", "400"),
        ("HTTP/1.1", "Host: a\r\nHost: a\r\n", "400"),
        ("HTTP/1.1", "Host: a\r\n", "200"),
        ("HTTP/1.0", "", "200"),
    ] {
        let response = response(version, hosts).await;
        assert!(response.contains(&format!(" {status} ")), "{version} {hosts}: {response}");
    }
    // The server reads nothing after a request without a host.
    let mut stream = server.connect().await;
    let twice = "GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(exchange(&mut stream, twice).await.matches("HTTP/1.1 ").count(), 1);
}

#[tokio::test]
async fn health_and_readiness_are_served_on_the_port_of_the_api() {
    let ready = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&ready);
    let server =
        start_with(settings(), |g| g.with_readiness(move || asked.load(Ordering::SeqCst))).await;
    let status = async |path| server.request(Method::GET, path, &[], Vec::new()).await.status;
    assert_eq!(status("/healthz").await, StatusCode::OK);
    assert_eq!(status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    ready.store(true, Ordering::SeqCst);
    assert_eq!(status("/readyz").await, StatusCode::OK);
}

#[tokio::test]
async fn a_node_with_an_old_catalog_refuses_calls_with_503_so_that_sdks_retry() {
    let current = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&current);
    let server =
        start_with(settings(), |g| g.with_currency_check(move || asked.load(Ordering::SeqCst)))
            .await;
    let refused = server.call("ListStreams", json!({})).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json()["__type"], "ServiceUnavailableException");
    current.store(true, Ordering::SeqCst);
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_port_speaks_http_1_and_http_2_by_prior_knowledge() {
    let server = start().await;
    let h2 = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let uri = format!("http://{}/", server.address);
    let calls = (0..20).map(|_| {
        let request = http::Request::post(&uri)
            .header("content-type", JSON)
            .header("x-amz-target", "Kinesis_20131202.ListStreams")
            .header("authorization", SIGNATURE)
            .header("x-amz-date", "20260101T000000Z")
            .body(http_body_util::Full::<hyper::body::Bytes>::from("{}"))
            .unwrap();
        h2.request(request)
    });
    for response in futures::future::join_all(calls).await {
        let response = response.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(collect(response).await.json()["HasMoreStreams"], json!(false));
    }
    let response = server.call("ListStreams", json!({})).await;
    assert_eq!(response.json()["HasMoreStreams"], json!(false));
}

#[tokio::test]
async fn pipelined_requests_on_an_http_1_connection_get_responses_in_order() {
    let server = start().await;
    let mut stream = server.connect().await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nX-Amz-Target: \
         Kinesis_20131202.ListStreams\r\nX-Amz-Date: x\r\nAuthorization: {SIGNATURE}\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.repeat(3).as_bytes()).await.unwrap();
    let mut all = String::new();
    while all.matches("HasMoreStreams").count() < 3 {
        all.push_str(&read_until(&mut stream, "}").await);
    }
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 3, "{all}");
}

#[tokio::test]
async fn bytes_that_are_not_http_get_an_error_or_a_closed_connection() {
    let server = start().await;
    for nonsense in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxx",
    ] {
        let mut stream = server.connect().await;
        let response = exchange(&mut stream, nonsense).await;
        assert!(!response.contains("200 OK"), "{response}");
    }
    assert_eq!(server.call("ListStreams", json!({})).await.status, StatusCode::OK);
}

/// The gateway hosts only the Kinesis API. Calls of all other AWS services are unknown operations.
#[tokio::test]
async fn calls_of_services_that_are_not_hosted_are_unknown_operations() {
    let server = start().await;
    for prefix in [
        "Firehose_20150804",
        "KinesisAnalytics_20150814",
        "KinesisAnalytics_20180523",
        "AWSGlue",
        "Logs_20140328",
        "AmazonSQS",
    ] {
        let target = format!("{prefix}.ListThings");
        for content_type in [JSON, CBOR] {
            let headers = [("content-type", content_type), ("x-amz-target", &target)];
            let signed = [headers[0], headers[1], ("authorization", SIGNATURE), DATE];
            let body = if content_type == JSON { b"{}".to_vec() } else { vec![0xa0] };
            let response = server.request(Method::POST, "/", &signed, body).await;
            assert_eq!(response.status, StatusCode::BAD_REQUEST, "{target}");
            assert_eq!(response.headers["content-type"], content_type);
            assert_eq!(response.headers["x-amzn-errortype"], "UnknownOperationException");
        }
    }
    let dynamo = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "DynamoDB_20120810.ListTables"),
    ];
    let cloudwatch = [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")];
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (path, headers) in [
        ("/", &dynamo[..]),
        ("/service/GraniteServiceVersion20100801/operation/PutMetricData", &cloudwatch[..]),
        ("/", &form[..]),
        ("/console/streams", &[][..]),
    ] {
        let body = b"Action=GetCallerIdentity&Version=2011-06-15".to_vec();
        let response = server.request(Method::POST, path, headers, body).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(&response.body[..], b"<UnknownOperationException/>\n", "{path}");
    }
    // There is no console. A browser gets the same response as for any GET.
    for path in ["/", "/console/"] {
        let html = [("accept", "text/html")];
        let response = server.request(Method::GET, path, &html, Vec::new()).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(response.headers["x-amzn-errortype"], "AccessDeniedException");
    }
}

const DATE: (&str, &str) = ("x-amz-date", "20260101T000000Z");
