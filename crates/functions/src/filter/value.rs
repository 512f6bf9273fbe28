//! JSON values as patterns see them: parsed one level at a time, and only where a pattern looks.
//!
//! Numbers keep their text, because plain numbers of a pattern match by text: 300, 300.0 and 3.0e2 differ.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A JSON value that is well-formed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(&'a str);

/// One level of a value.
pub(crate) enum Level<'a> {
    Object(BTreeMap<String, Value<'a>>),
    Array(Vec<Value<'a>>),
    Text(String),
    /// The number as it was written.
    Number(&'a str),
    Boolean(bool),
    Null,
}

impl<'a> Value<'a> {
    /// `None` if `json` is not JSON.
    pub(crate) fn parse(json: &'a [u8]) -> Option<Self> {
        let raw: &RawValue = serde_json::from_slice(json).ok()?;
        Some(Self(raw.get()))
    }

    pub(crate) fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Looks into the value. `None` only for a text that is not Unicode, such as a lone surrogate.
    pub(crate) fn level(self) -> Option<Level<'a>> {
        Some(match self.0.as_bytes().first()? {
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(self.0).ok()?;
                Level::Object(members.into_iter().map(|(k, v)| (k, Self(v.get()))).collect())
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(self.0).ok()?;
                Level::Array(elements.into_iter().map(|v| Self(v.get())).collect())
            }
            b'"' => Level::Text(serde_json::from_str(self.0).ok()?),
            b't' => Level::Boolean(true),
            b'f' => Level::Boolean(false),
            b'n' => Level::Null,
            _ => Level::Number(self.0),
        })
    }
}
