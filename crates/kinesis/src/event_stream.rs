//! Frames of `application/vnd.amazon.eventstream`, the format in which SubscribeToShard pushes records.
//!
//! ```text
//!   frame:  length of the frame (4) | length of the headers (4) | CRC-32 of these 8 bytes (4)
//!           headers | payload | CRC-32 of all bytes before (4)
//!   header: length of the name (1) | name | 7, the type of a text (1) | length of the text (2) | text
//! ```
//!
//! Numbers are big endian. Source: the event stream encoding of the Smithy specification.

use anabranch_aws::protocol::Protocol;
use anabranch_aws::wire::Writer;
use crc32fast::hash;

use crate::error::Error;

/// The first frame of each stream. botocore accepts no other frame as the first one.
pub(crate) fn initial_response(protocol: Protocol) -> Vec<u8> {
    event(protocol, "initial-response", &empty_structure(protocol))
}

/// A frame with an event of the service model.
pub(crate) fn event(protocol: Protocol, kind: &str, payload: &[u8]) -> Vec<u8> {
    let content_type = protocol.content_type();
    let headers =
        [(":message-type", "event"), (":event-type", kind), (":content-type", content_type)];
    frame(&headers, payload)
}

/// A frame with an error. It is the last frame of the stream.
pub(crate) fn exception(protocol: Protocol, error: &Error) -> Vec<u8> {
    let headers = [
        (":message-type", "exception"),
        (":exception-type", error.wire().1),
        (":content-type", protocol.content_type()),
    ];
    let mut writer = Writer::new(protocol.format(), 256);
    writer.structure(|w| w.member("message").text(&error.to_string()));
    frame(&headers, &writer.finish())
}

fn empty_structure(protocol: Protocol) -> Vec<u8> {
    let mut writer = Writer::new(protocol.format(), 2);
    writer.structure(|_| {});
    writer.finish()
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let headers_bytes: usize = headers.iter().map(|(name, text)| 4 + name.len() + text.len()).sum();
    let total = 16 + headers_bytes + payload.len();
    let mut out = Vec::with_capacity(total);
    put_number(&mut out, total);
    put_number(&mut out, headers_bytes);
    let checksum = hash(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    for (name, text) in headers {
        out.push(u8::try_from(name.len()).expect("names of headers are short"));
        out.extend_from_slice(name.as_bytes());
        out.push(7);
        let length = u16::try_from(text.len()).expect("texts of headers are short");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(payload);
    let checksum = hash(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("a frame holds one page, which is far below 4 GiB");
    out.extend_from_slice(&number.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example from the test vectors of the Smithy specification: one header and a JSON payload.
    #[test]
    fn a_frame_has_the_bytes_of_the_specification() {
        let payload = b"{'foo':'bar'}";
        let bytes = frame(&[("content-type", "application/json")], payload);
        assert_eq!(bytes.len(), 61);
        assert_eq!(bytes[..12], [0, 0, 0, 61, 0, 0, 0, 32, 0x07, 0xfd, 0x83, 0x96]);
        assert_eq!(bytes[12..25], *b"\x0ccontent-type");
        assert_eq!(bytes[25..28], [7, 0, 16]);
        assert_eq!(bytes[44..57], *payload);
        assert_eq!(bytes[57..], [0x8d, 0x9c, 0x08, 0xb1]);
    }

    #[test]
    fn errors_are_exceptions_with_their_code() {
        let bytes = exception(Protocol::Json11, &Error::InUse("taken over".into()));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(":exception-type\u{7}\0\u{16}ResourceInUseException"), "{text}");
        assert!(text.contains("{\"message\":\"taken over\"}"), "{text}");
    }
}
