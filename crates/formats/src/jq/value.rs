//! Values of jq 1.6: numbers are 64-bit floats, keys of objects are texts, objects keep their order.
//!
//! Every clone and every new value is charged to the run's [`budget`]. A value is dropped without recursion, because
//! a query can nest values as deep as it has steps.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::rc::Rc;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::jq::budget::{charge, charge_bytes};
use crate::jq::number;

#[derive(Debug, Default)]
pub(super) enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(f64),
    /// Mostly UTF-8: a function may cut a character.
    Text(Bytes),
    Array(Rc<Items>),
    Object(Rc<Members>),
}

#[derive(Debug, Default)]
pub(super) struct Items(pub(super) Vec<Value>);

#[derive(Debug, Default)]
pub(super) struct Members(pub(super) IndexMap<Bytes, Value>);

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        charge_bytes(text.len());
        Self::Text(text.into())
    }

    pub(super) fn array(items: Vec<Self>) -> Self {
        charge(1 + items.len() as u64);
        Self::Array(Rc::new(Items(items)))
    }

    pub(super) fn object(members: IndexMap<Bytes, Self>) -> Self {
        charge(1 + members.len() as u64);
        Self::Object(Rc::new(Members(members)))
    }

    /// Name of the type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Type and beginning of the value, for messages.
    pub(super) fn described(&self) -> String {
        let mut text = self.to_string();
        if text.len() > 11 {
            let mut end = 10;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str("...");
        }
        format!("{} ({text})", self.kind())
    }

    /// The text itself, or JSON: what `tostring` gives.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => {
                self.to_string()
            }
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(false) => 1,
            Self::Bool(true) => 2,
            Self::Number(_) => 3,
            Self::Text(_) => 4,
            Self::Array(_) => 5,
            Self::Object(_) => 6,
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        charge(1);
        match self {
            Self::Null => Self::Null,
            Self::Bool(is) => Self::Bool(*is),
            Self::Number(number) => Self::Number(*number),
            Self::Text(text) => Self::Text(text.clone()),
            Self::Array(items) => Self::Array(Rc::clone(items)),
            Self::Object(members) => Self::Object(Rc::clone(members)),
        }
    }
}

impl Clone for Items {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Clone for Members {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        bury(std::mem::take(&mut self.0));
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        bury(std::mem::take(&mut self.0).into_values().collect());
    }
}

/// Drops values one by one. The values inside of a value are added to the list before the value is dropped.
fn bury(mut values: Vec<Value>) {
    while let Some(value) = values.pop() {
        match value {
            Value::Array(items) => {
                if let Some(mut items) = Rc::into_inner(items) {
                    values.append(&mut items.0);
                }
            }
            Value::Object(members) => {
                if let Some(mut members) = Rc::into_inner(members) {
                    values.extend(std::mem::take(&mut members.0).into_values());
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        }
    }
}

impl Ord for Value {
    /// null, false, true, numbers, texts, arrays, objects. Objects are compared by their sorted keys, then by their
    /// values in the order of the keys.
    fn cmp(&self, other: &Self) -> Ordering {
        charge(1);
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => number::order(*one, *two),
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            (Self::Array(one), Self::Array(two)) => one.0.cmp(&two.0),
            (Self::Object(one), Self::Object(two)) => one.order(two),
            (one, two) => one.rank().cmp(&two.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Members {
    fn order(&self, other: &Self) -> Ordering {
        let [mut one, mut two] = [self, other].map(|members| members.0.iter().collect::<Vec<_>>());
        one.sort_unstable_by_key(|(key, _)| *key);
        two.sort_unstable_by_key(|(key, _)| *key);
        let keys = one.iter().map(|(key, _)| key).cmp(two.iter().map(|(key, _)| key));
        keys.then_with(|| {
            one.iter().map(|(_, value)| value).cmp(two.iter().map(|(_, value)| value))
        })
    }
}

impl fmt::Display for Value {
    /// JSON without spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        charge(1);
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(is) => write!(f, "{is}"),
            Self::Number(number) => f.write_str(&number::text(*number)),
            Self::Text(text) => write_text(text, f),
            Self::Array(items) => {
                f.write_char('[')?;
                for (at, item) in items.0.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { "," })?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                f.write_char('{')?;
                for (at, (key, value)) in members.0.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { "," })?;
                    write_text(key, f)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_text(text: &Bytes, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    charge_bytes(text.len());
    let text = String::from_utf8_lossy(text);
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            control if control < ' ' || control == '\u{7f}' => {
                write!(f, "\\u{:04x}", u32::from(control))?;
            }
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(element) = elements.next_element()? {
            items.push(element);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = IndexMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Value>()? {
            members.insert(Bytes::from(key), value);
        }
        Ok(Value::object(members))
    }
}
