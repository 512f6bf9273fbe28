//! Requests, responses, deadlines and bounds.

use std::convert::Infallible;
use std::time::Duration;

use anabranch_outbound::{AllowList, Client, Deadlines, Error};
use futures::FutureExt;
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::server::{Server, client, ping, read_request, text};

/// Answers with method, path, the header `x-test`, and the body.
async fn echo(
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let header = head.headers.get("x-test").map_or("", |value| value.to_str().unwrap());
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body);
    let text = format!("{} {} {header} {body}", head.method, head.uri.path());
    Ok(hyper::Response::builder().header("x-answer", "yes").body(Full::new(text.into())).unwrap())
}

fn serve_echo(stream: TcpStream) -> futures::future::BoxFuture<'static, ()> {
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(echo));
    serving.map(|_closed| ()).boxed()
}

/// Reads the request and never answers.
fn hang(mut stream: TcpStream) -> futures::future::BoxFuture<'static, ()> {
    async move {
        read_request(&mut stream).await;
        std::future::pending().await
    }
    .boxed()
}

/// Accepts, and reads nothing.
fn ignore(stream: TcpStream) -> futures::future::BoxFuture<'static, ()> {
    async move {
        let _open = stream;
        std::future::pending().await
    }
    .boxed()
}

#[tokio::test]
async fn body_and_headers_arrive_and_the_response_comes_back() {
    let server = Server::start(serve_echo).await;
    let client = client(AllowList::everything());
    for _ in 0..3 {
        let mut request = ping(&server.url());
        request.headers.insert("x-test", HeaderValue::from_static("hello"));
        let response = client.post(request).await.unwrap().into_success().unwrap();
        assert_eq!(text(&response), "POST /invoke hello ping");
        assert_eq!(response.headers["x-answer"], "yes");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_status_is_a_response_and_its_success_can_be_asked_for() {
    let server = Server::answering("HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy").await;
    let response = client(AllowList::everything()).post(ping(&server.url())).await.unwrap();
    assert_eq!(text(&response), "busy");
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.into_success().unwrap_err(), Error::Status(503));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let location = format!(
        "HTTP/1.1 307 Elsewhere\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        target.url()
    );
    let server = Server::answering(location.leak()).await;
    let response = client(AllowList::everything()).post(ping(&server.url())).await.unwrap();
    assert_eq!(response.into_success().unwrap_err(), Error::Status(307));
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_server_that_hangs_ends_at_the_deadline() {
    let server = Server::start(hang).await;
    let deadline = Duration::from_millis(200);
    let mut request = ping(&server.url());
    request.deadline = deadline;
    let error = client(AllowList::everything()).post(request).await.unwrap_err();
    assert_eq!(error, Error::Timeout(deadline));
    assert!(!error.is_unsent());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_handshake_that_hangs_is_no_connection() {
    let server = Server::start(ignore).await;
    let deadlines = Deadlines { connect: Duration::from_millis(200) };
    let url = format!("https://{}/", server.address);
    let client = Client::new(AllowList::everything(), deadlines);
    let error = client.post(ping(&url)).await.unwrap_err();
    assert_eq!(error, Error::Connect("not within 200 ms".into()));
    assert!(error.is_unsent());
}

#[tokio::test]
async fn a_connection_that_closes_in_the_middle_is_broken() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
        "HTTP/1.1 2",
        "",
        "no HTTP at all\r\n\r\n",
    ] {
        let server = Server::answering(response).await;
        let error = client(AllowList::everything()).post(ping(&server.url())).await.unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{response:?}: {error:?}");
        assert!(!error.is_unsent());
    }
}

#[tokio::test]
async fn a_response_above_the_bound_is_refused() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                   64\r\n0123456789012345678901234567890123456789012345678901234567890123456789\
                   012345678901234567890123456789\r\n1\r\n0\r\n0\r\n\r\n";
    for response in ["HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n", chunked] {
        let server = Server::answering(response).await;
        let error = client(AllowList::everything()).post(ping(&server.url())).await.unwrap_err();
        assert_eq!(error, Error::TooLarge { limit: 100 }, "{response:?}");
    }
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_no_connection() {
    let server = Server::answering("").await;
    let url = server.url();
    drop(server);
    let client = client(AllowList::everything());
    // The listener closes when the runtime has dropped its task.
    let mut error = client.post(ping(&url)).await.unwrap_err();
    while matches!(error, Error::Broken(_)) {
        tokio::task::yield_now().await;
        error = client.post(ping(&url)).await.unwrap_err();
    }
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
}

#[tokio::test]
async fn urls_that_are_not_http_are_refused() {
    let client = client(AllowList::everything());
    for url in ["/invoke", "ftp://a.test/", "http://user@a.test/", "http://user:pw@a.test/"] {
        assert_eq!(client.post(ping(url)).await.unwrap_err(), Error::Url, "{url}");
    }
}
