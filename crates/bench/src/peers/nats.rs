//! NATS JetStream: a call publishes its messages one after the other and waits for an acknowledgement of each.
//!
//! Source: the text protocol in the NATS client documentation ("Client Protocol"). Acknowledgements are the JSON
//! `PubAck` of the JetStream wire API (ADR-1 of nats-architecture-and-design).

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use rand::seq::IndexedRandom;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::options::Target;
use crate::payload::{Shape, copies, random_data};

/// Subjects of a stream over which messages are distributed: `STREAM.0` to `STREAM.7`.
const SUBJECTS: u32 = 8;

/// A connection, and everything needed to open it.
#[derive(Debug)]
pub(crate) struct Session {
    address: (String, u16),
    /// Each call goes to a single stream.
    streams: Vec<String>,
    shape: Shape,
    /// Number of connections that share the memory for serialised calls.
    connections: usize,
    link: Option<Link>,
}

/// An open connection. The calls name the inbox of this connection, so they are made for it.
#[derive(Debug)]
struct Link {
    input: OwnedReadHalf,
    output: OwnedWriteHalf,
    received: BytesMut,
    calls: Vec<Bytes>,
}

/// A message of the server.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// A message for the inbox.
    Message(Bytes),
    /// A message with headers. The inbox gets one only if no stream took a published message.
    NoResponders,
    Ping,
    Pong,
    /// `INFO` and `+OK`.
    Other,
}

/// A session for each connection; `--stream` is one JetStream stream or several with commas between them.
///
/// # Errors
/// When an endpoint is not valid.
pub(crate) fn sessions(target: &Target, shape: Shape) -> Result<Vec<Session>> {
    let streams: Vec<String> = target.stream.split(',').map(str::to_owned).collect();
    let connections = usize::try_from(target.connections)?;
    let session = |number| {
        let (address, streams) = (target.authority(number)?, streams.clone());
        Ok(Session { address, streams, shape, connections, link: None })
    };
    (0..connections).map(session).collect()
}

impl Session {
    /// Opens the connection unless it is open.
    ///
    /// # Errors
    /// When the server does not answer like a NATS server.
    pub(crate) async fn open(&mut self) -> Result<()> {
        if self.link.is_none() {
            let inbox = format!("_INBOX.{:016x}", rand::random::<u64>());
            let mut link = Link::open(&self.address, &inbox).await?;
            let stream_of = |call: usize| &self.streams[call % self.streams.len()];
            let first = publishes(stream_of(0), &inbox, self.shape);
            let count = copies(first.len() * self.connections).max(self.streams.len());
            let rest = (1..count).map(|call| publishes(stream_of(call), &inbox, self.shape));
            link.calls = std::iter::once(first).chain(rest).collect();
            self.link = Some(link);
        }
        Ok(())
    }

    /// Publishes the messages of a call; returns the number that the stream refused.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn call(&mut self) -> Result<u64> {
        self.open().await?;
        let link = self.link.as_mut().context("no connection")?;
        let call = link.calls.choose(&mut rand::rng()).context("no call")?.clone();
        let Link { input, output, received, .. } = link;
        let write = async { output.write_all(&call).await.context("publishing") };
        let answers = acknowledgements(input, received, self.shape.records);
        let ((), (refused, pings)) = tokio::try_join!(write, answers)?;
        for _ in 0..pings {
            output.write_all(b"PONG\r\n").await?;
        }
        Ok(refused)
    }

    pub(crate) fn close(&mut self) {
        self.link = None;
    }
}

impl Link {
    async fn open(address: &(String, u16), inbox: &str) -> Result<Self> {
        let (host, port) = address;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.with_context(|| format!("connecting to {host}:{port}"))?;
        stream.set_nodelay(true)?;
        let (mut input, mut output) = stream.into_split();
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
             \"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}}\r\nSUB {inbox}.* 1\r\nPING\r\n"
        );
        output.write_all(hello.as_bytes()).await?;
        let mut received = BytesMut::new();
        while next_event(&mut input, &mut received).await? != Event::Pong {}
        Ok(Self { input, output, received, calls: Vec::new() })
    }
}

/// Waits for `count` acknowledgements; returns the number of refusals among them and of pings between them.
async fn acknowledgements(
    input: &mut OwnedReadHalf,
    received: &mut BytesMut,
    count: u32,
) -> Result<(u64, u64)> {
    let (mut missing, mut refused, mut pings) = (count, 0, 0);
    while missing > 0 {
        match next_event(input, received).await? {
            Event::Message(answer) => {
                missing -= 1;
                refused += u64::from(!is_acknowledgement(&answer)?);
            }
            Event::NoResponders => {
                missing -= 1;
                refused += 1;
            }
            Event::Ping => pings += 1,
            Event::Pong | Event::Other => {}
        }
    }
    Ok((refused, pings))
}

async fn next_event(input: &mut OwnedReadHalf, received: &mut BytesMut) -> Result<Event> {
    const READ_BYTES: usize = 64 << 10;
    loop {
        if let Some(event) = take_event(received)? {
            return Ok(event);
        }
        received.reserve(READ_BYTES);
        ensure!(input.read_buf(received).await? > 0, "the server closed the connection");
    }
}

/// Removes the first event from `received`; `None` if it is not complete.
fn take_event(received: &mut BytesMut) -> Result<Option<Event>> {
    let Some(end) = received.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = std::str::from_utf8(&received[..end]).context("a line is no text")?.trim_end();
    let mut words = line.split(' ');
    let verb = words.next().unwrap_or_default();
    let event = match verb {
        "MSG" | "HMSG" => {
            let payload_bytes: usize =
                words.next_back().and_then(|size| size.parse().ok()).context("MSG has no size")?;
            let all = end + 1 + payload_bytes + 2;
            if received.len() < all {
                return Ok(None);
            }
            let is_plain = verb == "MSG";
            let mut message = received.split_to(all).freeze();
            message.advance(end + 1);
            message.truncate(payload_bytes);
            return Ok(Some(if is_plain { Event::Message(message) } else { Event::NoResponders }));
        }
        "PING" => Event::Ping,
        "PONG" => Event::Pong,
        "INFO" | "+OK" => Event::Other,
        _ => bail!("the server says: {line}"),
    };
    received.advance(end + 1);
    Ok(Some(event))
}

/// Whether a `PubAck` has the sequence of the stored message.
fn is_acknowledgement(answer: &[u8]) -> Result<bool> {
    #[derive(Deserialize)]
    struct PubAck {
        error: Option<serde::de::IgnoredAny>,
        seq: Option<u64>,
    }
    let answer: PubAck = serde_json::from_slice(answer).context("an acknowledgement is no JSON")?;
    Ok(answer.error.is_none() && answer.seq.is_some_and(|seq| seq > 0))
}

/// The bytes of a call: a `PUB` for each record, with replies to the inbox.
fn publishes(stream: &str, inbox: &str, shape: Shape) -> Bytes {
    let mut call = Vec::new();
    for number in 0..shape.records {
        let subject = rand::random::<u32>() % SUBJECTS;
        let head = format!("PUB {stream}.{subject} {inbox}.{number} {}\r\n", shape.record_bytes);
        call.extend_from_slice(head.as_bytes());
        call.extend_from_slice(&random_data(shape.record_bytes));
        call.extend_from_slice(b"\r\n");
    }
    call.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let mut received = BytesMut::from(text);
        let mut events = Vec::new();
        while let Some(event) = take_event(&mut received).unwrap() {
            events.push(event);
        }
        events
    }

    #[test]
    fn events_are_parsed() {
        let text = "INFO {\"a\":1} \r\nPING\r\nMSG _INBOX.a.1 1 5\r\nhel\r\n\r\n\
                    HMSG _INBOX.a.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n";
        let message = Event::Message(Bytes::from("hel\r\n"));
        let expected = [Event::Other, Event::Ping, message, Event::NoResponders, Event::Pong];
        assert_eq!(events(text), expected);
    }

    #[test]
    fn an_incomplete_event_stays_in_the_buffer() {
        let text = "MSG _INBOX.a.1 1 5\r\nhello\r\n";
        for length in 0..text.len() {
            assert_eq!(events(&text[..length]), [], "{length}");
        }
        assert_eq!(events(text), [Event::Message(Bytes::from("hello"))]);
    }

    #[test]
    fn an_error_of_the_server_ends_the_connection() {
        let error = take_event(&mut BytesMut::from("-ERR 'Maximum Payload'\r\n")).unwrap_err();
        assert_eq!(error.to_string(), "the server says: -ERR 'Maximum Payload'");
    }

    #[test]
    fn an_acknowledgement_has_a_sequence() {
        assert!(is_acknowledgement(br#"{"stream":"S","seq":7}"#).unwrap());
        let refused = br#"{"error":{"code":503,"err_code":10077,"description":"x"},"seq":0}"#;
        assert!(!is_acknowledgement(refused).unwrap());
        assert!(!is_acknowledgement(br#"{"stream":"S"}"#).unwrap());
        assert!(is_acknowledgement(b"-NO").is_err());
    }

    #[test]
    fn a_call_publishes_each_record() {
        let call = publishes("S", "_INBOX.a", Shape { records: 3, record_bytes: 2000 });
        assert!(call.starts_with(b"PUB S."));
        let line = call.iter().position(|byte| *byte == b'\n').unwrap();
        assert!(call[..line].ends_with(b" _INBOX.a.0 2000\r"));
        assert_eq!(call.len(), 3 * (line + 1 + 2000 + 2));
    }
}
