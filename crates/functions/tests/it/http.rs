//! A worker and a function that is a real HTTP server.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use anabranch_functions::engine::{End, Invoker};
use anabranch_functions::{Answer, Function, FunctionSpec, HttpInvoker};
use anabranch_outbound::{AllowList, Client, Deadlines};
use base64_simd::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::memory::{World, number, ok};

type Answers = dyn Fn(&HeaderMap, &Value) -> Response<Full<Bytes>> + Send + Sync;

/// A server that answers each event with `answers`. Returns its URL.
async fn serve(
    answers: impl Fn(&HeaderMap, &Value) -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> String {
    let answers: Arc<Answers> = Arc::new(answers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/invoke", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let answers = Arc::clone(&answers);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let event = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    Ok::<_, Infallible>(answers(&head.headers, &event))
                }
            });
            let http1 = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http1.serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

fn respond(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

fn invoker(allow: AllowList) -> HttpInvoker {
    HttpInvoker::new(Client::new(allow, Deadlines::default()))
}

fn data(event: &Value) -> Vec<String> {
    let records = event["Records"].as_array().unwrap().iter();
    let data = records.map(|record| record["kinesis"]["data"].as_str().unwrap());
    data.map(|data| String::from_utf8(STANDARD.decode_to_vec(data).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_worker_posts_events_to_a_real_server_and_retries_what_it_reports() {
    let seen: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let log = Arc::clone(&seen);
    let url = serve(move |headers, event| {
        assert_eq!(headers["content-type"], "application/json");
        headers["x-amz-request-id"].to_str().unwrap().parse::<Uuid>().unwrap();
        let data = data(event);
        log.lock().unwrap().push(data.clone());
        match log.lock().unwrap().len() {
            1 => respond(500, "broken"),
            2 => {
                let third = number(3);
                let body = format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{third}"}}]}}"#);
                respond(200, body)
            }
            3 => respond(429, ""),
            _ => respond(200, "null"),
        }
    })
    .await;
    let mut world = World::new();
    world.spec.function_response_types = vec!["ReportBatchItemFailures".into()];
    world.shard.put(&["a", "b", "c", "d"]);
    world.shard.close();
    let running = world.run_with(Arc::new(invoker(AllowList::everything())), &url);
    assert_eq!(running.ended.await.unwrap(), End::Finished);
    let seen = seen.lock().unwrap().iter().map(|data| data.concat()).collect::<Vec<_>>();
    assert_eq!(seen, ["abcd", "abcd", "cd", "cd"]);
    let counts = running.progress.borrow().counts;
    assert_eq!((counts.calls, counts.failed_calls, counts.throttled), (3, 2, 1));
    assert_eq!(world.row.checkpoint().unwrap().next.log_index, 5);
}

async fn call(url: &str, allow: AllowList, timeout_seconds: i64) -> Answer {
    let mut spec = FunctionSpec::new("sum", url);
    spec.timeout_in_seconds = timeout_seconds;
    spec.headers.insert("authorization".into(), "Bearer x".into());
    let function = Arc::new(Function::check(&spec).unwrap());
    invoker(allow).call(function, Uuid::nil(), Bytes::from_static(b"{}")).await
}

fn failed(status: u16, error: &str) -> Answer {
    Answer::Failed { status, error: error.into() }
}

#[tokio::test]
async fn each_kind_of_response_becomes_an_answer() {
    let url = serve(|headers, _event| {
        assert_eq!(headers["authorization"], "Bearer x");
        assert_eq!(headers["x-amz-invocation-type"], "RequestResponse");
        respond(200, "")
    })
    .await;
    assert_eq!(call(&url, AllowList::everything(), 60).await, ok());
    for (status, expected) in [
        (429, Answer::NotCalled),
        (503, Answer::NotCalled),
        (301, failed(301, "Unhandled")),
        (400, failed(400, "Unhandled")),
        (404, failed(404, "Unhandled")),
        (500, failed(500, "Unhandled")),
        (502, failed(502, "Unhandled")),
        (204, Answer::Returned { status: 204, payload: Bytes::new() }),
    ] {
        let url = serve(move |_, _| respond(status, "")).await;
        assert_eq!(call(&url, AllowList::everything(), 60).await, expected, "{status}");
    }
    for (kind, expected) in [("Unhandled", "Unhandled"), ("Handled", "Handled"), ("", "Unhandled")]
    {
        let url = serve(move |_, _| {
            let mut response = respond(200, r#"{"errorMessage":"m"}"#);
            response.headers_mut().insert("x-amz-function-error", kind.parse().unwrap());
            response
        })
        .await;
        assert_eq!(call(&url, AllowList::everything(), 60).await, failed(200, expected));
    }
}

#[tokio::test]
async fn a_function_that_is_not_reached_is_not_called() {
    let url = serve(|_, _| respond(200, "")).await;
    assert_eq!(call(&url, AllowList::default(), 60).await, Answer::NotCalled);
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let url = format!("http://{address}/");
    assert_eq!(call(&url, AllowList::everything(), 60).await, Answer::NotCalled);
}

#[tokio::test]
async fn a_function_that_does_not_answer_in_time_or_answers_too_much_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    assert_eq!(call(&url, AllowList::everything(), 1).await, failed(200, "Unhandled"));
    let url = serve(|_, _| respond(200, vec![b'x'; (6 << 20) + 1])).await;
    assert_eq!(call(&url, AllowList::everything(), 60).await, failed(200, "Unhandled"));
    drop(listener);
}
