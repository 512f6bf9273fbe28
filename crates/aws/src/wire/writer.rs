//! Writes response bodies in JSON and CBOR from the same calls.
//!
//! A structure is written with [`Writer::structure`]: [`Writer::member`] writes the name, the next call writes the
//! value. [`Writer::list`] does the same without names. CBOR structures and lists have indefinite length, so a caller
//! never counts members ahead. The writer never builds a tree: bytes go directly into the buffer of the response.

use std::fmt::{self, Display, Write};

use anabranch_types::{Timestamp, dates};
use base64_simd::STANDARD;

use super::Format;

/// Writes one response body, in either format.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    format: Format,
    /// Whether the innermost structure or list already has an item, so that JSON needs a comma.
    after_item: bool,
    /// The XML element that the next value fills.
    element: Element,
}

/// An XML element around a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    /// None: the outermost value. The envelope of the response is around it.
    Outermost,
    /// A member of a structure.
    Member(&'static str),
    /// A value of a list.
    Item,
    /// A value of a map, in an entry whose key is written already.
    Entry,
}

const CBOR_BYTES: u8 = 2 << 5;
const CBOR_TEXT: u8 = 3 << 5;
const CBOR_TAG: u8 = 6 << 5;
const CBOR_NEGATIVE: u8 = 1 << 5;
const CBOR_LIST: u8 = 0x9f;
const CBOR_MAP: u8 = 0xbf;
const CBOR_FALSE: u8 = 0xf4;
const CBOR_TRUE: u8 = 0xf5;
const CBOR_REAL: u8 = 0xfb;
const CBOR_BREAK: u8 = 0xff;

impl Writer {
    /// A writer with an empty buffer. `capacity` is the expected number of bytes.
    #[inline]
    pub fn new(format: Format, capacity: usize) -> Self {
        let out = Vec::with_capacity(capacity);
        Self { out, format, after_item: false, element: Element::Outermost }
    }

    /// The body that was written.
    #[inline]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Begins a member. The next call writes its value.
    #[inline]
    pub fn member(&mut self, name: &'static str) -> &mut Self {
        self.separate();
        match self.format {
            Format::Json => {
                self.out.push(b'"');
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\":");
                self.after_item = false;
            }
            Format::Cbor | Format::RpcCbor => self.cbor_text(name),
            Format::Query => self.element = Element::Member(name),
        }
        self
    }

    /// Begins a member whose name is data, such as the name of an attribute. The next call writes its value.
    pub fn entry(&mut self, name: &str) -> &mut Self {
        if self.format == Format::Query {
            self.display(format_args!("<entry><key>{}</key>", escaped(name)));
            self.element = Element::Entry;
            return self;
        }
        self.text(name);
        if self.format == Format::Json {
            self.out.push(b':');
            self.after_item = false;
        }
        self
    }

    /// Writes a structure. The closure writes the members.
    pub fn structure(&mut self, write: impl FnOnce(&mut Self)) {
        if self.format == Format::Query {
            return self.in_element(write);
        }
        self.container((b"{", CBOR_MAP), write, b'}');
    }

    /// Writes a list. The closure writes the values.
    pub fn list(&mut self, write: impl FnOnce(&mut Self)) {
        if self.format == Format::Query {
            return self.in_element(|w| {
                w.element = Element::Item;
                write(w);
            });
        }
        self.container((b"[", CBOR_LIST), write, b']');
    }

    /// Writes a string.
    #[inline]
    pub fn text(&mut self, text: &str) {
        self.separate();
        match self.format {
            Format::Json => self.json_text(text),
            Format::Cbor | Format::RpcCbor => self.cbor_text(text),
            Format::Query => self.xml(escaped(text)),
        }
    }

    /// Writes a string that needs no escaping in JSON: an id, a number as text, an ARN.
    pub fn plain(&mut self, text: impl Display) {
        self.separate();
        match self.format {
            Format::Json => {
                self.out.push(b'"');
                self.display(text);
                self.out.push(b'"');
            }
            Format::Cbor | Format::RpcCbor => self.cbor_text(&text.to_string()),
            Format::Query => self.xml(escaped(&text.to_string())),
        }
    }

    /// Writes a whole number.
    #[inline]
    pub fn number(&mut self, number: u64) {
        self.separate();
        match self.format {
            Format::Json => self.display(number),
            Format::Cbor | Format::RpcCbor => self.cbor_head(0, number),
            Format::Query => self.xml(number),
        }
    }

    /// Writes a finite number with a fraction.
    pub fn real(&mut self, number: f64) {
        self.separate();
        match self.format {
            Format::Json => self.display(format_args!("{number:?}")),
            Format::Cbor | Format::RpcCbor => self.cbor_wide(CBOR_REAL, &number.to_be_bytes()),
            Format::Query => self.xml(format_args!("{number:?}")),
        }
    }

    /// Writes a boolean.
    #[inline]
    pub fn flag(&mut self, flag: bool) {
        self.separate();
        match self.format {
            Format::Json => self.display(flag),
            Format::Cbor | Format::RpcCbor => {
                self.out.push(if flag { CBOR_TRUE } else { CBOR_FALSE });
            }
            Format::Query => self.xml(flag),
        }
    }

    /// Writes a moment: in JSON as seconds with three decimals, in CBOR 1.1 as tag 1 and whole milliseconds, in RPC v2
    /// CBOR as tag 1 and seconds, in XML as ISO 8601 text.
    #[inline]
    pub fn timestamp(&mut self, timestamp: Timestamp) {
        self.separate();
        match self.format {
            Format::Json => self.display(timestamp),
            Format::Cbor => {
                self.cbor_head(CBOR_TAG, 1);
                self.cbor_head(0, timestamp.as_millis());
            }
            Format::RpcCbor => {
                self.cbor_head(CBOR_TAG, 1);
                let seconds = timestamp.as_millis() as f64 / 1000.0;
                self.cbor_wide(CBOR_REAL, &seconds.to_be_bytes());
            }
            Format::Query => self.xml(dates::iso_8601(timestamp)),
        }
    }

    /// Writes a blob: in JSON as base64, encoded in place, in CBOR as a byte string.
    #[inline]
    pub fn blob(&mut self, bytes: &[u8]) {
        self.separate();
        match self.format {
            Format::Json => {
                self.out.push(b'"');
                STANDARD.encode_append(bytes, &mut self.out);
                self.out.push(b'"');
            }
            Format::Cbor | Format::RpcCbor => {
                self.cbor_head(CBOR_BYTES, bytes.len() as u64);
                self.out.extend_from_slice(bytes);
            }
            Format::Query => self.xml(STANDARD.encode_to_string(bytes)),
        }
    }

    /// Writes an XML element with this content, which needs no escaping.
    fn xml(&mut self, content: impl Display) {
        self.in_element(|w| w.display(content));
    }

    /// Writes the XML element that is due, with what `write` writes inside it.
    fn in_element(&mut self, write: impl FnOnce(&mut Self)) {
        let element = self.element;
        match element {
            Element::Outermost => {}
            Element::Member(name) => self.display(format_args!("<{name}>")),
            Element::Item => self.out.extend_from_slice(b"<member>"),
            Element::Entry => self.out.extend_from_slice(b"<value>"),
        }
        write(self);
        match element {
            Element::Outermost => {}
            Element::Member(name) => self.display(format_args!("</{name}>")),
            Element::Item => self.out.extend_from_slice(b"</member>"),
            Element::Entry => self.out.extend_from_slice(b"</value></entry>"),
        }
        self.element = element;
    }

    fn container(&mut self, open: (&[u8], u8), write: impl FnOnce(&mut Self), close: u8) {
        self.separate();
        match self.format {
            Format::Json => self.out.extend_from_slice(open.0),
            Format::Cbor | Format::RpcCbor | Format::Query => self.out.push(open.1),
        }
        self.after_item = false;
        write(self);
        self.out.push(if self.format == Format::Json { close } else { CBOR_BREAK });
        self.after_item = true;
    }

    #[inline]
    fn separate(&mut self) {
        if self.after_item && self.format == Format::Json {
            self.out.push(b',');
        }
        self.after_item = true;
    }

    #[inline]
    fn display(&mut self, value: impl Display) {
        write!(Utf8(&mut self.out), "{value}").expect("a vector takes every write");
    }

    #[inline]
    fn json_text(&mut self, text: &str) {
        self.out.push(b'"');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
            let (plain, special) = rest.split_at(at);
            self.out.extend_from_slice(plain.as_bytes());
            match special.as_bytes()[0] {
                b @ (b'"' | b'\\') => self.out.extend_from_slice(&[b'\\', b]),
                b => self.display(format_args!("\\u{b:04x}")),
            }
            rest = &special[1..];
        }
        self.out.extend_from_slice(rest.as_bytes());
        self.out.push(b'"');
    }

    #[inline]
    fn cbor_text(&mut self, text: &str) {
        self.cbor_head(CBOR_TEXT, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Writes a major type with its argument in the shortest form.
    #[inline]
    fn cbor_head(&mut self, major: u8, argument: u64) {
        debug_assert_ne!(major, CBOR_NEGATIVE, "no response has a negative number");
        let bytes = argument.to_be_bytes();
        match argument {
            0..=23 => self.out.push(major | bytes[7]),
            24..=0xff => self.out.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => self.cbor_wide(major | 25, &bytes[6..]),
            0x1_0000..=0xffff_ffff => self.cbor_wide(major | 26, &bytes[4..]),
            _ => self.cbor_wide(major | 27, &bytes),
        }
    }

    #[inline]
    fn cbor_wide(&mut self, head: u8, argument: &[u8]) {
        self.out.push(head);
        self.out.extend_from_slice(argument);
    }
}

/// Adapter: `write!` appends text to a vector.
struct Utf8<'a>(&'a mut Vec<u8>);

impl fmt::Write for Utf8<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Text of an XML element. Characters that XML 1.0 does not allow become U+FFFD.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' | '\r' => out.push(character),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}
