//! The members and constraints of the inputs of the API, and the check of a request against them.
//!
//! `model.json` holds them, in the words of the service model (`scripts/firehose_model.py` writes it from botocore, and
//! a test compares the two). A request is checked as JSON, because delivery streams are kept and described as they were
//! sent: there is no other form of the hundred structures.
//!
//! Patterns that name hosts of AWS are relaxed: `http` beside `https`, any host and a port.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anabranch_aws::constraints::Checks;
use base64_simd::STANDARD;
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

/// The part of the service model that requests need.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    operations: BTreeMap<String, String>,
    shapes: BTreeMap<String, Shape>,
}

/// One shape of the model.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shape {
    #[serde(rename = "type")]
    kind: Kind,
    required: Vec<String>,
    #[serde(rename = "enum")]
    words: Vec<String>,
    min: Option<f64>,
    max: Option<f64>,
    pattern: Option<String>,
    members: BTreeMap<String, String>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    #[serde(skip)]
    regex: OnceLock<Option<Regex>>,
}

/// The type of a shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Structure,
    List,
    Map,
    String,
    Integer,
    Double,
    Boolean,
    Timestamp,
    Blob,
}

/// A longer value is cut in messages anyway.
const SHOWN_BYTES: usize = 2048;

impl Model {
    /// The model.
    #[expect(clippy::expect_used, reason = "a test reads the file that is compiled in")]
    pub(crate) fn get() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(|| {
            serde_json::from_str(include_str!("model.json")).expect("the model is well-formed")
        })
    }

    fn shape(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(name)
    }

    fn input(&self, operation: &str) -> Option<&Shape> {
        self.shape(self.operations.get(operation)?)
    }

    /// Removes members that the operation does not know and members that are null, and checks the types of the others.
    ///
    /// # Errors
    /// The words of AWS for a member of another type.
    pub(crate) fn typed(&self, operation: &str, request: &mut Value) -> Result<(), String> {
        match self.input(operation) {
            Some(input) => self.type_of(input, request),
            None => Ok(()),
        }
    }

    /// Checks the constraints of a request whose types are right.
    pub(crate) fn check(&self, operation: &str, request: &Value, checks: &mut Checks) {
        if let Some(input) = self.input(operation) {
            self.check_value(input, request, "", checks);
        }
    }

    fn type_of(&self, shape: &Shape, value: &mut Value) -> Result<(), String> {
        match (shape.kind, &mut *value) {
            (Kind::Structure, Value::Object(members)) => {
                members.retain(|name, value| shape.members.contains_key(name) && !value.is_null());
                for (name, value) in members {
                    if let Some(member) = shape.members.get(name).and_then(|name| self.shape(name))
                    {
                        self.type_of(member, value)?;
                    }
                }
                Ok(())
            }
            (Kind::List, Value::Array(members)) => {
                let Some(member) = shape.member.as_deref().and_then(|name| self.shape(name)) else {
                    return Ok(());
                };
                members.iter_mut().try_for_each(|value| self.type_of(member, value))
            }
            (Kind::Map, Value::Object(entries)) => {
                let Some(entry) = shape.value.as_deref().and_then(|name| self.shape(name)) else {
                    return Ok(());
                };
                entries.values_mut().try_for_each(|value| self.type_of(entry, value))
            }
            (Kind::String, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => Ok(()),
            (Kind::Double | Kind::Timestamp, Value::Number(_)) => Ok(()),
            (Kind::Integer, Value::Number(number)) => {
                // The SDKs of some languages write whole numbers with a decimal point.
                let text = number.to_string();
                let whole = text.strip_suffix(".0").unwrap_or(&text).parse::<i64>();
                let whole = whole.map_err(|_| mismatch(Kind::Integer, &Value::Null).to_owned())?;
                *value = Value::from(whole);
                Ok(())
            }
            (Kind::Blob, Value::String(text)) => match STANDARD.check(text.as_bytes()) {
                Ok(()) => Ok(()),
                Err(_) => Err("blob value is not base64".to_owned()),
            },
            (kind, value) => Err(mismatch(kind, value).to_owned()),
        }
    }

    fn check_value(&self, shape: &Shape, value: &Value, path: &str, checks: &mut Checks) {
        match value {
            Value::Object(members) if shape.kind == Kind::Structure => {
                for name in &shape.required {
                    if !members.contains_key(name) {
                        checks.broken(&join(path, &lower(name)), None, "Member must not be null");
                    }
                }
                for (name, value) in members {
                    if let Some(member) = shape.members.get(name).and_then(|name| self.shape(name))
                    {
                        self.check_value(member, value, &join(path, &lower(name)), checks);
                    }
                }
            }
            Value::Object(entries) => {
                self.check_size(shape, entries.len(), &shown(value), path, checks);
                let shapes = [&shape.key, &shape.value]
                    .map(|name| name.as_deref().and_then(|name| self.shape(name)));
                for (key, value) in entries {
                    let path = join(path, key);
                    if let [Some(key_shape), Some(value_shape)] = shapes {
                        self.check_value(key_shape, &Value::from(key.as_str()), &path, checks);
                        self.check_value(value_shape, value, &path, checks);
                    }
                }
            }
            Value::Array(members) => {
                self.check_size(shape, members.len(), &shown(value), path, checks);
                let Some(member) = shape.member.as_deref().and_then(|name| self.shape(name)) else {
                    return;
                };
                for (index, value) in (1..).zip(members) {
                    self.check_value(member, value, &format!("{path}.{index}.member"), checks);
                }
            }
            Value::String(text) if shape.kind == Kind::Blob => {
                let bytes = STANDARD.decoded_length(text.as_bytes()).unwrap_or_default();
                let shown = format!("java.nio.HeapByteBuffer[pos=0 lim={bytes} cap={bytes}]");
                self.check_size(shape, bytes, &shown, path, checks);
            }
            Value::String(text) => self.check_text(shape, text, path, checks),
            Value::Number(number) => {
                let amount = number.as_f64().unwrap_or_default();
                let (shown, range) =
                    (number.to_string(), [("greater", shape.min), ("less", shape.max)]);
                for (side, bound) in range {
                    let Some(bound) = bound else { continue };
                    if (side == "greater" && amount < bound) || (side == "less" && amount > bound) {
                        let must =
                            format!("Member must have value {side} than or equal to {bound}");
                        checks.broken(path, Some(&shown), &must);
                    }
                }
            }
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn check_text(&self, shape: &Shape, text: &str, path: &str, checks: &mut Checks) {
        let characters = text.chars().count();
        self.check_size(shape, characters, text, path, checks);
        if let Some(pattern) = &shape.pattern
            && !shape.matches(pattern, text)
        {
            let must = format!("Member must satisfy regular expression pattern: {pattern}");
            checks.broken(path, Some(text), &must);
        }
        if !shape.words.is_empty() && !shape.words.iter().any(|word| word == text) {
            let must = format!("Member must satisfy enum value set: [{}]", shape.words.join(", "));
            checks.broken(path, Some(text), &must);
        }
    }

    fn check_size(&self, shape: &Shape, size: usize, shown: &str, path: &str, checks: &mut Checks) {
        let size = size as f64;
        if let Some(max) = shape.max.filter(|max| size > *max) {
            let must = format!("Member must have length less than or equal to {max}");
            checks.broken(path, Some(shown), &must);
        }
        if let Some(min) = shape.min.filter(|min| size < *min) {
            let must = format!("Member must have length greater than or equal to {min}");
            checks.broken(path, Some(shown), &must);
        }
    }
}

impl Shape {
    /// Whether the whole text matches a pattern of the model.
    fn matches(&self, pattern: &str, text: &str) -> bool {
        match pattern {
            // These have what the crate for patterns does not have.
            r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$" => {
                !text.starts_with("aws:") && is_tag_text(text)
            }
            r"^[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$" => is_tag_text(text),
            r"^(?!\s*$).+" => !text.trim().is_empty(),
            r"[\u0001-\uFFFF]*" => !text.contains('\0'),
            // These name hosts of AWS.
            "https:.*" | "https://.*" => {
                text.starts_with("https://") || text.starts_with("http://")
            }
            jdbc if jdbc.starts_with("jdbc:") => is_jdbc_url(text),
            _ => {
                let compile = || Regex::new(&format!("^(?:{pattern})$")).ok();
                let regex = self.regex.get_or_init(compile);
                regex.as_ref().is_none_or(|regex| regex.is_match(text))
            }
        }
    }
}

fn is_tag_text(text: &str) -> bool {
    let allowed = |c: char| {
        c.is_alphabetic() || c.is_numeric() || c == ' ' || c == '\u{a0}' || "_.:/=+-@%".contains(c)
    };
    text.chars().all(allowed)
}

/// `jdbc:redshift://HOST:PORT/DATABASE`, or the same with `postgresql`.
fn is_jdbc_url(text: &str) -> bool {
    let rest =
        text.strip_prefix("jdbc:redshift://").or_else(|| text.strip_prefix("jdbc:postgresql://"));
    let Some((host, database)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
    let Some((host, port)) = host.rsplit_once(':') else { return false };
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_$-".contains(c);
    !host.is_empty()
        && port.parse::<u16>().is_ok()
        && !database.is_empty()
        && database.chars().all(is_word)
}

/// The words of AWS for a value of the wrong type.
fn mismatch(kind: Kind, value: &Value) -> &'static str {
    match (value, kind) {
        (Value::Object(_), _) => "Start of structure or map found where not expected.",
        (Value::Array(_), _) => "Start of list found where not expected",
        (Value::Null, _) => "Unexpected null",
        (Value::String(_), _) => "STRING_VALUE cannot be converted to the type of the member",
        (Value::Number(_), _) => "NUMBER_VALUE cannot be converted to the type of the member",
        (Value::Bool(_), _) => {
            "TRUE_VALUE or FALSE_VALUE cannot be converted to the type of the member"
        }
    }
}

fn shown(value: &Value) -> String {
    let mut text = match value {
        Value::Array(members) if members.is_empty() => "[]".to_owned(),
        Value::Array(members) => format!("[{} members]", members.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    let mut end = text.len().min(SHOWN_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name in a message begins with a small letter.
fn lower(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use anabranch_aws::constraints::{Constrained, check};
    use serde_json::json;

    use super::*;

    struct Request(&'static str, Value);

    impl Constrained for Request {
        fn check(&self, checks: &mut Checks) {
            Model::get().check(self.0, &self.1, checks);
        }
    }

    fn violations(operation: &'static str, mut request: Value) -> String {
        Model::get().typed(operation, &mut request).unwrap();
        check(&Request(operation, request)).map_or_else(|error| error.0, |()| String::new())
    }

    #[test]
    fn every_pattern_of_the_model_is_understood() {
        for (name, shape) in &Model::get().shapes {
            let Some(pattern) = &shape.pattern else { continue };
            shape.matches(pattern, "a");
            assert!(!matches!(shape.regex.get(), Some(None)), "{name}: {pattern}");
        }
    }

    #[test]
    fn the_names_of_every_shape_exist() {
        let model = Model::get();
        assert_eq!(model.operations.len(), 12);
        for shape in model.shapes.values() {
            let parts = [&shape.member, &shape.key, &shape.value];
            for name in shape.members.values().chain(parts.into_iter().flatten()) {
                assert!(model.shape(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn violations_are_in_the_words_of_aws() {
        assert_eq!(
            violations("PutRecord", json!({"DeliveryStreamName": "a b"})),
            "2 validation errors detected: Value null at 'record' failed to satisfy constraint: Member must not be \
             null; Value 'a b' at 'deliveryStreamName' failed to satisfy constraint: Member must satisfy regular \
             expression pattern: [a-zA-Z0-9_.-]+"
        );
        let configuration = json!({
            "RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::b",
            "CompressionFormat": "gzip", "BufferingHints": {"SizeInMBs": 0}
        });
        let request =
            json!({"DeliveryStreamName": "a", "S3DestinationConfiguration": configuration});
        let text = violations("CreateDeliveryStream", request);
        let compression = "Value 'gzip' at 's3DestinationConfiguration.compressionFormat' failed to satisfy constraint: \
                           Member must satisfy enum value set: [UNCOMPRESSED, GZIP, ZIP, Snappy, HADOOP_SNAPPY]";
        let size = "Value '0' at 's3DestinationConfiguration.bufferingHints.sizeInMBs' failed to satisfy constraint: \
                    Member must have value greater than or equal to 1";
        assert!(text.contains(compression) && text.contains(size), "{text}");
    }

    #[test]
    fn hosts_may_be_any_and_http_is_allowed() {
        assert!(is_jdbc_url("jdbc:postgresql://127.0.0.1:5432/dev"));
        assert!(
            !is_jdbc_url("jdbc:mysql://host:5432/dev") && !is_jdbc_url("jdbc:redshift://host/dev")
        );
        let endpoint = json!({"EndpointConfiguration": {"Url": "http://localhost:80/x"}, "S3Configuration": {
            "RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::b"}});
        let request =
            json!({"DeliveryStreamName": "a", "HttpEndpointDestinationConfiguration": endpoint});
        assert_eq!(violations("CreateDeliveryStream", request), "");
    }

    #[test]
    fn a_member_of_another_type_is_refused_and_unknown_ones_are_dropped() {
        let model = Model::get();
        let mut request = json!({"DeliveryStreamName": 5});
        assert!(model.typed("DeleteDeliveryStream", &mut request).is_err());
        let mut request =
            json!({"DeliveryStreamName": "a", "Unknown": {}, "AllowForceDelete": null});
        model.typed("DeleteDeliveryStream", &mut request).unwrap();
        assert_eq!(request, json!({"DeliveryStreamName": "a"}));
    }
}
