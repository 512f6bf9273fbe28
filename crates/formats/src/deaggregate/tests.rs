//! Records with several parts, by tables.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::record::tests::record;

fn split(how: &Deaggregation, data: impl Into<Vec<u8>>) -> Result<Vec<String>, String> {
    let record = record(data);
    let parts = how.split(&record).map_err(|failure| {
        assert_eq!((&*failure.code, &failure.record), (ERROR_CODE, &record));
        failure.message.into_owned()
    })?;
    let parts: Vec<Record> = parts.collect();
    assert!((0..).zip(&parts).all(|(place, part)| part.sub_sequence == place));
    Ok(parts.iter().map(|part| String::from_utf8_lossy(&part.data).into_owned()).collect())
}

fn rows_of(delimiter: &str) -> Deaggregation {
    Deaggregation::Delimited(Delimiter::parse(delimiter).unwrap())
}

#[test]
fn json_documents() {
    let cases: [(&str, &[&str]); 14] = [
        (r#"{"a":1}"#, &[r#"{"a":1}"#]),
        (r#"{"a":1}{"a":2}"#, &[r#"{"a":1}"#, r#"{"a":2}"#]),
        ("{\"a\":1}\n{\"a\":2}\n", &[r#"{"a":1}"#, r#"{"a":2}"#]),
        (" { \"a\" : 1.50 }\r\n\t{}  ", &[r#"{ "a" : 1.50 }"#, "{}"]),
        (r#"{"a":{"b":[{},"}{"]}}{}"#, &[r#"{"a":{"b":[{},"}{"]}}"#, "{}"]),
        (r#"[{"a":1}, {"a":2}]"#, &[r#"{"a":1}"#, r#"{"a":2}"#]),
        (r#"[{"a":1}]{"a":2}[{"a":3}]"#, &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#]),
        ("[]", &["[]"]),
        (r#"[1,{"a":2}]"#, &[r#"[1,{"a":2}]"#]),
        (r#"[[{"a":1}]]"#, &[r#"[[{"a":1}]]"#]),
        ("1 \"two\" null", &["1", "\"two\"", "null"]),
        (r#"{"k":"é"}{"k":"\u00e9"}"#, &[r#"{"k":"é"}"#, r#"{"k":"\u00e9"}"#]),
        ("", &[]),
        (" \n", &[]),
    ];
    for (data, expected) in cases {
        assert_eq!(split(&Deaggregation::Json, data).unwrap(), expected, "{data}");
    }
}

#[test]
fn a_record_that_is_not_json_to_its_end_fails() {
    let cases: [&[u8]; 7] = [
        b"hello",
        br#"{"a":1"#,
        br#"{"a":1}{"a""#,
        br#"{"a":1},{"a":2}"#,
        br#"{"a":1}#{"a":2}"#,
        br#"[{"a":1}"#,
        b"{\"a\":\"\xff\"}",
    ];
    for data in cases {
        assert!(split(&Deaggregation::Json, data).is_err(), "{}", String::from_utf8_lossy(data));
    }
    let message = split(&Deaggregation::Json, "{} {\"a\"").unwrap_err();
    assert_eq!(message, "byte 3: EOF while parsing an object at line 1 column 7");
}

#[test]
fn rows_between_delimiters() {
    let newline = rows_of("Cg==");
    assert_eq!(split(&newline, "a,b\nc,d\n").unwrap(), ["a,b", "c,d"]);
    assert_eq!(split(&newline, "\n\na\n\nb").unwrap(), ["a", "b"]);
    assert_eq!(split(&newline, "\n").unwrap(), [""; 0]);
    assert_eq!(split(&newline, "").unwrap(), [""; 0]);
    assert_eq!(split(&rows_of("IyMjIw=="), "a###b####c#####d").unwrap(), ["a###b", "c", "#d"]);
}

#[test]
fn deep_documents_need_no_stack() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(split(&Deaggregation::Json, deep.clone()).unwrap(), [deep]);
}

#[test]
fn parameters_of_the_processor() {
    assert_eq!(Deaggregation::parse("JSON", None), Ok(Deaggregation::Json));
    assert_eq!(Deaggregation::parse("DELIMITED", Some("Cg==")), Ok(rows_of("Cg==")));
    assert_eq!(Deaggregation::parse("DELIMITED", None), Err(DeaggregationError::NoDelimiter));
    let unknown = DeaggregationError::UnknownType("json".to_owned());
    assert_eq!(Deaggregation::parse("json", None), Err(unknown));
    let delimiter = DeaggregationError::Delimiter(DelimiterError::NotBase64);
    assert_eq!(Deaggregation::parse("DELIMITED", Some("####")), Err(delimiter));
}

proptest! {
    #[test]
    fn documents_come_back(values in vec("[a-z{}\\[\\]\"\\\\]{0,8}", 0..8), between in "[ \n]{0,2}") {
        let documents: Vec<String> =
            values.iter().map(|value| serde_json::json!({ "k": value }).to_string()).collect();
        let parts = split(&Deaggregation::Json, documents.join(&between)).unwrap();
        prop_assert_eq!(parts, documents);
    }

    #[test]
    fn rows_come_back(rows in vec("[a-z]{1,8}", 0..8)) {
        prop_assert_eq!(split(&rows_of("DQo="), rows.join("\r\n")).unwrap(), rows);
    }

    #[test]
    fn no_bytes_cause_a_panic(data: Vec<u8>) {
        let _ = split(&Deaggregation::Json, data.clone());
        let _ = split(&rows_of("Cg=="), data);
    }
}
