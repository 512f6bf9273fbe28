//! HTTP/2 by hand: builds and reads frames, also such as an ordinary client never sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{JSON, SIGNATURE, Server, within};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame that the server sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Encodes a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Encodes header fields in full, without table and without Huffman code.
pub(crate) fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        out.push(0);
        for text in [name, value] {
            put_length(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        out.push(u8::try_from(length).unwrap());
        return;
    }
    out.push(127);
    let mut rest = length - PREFIX;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// Encodes the head of a signed call.
pub(crate) fn head(operation: &str) -> Vec<u8> {
    let target = format!("Kinesis_20131202.{operation}");
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/"),
        ("content-type", JSON),
        ("x-amz-target", &target),
        ("x-amz-date", "20260101T000000Z"),
        ("authorization", SIGNATURE),
    ])
}

/// Encodes a complete call on a stream of its own.
pub(crate) fn call(stream: u32, operation: &str, body: &str) -> Vec<u8> {
    let mut out = frame(HEADERS, END_HEADERS, stream, &head(operation));
    out.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
    out
}

/// Encodes a frame that lets the server send `bytes` more.
pub(crate) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Opens a connection and sends the preface. The initial window of its streams is 0, so the server may send nothing
/// before [`window_update`].
pub(crate) async fn connect(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut window = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    window.extend_from_slice(&0u32.to_be_bytes());
    stream.write_all(&frame(SETTINGS, 0, 0, &window)).await.unwrap();
    stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    stream
}

/// Reads the next frame. `None` if the server has closed the connection.
pub(crate) async fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    within(stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    within(stream.read_exact(&mut payload)).await.ok()?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], stream: number, payload })
}

/// Reads until a frame of this kind arrives on this stream, or until the server closes the connection.
pub(crate) async fn read_until(stream: &mut TcpStream, kind: u8, number: u32) -> Option<Frame> {
    loop {
        let frame = read_frame(stream).await?;
        if frame.kind == kind && frame.stream == number {
            return Some(frame);
        }
    }
}

/// Sends pieces until the server closes the connection. Returns the number of bytes that the server took, which is
/// `most` if it never closes.
pub(crate) async fn flood(mut stream: TcpStream, piece: &[u8], most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        if within(stream.write_all(piece)).await.is_err() {
            break;
        }
        sent += piece.len();
    }
    sent
}
