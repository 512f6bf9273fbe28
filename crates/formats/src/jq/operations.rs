//! The operations of the interpreter on values, by the rules of jq 1.6: arithmetic, paths and updates.

use std::iter::FromIterator;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use bytes::Bytes;
use indexmap::IndexMap;
use jaq_core::box_iter::BoxIter;
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, Exn, ValR, ValX};

use crate::jq::budget::{charge, charge_bytes};
use crate::jq::number;
use crate::jq::value::{Items, Members, Value};

/// Items that an array may have. jq refuses an index from 2^29 on; a run has fewer steps.
const LONGEST_ARRAY: usize = 1 << 29;

pub(super) fn fail<T>(message: impl Into<String>) -> ValR<T, Value> {
    Err(Error::new(Value::text(message)))
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl From<isize> for Value {
    fn from(number: isize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Range<Value>> for Value {
    /// A slice in a path: `{"start": 1, "end": 2}`.
    fn from(range: Range<Value>) -> Self {
        let ends = [("start", range.start), ("end", range.end)];
        let ends = ends.map(|(name, end)| (name.into(), end.unwrap_or(Self::Null)));
        Self::object(ends.into_iter().collect())
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        let items = items.into_iter().inspect(|_| charge(1));
        Self::Array(Rc::new(Items(items.collect())))
    }
}

impl Add for Value {
    type Output = ValR<Self>;

    fn add(self, other: Self) -> ValR<Self> {
        charge(1);
        match (self, other) {
            (Self::Null, value) | (value, Self::Null) => Ok(value),
            (Self::Number(one), Self::Number(two)) => Ok(Self::Number(one + two)),
            (Self::Text(one), Self::Text(two)) => {
                charge_bytes(one.len() + two.len());
                Ok(Self::Text([one, two].concat().into()))
            }
            (Self::Array(mut one), Self::Array(two)) => {
                charge(two.0.len() as u64);
                Rc::make_mut(&mut one).0.extend(two.0.iter().cloned());
                Ok(Self::Array(one))
            }
            (Self::Object(mut one), Self::Object(two)) => {
                let members = &mut Rc::make_mut(&mut one).0;
                members.extend(two.0.iter().map(|(key, value)| (key.clone(), value.clone())));
                Ok(Self::Object(one))
            }
            (one, two) => cannot(&one, &two, "added"),
        }
    }
}

impl Sub for Value {
    type Output = ValR<Self>;

    fn sub(self, other: Self) -> ValR<Self> {
        charge(1);
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => Ok(Self::Number(one - two)),
            (Self::Array(one), Self::Array(two)) => {
                Ok(one.0.iter().filter(|item| !two.0.contains(item)).cloned().collect())
            }
            (one, two) => cannot(&one, &two, "subtracted"),
        }
    }
}

impl Mul for Value {
    type Output = ValR<Self>;

    fn mul(self, other: Self) -> ValR<Self> {
        charge(1);
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => Ok(Self::Number(one * two)),
            (Self::Text(text), Self::Number(times)) | (Self::Number(times), Self::Text(text)) => {
                Ok(repeated(&text, times))
            }
            (Self::Object(one), Self::Object(two)) => Ok(Self::Object(merged(one, &two))),
            (one, two) => cannot(&one, &two, "multiplied"),
        }
    }
}

impl Div for Value {
    type Output = ValR<Self>;

    fn div(self, other: Self) -> ValR<Self> {
        charge(1);
        match (self, other) {
            (Self::Number(one), Self::Number(two)) if two != 0.0 => Ok(Self::Number(one / two)),
            (Self::Text(text), Self::Text(separator)) => Ok(split(&text, &separator)),
            (one @ Self::Number(_), two @ Self::Number(_)) => {
                cannot(&one, &two, "divided because the divisor is zero")
            }
            (one, two) => cannot(&one, &two, "divided"),
        }
    }
}

impl Rem for Value {
    type Output = ValR<Self>;

    fn rem(self, other: Self) -> ValR<Self> {
        charge(1);
        match (self, other) {
            (Self::Number(one), Self::Number(two)) if number::index(two) != 0 => {
                let rest = number::index(one).wrapping_rem(number::index(two));
                Ok(Self::Number(rest as f64))
            }
            (one @ Self::Number(_), two @ Self::Number(_)) => {
                cannot(&one, &two, "divided (remainder) because the divisor is zero")
            }
            (one, two) => cannot(&one, &two, "divided"),
        }
    }
}

impl Neg for Value {
    type Output = ValR<Self>;

    fn neg(self) -> ValR<Self> {
        charge(1);
        match self {
            Self::Number(number) => Ok(Self::Number(-number)),
            other @ (Self::Null
            | Self::Bool(_)
            | Self::Text(_)
            | Self::Array(_)
            | Self::Object(_)) => fail(format!("{} cannot be negated", other.described())),
        }
    }
}

impl jaq_core::ValT for Value {
    fn from_num(text: &str) -> ValR<Self> {
        charge(1);
        text.parse().map(Self::Number).or_else(|_| fail(format!("not a number: {text}")))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(entries: I) -> ValR<Self> {
        let mut members = IndexMap::new();
        for (key, value) in entries {
            match key {
                Self::Text(key) => members.insert(key, value),
                other @ (Self::Null
                | Self::Bool(_)
                | Self::Number(_)
                | Self::Array(_)
                | Self::Object(_)) => {
                    return fail(format!("Cannot use {} as object key", other.described()));
                }
            };
        }
        Ok(Self::object(members))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        charge(1);
        match self {
            Self::Array(items) => Box::new(
                (0..items.0.len()).map(move |at| Ok((Self::from(at), items.0[at].clone()))),
            ),
            Self::Object(members) => Box::new((0..members.0.len()).map(move |at| {
                let (key, value) = members.0.get_index(at).expect("the index is in range");
                Ok((Self::Text(key.clone()), value.clone()))
            })),
            other @ (Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_)) => {
                Box::new(std::iter::once(cannot_iterate(&other)))
            }
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => {
                Box::new(std::iter::once(cannot_iterate(&self)))
            }
            Self::Array(_) | Self::Object(_) => {
                Box::new(self.key_values().map(|entry| entry.map(|(_, value)| value)))
            }
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        charge(1);
        match (&self, index) {
            (Self::Object(members), Self::Text(key)) => {
                Ok(members.0.get(key).cloned().unwrap_or(Self::Null))
            }
            (Self::Array(items), Self::Number(at)) => Ok(item_at(items, *at)),
            (Self::Null, Self::Text(_) | Self::Number(_)) => Ok(Self::Null),
            (Self::Array(items), Self::Array(part)) => Ok(places(&items.0, &part.0)),
            (Self::Array(_) | Self::Text(_) | Self::Null, Self::Object(slice)) => {
                let [start, end] = ends(slice);
                self.range(start.as_ref()..end.as_ref())
            }
            _ => cannot_index(&self, index),
        }
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        charge(1);
        let bounds = Bounds::new(&range)?;
        match self {
            Self::Null => Ok(Self::Null),
            Self::Array(items) => {
                let range = bounds.of(items.0.len());
                Ok(items.0[range].iter().cloned().collect())
            }
            Self::Text(text) => {
                let lossy = String::from_utf8_lossy(&text);
                charge_bytes(text.len());
                let range = bounds.of(lossy.chars().count());
                let part: String = lossy.chars().skip(range.start).take(range.len()).collect();
                Ok(Self::text(part))
            }
            other @ (Self::Bool(_) | Self::Number(_) | Self::Object(_)) => {
                fail(format!("Cannot index {} with object", other.kind()))
            }
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        charge(1);
        match self {
            Self::Array(items) => {
                let items = items.0.iter().cloned();
                let updated = items.filter_map(|item| f(item).next());
                updated.collect::<Result<Vec<_>, _>>().map(Self::array)
            }
            Self::Object(members) => {
                let members = members.0.iter().map(|(key, value)| (key.clone(), value.clone()));
                let updated =
                    members.filter_map(|(key, value)| Some(f(value).next()?.map(|new| (key, new))));
                updated.collect::<Result<IndexMap<_, _>, _>>().map(Self::object)
            }
            other @ (Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_)) => opt
                .fail(other, |other| Exn::from(Error::new(Self::text(iteration_message(&other))))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        charge(1);
        match (self, index) {
            (Self::Object(members), Self::Text(key)) => update_member(members, key, f),
            (Self::Null, Self::Text(key)) => update_member(Rc::default(), key, f),
            (Self::Array(items), Self::Number(at)) => update_item(items, *at, opt, f),
            (Self::Null, Self::Number(at)) => update_item(Rc::default(), *at, opt, f),
            (value @ (Self::Array(_) | Self::Null), Self::Object(slice)) => {
                let [start, end] = ends(slice);
                value.map_range(start.as_ref()..end.as_ref(), opt, f)
            }
            (value, index) => {
                let message = index_message(&value, index);
                opt.fail(value, |_| Exn::from(Error::new(Self::text(message))))
            }
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        charge(1);
        let fails = |value: Self, message: String| {
            opt.fail(value, |_| Exn::from(Error::new(Self::text(message))))
        };
        let bounds = match Bounds::new(&range) {
            Ok(bounds) => bounds,
            Err(error) => return opt.fail(self, |_| Exn::from(error)),
        };
        let (mut items, old) = match self {
            Self::Array(items) => {
                let part = items.0[bounds.of(items.0.len())].iter().cloned().collect();
                (items, part)
            }
            Self::Null => (Rc::default(), Self::Null),
            other @ (Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Object(_)) => {
                let message = format!("Cannot update field at object index of {}", other.kind());
                return fails(other, message);
            }
        };
        let range = bounds.of(items.0.len());
        match f(old).next().transpose()? {
            None => drop(Rc::make_mut(&mut items).0.drain(range)),
            Some(Self::Array(new)) => {
                charge(new.0.len() as u64);
                drop(Rc::make_mut(&mut items).0.splice(range, new.0.iter().cloned()));
            }
            Some(_) => {
                let message = "A slice of an array can only be assigned another array";
                return fails(Self::Array(items), message.to_owned());
            }
        }
        Ok(Self::Array(items))
    }

    fn as_bool(&self) -> bool {
        charge(1);
        match self {
            Self::Null | Self::Bool(false) => false,
            Self::Bool(true)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Array(_)
            | Self::Object(_) => true,
        }
    }

    fn into_string(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(text),
            other @ (Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Array(_)
            | Self::Object(_)) => Self::text(other.to_string()),
        }
    }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Array(items) => Ok(items.0.iter().cloned().collect()),
            other @ (Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Object(_)) => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        self.as_isize().is_some()
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Number(number) => {
                let whole = number::index(*number);
                isize::try_from(whole).ok().filter(|_| whole as f64 == *number)
            }
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    fn as_sub_str(&self, sub: &[u8]) -> Self {
        charge(1);
        match self {
            Self::Text(text) => Self::Text(text.slice_ref(sub)),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => {
                Self::Null
            }
        }
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        let bytes = bytes.as_ref();
        Self::text(String::from_utf8_lossy(bytes))
    }
}

/// Bounds of a slice, as numbers.
struct Bounds {
    start: f64,
    end: Option<f64>,
}

impl Bounds {
    fn new(range: &Range<&Value>) -> ValR<Self, Value> {
        let bound = |end: Option<&Value>| match end {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(Value::Bool(_) | Value::Text(_) | Value::Array(_) | Value::Object(_)) => {
                fail("Start and end indices of an array slice must be numbers")
            }
        };
        let (start, end) = (bound(range.start)?, bound(range.end)?);
        Ok(Self { start: start.unwrap_or(0.0), end })
    }

    /// The range in a sequence of `length`. A negative bound counts from the end. The start is rounded down and the
    /// end is rounded up.
    fn of(&self, length: usize) -> std::ops::Range<usize> {
        let whole = length as f64;
        let clamp = |bound: f64| {
            let bound = if bound < 0.0 { bound + whole } else { bound };
            bound.clamp(0.0, whole)
        };
        let place = |bound: f64| usize::try_from(number::index(bound)).unwrap_or(0);
        let start = place(clamp(self.start).floor());
        let end = place(clamp(self.end.unwrap_or(whole)).ceil());
        start.min(end)..end
    }
}

/// `start` and `end` of a slice in a path.
fn ends(slice: &Members) -> [Option<Value>; 2] {
    ["start", "end"].map(|name| slice.0.get(name.as_bytes()).cloned())
}

fn item_at(items: &Items, at: f64) -> Value {
    let place = if at.fract() == 0.0 { place_in(items.0.len(), at) } else { None };
    place.and_then(|place| items.0.get(place)).cloned().unwrap_or(Value::Null)
}

/// Place of an index, of which a negative one counts from the end. `None` before the beginning.
fn place_in(length: usize, at: f64) -> Option<usize> {
    let at = number::index(at);
    if at >= 0 {
        return usize::try_from(at).ok();
    }
    length.checked_sub(usize::try_from(at.unsigned_abs()).ok()?)
}

fn update_member<'a, I: Iterator<Item = ValX<'a, Value>>>(
    mut members: Rc<Members>,
    key: &Bytes,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    let entries = &mut Rc::make_mut(&mut members).0;
    // The old value is taken out, so that it is not shared and its update need not copy it.
    let old = entries.get_mut(key).map(std::mem::take).unwrap_or_default();
    match f(old).next().transpose()? {
        Some(new) => drop(entries.insert(key.clone(), new)),
        None => drop(entries.shift_remove(key)),
    }
    Ok(Value::Object(members))
}

fn update_item<'a, I: Iterator<Item = ValX<'a, Value>>>(
    mut items: Rc<Items>,
    at: f64,
    opt: Opt,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    let fails = |message: &str, items| {
        opt.fail(Value::Array(items), |_| Exn::from(Error::new(Value::text(message))))
    };
    let Some(place) = place_in(items.0.len(), at) else {
        return fails("Out of bounds negative array index", items);
    };
    if place >= LONGEST_ARRAY {
        return fails("Array index too large", items);
    }
    let list = &mut Rc::make_mut(&mut items).0;
    let old = list.get_mut(place).map(std::mem::take).unwrap_or_default();
    match f(old).next().transpose()? {
        Some(new) => {
            if place >= list.len() {
                charge((place - list.len()) as u64);
                list.resize_with(place + 1, || Value::Null);
            }
            list[place] = new;
        }
        None if place < list.len() => drop(list.remove(place)),
        None => {}
    }
    Ok(Value::Array(items))
}

/// Where `part` is in `items`: `indices` of arrays.
pub(super) fn places(items: &[Value], part: &[Value]) -> Value {
    if part.is_empty() {
        return Value::array(Vec::new());
    }
    let windows = items.windows(part.len()).enumerate();
    windows.filter(|(_, window)| *window == part).map(|(at, _)| Value::from(at)).collect()
}

fn repeated(text: &Bytes, times: f64) -> Value {
    // jq counts down from `times - 1`, so 0.5 is one time.
    if times <= 0.0 || times.is_nan() {
        return Value::Null;
    }
    let times = usize::try_from(number::index(times.max(1.0))).unwrap_or(usize::MAX);
    charge_bytes(text.len().saturating_mul(times));
    Value::Text(text.repeat(times).into())
}

fn merged(mut one: Rc<Members>, two: &Members) -> Rc<Members> {
    let members = &mut Rc::make_mut(&mut one).0;
    for (key, new) in &two.0 {
        let both = match (members.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                charge(1);
                Value::Object(merged(Rc::clone(old), new))
            }
            _ => new.clone(),
        };
        members.insert(key.clone(), both);
    }
    one
}

fn split(text: &Bytes, separator: &Bytes) -> Value {
    charge_bytes(text.len());
    if text.is_empty() {
        return Value::array(Vec::new());
    }
    let text = String::from_utf8_lossy(text);
    let separator = String::from_utf8_lossy(separator);
    if separator.is_empty() {
        return text.chars().map(Value::text).collect();
    }
    text.split(&*separator).map(Value::text).collect()
}

fn cannot<T>(one: &Value, two: &Value, verb: &str) -> ValR<T, Value> {
    fail(format!("{} and {} cannot be {verb}", one.described(), two.described()))
}

fn iteration_message(value: &Value) -> String {
    match value {
        Value::Null => "Cannot iterate over null (null)".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Array(_) | Value::Object(_) => {
            format!("Cannot iterate over {}", value.described())
        }
    }
}

fn cannot_iterate<T>(value: &Value) -> ValR<T, Value> {
    fail(iteration_message(value))
}

fn index_message(value: &Value, index: &Value) -> String {
    let kind = value.kind();
    match index {
        Value::Text(_) => {
            format!("Cannot index {kind} with string \"{}\"", index.to_text())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            format!("Cannot index {kind} with {}", index.kind())
        }
    }
}

fn cannot_index<T>(value: &Value, index: &Value) -> ValR<T, Value> {
    fail(index_message(value, index))
}
