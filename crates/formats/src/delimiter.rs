//! AppendDelimiterToRecord: a delimiter behind each record of an object.

use base64_simd::STANDARD;
use bytes::{Bytes, BytesMut};

/// Bytes that are put behind every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiter(Bytes);

/// A `Delimiter` parameter that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelimiterError {
    /// The parameter is not base64 with padding.
    #[error("the delimiter is not base64")]
    NotBase64,
    /// The parameter has no bytes.
    #[error("the delimiter is empty")]
    Empty,
}

impl Delimiter {
    /// A newline: the delimiter if the processor has no parameter.
    pub const fn newline() -> Self {
        Self(Bytes::from_static(b"\n"))
    }

    /// Reads a parameter `Delimiter`: the bytes in base64.
    ///
    /// Templates often have `\n` as the value, two characters, which is not base64. It means a newline.
    ///
    /// # Errors
    ///
    /// Fails if the text is not base64, or has no bytes.
    pub fn parse(parameter: &str) -> Result<Self, DelimiterError> {
        if parameter == "\\n" {
            return Ok(Self::newline());
        }
        let bytes = STANDARD.decode_to_vec(parameter).map_err(|_| DelimiterError::NotBase64)?;
        if bytes.is_empty() {
            return Err(DelimiterError::Empty);
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes, at least one.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `data` and the delimiter. The delimiter is added also if the data ends with it. This
    /// copies; a caller with an encoder writes both parts instead.
    pub fn append_to(&self, data: &[u8]) -> Bytes {
        let mut joined = BytesMut::with_capacity(data.len() + self.0.len());
        joined.extend_from_slice(data);
        joined.extend_from_slice(&self.0);
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_base64() {
        let cases: [(&str, Result<&[u8], DelimiterError>); 7] = [
            ("Cg==", Ok(b"\n")),
            ("DQo=", Ok(b"\r\n")),
            ("IyMjIw==", Ok(b"####")),
            ("\\n", Ok(b"\n")),
            ("", Err(DelimiterError::Empty)),
            ("\n", Err(DelimiterError::NotBase64)),
            ("Cg", Err(DelimiterError::NotBase64)),
        ];
        for (parameter, expected) in cases {
            let parsed = Delimiter::parse(parameter);
            let bytes = parsed.as_ref().map(Delimiter::as_bytes).map_err(|error| *error);
            assert_eq!(bytes, expected, "{parameter:?}");
        }
    }

    #[test]
    fn a_delimiter_follows_each_record() {
        let joined: Vec<u8> = [&b"a"[..], b"b\n", b""]
            .iter()
            .flat_map(|data| Delimiter::newline().append_to(data))
            .collect();
        assert_eq!(joined, b"a\nb\n\n\n");
    }
}
