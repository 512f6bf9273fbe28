//! The functions that queries can call: those of the interpreter's library, except some, and our own.
//!
//! Left out are functions that see more than the record: `env`, `debug`, `stderr`, `halt`, `input`, modules. A query
//! that names one of them does not compile. `now` is the arrival of the record, so that a second attempt gives the
//! same result. Functions that depend on the machine's time zone use UTC.

use jaq_core::box_iter::box_once;
use jaq_core::load::parse::Def;
use jaq_core::native::{Filter, Fun, bome, run, unary, v};
use jaq_core::path::Opt;
use jaq_core::{Cv, DataT, Error, RunPtr, ValR, ValT, load};
use jaq_std::ValT as _;

use crate::jq::budget::{charge, charge_bytes};
use crate::jq::interpreter::Interpreter;
use crate::jq::operations::{fail, places};
use crate::jq::value::Value;

/// Definitions of the interpreter's library that this crate replaces or refuses, with their numbers of arguments.
const LEFT_OUT: [(&str, usize); 20] = [
    ("debug", 0),
    ("debug", 1),
    ("del", 1),
    ("delpaths", 1),
    ("flatten", 0),
    ("flatten", 1),
    ("from_entries", 0),
    ("gamma", 0),
    ("halt", 0),
    ("halt_error", 0),
    ("halt_error", 1),
    ("infinite", 0),
    ("isinfinite", 0),
    ("isnan", 0),
    ("join", 1),
    ("nan", 0),
    ("stderr", 0),
    ("type", 0),
    ("with_entries", 1),
    ("@base64d", 0),
];

/// Definitions, in the order in which they see each other.
pub(super) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    let prelude = load::parse(include_str!("prelude.jq"), |parser| parser.defs());
    let last = load::parse("def leaf_paths: paths(scalars);", |parser| parser.defs());
    let ours = [prelude, last].map(|parsed| parsed.expect("the definitions are constants"));
    let [prelude, last] = ours;
    let kept =
        |definition: &Def<&str>| !LEFT_OUT.contains(&(definition.name, definition.args.len()));
    jaq_core::defs().filter(kept).chain(prelude).chain(jaq_std::defs().filter(kept)).chain(last)
}

/// Functions that are not written in jq.
pub(super) fn functions() -> impl Iterator<Item = Fun<Interpreter>> {
    let library = jaq_std::funs::<Interpreter>().filter_map(|(name, arguments, function)| {
        let name = match name {
            "env" | "now" | "debug_empty" | "stderr_empty" | "halt" => return None,
            "localtime" | "strflocaltime" | "todateiso8601" => return None,
            "ltrimstr" | "rtrimstr" | "decode_base64" => return None,
            "matches" => "regex_matches",
            "split_matches" => "regex_split_matches",
            "split_" => "regex_split",
            other => other,
        };
        Some((name, arguments, function))
    });
    let ours = ours().into_vec().into_iter();
    jaq_core::funs().chain(library).chain(ours.map(|filter| run::<Interpreter>(filter)))
}

/// Takes a text off an end of another.
type Strip<'a> = fn(&'a [u8], &'a [u8]) -> Option<&'a [u8]>;

fn ours() -> Box<[Filter<RunPtr<Interpreter>>]> {
    Box::new([
        ("null", v(0), |_| box_once(Ok(Value::Null))),
        ("now", v(0), |cv| box_once(Ok(Value::Number(cv.0.data().arrival_seconds())))),
        ("type", v(0), |cv| box_once(Ok(Value::text(cv.1.kind())))),
        ("nan", v(0), |_| box_once(Ok(Value::Number(f64::NAN)))),
        ("infinite", v(0), |_| box_once(Ok(Value::Number(f64::INFINITY)))),
        ("isnan", v(0), |cv| bome(float(&cv).map(|number| number.is_nan().into()))),
        ("isinfinite", v(0), |cv| bome(float(&cv).map(|number| number.is_infinite().into()))),
        ("length", v(0), |cv| bome(length(&cv.1))),
        ("tojson", v(0), |cv| box_once(Ok(Value::text(cv.1.to_string())))),
        ("fromjson", v(0), |cv| bome(from_json(&cv.1))),
        ("tonumber", v(0), |cv| bome(to_number(cv.1))),
        ("has", v(1), |cv| unary(cv, |value, key| has(&value, &key))),
        ("contains", v(1), |cv| unary(cv, |whole, part| contains(&whole, &part))),
        ("indices", v(1), |cv| unary(cv, |whole, part| indices(whole, &part))),
        ("bsearch", v(1), |cv| unary(cv, |list, value| search(&list, &value))),
        ("delpaths", v(1), |cv| unary(cv, without_all)),
        ("ltrimstr", v(1), |cv| {
            unary(cv, |text, start| Ok(trimmed(&text, &start, |text, fix| text.strip_prefix(fix))))
        }),
        ("rtrimstr", v(1), |cv| {
            unary(cv, |text, end| Ok(trimmed(&text, &end, |text, fix| text.strip_suffix(fix))))
        }),
        ("@csv", v(0), |cv| {
            bome(row(&cv.1, "csv", ",", |text| format!("\"{}\"", text.replace('"', "\"\""))))
        }),
        ("@tsv", v(0), |cv| bome(row(&cv.1, "tsv", "\t", escape_tabs))),
        ("@base64d", v(0), |cv| bome(from_base64(&cv.1))),
    ])
}

fn float<'a>(cv: &Cv<'a, Interpreter>) -> ValR<f64, Value>
where
    Interpreter: DataT<V<'a> = Value>,
{
    let value = &cv.1;
    value
        .as_f64()
        .ok_or_else(|| Error::new(Value::text(format!("{} number required", value.described()))))
}

fn length(value: &Value) -> ValR<Value> {
    match value {
        Value::Null => Ok(0usize.into()),
        Value::Number(number) => Ok(number.abs().into()),
        Value::Text(text) => {
            charge_bytes(text.len());
            Ok(String::from_utf8_lossy(text).chars().count().into())
        }
        Value::Array(items) => Ok(items.0.len().into()),
        Value::Object(members) => Ok(members.0.len().into()),
        Value::Bool(_) => fail(format!("{} has no length", value.described())),
    }
}

fn from_json(value: &Value) -> ValR<Value> {
    let Value::Text(text) = value else {
        return fail(format!("{} only strings can be parsed", value.described()));
    };
    serde_json::from_slice(text).or_else(|error| fail(format!("{error} (while parsing JSON)")))
}

fn to_number(value: Value) -> ValR<Value> {
    match value {
        Value::Number(_) => Ok(value),
        Value::Text(ref text) => {
            let text = String::from_utf8_lossy(text);
            let number = text.trim();
            let is_number = number.bytes().all(|byte| b"0123456789+-.eE".contains(&byte));
            let number = number.parse().ok().filter(|_| is_number).map(Value::Number);
            number.map_or_else(|| fail(format!("Invalid numeric literal '{text}'")), Ok)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            fail(format!("{} cannot be parsed as a number", value.described()))
        }
    }
}

fn has(value: &Value, key: &Value) -> ValR<Value> {
    match (value, key) {
        (Value::Object(members), Value::Text(key)) => Ok(members.0.contains_key(key).into()),
        (Value::Array(items), Value::Number(at)) => {
            Ok((*at >= 0.0 && *at < items.0.len() as f64).into())
        }
        (Value::Null, Value::Text(_) | Value::Number(_)) => Ok(false.into()),
        _ => {
            let (value, key) = (value.kind(), key.kind());
            fail(format!("Cannot check whether {value} has a {key} key"))
        }
    }
}

fn contains(whole: &Value, part: &Value) -> ValR<Value> {
    let is_same_kind = match (whole, part) {
        (Value::Bool(one), Value::Bool(two)) => one == two,
        _ => whole.kind() == part.kind(),
    };
    if is_same_kind {
        return Ok(holds(whole, part).into());
    }
    let (whole, part) = (whole.described(), part.described());
    fail(format!("{whole} and {part} cannot have their containment checked"))
}

fn holds(whole: &Value, part: &Value) -> bool {
    charge(1);
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .0
            .iter()
            .all(|(key, part)| whole.0.get(key).is_some_and(|whole| holds(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            part.0.iter().all(|part| whole.0.iter().any(|whole| holds(whole, part)))
        }
        (Value::Text(whole), Value::Text(part)) => {
            charge_bytes(whole.len());
            let [whole, part] = [whole, part].map(|text| String::from_utf8_lossy(text));
            whole.contains(&*part)
        }
        _ => whole == part,
    }
}

fn indices(whole: Value, part: &Value) -> ValR<Value> {
    match (&whole, part) {
        (Value::Text(_), Value::Text(part)) if part.is_empty() => Ok(Value::Null),
        (Value::Text(whole), Value::Text(part)) => {
            charge_bytes(whole.len());
            let found = (0..whole.len()).filter(|at| whole[*at..].starts_with(part));
            Ok(found.map(Value::from).collect())
        }
        (Value::Array(items), Value::Array(part)) => Ok(places(&items.0, &part.0)),
        (Value::Array(items), one) => Ok(places(&items.0, std::slice::from_ref(one))),
        (Value::Null, _) => Ok(Value::Null),
        _ => whole.index(part),
    }
}

fn search(list: &Value, value: &Value) -> ValR<Value> {
    match list {
        Value::Array(items) => {
            let place = match items.0.binary_search(value) {
                Ok(place) => place as f64,
                Err(place) => -1.0 - place as f64,
            };
            Ok(Value::Number(place))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_) => {
            Ok(Value::Number(-1.0))
        }
    }
}

/// The value without what is at the paths. Later places are deleted first, so that the paths stay right.
fn without_all(value: Value, paths: Value) -> ValR<Value> {
    let Value::Array(paths) = paths else {
        return fail("Paths must be specified as an array");
    };
    let mut sorted: Vec<&Value> = paths.0.iter().collect();
    sorted.sort_unstable();
    sorted.into_iter().rev().try_fold(value, |value, path| match path {
        Value::Array(path) => without(value, &path.0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_) => {
            fail("Path must be specified as an array")
        }
    })
}

fn without(value: Value, path: &[Value]) -> ValR<Value> {
    charge(1);
    let (Some((first, rest)), false) = (path.split_first(), matches!(value, Value::Null)) else {
        return Ok(Value::Null);
    };
    let child = value.clone().index(first)?;
    if matches!(child, Value::Null) && !rest.is_empty() {
        return Ok(value);
    }
    let new = if rest.is_empty() { None } else { Some(without(child, rest)?) };
    let updated = value.map_index(first, Opt::Essential, |_| new.clone().map(Ok).into_iter());
    updated.map_err(|error| {
        let other = || Error::new(Value::text("Cannot delete"));
        error.get_err().unwrap_or_else(|_| other())
    })
}

fn trimmed<'a>(text: &'a Value, fix: &'a Value, strip: Strip<'a>) -> Value {
    charge(1);
    let (Value::Text(bytes), Value::Text(fix)) = (text, fix) else { return text.clone() };
    let Some(rest) = strip(bytes, fix) else { return text.clone() };
    Value::Text(bytes.slice_ref(rest))
}

fn row(value: &Value, format: &str, separator: &str, quote: fn(&str) -> String) -> ValR<Value> {
    let Value::Array(items) = value else {
        let value = value.described();
        return fail(format!("{value} cannot be {format}-formatted, only array"));
    };
    let cells: ValR<Vec<String>, Value> = items
        .0
        .iter()
        .map(|item| match item {
            Value::Null => Ok(String::new()),
            Value::Bool(_) | Value::Number(_) => Ok(item.to_string()),
            Value::Text(text) => Ok(quote(&String::from_utf8_lossy(text))),
            Value::Array(_) | Value::Object(_) => {
                fail(format!("{} is not valid in a csv row", item.described()))
            }
        })
        .collect();
    Ok(Value::text(cells?.join(separator)))
}

fn escape_tabs(text: &str) -> String {
    let escapes = [("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")];
    escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn from_base64(value: &Value) -> ValR<Value> {
    let text = value.to_text();
    charge_bytes(text.len());
    let decoded = base64_simd::STANDARD_NO_PAD.decode_to_vec(text.trim_end_matches('='));
    match decoded {
        Ok(bytes) => Ok(Value::text(String::from_utf8_lossy(&bytes))),
        Err(_) => fail(format!("{} is not valid base64 data", value.described())),
    }
}
