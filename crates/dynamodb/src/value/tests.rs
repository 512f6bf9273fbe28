//! Values in JSON, in rows, and their sizes.

use anabranch_aws::wire::{self, Format, Writer};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::json::{Entries, SentValue};
use super::*;
use crate::number::tests::number;

/// Any value, nested at most three levels deep.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        ".{0,6}".prop_map(Value::S),
        number().prop_map(Value::N),
        vec(any::<u8>(), 0..6).prop_map(Value::B),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        btree_set(".{0,6}", 1..4).prop_map(Value::Ss),
        btree_set(number(), 1..4).prop_map(Value::Ns),
        btree_set(vec(any::<u8>(), 0..6), 1..4).prop_map(Value::Bs),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::L),
            btree_map("[a-d\"é]{1,3}", inner, 0..4).prop_map(Value::M),
        ]
    })
}

/// Any attributes.
pub(crate) fn attributes() -> impl Strategy<Value = Attributes> {
    btree_map("[a-d\"\\\\é\n]{1,3}", value(), 0..5)
}

/// Attributes from JSON.
pub(crate) fn parsed(json: &str) -> Attributes {
    let entries: Wrapped =
        wire::decode(Format::Json, format!(r#"{{"V":{json}}}"#).as_bytes()).unwrap();
    entries.v.attributes().unwrap()
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Wrapped {
    v: Entries<SentValue>,
}

/// The JSON text of attributes.
pub(crate) fn printed(attributes: &Attributes) -> String {
    let mut writer = Writer::new(Format::Json, 64);
    json::write_attributes(&mut writer, attributes);
    String::from_utf8(writer.finish()).unwrap()
}

/// The outcome of reading one value: its JSON, or the message.
fn outcome(json: &str) -> String {
    let body = format!(r#"{{"V":{{"a":{json}}}}}"#);
    match wire::decode::<Wrapped>(Format::Json, body.as_bytes()) {
        Ok(wrapped) => match wrapped.v.attributes() {
            Ok(attributes) => printed(&attributes),
            Err(invalid) => invalid.to_string(),
        },
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn values_of_each_type_are_read_and_written() {
    for json in [
        r#"{"S":""}"#,
        r#"{"S":"a\"\u0001é"}"#,
        r#"{"N":"-1.5"}"#,
        r#"{"B":"AAE="}"#,
        r#"{"BOOL":false}"#,
        r#"{"NULL":true}"#,
        r#"{"L":[]}"#,
        r#"{"L":[{"N":"1"},{"M":{"x\"y":{"S":"z"}}}]}"#,
        r#"{"SS":["a","b"]}"#,
        r#"{"NS":["-1","2","10"]}"#,
        r#"{"BS":["AA==","AQ=="]}"#,
    ] {
        assert_eq!(outcome(json), format!(r#"{{"a":{json}}}"#));
    }
    assert_eq!(outcome(r#"{"NS":["10","2","-1.0"]}"#), r#"{"a":{"NS":["-1","2","10"]}}"#);
}

#[test]
fn values_that_dynamodb_refuses_get_its_texts() {
    let invalid = "One or more parameter values were invalid: ";
    for (json, expected) in [
        (
            "{}",
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ),
        (
            r#"{"X":1}"#,
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ),
        (
            r#"{"S":"a","N":"1"}"#,
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
        ),
        (
            r#"{"NULL":false}"#,
            &format!("{invalid}Null attribute value types must have the value of true"),
        ),
        (r#"{"SS":[]}"#, &format!("{invalid}An string set  may not be empty")),
        (r#"{"NS":[]}"#, &format!("{invalid}An number set  may not be empty")),
        (r#"{"BS":[]}"#, &format!("{invalid}Binary sets should not be empty")),
        (
            r#"{"SS":["b","a","b"]}"#,
            &format!("{invalid}Input collection [b, a, b] contains duplicates."),
        ),
        (
            r#"{"NS":["1","1.0"]}"#,
            &format!("{invalid}Input collection [1, 1.0] contains duplicates."),
        ),
        (r#"{"N":"x"}"#, "The parameter cannot be converted to a numeric value: x"),
        (r#"{"N":""}"#, "The parameter cannot be converted to a numeric value"),
        (r#"{"L":[{"SS":[]}]}"#, &format!("{invalid}An string set  may not be empty")),
    ] {
        assert_eq!(outcome(json), expected, "{json}");
    }
}

#[test]
fn wrong_json_types_are_refused_by_the_decoder() {
    for json in [
        r#"{"S":5}"#,
        r#"{"N":5}"#,
        r#"{"B":"!"}"#,
        r#"{"L":{}}"#,
        r#"{"M":[]}"#,
        "5",
        "[]",
        r#""x""#,
    ] {
        assert!(outcome(json).starts_with("Type("), "{json}: {}", outcome(json));
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        format!("{}{}{}", r#"{"L":["#.repeat(depth), r#"{"N":"1"}"#, "]}".repeat(depth))
    };
    let check =
        |depth| json::check_depth(parsed(&format!(r#"{{"a":{}}}"#, nested(depth))).values());
    assert_eq!(check(32), Ok(()));
    assert_eq!(check(33), Err(json::InvalidValue::TooDeep));
    assert!(outcome(&nested(200)).starts_with("Malformed("));
}

#[test]
fn sizes_are_those_of_the_developer_guide() {
    let bytes = |json: &str| size(&parsed(json));
    assert_eq!(bytes(r#"{"name":{"S":"é"}}"#), 6);
    assert_eq!(bytes(r#"{"a":{"BOOL":true},"b":{"NULL":true}}"#), 4);
    assert_eq!(bytes(r#"{"l":{"L":[{"S":"ab"},{"S":"c"}]}}"#), 1 + 3 + 3 + 2);
    assert_eq!(bytes(r#"{"s":{"SS":["ab","c"]}}"#), 4);
}

/// The stored form. These bytes must never change.
#[test]
fn the_stored_form_is_frozen() {
    let attributes = parsed(
        r#"{"k":{"S":"a"},"n":{"N":"1.50"},"s":{"BS":["AA=="]},"m":{"M":{"x":{"NULL":true}}}}"#,
    );
    let hex: String =
        stored::encode(&attributes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "8201a4616b82006161616d8206a161788204f6616e820163312e356173820981 4100".replace(' ', "")
    );
}

proptest! {
    #[test]
    fn json_and_stored_form_keep_every_value(attributes in attributes()) {
        prop_assert_eq!(&parsed(&printed(&attributes)), &attributes);
        prop_assert_eq!(stored::decode(&stored::encode(&attributes)), Ok(attributes));
    }

    #[test]
    fn damaged_rows_are_refused_without_a_panic(attributes in attributes(), at in any::<usize>(), byte: u8) {
        let mut bytes = stored::encode(&attributes);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = stored::decode(&bytes);
        let _ = stored::decode(&bytes[..at]);
    }
}
