//! Forms: bodies of requests in the AWS query protocol, as a serde deserializer.
//!
//! ```text
//! Action=PutMetricData&Version=2010-08-01&Namespace=app&MetricData.member.1.MetricName=Time&…
//! ```
//!
//! A name is the path of a value: members of structures, and for a value of a list the word `member` and its number.
//! The fields are sorted by their paths once. Then each node of the tree is a range of the sorted fields, so no tree is
//! built, and neither a large number nor a deep path costs more than its bytes. The numbers only order a list: a list
//! with gaps has no empty values.
//!
//! ```text
//! A.member.1.X   --+ A.member.1 --+
//! A.member.1.Y   --+              +-- A
//! A.member.10    ---- A.member.10-+
//! B              --------------------- B
//! ```
//!
//! A form has no types: a value is asked for as a number, a text, a list or a structure by the type of the member
//! (`value.rs`). An empty list or structure is a field with an empty value.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use percent_encoding::percent_decode;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::DecodeError;

/// Largest number of fields of a form. It bounds the memory of the sorted fields. A PutMetricData of a megabyte, the
/// largest that AWS accepts, has half as many.
const MAX_FIELDS: usize = 50_000;
const TOO_MANY_FIELDS: &str = "the request has more than 50000 parameters";

/// Reads one field of a form whose name is written plainly. The first field of that name counts. `None` if the form
/// has no such field, or if its value is not UTF-8.
pub fn field<'a>(form: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let mut fields = fields(form);
    let (_, value) = fields.find(|(found, _)| *found == name.as_bytes())?;
    decoded(value)
}

pub(super) fn from_slice<'a, T: Deserialize<'a>>(form: &'a [u8]) -> Result<T, DecodeError> {
    let mut sorted = Vec::new();
    for (name, value) in fields(form) {
        if sorted.len() == MAX_FIELDS {
            return Err(DecodeError::TooMany(TOO_MANY_FIELDS));
        }
        let not_utf8 = || DecodeError::Malformed("a form must be UTF-8".to_owned());
        let name = decoded(name).ok_or_else(not_utf8)?;
        let value = decoded(value).ok_or_else(not_utf8)?;
        sorted.push(Field { name, value });
    }
    sorted.sort_by(|one, other| by_path(&one.name, &other.name));
    T::deserialize(Node { fields: &sorted, depth: 0 })
        .map_err(|Error(message)| DecodeError::Type(message))
}

/// Names and values of the fields, still encoded, in the order of the form.
fn fields(form: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = form.split(|byte| *byte == b'&').filter(|field| !field.is_empty());
    fields.map(|field| match field.iter().position(|byte| *byte == b'=') {
        Some(at) => (&field[..at], &field[at + 1..]),
        None => (field, &[][..]),
    })
}

/// Decodes a name or a value. A `%` without two hexadecimal digits stands for itself. `None` if the result is not
/// UTF-8.
fn decoded(encoded: &[u8]) -> Option<Cow<'_, str>> {
    if !encoded.contains(&b'+') {
        return percent_decode(encoded).decode_utf8().ok();
    }
    let spaced: Vec<u8> =
        encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let text = percent_decode(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(text.into_owned()))
}

struct Field<'de> {
    name: Cow<'de, str>,
    value: Cow<'de, str>,
}

/// Compares paths step by step, so that all paths through one node are neighbours. A shorter step comes first, so that
/// numbers are in order.
fn by_path(one: &str, other: &str) -> Ordering {
    steps(one).cmp(steps(other))
}

fn steps(path: &str) -> impl Iterator<Item = (usize, &str)> {
    path.split('.').map(|step| (step.len(), step))
}

/// One node of the tree: the sorted fields whose paths go through it.
#[derive(Clone, Copy)]
struct Node<'n, 'de> {
    /// Not empty, except for the root of an empty form.
    fields: &'n [Field<'de>],
    /// Bytes of the path to this node, with a dot behind each step.
    depth: usize,
}

impl<'n, 'de> Node<'n, 'de> {
    /// The value, if the node is a single field.
    fn value(self) -> Result<&'n Cow<'de, str>, Error> {
        match self.fields {
            [field] if field.name.len() < self.depth => Ok(&field.value),
            [field, ..] if field.name.len() < self.depth => {
                Err(Error::new("a parameter comes twice"))
            }
            _ => Err(Error::new("Start of structure or map found where not expected.")),
        }
    }

    /// Whether the node is a field without a value: an empty list or structure.
    fn is_empty(self) -> bool {
        self.value().is_ok_and(|value| value.is_empty())
    }

    fn is_field(self) -> bool {
        self.fields.first().is_some_and(|field| field.name.len() < self.depth)
    }

    fn children(self) -> Children<'n, 'de> {
        Children { rest: self.fields, depth: self.depth, value: None }
    }

    /// The nodes of the values of a list.
    fn items(self) -> Result<Children<'n, 'de>, Error> {
        let mut children = self.children();
        match (children.next(), children.rest) {
            (Some(("member", values)), []) if !values.is_field() => Ok(values.children()),
            _ => Err(Error::new("the values of a list must be named NAME.member.NUMBER")),
        }
    }
}

/// The children of a node with their steps, in order.
struct Children<'n, 'de> {
    rest: &'n [Field<'de>],
    depth: usize,
    /// The child whose value a map will be asked for.
    value: Option<Node<'n, 'de>>,
}

impl<'n, 'de> Iterator for Children<'n, 'de> {
    type Item = (&'n str, Node<'n, 'de>);

    fn next(&mut self) -> Option<Self::Item> {
        let depth = self.depth;
        let step_of = |field: &'n Field<'de>| {
            field.name.get(depth..).unwrap_or_default().split('.').next().unwrap_or_default()
        };
        let step = step_of(self.rest.first()?);
        let count = self.rest.iter().take_while(|field| step_of(field) == step).count();
        let (fields, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some((step, Node { fields, depth: depth + step.len() + 1 }))
    }
}

/// Whether a step numbers a value of a list: 1 and up, without zeros in front, so that each number has one spelling.
fn is_number(step: &str) -> bool {
    !step.is_empty() && !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'de> SeqAccess<'de> for Children<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some((step, value)) = self.next() else { return Ok(None) };
        if !is_number(step) {
            return Err(Error::new("the values of a list must be named NAME.member.NUMBER"));
        }
        seed.deserialize(value).map(Some)
    }
}

impl<'de> MapAccess<'de> for Children<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((step, value)) = self.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(StrDeserializer::new(step)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().ok_or_else(|| Error::new("a value before its name"))?;
        seed.deserialize(value)
    }
}

impl<'de> Deserializer<'de> for Node<'_, 'de> {
    type Error = Error;

    /// Nothing says the type of the value. The visitor asks for the one that it wants.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_str(text),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.value()?;
        let number = text.parse().map_err(|_| Error::new("a parameter must be an integer"))?;
        visitor.visit_i64(number)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.value()?;
        let number = text.parse().map_err(|_| Error::new("a parameter must be a number"))?;
        visitor.visit_f64(number)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value()?.as_ref() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Error::new("a parameter must be true or false")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_empty() {
            return visitor.visit_seq(Children { rest: &[], depth: 0, value: None });
        }
        visitor.visit_seq(self.items()?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_empty() {
            return visitor.visit_map(Children { rest: &[], depth: 0, value: None });
        }
        if self.is_field() {
            return Err(Error::new("a structure must be named by its members"));
        }
        visitor.visit_map(self.children())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 char string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct struct enum identifier
    }
}

/// Why a form cannot be decoded.
#[derive(Debug)]
pub(super) struct Error(String);

impl Error {
    fn new(message: &str) -> Self {
        Self(message.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod tests;
