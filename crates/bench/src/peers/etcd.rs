//! etcd: a call is a `KV.Put`, or a `KV.Txn` with one put for each record. Every record has its own key.
//!
//! gRPC over HTTP/2, written by hand, so that a call is serialised only once, before the measurement. Messages are
//! those of etcd's `rpc.proto` (API version 3), with the members that are used.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

use crate::options::Target;
use crate::payload::{Bodies, Shape, random_data};

/// A connection, and everything needed to open it.
#[derive(Debug)]
pub(crate) struct Session {
    address: (String, u16),
    uri: Uri,
    records: u32,
    bodies: Arc<Bodies>,
    sender: Option<http2::SendRequest<Full<Bytes>>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// The `RequestOp` of a put.
#[derive(Clone, PartialEq, prost::Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    request_put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnRequest {
    /// Requests that run when every comparison holds. There is no comparison, so they always run.
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    responses: Vec<ResponseOp>,
}

/// The content is not needed.
#[derive(Clone, PartialEq, prost::Message)]
struct ResponseOp {}

/// A session for each connection; `--stream` is the prefix of all keys.
///
/// # Errors
/// When an endpoint is not valid.
pub(crate) fn sessions(target: &Target, shape: Shape) -> Result<Vec<Session>> {
    let bodies = Arc::new(Bodies::repeat(|| random_call(&target.stream, shape)));
    let method = if shape.records == 1 { "Put" } else { "Txn" };
    let session = |number| {
        let (host, port) = target.authority(number)?;
        let uri = format!("http://{host}:{port}/etcdserverpb.KV/{method}").parse()?;
        let (address, records) = ((host, port), shape.records);
        Ok(Session { address, uri, records, bodies: Arc::clone(&bodies), sender: None })
    };
    (0..usize::try_from(target.connections)?).map(session).collect()
}

impl Session {
    /// Opens the connection unless it is open.
    ///
    /// # Errors
    /// When no HTTP/2 server answers.
    pub(crate) async fn open(&mut self) -> Result<()> {
        if self.sender.is_none() {
            let (host, port) = &self.address;
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            let stream = stream.with_context(|| format!("connecting to {host}:{port}"))?;
            stream.set_nodelay(true)?;
            let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (sender, connection) = handshake.context("handshake")?;
            // The task ends when the sender is dropped. If it ends with an error, the next call fails.
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        Ok(())
    }

    /// Puts the records of a call.
    ///
    /// # Errors
    /// When they were not acknowledged.
    pub(crate) async fn call(&mut self) -> Result<u64> {
        self.open().await?;
        let sender = self.sender.as_mut().context("no connection")?;
        sender.ready().await?;
        let mut request = Request::new(Full::new(self.bodies.any()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let response = sender.send_request(request).await?;
        ensure!(response.status() == StatusCode::OK, "HTTP status {}", response.status());
        // A response without a message has its gRPC status in the headers.
        let headers = response.headers().clone();
        let answer = response.into_body().collect().await?;
        check_status(answer.trailers().unwrap_or(&headers))?;
        acknowledged(answer.to_bytes(), self.records)?;
        Ok(0)
    }

    pub(crate) fn close(&mut self) {
        self.sender = None;
    }
}

/// Fails unless the gRPC status is OK.
fn check_status(trailers: &HeaderMap) -> Result<()> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        status => bail!(
            "gRPC status {}: {}",
            status.unwrap_or("missing"),
            text("grpc-message").unwrap_or_default()
        ),
    }
}

/// Fails unless the response acknowledges all `records`. A transaction is atomic, so it is checked as a whole.
fn acknowledged(mut answer: Bytes, records: u32) -> Result<()> {
    ensure!(answer.len() >= 5 && answer.get_u8() == 0, "an answer without a message");
    let bytes = usize::try_from(answer.get_u32())?;
    ensure!(answer.len() == bytes, "an answer that is cut off");
    if records > 1 {
        let answer = TxnResponse::decode(answer).context("answer to Txn")?;
        let done = answer.responses.len();
        ensure!(answer.succeeded && done == records as usize, "{done} of {records} puts done");
    }
    Ok(())
}

fn random_call(prefix: &str, shape: Shape) -> Bytes {
    let put = || {
        let key: u64 = rand::random();
        let key = format!("{prefix}/{key:016x}").into();
        PutRequest { key, value: random_data(shape.record_bytes).into() }
    };
    if shape.records == 1 {
        return message(&put());
    }
    let success = (0..shape.records).map(|_| RequestOp { request_put: Some(put()) }).collect();
    message(&TxnRequest { success })
}

/// A message in gRPC framing, uncompressed.
fn message(content: &impl Message) -> Bytes {
    let bytes = content.encoded_len();
    let mut message = BytesMut::with_capacity(5 + bytes);
    message.put_u8(0);
    message.put_u32(u32::try_from(bytes).expect("a call is smaller than 4 GiB"));
    message.put_slice(&content.encode_to_vec());
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> PutRequest {
        PutRequest { key: key.into(), value: value.into() }
    }

    #[test]
    fn messages_have_the_bytes_of_rpc_proto() {
        assert_eq!(message(&put("k", "vv")), &b"\0\0\0\0\x07\x0a\x01k\x12\x02vv"[..]);
        let success = vec![RequestOp { request_put: Some(put("k", "v")) }];
        let expected = b"\0\0\0\0\x0a\x12\x08\x12\x06\x0a\x01k\x12\x01v";
        assert_eq!(message(&TxnRequest { success }), &expected[..]);
    }

    #[test]
    fn a_transaction_has_one_put_for_each_record() {
        let call = random_call("bench", Shape { records: 100, record_bytes: 1000 });
        let request = TxnRequest::decode(&call[5..]).unwrap();
        assert_eq!(request.success.len(), 100);
        let put = request.success[0].request_put.clone().unwrap();
        assert_eq!((put.key.len(), put.value.len()), (22, 1000));
        assert_ne!(request.success[0], request.success[1]);
    }

    #[test]
    fn only_a_complete_transaction_acknowledges() {
        let answer = |succeeded, done| {
            message(&TxnResponse { succeeded, responses: vec![ResponseOp {}; done] })
        };
        assert!(acknowledged(answer(true, 2), 2).is_ok());
        assert!(acknowledged(answer(true, 1), 2).is_err());
        assert!(acknowledged(answer(false, 2), 2).is_err());
        assert!(acknowledged(answer(true, 2).slice(..6), 2).is_err());
        assert!(acknowledged(Bytes::new(), 1).is_err());
    }

    #[test]
    fn a_status_other_than_zero_is_an_error() {
        let trailers = |status: &'static str| {
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
        };
        assert!(check_status(&trailers("0")).is_ok());
        assert_eq!(check_status(&trailers("8")).unwrap_err().to_string(), "gRPC status 8: ");
        assert!(check_status(&HeaderMap::new()).is_err());
    }
}
