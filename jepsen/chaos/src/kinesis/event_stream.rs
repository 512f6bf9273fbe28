//! Frames of `application/vnd.amazon.eventstream`, the body of SubscribeToShard.
//!
//! A frame has its length, the length of its headers, a checksum of both, the headers, the payload, and a checksum of
//! everything before: all numbers are 32 bits, most significant byte first. Source: the AWS page "Event stream
//! encoding". The checksums are not checked: TCP has its own, and a payload has the CRC of the harness.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;

/// Bytes of a frame beside headers and payload.
const PRELUDE: usize = 12;
const TRAILER: usize = 4;

/// One event: its type, such as `SubscribeToShardEvent`, or the code of an exception, and its JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) is_exception: bool,
    pub(crate) payload: Value,
}

/// Takes the next whole frame from the bytes that arrived so far.
pub(crate) fn next(arrived: &mut BytesMut) -> Option<Frame> {
    let total = u32::from_be_bytes(arrived.get(..4)?.try_into().ok()?) as usize;
    let headers = u32::from_be_bytes(arrived.get(4..8)?.try_into().ok()?) as usize;
    if arrived.len() < total || total < PRELUDE + headers + TRAILER {
        return None;
    }
    let mut frame = arrived.split_to(total).freeze();
    frame.advance(PRELUDE);
    let mut header_bytes = frame.split_to(headers);
    frame.truncate(frame.len() - TRAILER);
    let mut found = Frame {
        name: String::new(),
        is_exception: false,
        payload: serde_json::from_slice(&frame).unwrap_or_default(),
    };
    while let Some((name, value)) = header(&mut header_bytes) {
        match &*name {
            ":event-type" | ":exception-type" | ":error-code" => found.name = value,
            ":message-type" => found.is_exception = value != "event",
            _ => {}
        }
    }
    Some(found)
}

/// The next header. AWS sends only headers of type 7, a string.
fn header(bytes: &mut Bytes) -> Option<(String, String)> {
    let length = usize::from(bytes.try_get_u8().ok()?);
    let name = text(bytes, length)?;
    let _type = bytes.try_get_u8().ok()?;
    let length = usize::from(bytes.try_get_u16().ok()?);
    Some((name, text(bytes, length)?))
}

fn text(bytes: &mut Bytes, length: usize) -> Option<String> {
    (bytes.len() >= length).then(|| String::from_utf8_lossy(&bytes.split_to(length)).into_owned())
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn frame(headers: &[(&str, &str)], payload: &[u8]) -> BytesMut {
        let mut encoded = BytesMut::new();
        for (name, value) in headers {
            encoded.put_u8(u8::try_from(name.len()).unwrap());
            encoded.put_slice(name.as_bytes());
            encoded.put_u8(7);
            encoded.put_u16(u16::try_from(value.len()).unwrap());
            encoded.put_slice(value.as_bytes());
        }
        let mut frame = BytesMut::new();
        let total = PRELUDE + encoded.len() + payload.len() + TRAILER;
        frame.put_u32(u32::try_from(total).unwrap());
        frame.put_u32(u32::try_from(encoded.len()).unwrap());
        frame.put_u32(0);
        frame.put_slice(&encoded);
        frame.put_slice(payload);
        frame.put_u32(0);
        frame
    }

    #[test]
    fn frames_come_one_by_one_and_only_when_they_are_whole() {
        let event = [(":message-type", "event"), (":event-type", "SubscribeToShardEvent")];
        let mut all = frame(&event, br#"{"MillisBehindLatest":0}"#);
        let error = [(":message-type", "exception"), (":exception-type", "ResourceInUseException")];
        all.extend_from_slice(&frame(&error, b"{}"));
        let mut arrived = BytesMut::new();
        let mut found = Vec::new();
        for byte in all {
            arrived.put_u8(byte);
            found.extend(next(&mut arrived));
        }
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].name, found[0].is_exception), ("SubscribeToShardEvent", false));
        assert_eq!(found[0].payload["MillisBehindLatest"], 0);
        assert_eq!((&*found[1].name, found[1].is_exception), ("ResourceInUseException", true));
        assert!(arrived.is_empty());
    }
}
