//! The tables of section "Filter criteria" in the guide, as records and patterns.

use anabranch_types::{SequenceNumber, SequenceNumberParts, ShardId, Timestamp};
use bytes::Bytes;

use super::*;

fn record(key: &str, data: &str) -> Record {
    let parts = SequenceNumberParts {
        shard_born_seconds: 1,
        shard: ShardId(0),
        log_index: 7,
        offset: 0,
        arrival_seconds: 1_767_225_612,
    };
    Record {
        number: SequenceNumber::new(parts),
        arrival: Timestamp::from_millis(1_767_225_612_250),
        partition_key: Bytes::copy_from_slice(key.as_bytes()),
        data: Bytes::copy_from_slice(data.as_bytes()),
    }
}

fn passes(patterns: &[&str], data: &str) -> bool {
    Filters::compile(patterns.iter().copied()).unwrap().pass(&record("key-1", data))
}

#[track_caller]
fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    for data in matching {
        assert!(passes(&[pattern], data), "{pattern} must match {data}");
    }
    for data in others {
        assert!(!passes(&[pattern], data), "{pattern} must not match {data}");
    }
}

#[test]
fn without_a_filter_every_record_passes() {
    assert!(passes(&[], "not JSON"));
}

#[test]
fn texts_match_exactly() {
    let pattern = r#"{"data":{"kind":["alarm"]}}"#;
    let matching = [r#"{"kind":"alarm","more":1}"#, r#"{"kind":["x","alarm"]}"#];
    check(
        pattern,
        &matching,
        &[
            r#"{"kind":"Alarm"}"#,
            r#"{"kind":"alarms"}"#,
            r#"{"other":"alarm"}"#,
            "{}",
            r#"{"kind":null}"#,
        ],
    );
    check(r#"{"data":{"a":[""]}}"#, &[r#"{"a":""}"#], &[r#"{"a":null}"#, "{}", r#"{"a":" "}"#]);
}

#[test]
fn null_and_booleans_match_themselves() {
    check(r#"{"data":{"a":[null]}}"#, &[r#"{"a":null}"#], &["{}", r#"{"a":""}"#, r#"{"a":0}"#]);
    check(r#"{"data":{"a":[true]}}"#, &[r#"{"a":true}"#], &[r#"{"a":false}"#, r#"{"a":"true"}"#]);
}

#[test]
fn rules_of_a_field_are_joined_by_or_and_fields_by_and() {
    let pattern = r#"{"data":{"a":["x","y"],"b":{"c":[1]}}}"#;
    check(
        pattern,
        &[r#"{"a":"x","b":{"c":1}}"#, r#"{"a":"y","b":{"c":1,"d":2}}"#],
        &[
            r#"{"a":"z","b":{"c":1}}"#,
            r#"{"a":"x","b":{"c":2}}"#,
            r#"{"a":"x","b":1}"#,
            r#"{"a":"x"}"#,
        ],
    );
}

#[test]
fn plain_numbers_match_by_text_and_numeric_by_value() {
    check(
        r#"{"data":{"a":[300]}}"#,
        &[r#"{"a":300}"#],
        &[r#"{"a":300.0}"#, r#"{"a":3.0e2}"#, r#"{"a":"300"}"#],
    );
    let equal = r#"{"data":{"a":[{"numeric":["=",300]}]}}"#;
    check(
        equal,
        &[r#"{"a":300}"#, r#"{"a":300.0}"#, r#"{"a":3.0e2}"#],
        &[r#"{"a":301}"#, r#"{"a":"300"}"#],
    );
    let range = r#"{"data":{"a":[{"numeric":[">",10,"<=",20]}]}}"#;
    check(range, &[r#"{"a":10.5}"#, r#"{"a":20}"#], &[r#"{"a":10}"#, r#"{"a":20.1}"#, "{}"]);
    check(r#"{"data":{"a":[{"numeric":["<",-1.5]}]}}"#, &[r#"{"a":-2}"#], &[r#"{"a":-1.5}"#]);
}

#[test]
fn exists_is_about_leaves() {
    let exists = r#"{"data":{"a":{"b":[{"exists":true}]}}}"#;
    check(
        exists,
        &[r#"{"a":{"b":1}}"#, r#"{"a":{"b":null}}"#, r#"{"a":{"b":[]}}"#],
        &["{}", r#"{"a":{}}"#, r#"{"a":{"b":{"c":1}}}"#],
    );
    let absent = r#"{"data":{"a":{"b":[{"exists":false}]}}}"#;
    check(absent, &["{}", r#"{"a":{}}"#, r#"{"a":1}"#], &[r#"{"a":{"b":1}}"#]);
}

#[test]
fn prefix_suffix_and_case() {
    check(
        r#"{"data":{"a":[{"prefix":"us-"}]}}"#,
        &[r#"{"a":"us-east-1"}"#],
        &[r#"{"a":"eu-us-"}"#, r#"{"a":1}"#],
    );
    check(r#"{"data":{"a":[{"suffix":".png"}]}}"#, &[r#"{"a":"x.png"}"#], &[r#"{"a":"x.PNG"}"#]);
    check(
        r#"{"data":{"a":[{"equals-ignore-case":"Straße"}]}}"#,
        &[r#"{"a":"STRAßE"}"#],
        &[r#"{"a":"strasse"}"#],
    );
}

#[test]
fn anything_but_wants_a_field_with_another_value() {
    let pattern = r#"{"data":{"a":[{"anything-but":["x",1]}]}}"#;
    check(
        pattern,
        &[r#"{"a":"y"}"#, r#"{"a":2}"#, r#"{"a":null}"#, r#"{"a":["x","y"]}"#],
        &[r#"{"a":"x"}"#, r#"{"a":1}"#, "{}", r#"{"a":["x"]}"#],
    );
    check(
        r#"{"data":{"a":[{"anything-but":{"prefix":"x"}}]}}"#,
        &[r#"{"a":"y"}"#],
        &[r#"{"a":"xy"}"#],
    );
}

#[test]
fn one_of_the_alternatives_of_or_must_match() {
    let pattern = r#"{"data":{"$or":[{"a":[1]},{"b":{"c":[2]}}],"d":[3]}}"#;
    check(
        pattern,
        &[r#"{"a":1,"d":3}"#, r#"{"b":{"c":2},"d":3}"#],
        &[r#"{"a":1}"#, r#"{"a":2,"d":3}"#],
    );
    let outermost = r#"{"$or":[{"data":{"a":[1]}},{"partitionKey":["key-1"]}]}"#;
    check(outermost, &[r#"{"a":2}"#], &[]);
}

#[test]
fn objects_in_arrays_are_looked_into() {
    let pattern = r#"{"data":{"items":{"id":[7]}}}"#;
    check(
        pattern,
        &[r#"{"items":[{"id":1},{"id":7}]}"#],
        &[r#"{"items":[{"id":1}]}"#, r#"{"items":[]}"#],
    );
}

#[test]
fn data_that_is_not_json_matches_no_rule_for_data() {
    for data in ["", "plain", "{", r#"{"a":}"#, "\u{0}"] {
        assert!(!passes(&[r#"{"data":{"a":[{"exists":false}]}}"#], data), "{data}");
        assert!(passes(&[r#"{"partitionKey":["key-1"]}"#], data), "{data}");
        assert!(!passes(&[r#"{"partitionKey":["key-2"]}"#], data), "{data}");
    }
    assert!(passes(&[r#"{"data":["text"]}"#], r#""text""#));
    assert!(!passes(&[r#"{"data":["text"]}"#], "text"));
}

#[test]
fn filters_are_joined_by_or() {
    let filters = [r#"{"data":{"a":[1]}}"#, r#"{"data":{"a":[2]}}"#];
    assert!(passes(&filters, r#"{"a":2}"#));
    assert!(!passes(&filters, r#"{"a":3}"#));
    assert!(passes(
        &[r#"{"data":{"a":[1]}}"#, r#"{"partitionKey":[{"prefix":"key"}]}"#],
        "not JSON"
    ));
}

#[test]
fn metadata_is_beside_data() {
    let number = record("k", "").number.to_string();
    let pattern = format!(r#"{{"sequenceNumber":["{number}"],"kinesisSchemaVersion":["1.0"]}}"#);
    check(&pattern, &["x"], &[]);
    check(r#"{"approximateArrivalTimestamp":[{"numeric":[">",1767225612]}]}"#, &["x"], &[]);
    check(r#"{"eventName":["aws:kinesis:record"]}"#, &[], &["x"]);
}

#[test]
fn a_key_that_is_not_utf_8_or_needs_escapes_does_no_harm() {
    let filters = Filters::compile([r#"{"partitionKey":["a\"b\n"]}"#]).unwrap();
    assert!(filters.pass(&record("a\"b\n", "")));
    let mut odd = record("", "");
    odd.partition_key = Bytes::from_static(&[0xff, 0xfe]);
    assert!(!filters.pass(&odd));
}

#[test]
fn deeply_nested_data_does_no_harm() {
    let data = format!("{}{}", r#"{"a":"#.repeat(200_000), "[".repeat(200_000));
    assert!(!passes(&[r#"{"data":{"a":{"a":[1]}}}"#], &data));
    let data = format!(r#"{{"a":{}{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(!passes(&[r#"{"data":{"a":[1]}}"#, r#"{"data":{"a":{"a":[1]}}}"#], &data));
    let data = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    assert!(!passes(&[r#"{"data":{"a":{"a":[1]}}}"#], &data));
}

#[test]
fn what_is_no_pattern_is_refused() {
    for (pattern, reason) in [
        ("", "The pattern is not JSON."),
        ("{", "The pattern is not JSON."),
        ("[]", "A pattern must be an object."),
        ("{}", "An object must have a rule."),
        (r#"{"data":"x"}"#, "data must be an object or an array."),
        (r#"{"data":{"a":1}}"#, "a must be an object or an array."),
        (r#"{"data":{"a":[]}}"#, "The array of a must have a rule."),
        (r#"{"data":{"a":[[1]]}}"#, "A rule must not be an array."),
        (r#"{"data":{"a":[{"regex":"x"}]}}"#, "Unrecognized match type regex."),
        (r#"{"data":{"a":[{"prefix":1}]}}"#, "prefix has a wrong operand."),
        (r#"{"data":{"a":[{"exists":"yes"}]}}"#, "exists has a wrong operand."),
        (r#"{"data":{"a":[{"prefix":"a","suffix":"b"}]}}"#, "A rule must have one operator."),
        (
            r#"{"data":{"a":[{"numeric":["=","1"]}]}}"#,
            "numeric must be one comparison, or a lower and an upper bound.",
        ),
        (
            r#"{"data":{"a":[{"numeric":["<",1,">",0]}]}}"#,
            "numeric must be one comparison, or a lower and an upper bound.",
        ),
        (
            r#"{"data":{"a":[{"anything-but":[]}]}}"#,
            "anything-but must be texts, numbers, a prefix or a suffix.",
        ),
        (r#"{"data":{"$or":[{"a":[1]}]}}"#, "$or must be an array of two or more objects."),
    ] {
        let error = Filters::compile([pattern]).unwrap_err();
        let expected = format!("FilterCriteria: Invalid filter pattern definition. {reason}");
        assert_eq!(error.to_string(), expected, "{pattern}");
    }
}

#[test]
fn there_are_at_most_five_filters_of_4096_characters() {
    let pattern = r#"{"data":{"a":[1]}}"#;
    assert!(Filters::compile([pattern; 5]).is_ok());
    let error = Filters::compile([pattern; 6]).unwrap_err().to_string();
    assert_eq!(error, "FilterCriteria: must be at most 5 filters");
    let long = format!(r#"{{"data":{{"a":["{}"]}}}}"#, "é".repeat(4096 - 19));
    assert!(Filters::compile([&*long]).is_ok());
    let error = Filters::compile([&*format!("{long} ")]).unwrap_err().to_string();
    assert_eq!(error, "FilterCriteria: a pattern must be at most 4096 characters");
}
