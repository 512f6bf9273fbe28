//! The JSON form of attribute values: `{"S": "text"}`.
//!
//! A body can be wrong in two ways. A member of the wrong JSON type (`{"S": 5}`) is refused by the decoder, with the
//! texts of `anabranch_aws::wire`. A value that is well-formed but not allowed (an empty set, a number with 39 digits)
//! becomes an [`InvalidValue`], so that the whole body is read first and the operation can report it in its turn.
//!
//! A value in memory takes at most about ten times the bytes of its JSON text, in a list of empty lists. A list stops
//! to grow at its first invalid member. The depth is bounded twice: by serde_json (128), and by the 32 levels of
//! DynamoDB.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use anabranch_aws::wire::{Blob, Flag, Text, Writer};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Attributes, Value};
use crate::number::{Number, NumberFault};

/// Deepest nesting of lists and maps. Source: "Quotas" of the DynamoDB Developer Guide.
pub const MAX_DEPTH: usize = 32;

/// A value as it was sent: valid, or refused with a text of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentValue(pub Result<Value, InvalidValue>);

/// The reason why DynamoDB refuses a value that is well-formed. The texts are those of AWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// No known type is given.
    #[error(
        "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
    )]
    Empty,
    /// Two types are given.
    #[error(
        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the \
         supported datatypes"
    )]
    Ambiguous,
    /// `NULL` is not true.
    #[error(
        "One or more parameter values were invalid: Null attribute value types must have the value of true"
    )]
    FalseNull,
    /// A set of strings has no member.
    #[error("One or more parameter values were invalid: An string set  may not be empty")]
    EmptyStrings,
    /// A set of numbers has no member.
    #[error("One or more parameter values were invalid: An number set  may not be empty")]
    EmptyNumbers,
    /// A set of byte strings has no member.
    #[error("One or more parameter values were invalid: Binary sets should not be empty")]
    EmptyBlobs,
    /// A set has a member twice.
    #[error("One or more parameter values were invalid: Input collection {0} contains duplicates.")]
    Duplicates(String),
    /// A text is no number of DynamoDB.
    #[error("{}", number_message(.fault, .text))]
    Number {
        /// The text, cut if it is long.
        text: String,
        /// Its fault.
        fault: NumberFault,
    },
    /// Lists and maps are nested too deep.
    #[error("Nesting Levels have exceeded supported limits")]
    TooDeep,
}

/// AWS repeats a text only if it is no number at all.
fn number_message(fault: &NumberFault, text: &str) -> String {
    match fault {
        NumberFault::NotNumeric if text.is_empty() => fault.to_string(),
        NumberFault::NotNumeric => format!("{fault}: {text}"),
        NumberFault::TooPrecise | NumberFault::Overflow | NumberFault::Underflow => {
            fault.to_string()
        }
    }
}

/// Most characters of a text of the client in a message.
const MAX_SHOWN_CHARACTERS: usize = 64;

/// Parses a number and keeps its text for the message.
fn number(text: &str) -> Result<Number, InvalidValue> {
    text.parse().map_err(|fault| {
        let text = text.chars().take(MAX_SHOWN_CHARACTERS).collect();
        InvalidValue::Number { text, fault }
    })
}

/// Named members of a request in the order of their names. Of a name that is given twice, the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<T>(pub BTreeMap<String, T>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl Entries<SentValue> {
    /// The attributes.
    ///
    /// # Errors
    /// The fault of the first value that is not allowed.
    pub fn attributes(&self) -> Result<Attributes, InvalidValue> {
        self.0.iter().map(|(name, value)| Ok((name.clone(), value.0.clone()?))).collect()
    }
}

/// Writes a value.
pub fn write(w: &mut Writer, value: &Value) {
    w.structure(|w| {
        w.member(value.kind().name());
        match value {
            Value::S(text) => w.text(text),
            Value::N(number) => w.plain(number),
            Value::B(bytes) => w.blob(bytes),
            Value::Bool(flag) => w.flag(*flag),
            Value::Null => w.flag(true),
            Value::L(members) => w.list(|w| members.iter().for_each(|member| write(w, member))),
            Value::M(members) => write_attributes(w, members),
            Value::Ss(members) => w.list(|w| members.iter().for_each(|text| w.text(text))),
            Value::Ns(members) => w.list(|w| members.iter().for_each(|number| w.plain(number))),
            Value::Bs(members) => w.list(|w| members.iter().for_each(|bytes| w.blob(bytes))),
        }
    });
}

/// Writes attributes: an item, a key or a map.
pub fn write_attributes(w: &mut Writer, attributes: &Attributes) {
    w.structure(|w| {
        for (name, value) in attributes {
            w.entry(name);
            write(w, value);
        }
    });
}

impl<'de> Deserialize<'de> for SentValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Reads a value. Refuses everything that is not a JSON object.
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = SentValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SentValue, A::Error> {
        let mut found = Err(InvalidValue::Empty);
        let mut types = 0;
        while let Some(name) = map.next_key::<Text<'de>>()? {
            let Some(value) = member(&name, &mut map)? else { continue };
            types += 1;
            found = value;
        }
        Ok(SentValue(if types > 1 { Err(InvalidValue::Ambiguous) } else { found }))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<SentValue, E> {
        Err(E::custom("Unexpected value type in payload"))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<SentValue, E> {
        Err(E::custom("Unexpected value type in payload"))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SentValue, E> {
        Err(E::custom("Unexpected value type in payload"))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SentValue, E> {
        Err(E::custom("Unexpected value type in payload"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SentValue, E> {
        Err(E::custom("Unexpected value type in payload"))
    }

    fn visit_unit<E: de::Error>(self) -> Result<SentValue, E> {
        Err(E::custom("Unexpected null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<SentValue, A::Error> {
        Err(de::Error::custom("Unrecognized collection type class java.util.ArrayList"))
    }
}

/// Reads the content of one type. `None` if the type is unknown or its content is null.
fn member<'de, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
) -> Result<Option<Result<Value, InvalidValue>>, A::Error> {
    Ok(match name {
        "S" => {
            let text: Option<Text<'de>> = map.next_value()?;
            text.map(|text| Ok(Value::S(text.0.into_owned())))
        }
        "N" => {
            let text: Option<Text<'de>> = map.next_value()?;
            text.map(|text| number(&text).map(Value::N))
        }
        "B" => {
            let blob: Option<Blob<'de>> = map.next_value()?;
            blob.map(|blob| Ok(Value::B(bytes(&blob))))
        }
        "BOOL" => {
            let flag: Option<Flag> = map.next_value()?;
            flag.map(|Flag(flag)| Ok(Value::Bool(flag)))
        }
        "NULL" => {
            let flag: Option<Flag> = map.next_value()?;
            flag.map(|Flag(flag)| if flag { Ok(Value::Null) } else { Err(InvalidValue::FalseNull) })
        }
        "L" => {
            let members: Option<SentList> = map.next_value()?;
            members.map(|SentList(members)| members.map(Value::L))
        }
        "M" => {
            let members: Option<Entries<SentValue>> = map.next_value()?;
            members.map(|members| {
                let members = members.0.into_iter().map(|(name, value)| Ok((name, value.0?)));
                members.collect::<Result<_, _>>().map(Value::M)
            })
        }
        "SS" => {
            let members: Option<Sequence<Text<'de>>> = map.next_value()?;
            members.map(|members| strings(&members.0))
        }
        "NS" => {
            let members: Option<Sequence<Text<'de>>> = map.next_value()?;
            members.map(|members| numbers(&members.0))
        }
        "BS" => {
            let members: Option<Sequence<Blob<'de>>> = map.next_value()?;
            members.map(|members| blobs(&members.0))
        }
        _ => {
            map.next_value::<IgnoredAny>()?;
            None
        }
    })
}

fn bytes(blob: &Blob<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blob.len());
    blob.append_to(&mut bytes);
    bytes
}

fn strings(members: &[Text<'_>]) -> Result<Value, InvalidValue> {
    let set: BTreeSet<String> = members.iter().map(|text| text.to_string()).collect();
    match set.len() {
        0 => Err(InvalidValue::EmptyStrings),
        count if count < members.len() => {
            Err(duplicates(members.iter().map(|text| text.to_string())))
        }
        _ => Ok(Value::Ss(set)),
    }
}

fn numbers(members: &[Text<'_>]) -> Result<Value, InvalidValue> {
    let set = members.iter().map(|text| number(text)).collect::<Result<BTreeSet<_>, _>>()?;
    match set.len() {
        0 => Err(InvalidValue::EmptyNumbers),
        count if count < members.len() => {
            Err(duplicates(members.iter().map(|text| text.to_string())))
        }
        _ => Ok(Value::Ns(set)),
    }
}

fn blobs(members: &[Blob<'_>]) -> Result<Value, InvalidValue> {
    let set: BTreeSet<Vec<u8>> = members.iter().map(bytes).collect();
    match set.len() {
        0 => Err(InvalidValue::EmptyBlobs),
        count if count < members.len() => {
            let shown = |blob: &Blob<'_>| {
                format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", blob.len())
            };
            Err(duplicates(members.iter().map(shown)))
        }
        _ => Ok(Value::Bs(set)),
    }
}

/// AWS prints the list with the duplicates. A long list is cut.
fn duplicates(members: impl Iterator<Item = String>) -> InvalidValue {
    let members: Vec<_> = members.take(MAX_SHOWN_CHARACTERS).collect();
    let shown = members.join(", ");
    InvalidValue::Duplicates(format!("[{}]", shown.chars().take(512).collect::<String>()))
}

/// Checks that lists and maps are nested at most 32 levels deep.
///
/// # Errors
/// [`InvalidValue::TooDeep`].
pub fn check_depth<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<(), InvalidValue> {
    fn fits(value: &Value, left: usize) -> bool {
        match value {
            Value::L(members) => left > 0 && members.iter().all(|member| fits(member, left - 1)),
            Value::M(members) => left > 0 && members.values().all(|member| fits(member, left - 1)),
            Value::S(_)
            | Value::N(_)
            | Value::B(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_) => true,
        }
    }
    if values.into_iter().all(|value| fits(value, MAX_DEPTH)) {
        Ok(())
    } else {
        Err(InvalidValue::TooDeep)
    }
}

/// A list of any length. `anabranch_aws::wire::List` keeps only 500 members, which is too few for a set.
pub struct Sequence<T>(pub Vec<T>);

impl<T: fmt::Debug> fmt::Debug for Sequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The members of a list, or the fault of its first invalid member.
struct SentList(Result<Vec<Value>, InvalidValue>);

struct ListVisitor;

impl<'de> Deserialize<'de> for SentList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor)
    }
}

impl<'de> Visitor<'de> for ListVisitor {
    type Value = SentList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SentList, A::Error> {
        let mut members = Ok(Vec::new());
        while let Some(SentValue(member)) = seq.next_element()? {
            match (&mut members, member) {
                (Ok(members), Ok(member)) => members.push(member),
                (Ok(_), Err(invalid)) => members = Err(invalid),
                (Err(_), _) => {}
            }
        }
        Ok(SentList(members))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<SentList, E> {
        Err(E::custom("Expected list or null"))
    }
}

struct SequenceVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sequence<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SequenceVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for SequenceVisitor<T> {
    type Value = Sequence<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sequence<T>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = seq.next_element()? {
            members.push(member);
        }
        Ok(Sequence(members))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom("Expected list or null"))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            entries.insert(name, value);
        }
        Ok(Entries(entries))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom("Expected map or null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(de::Error::custom("Unrecognized collection type class java.util.ArrayList"))
    }
}
