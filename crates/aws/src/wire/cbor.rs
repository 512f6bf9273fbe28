//! CBOR as the SDKs send it: a serde deserializer that borrows from the body.
//!
//! Definite and indefinite lengths are read everywhere. In the dialect of the Java SDKs, tag 1 with an integer means
//! milliseconds, unlike RFC 8949 and Smithy RPC v2, where it means seconds ([`Time`]). The deserializer converts it to
//! seconds, because JSON bodies carry seconds. All other tags are ignored.
//!
//! Bytes behind the value make the body malformed. Members that the request type does not know are skipped, and their
//! syntax is checked all the same.

use std::fmt;

use minicbor::Decoder;
use minicbor::data::Type;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::DecodeError;

/// Tag of an epoch-based time.
const TAG_TIME: u64 = 1;
/// Limit of nesting in a skipped value. No request of the API nests more than five deep.
const MAX_DEPTH: usize = 128;

/// What an integer behind the tag of a time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    Milliseconds,
    Seconds,
}

pub(super) fn from_slice<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    time: Time,
) -> Result<T, DecodeError> {
    let mut reader = Reader { decoder: Decoder::new(body), time };
    let value = T::deserialize(&mut reader).map_err(|error| error.0)?;
    if reader.decoder.position() == body.len() {
        Ok(value)
    } else {
        Err(DecodeError::Malformed("bytes follow the CBOR value".to_owned()))
    }
}

struct Reader<'de> {
    decoder: Decoder<'de>,
    time: Time,
}

#[derive(Debug)]
struct Error(DecodeError);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            DecodeError::Malformed(message) | DecodeError::Type(message) => f.write_str(message),
            DecodeError::TooMany(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(DecodeError::Type(message.to_string()))
    }
}

impl From<minicbor::decode::Error> for Error {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(DecodeError::Malformed(error.to_string()))
    }
}

impl<'de> Reader<'de> {
    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let number = i128::from(self.decoder.int()?);
        match (u64::try_from(number), i64::try_from(number)) {
            (Ok(number), _) => visitor.visit_u64(number),
            (_, Ok(number)) => visitor.visit_i64(number),
            _ => visitor.visit_f64(number as f64),
        }
    }

    /// Reads the value after a time tag and passes it on in seconds.
    fn time<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.decoder.datatype()?, Type::F16 | Type::F32 | Type::F64) {
            return visitor.visit_f64(self.decoder.f64()?);
        }
        let number = i128::from(self.decoder.int()?) as f64;
        match self.time {
            Time::Milliseconds => visitor.visit_f64(number / 1000.0),
            Time::Seconds => visitor.visit_f64(number),
        }
    }

    fn text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if self.decoder.datatype()? == Type::String {
            return visitor.visit_borrowed_str(self.decoder.str()?);
        }
        let mut text = String::new();
        for part in self.decoder.str_iter()? {
            text.push_str(part?);
        }
        visitor.visit_string(text)
    }

    fn bytes<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if self.decoder.datatype()? == Type::Bytes {
            return visitor.visit_borrowed_bytes(self.decoder.bytes()?);
        }
        let mut bytes = Vec::new();
        for part in self.decoder.bytes_iter()? {
            bytes.extend_from_slice(part?);
        }
        visitor.visit_byte_buf(bytes)
    }

    fn untag(&mut self) -> Result<bool, Error> {
        let mut time = false;
        while self.decoder.datatype()? == Type::Tag {
            time = self.decoder.tag()?.as_u64() == TAG_TIME;
        }
        Ok(time)
    }

    /// Skips a value of an unknown member. Checks its syntax as strictly as the syntax of a known member.
    ///
    /// Does not use the decoder's own `skip` for lists and maps. That function remembers 16 bytes for each open list,
    /// so a body of nothing but list heads would take 16 times its size in memory.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; the rest is one item each")]
    fn skip(&mut self) -> Result<(), Error> {
        // Number of items that each open list or map still expects. `None`: a break ends it.
        let mut open: Vec<Option<u64>> = Vec::new();
        loop {
            let before = self.decoder.position();
            self.untag()?;
            let is_tagged = self.decoder.position() != before;
            let opened = match self.decoder.datatype()? {
                Type::Array | Type::ArrayIndef => Some(self.decoder.array()?),
                Type::Map | Type::MapIndef => {
                    Some(self.decoder.map()?.map(|pairs| pairs.saturating_mul(2)))
                }
                Type::Break => match open.pop() {
                    Some(None) if !is_tagged => {
                        self.decoder.set_position(self.decoder.position() + 1);
                        None
                    }
                    _ => return Err(Error::malformed("a break where nothing can end")),
                },
                _ => {
                    self.decoder.skip()?;
                    None
                }
            };
            match opened {
                Some(Some(0)) | None => {}
                Some(_) if open.len() == MAX_DEPTH => {
                    return Err(Error::malformed("nested too deep"));
                }
                Some(left) => {
                    open.push(left);
                    continue;
                }
            }
            // One item is complete. A list whose last item it was is complete too, and so on outwards.
            while let Some(Some(left)) = open.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                open.pop();
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Error {
    fn malformed(message: &str) -> Self {
        Self(DecodeError::Malformed(message.to_owned()))
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; the rest is refused")]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.untag()? {
            return self.time(visitor);
        }
        match self.decoder.datatype()? {
            Type::Bool => visitor.visit_bool(self.decoder.bool()?),
            Type::Null | Type::Undefined => {
                self.decoder.skip()?;
                visitor.visit_unit()
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => self.number(visitor),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => self.number(visitor),
            Type::F16 | Type::F32 | Type::F64 => visitor.visit_f64(self.decoder.f64()?),
            Type::Bytes | Type::BytesIndef => self.bytes(visitor),
            Type::String | Type::StringIndef => self.text(visitor),
            Type::Array | Type::ArrayIndef => {
                let left = self.decoder.array()?;
                visitor.visit_seq(Items { reader: self, left })
            }
            Type::Map | Type::MapIndef => {
                let left = self.decoder.map()?;
                visitor.visit_map(Items { reader: self, left })
            }
            other => Err(Error(DecodeError::Malformed(format!("unexpected CBOR {other}")))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.decoder.datatype()?, Type::Null | Type::Undefined) {
            self.decoder.skip()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.decoder.datatype()?, Type::String | Type::StringIndef) {
            return self.text(visitor);
        }
        Err(Error(DecodeError::Malformed("a member's name must be text".to_owned())))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum
    }
}

/// The items of a list or map that are still unread. `left` is `None` if a break ends the container.
struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: Option<u64>,
}

impl Items<'_, '_> {
    fn has_next(&mut self) -> Result<bool, Error> {
        match &mut self.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.reader.decoder.datatype()? == Type::Break => {
                self.reader.decoder.set_position(self.reader.decoder.position() + 1);
                self.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }
}
