//! A consumer with enhanced fan-out, and the events that a shard pushes to it.
//!
//! Events are frames of the event stream encoding of AWS: prelude, headers, payload, checksum. Checksums are not
//! verified.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::kinesis::Record;

/// How long a consumer may take to become ACTIVE.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// Bytes before the headers of a frame: total length, length of the headers, checksum.
const PRELUDE_BYTES: usize = 12;
/// Bytes behind the payload of a frame: a checksum.
const CHECKSUM_BYTES: usize = 4;

/// A consumer of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    arn: String,
}

/// The needed members of an event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event<'a> {
    #[serde(borrow)]
    pub(crate) records: Vec<Record<'a>>,
}

/// The events of one subscription.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    received: BytesMut,
}

impl Consumer {
    /// Registers a consumer with a random name, and waits until it is ACTIVE.
    pub(crate) async fn register(connection: &mut Connection, stream: &str) -> Result<Self> {
        let request = json!({ "StreamName": stream });
        let summary = call(connection, "DescribeStreamSummary", &request).await?;
        let stream_arn = &summary["StreamDescriptionSummary"]["StreamARN"];
        let name = format!("bench-{:016x}", rand::random::<u64>());
        let request = json!({ "StreamARN": stream_arn, "ConsumerName": name });
        let registered = call(connection, "RegisterStreamConsumer", &request).await?;
        let arn = registered["Consumer"]["ConsumerARN"].as_str().context("ConsumerARN")?;
        let consumer = Self { arn: arn.to_owned() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = json!({ "ConsumerARN": consumer.arn });
            let described = call(connection, "DescribeStreamConsumer", &request).await?;
            if described["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE" {
                return Ok(consumer);
            }
            ensure!(Instant::now() < deadline, "consumer {} doesn't become ACTIVE", consumer.arn);
            sleep(LOOK).await;
        }
    }

    /// Removes the consumer.
    pub(crate) async fn deregister(&self, connection: &mut Connection) -> Result<()> {
        let request = json!({ "ConsumerARN": self.arn }).to_string();
        connection.call("DeregisterStreamConsumer", request.into()).await?;
        Ok(())
    }

    /// Subscribes to new records; returns when the event stream has begun.
    pub(crate) async fn subscribe(
        &self,
        connection: &mut Connection,
        shard: &str,
    ) -> Result<Events> {
        let position = json!({ "Type": "LATEST" });
        let request =
            json!({ "ConsumerARN": self.arn, "ShardId": shard, "StartingPosition": position });
        let body = connection.open("SubscribeToShard", request.to_string().into()).await?;
        let mut events = Events { body, received: BytesMut::new() };
        let first = events.next_frame().await?.context("SubscribeToShard answers nothing")?;
        ensure!(is_of_type(&first, b"initial-response"), "the first frame is no initial response");
        Ok(events)
    }
}

async fn call(connection: &mut Connection, operation: &str, request: &Value) -> Result<Value> {
    let body = connection.call(operation, request.to_string().into()).await;
    let body = body.with_context(|| operation.to_owned())?;
    serde_json::from_slice(&body).with_context(|| format!("answer to {operation}"))
}

impl Events {
    /// The payload of the next event; `None` at the end. Cancellation loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(frame) = self.next_frame().await? else { return Ok(None) };
        let payload = payload(&frame);
        if !is_of_type(&frame, b"SubscribeToShardEvent") {
            bail!("{}", String::from_utf8_lossy(&payload));
        }
        Ok(Some(payload))
    }

    async fn next_frame(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(frame) = split_frame(&mut self.received) {
                return Ok(Some(frame));
            }
            let Some(piece) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = piece.context("SubscribeToShard")?.into_data() {
                self.received.extend_from_slice(&data);
            }
        }
    }
}

/// The first frame; `None` until it is complete.
fn split_frame(received: &mut BytesMut) -> Option<Bytes> {
    let length = received.get(..4)?.get_u32() as usize;
    (received.len() >= length).then(|| received.split_to(length).freeze())
}

fn headers_bytes(frame: &[u8]) -> usize {
    frame.get(4..8).map_or(0, |mut length| length.get_u32() as usize)
}

fn payload(frame: &Bytes) -> Bytes {
    let from = (PRELUDE_BYTES + headers_bytes(frame)).min(frame.len());
    frame.slice(from..frame.len().saturating_sub(CHECKSUM_BYTES).max(from))
}

fn is_of_type(frame: &[u8], kind: &[u8]) -> bool {
    let headers = frame.get(PRELUDE_BYTES..PRELUDE_BYTES + headers_bytes(frame));
    headers.is_some_and(|headers| headers.windows(kind.len()).any(|window| window == kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_as_bytes_arrive() {
        let frame = b"\x00\x00\x00\x17\x00\x00\x00\x03CRC1abc{}\0\0CRC2";
        let mut received = BytesMut::from(&frame[..10]);
        assert_eq!(split_frame(&mut received), None);
        received.extend_from_slice(&frame[10..]);
        received.extend_from_slice(&frame[..3]);
        let first = split_frame(&mut received).unwrap();
        assert!(is_of_type(&first, b"bc") && !is_of_type(&first, b"{}"));
        assert_eq!(payload(&first), &b"{}\0\0"[..]);
        assert_eq!((split_frame(&mut received), received.len()), (None, 3));
    }
}
