//! The query of a request: reads its parameters, and writes the canonical form that is signed.
//!
//! The canonical form is sorted and encoded in one way. So client and server get the same text, whatever order and
//! encoding the client sent. `+` is an ordinary character here, not a space.

use std::borrow::Cow;

use super::Error;

/// The query as it is in the request, percent-encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Names and values, still percent-encoded. A parameter without `=` has an empty value.
    fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.0.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// Whether the query has this parameter.
    pub(super) fn has(self, name: &str) -> bool {
        self.pairs().any(|(known, _)| decoded(known) == name)
    }

    /// Whether the query has this parameter with a value that is not empty.
    pub(super) fn has_value(self, name: &str) -> bool {
        self.pairs().any(|(known, value)| decoded(known) == name && !value.is_empty())
    }

    /// The decoded value of a parameter that may appear only once. `None` if the query does not have it.
    pub(super) fn only(self, name: &str) -> Result<Option<Cow<'a, str>>, Error> {
        let mut values = self.pairs().filter(|(known, _)| decoded(known) == name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => Ok(Some(decoded(value))),
            (Some(_), Some(_)) => Err(Error::Incomplete(format!(
                "The query-string parameter '{name}' appears more than once."
            ))),
        }
    }

    /// Appends all parameters except `X-Amz-Signature`: encoded again, sorted by name and value, joined with `&`.
    pub(super) fn write_canonical(self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        let encoded = |text: &str| {
            let mut out = Vec::with_capacity(text.len());
            encode(&decoded_bytes(text), b"", &mut out);
            out
        };
        let signed = self.pairs().filter(|(name, _)| decoded(name) != "X-Amz-Signature");
        let mut pairs: Vec<_> =
            signed.map(|(name, value)| (encoded(name), encoded(value))).collect();
        pairs.sort_unstable();
        for (number, (name, value)) in pairs.iter().enumerate() {
            if number > 0 {
                out.push(b'&');
            }
            out.extend_from_slice(name);
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

/// Decodes `%xx`. Bytes that are not UTF-8 become U+FFFD, so they match the name of no parameter.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(&decoded_bytes(text)).into_owned())
}

/// Decodes `%xx`. A `%` without two hexadecimal digits after it stays, and so does `+`.
fn decoded_bytes(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit =
        |at: usize| char::from(*bytes.get(at)?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Appends `bytes` percent-encoded, with uppercase digits. The unreserved characters of RFC 3986 and the characters
/// of `also` stay.
pub(super) fn encode(bytes: &[u8], also: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) || also.contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(query: &str) -> String {
        let mut out = Vec::new();
        Query::new(query).write_canonical(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_canonical_query_is_sorted_and_encoded_in_one_way() {
        assert_eq!(canonical(""), "");
        assert_eq!(canonical("b=2&a=1"), "a=1&b=2");
        assert_eq!(canonical("a=2&a=1&a"), "a=&a=1&a=2");
        assert_eq!(canonical("k=a%2fb/c%20d+e%"), "k=a%2Fb%2Fc%20d%2Be%25");
        assert_eq!(canonical("X-Amz-Signature=00&X-Amz-Date=d"), "X-Amz-Date=d");
        assert_eq!(canonical("X%2DAmz%2DSignature=00&a=%ff"), "a=%FF");
    }

    #[test]
    fn a_parameter_that_appears_twice_is_an_error() {
        let query = Query::new("a=1&b=%2F&a=2");
        assert!(query.only("a").is_err());
        assert_eq!(query.only("b").unwrap().as_deref(), Some("/"));
        assert_eq!(query.only("c"), Ok(None));
    }
}
