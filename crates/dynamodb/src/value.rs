//! Attribute values: the ten types, their size, their equality and their order.
//!
//! Equality is that of DynamoDB: numbers compare by value, sets ignore order. A set is a sorted set here, so two equal
//! sets are equal values, and JSON shows the members in ascending order.
//!
//! `value/json.rs` reads and writes the JSON form `{"S": "…"}`. `value/stored.rs` has the binary form of rows.

pub mod json;
pub mod stored;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::number::Number;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string. It may be empty, except in keys.
    S(String),
    /// A number.
    N(Number),
    /// Bytes. They may be empty, except in keys.
    B(Vec<u8>),
    /// A boolean.
    Bool(bool),
    /// The value null, which is not an absent attribute.
    Null,
    /// A list of values of any types.
    L(Vec<Self>),
    /// A map of values of any types.
    M(Attributes),
    /// A set of strings that is not empty.
    Ss(BTreeSet<String>),
    /// A set of numbers that is not empty.
    Ns(BTreeSet<Number>),
    /// A set of byte strings that is not empty.
    Bs(BTreeSet<Vec<u8>>),
}

/// Attributes by name: an item, a key or a map.
pub type Attributes = BTreeMap<String, Value>;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Value::S`].
    S,
    /// [`Value::N`].
    N,
    /// [`Value::B`].
    B,
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Null`].
    Null,
    /// [`Value::L`].
    L,
    /// [`Value::M`].
    M,
    /// [`Value::Ss`].
    Ss,
    /// [`Value::Ns`].
    Ns,
    /// [`Value::Bs`].
    Bs,
}

/// Bytes that DynamoDB counts for a list or a map, besides its members.
const CONTAINER_BYTES: usize = 3;
/// Bytes that DynamoDB counts for each member of a list or a map, besides the member itself.
const MEMBER_BYTES: usize = 1;

impl Kind {
    /// All types, in the order in which AWS lists them as valid types.
    pub const ALL: [Self; 10] = [
        Self::B,
        Self::Null,
        Self::Ss,
        Self::Bool,
        Self::L,
        Self::Bs,
        Self::N,
        Self::Ns,
        Self::S,
        Self::M,
    ];

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
            Self::Bool => "BOOL",
            Self::Null => "NULL",
            Self::L => "L",
            Self::M => "M",
            Self::Ss => "SS",
            Self::Ns => "NS",
            Self::Bs => "BS",
        }
    }

    /// The name in the messages of AWS about update expressions.
    pub const fn long_name(self) -> &'static str {
        match self {
            Self::S => "STRING",
            Self::N => "NUMBER",
            Self::B => "BINARY",
            Self::Bool => "BOOLEAN",
            Self::Null => "NULL",
            Self::L => "LIST",
            Self::M => "MAP",
            Self::Ss => "STRING_SET",
            Self::Ns => "NUMBER_SET",
            Self::Bs => "BINARY_SET",
        }
    }

    /// The type with this name in JSON.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Value {
    /// The type.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::S(_) => Kind::S,
            Self::N(_) => Kind::N,
            Self::B(_) => Kind::B,
            Self::Bool(_) => Kind::Bool,
            Self::Null => Kind::Null,
            Self::L(_) => Kind::L,
            Self::M(_) => Kind::M,
            Self::Ss(_) => Kind::Ss,
            Self::Ns(_) => Kind::Ns,
            Self::Bs(_) => Kind::Bs,
        }
    }

    /// Number of bytes that DynamoDB counts.
    ///
    /// Source: "Item sizes and formats" of the DynamoDB Developer Guide.
    pub fn size(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.size(),
            Self::B(bytes) => bytes.len(),
            Self::Bool(_) | Self::Null => 1,
            Self::L(members) => {
                let members: usize =
                    members.iter().map(|member| member.size() + MEMBER_BYTES).sum();
                CONTAINER_BYTES + members
            }
            Self::M(members) => CONTAINER_BYTES + size(members) + members.len() * MEMBER_BYTES,
            Self::Ss(members) => members.iter().map(String::len).sum(),
            Self::Ns(members) => members.iter().map(|number| number.size()).sum(),
            Self::Bs(members) => members.iter().map(Vec::len).sum(),
        }
    }

    /// `string` or `binary` for a string or byte string without content, which no key may be.
    pub(crate) const fn empty_name(&self) -> Option<&'static str> {
        if let Self::S(text) = self
            && text.is_empty()
        {
            return Some("string");
        }
        if let Self::B(bytes) = self
            && bytes.is_empty()
        {
            return Some("binary");
        }
        None
    }

    /// The order of two strings, two numbers or two byte strings. `None` for other types, which have no order.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::S(one), Self::S(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
            (Self::N(one), Self::N(other)) => Some(one.cmp(other)),
            (Self::B(one), Self::B(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

/// Number of bytes that DynamoDB counts for attributes: the UTF-8 bytes of the names, and the values.
pub fn size(attributes: &Attributes) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value.size()).sum()
}

/// The form in which AWS prints a value in messages: `{N:5}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}:", self.kind().name())?;
        match self {
            Self::S(text) => f.write_str(text)?,
            Self::N(number) => write!(f, "{number}")?,
            Self::B(bytes) => {
                write!(f, "java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len())?
            }
            Self::Bool(flag) => write!(f, "{flag}")?,
            Self::Null => f.write_str("true")?,
            Self::L(_) | Self::M(_) | Self::Ss(_) | Self::Ns(_) | Self::Bs(_) => {
                f.write_str("…")?
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
pub(crate) mod tests;
