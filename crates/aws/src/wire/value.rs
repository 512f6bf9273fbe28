//! Types of request members, the same for all formats. A member of the wrong type is refused with the text of AWS.
//!
//! Each type has a serde visitor that accepts the right kinds of values and refuses each other kind with a fixed
//! text. A form does not say of what kind a value is. Its deserializer passes the value itself
//! (`visit_newtype_struct`), and the visitor asks for the kind that it wants.
//!
//! [`Text`] and [`Blob`] borrow from the body when the body holds the value unescaped. [`List`] and [`Map`] keep the
//! first 500 members and count up to 10,000, so a small body never becomes a large value in memory.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use anabranch_types::{Timestamp, dates};
use base64_simd::STANDARD;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

/// A blob: base64 text of the body, already checked, or plain bytes.
#[derive(Clone, Debug)]
pub enum Blob<'a> {
    /// Valid base64 with padding.
    Base64(&'a str),
    /// Plain bytes.
    Raw(Cow<'a, [u8]>),
}

/// A whole number. A fraction is rounded down, as in AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Integer(pub i64);

/// A number with a fraction. Infinite numbers and "not a number" are read too, because a form or CBOR can have them:
/// the operation refuses them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Real(pub f64);

/// A boolean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

/// A moment: a number of seconds with a fraction, or ISO 8601 text. A number of milliseconds is read as seconds, as
/// in AWS. The moment is then far in the future, so the caller notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

/// A structure. Only an object is accepted, never a list of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure<T>(pub T);

/// A list. It holds the first `KEPT` members and the number of all members, which is at most `MAX_COUNTED`. `KEPT` is
/// the largest number of members that the operation accepts, or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const KEPT: usize = MAX_KEPT> {
    kept: Vec<T>,
    count: usize,
}

/// A map of strings. It holds the first `MAX_KEPT` entries and the number of all entries, which is at most
/// `MAX_COUNTED`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map<'a> {
    kept: Vec<(Text<'a>, Text<'a>)>,
    count: usize,
}

/// The longest list that most operations accept. Further members are counted for the error message but not kept,
/// because a body of empty members would need many times its size in memory.
const MAX_KEPT: usize = 500;
/// Highest count. The decoder stops at the next member with [`TOO_MANY`].
const MAX_COUNTED: usize = 10_000;
/// Error text for a list or a map with more than `MAX_COUNTED` members.
pub const TOO_MANY: &str = "a list or map of the request has more than 10000 members";

/// An error message repeats at most this much of a text of the request.
const MAX_SHOWN_CHARACTERS: usize = 64;

const LIST: &str = "Start of list found where not expected";
const STRUCTURE: &str = "Start of structure or map found where not expected.";

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

/// A blob without bytes.
impl Default for Blob<'_> {
    fn default() -> Self {
        Self::Raw(Cow::Borrowed(&[]))
    }
}

impl<T, const KEPT: usize> Default for List<T, KEPT> {
    fn default() -> Self {
        Self { kept: Vec::new(), count: 0 }
    }
}

impl Blob<'_> {
    /// Whether the blob has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes after decoding.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Base64(text) => {
                let padding = text.bytes().rev().take(2).filter(|byte| *byte == b'=').count();
                text.len() / 4 * 3 - padding
            }
            Self::Raw(bytes) => bytes.len(),
        }
    }

    /// The blob as it was sent. The flag is true for plain bytes and false for base64 text.
    #[inline]
    pub fn as_sent(&self) -> (bool, &[u8]) {
        match self {
            Self::Base64(text) => (false, text.as_bytes()),
            Self::Raw(bytes) => (true, bytes),
        }
    }

    /// Decodes the blob and appends its [`Self::len`] bytes to `out`.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Base64(text) => {
                let decoded = STANDARD.decode_append(text.as_bytes(), out);
                decoded.expect("base64 was checked when the blob was read");
            }
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl PartialEq for Blob<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        self.append_to(&mut ours);
        other.append_to(&mut theirs);
        ours == theirs
    }
}

impl Integer {
    /// The number as a count. A negative number becomes 0, a number beyond 32 bits becomes `u32::MAX`.
    #[inline]
    pub fn as_u32(self) -> u32 {
        u32::try_from(self.0.max(0)).unwrap_or(u32::MAX)
    }
}

impl<T, const KEPT: usize> List<T, KEPT> {
    /// The members that were kept. These are all members if [`Self::count`] is at most `KEPT`.
    #[inline]
    pub fn members(&self) -> &[T] {
        &self.kept
    }

    /// Number of members in the request.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }
}

impl<'a> Map<'a> {
    /// The entries that were kept, in the order of the request. These are all entries if [`Self::count`] is at most
    /// 500.
    #[inline]
    pub fn entries(&self) -> &[(Text<'a>, Text<'a>)] {
        &self.kept
    }

    /// Number of entries in the request.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Visitor methods that refuse a value with a text of AWS.
macro_rules! refuse {
    ($($method:ident($($argument:ty)?) => $text:expr),* $(,)?) => {
        $(fn $method<E: de::Error>(self $(, _: $argument)?) -> Result<Self::Value, E> {
            Err(E::custom($text))
        })*
    };
    (seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(de::Error::custom(LIST))
        }
    };
    (map) => {
        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(de::Error::custom(STRUCTURE))
        }
    };
}

/// The visitor method for a format whose values have no types: the visitor asks for the type that it wants.
macro_rules! ask {
    ($method:ident) => {
        fn visit_newtype_struct<D: Deserializer<'de>>(
            self,
            value: D,
        ) -> Result<Self::Value, D::Error> {
            value.$method(self)
        }
    };
}

struct TextVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
    type Value = Text<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    ask!(deserialize_str);

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'a>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'a>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Text<'a>, E> {
        Ok(Text(Cow::Owned(text)))
    }

    refuse! {
        visit_bool(bool) => "class java.lang.Boolean can not be converted to an String",
        visit_u64(u64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        visit_i64(i64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        visit_f64(f64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        visit_bytes(&[u8]) => "class java.nio.HeapByteBuffer can not be converted to an String",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
    refuse!(map);
}

struct BlobVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlobVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Visitor<'de> for BlobVisitor<'a> {
    type Value = Blob<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a blob")
    }

    ask!(deserialize_str);

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Blob<'a>, E> {
        STANDARD.check(text.as_bytes()).map_err(|_| E::custom(base64_fault(text)))?;
        Ok(Blob::Base64(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob<'a>, E> {
        let decoded: Result<Vec<u8>, _> = STANDARD.decode_type(text.as_bytes());
        decoded.map(|bytes| Blob::Raw(Cow::Owned(bytes))).map_err(|_| E::custom(base64_fault(text)))
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Blob<'a>, E> {
        Ok(Blob::Raw(Cow::Borrowed(bytes)))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob<'a>, E> {
        Ok(Blob::Raw(Cow::Owned(bytes)))
    }

    refuse! {
        visit_bool(bool) => "class java.lang.Boolean can not be converted to a Blob",
        visit_u64(u64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to a Blob",
        visit_i64(i64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to a Blob",
        visit_f64(f64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to a Blob",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
    refuse!(map);
}

/// The text of AWS about invalid base64. A long text is repeated only in part.
fn base64_fault(text: &str) -> String {
    let kind = format!("'{}' can not be converted to a Blob", shortened(text));
    if !text.len().is_multiple_of(4) {
        let length = text.len();
        return format!(
            "{kind}: Base64 encoded length is expected a multiple of 4 bytes but found: {length}"
        );
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => format!("{kind}: Invalid Base64 character: '{c}'"),
        None => format!("{kind}: Invalid last non-pad Base64 character detected"),
    }
}

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}...", &text[..at]).into(),
        None => text.into(),
    }
}

struct IntegerVisitor;

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntegerVisitor)
    }
}

impl<'de> Visitor<'de> for IntegerVisitor {
    type Value = Integer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    ask!(deserialize_i64);

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Integer, E> {
        Ok(Integer(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Integer, E> {
        Ok(Integer(number))
    }

    #[expect(clippy::cast_possible_truncation, reason = "`as` goes to the nearest number there is")]
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Integer, E> {
        Ok(Integer(number.floor() as i64))
    }

    refuse! {
        visit_bool(bool) => "class java.lang.Boolean can not be converted to an Integer",
        visit_str(&str) => "class java.lang.String can not be converted to an Integer",
        visit_bytes(&[u8]) => "class java.nio.HeapByteBuffer can not be converted to an Integer",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
    refuse!(map);
}

struct RealVisitor;

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RealVisitor)
    }
}

impl<'de> Visitor<'de> for RealVisitor {
    type Value = Real;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    ask!(deserialize_f64);

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Real, E> {
        Ok(Real(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Real, E> {
        Ok(Real(number as f64))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Real, E> {
        Ok(Real(number))
    }

    /// JSON has no numbers for these three, so SDKs send them as text.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Real, E> {
        match text {
            "NaN" => Ok(Real(f64::NAN)),
            "Infinity" => Ok(Real(f64::INFINITY)),
            "-Infinity" => Ok(Real(f64::NEG_INFINITY)),
            _ => Err(E::custom("class java.lang.String can not be converted to a Double")),
        }
    }

    refuse! {
        visit_bool(bool) => "class java.lang.Boolean can not be converted to a Double",
        visit_bytes(&[u8]) => "class java.nio.HeapByteBuffer can not be converted to a Double",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
    refuse!(map);
}

struct FlagVisitor;

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor)
    }
}

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = Flag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean")
    }

    ask!(deserialize_bool);

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Flag, E> {
        Ok(Flag(flag))
    }

    refuse! {
        visit_u64(u64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an Boolean",
        visit_i64(i64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an Boolean",
        visit_f64(f64) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an Boolean",
        visit_str(&str) => "class java.lang.String can not be converted to an Boolean",
        visit_bytes(&[u8]) => "class java.nio.HeapByteBuffer can not be converted to an Boolean",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
    refuse!(map);
}

struct MomentVisitor;

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MomentVisitor)
    }
}

impl<'de> Visitor<'de> for MomentVisitor {
    type Value = Moment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a timestamp")
    }

    ask!(deserialize_str);

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Moment, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Moment, E> {
        self.visit_f64(number as f64)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` goes to the nearest number there is"
    )]
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Moment, E> {
        if !number.is_finite() {
            return Err(E::custom("a timestamp must be a finite number"));
        }
        Ok(Moment(Timestamp::from_millis((number * 1000.0).round() as u64)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
        let fault =
            || E::custom("class java.lang.String can not be converted to milliseconds since epoch");
        dates::parse_iso_8601(text).map(Moment).ok_or_else(fault)
    }

    refuse! {
        visit_bool(bool) => "class java.lang.Boolean can not be converted to milliseconds since epoch",
        visit_bytes(&[u8]) =>
            "class java.nio.HeapByteBuffer can not be converted to milliseconds since epoch",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
    refuse!(map);
}

struct StructureVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Structure<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StructureVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for StructureVisitor<T> {
    type Value = Structure<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a structure")
    }

    ask!(deserialize_map);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Structure<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Structure)
    }

    refuse! {
        visit_bool(bool) => "Expected null",
        visit_u64(u64) => "Expected null",
        visit_i64(i64) => "Expected null",
        visit_f64(f64) => "Expected null",
        visit_str(&str) => "Expected null",
        visit_bytes(&[u8]) => "Expected null",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
}

/// Counts one more member, or refuses it with [`TOO_MANY`].
fn counted<E: de::Error>(count: usize) -> Result<usize, E> {
    if count < MAX_COUNTED { Ok(count + 1) } else { Err(E::custom(TOO_MANY)) }
}

struct ListVisitor<T, const KEPT: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const KEPT: usize> Deserialize<'de> for List<T, KEPT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const KEPT: usize> Visitor<'de> for ListVisitor<T, KEPT> {
    type Value = List<T, KEPT>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    ask!(deserialize_seq);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T, KEPT>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < KEPT {
            match seq.next_element()? {
                Some(member) => kept.push(member),
                None => return Ok(List { count: kept.len(), kept }),
            }
        }
        let mut count = kept.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count = counted(count)?;
        }
        Ok(List { kept, count })
    }

    refuse! {
        visit_bool(bool) => "Expected list or null",
        visit_u64(u64) => "Expected list or null",
        visit_i64(i64) => "Expected list or null",
        visit_f64(f64) => "Expected list or null",
        visit_str(&str) => "Expected list or null",
        visit_bytes(&[u8]) => "Expected list or null",
        visit_unit() => "Unexpected null",
    }
    refuse!(map);
}

struct MapVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MapVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Visitor<'de> for MapVisitor<'a> {
    type Value = Map<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Map<'a>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MAX_KEPT {
            match map.next_entry()? {
                Some(entry) => kept.push(entry),
                None => return Ok(Map { count: kept.len(), kept }),
            }
        }
        let mut count = kept.len();
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count = counted(count)?;
        }
        Ok(Map { kept, count })
    }

    refuse! {
        visit_bool(bool) => "Expected map or null",
        visit_u64(u64) => "Expected map or null",
        visit_i64(i64) => "Expected map or null",
        visit_f64(f64) => "Expected map or null",
        visit_str(&str) => "Expected map or null",
        visit_bytes(&[u8]) => "Expected map or null",
        visit_unit() => "Unexpected null",
    }
    refuse!(seq);
}
