//! The two file formats: golden files with each kind of event, and refused input. `UPDATE_EXPECT=1` rewrites the
//! golden EDN.

use std::collections::BTreeSet;

use chaos_checkers::history::{Function, Kind, ReadError, read_history, write_edn};
use chaos_checkers::payload;
use serde_json::{Map, Value};

use crate::edn;

const JSON: &str = include_str!("golden.jsonl");
const EDN: &str = include_str!("golden.edn");

#[test]
fn a_history_keeps_its_json_lines_byte_for_byte() {
    let history = read_history(JSON.as_bytes()).unwrap();
    let mut written = Vec::new();
    history.write_json(&mut written).unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let written = String::from_utf8(written).unwrap();
    assert_eq!(JSON.lines().count(), written.lines().count());
    for (golden, written) in JSON.lines().zip(written.lines()) {
        assert_eq!(json(golden), json(written));
        assert_eq!(golden, written);
    }
}

#[test]
fn the_golden_file_has_each_call() {
    let history = read_history(JSON.as_bytes()).unwrap();
    let seen: BTreeSet<Function> = history
        .events()
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Ok { answer, .. } => Some(answer.function()),
            _ => None,
        })
        .collect();
    assert_eq!(seen, Function::ALL.iter().copied().collect());
}

#[test]
fn a_history_is_written_as_edn() {
    let history = read_history(JSON.as_bytes()).unwrap();
    let mut written = Vec::new();
    write_edn(&mut written, &history).unwrap();
    let written = String::from_utf8(written).unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden.edn"), &written)
            .unwrap();
        return;
    }
    for (golden, written) in EDN.lines().zip(written.lines()) {
        assert_eq!(golden, written);
    }
    assert_eq!(EDN.lines().count(), written.lines().count());
}

#[test]
fn an_edn_reader_finds_the_same_values_as_a_json_reader() {
    let events: Vec<Value> =
        JSON.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let read = edn::read_all(EDN);
    assert_eq!(read.len(), events.len());
    for (edn, json) in read.iter().zip(&events) {
        assert_eq!(*edn, expected(json));
    }
}

/// The members of an event as an EDN reader sees them.
fn expected(json: &Value) -> Value {
    let keyword = |value: &Value| Value::String(format!(":{}", value.as_str().unwrap()));
    let mut event = Map::new();
    let process = if json["proc"].is_null() { ":nemesis".into() } else { json["proc"].clone() };
    event.insert("index".into(), json["i"].clone());
    event.insert("type".into(), keyword(&json["type"]));
    event.insert("process".into(), process);
    event.insert("f".into(), keyword(&json["f"]));
    event.insert("value".into(), with_dashes(&json["value"]));
    event.insert("time".into(), json["t_ns"].clone());
    for (from, to) in [("gw", "gateway"), ("err", "error")] {
        if !json[from].is_null() {
            event.insert(to.into(), json[from].clone());
        }
    }
    Value::Object(event)
}

fn with_dashes(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(with_dashes).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.replace('_', "-"), with_dashes(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn read_error(lines: &[&str]) -> String {
    read_history(lines.join("\n").as_bytes()).unwrap_err().to_string()
}

#[test]
fn lines_that_are_not_a_history_are_refused() {
    let put = |i: u64, t: u64| {
        format!(
            r#"{{"i":{i},"t_ns":{t},"type":"invoke","proc":1,"gw":1,"f":"delete","value":{{"stream":"s"}},"err":null}}"#
        )
    };
    let header = r#"{"format":1}"#;
    assert_eq!(read_error(&[r#"{"format":2}"#]), "format 2 is not known, only 1");
    assert!(read_error(&[header, "{"]).starts_with("line 2: "));
    assert_eq!(
        read_error(&[header, &put(0, 1), &put(1, 1)]),
        "event 1: process 1 begins a call while its last call is open"
    );
    let ok = put(1, 1).replace("invoke", "ok").replace(r#"{"stream":"s"}"#, "{}");
    assert_eq!(read_error(&[header, &ok]), "event 1: process 1 has no open call Delete");
    assert_eq!(
        read_error(&[header, &put(0, 5), &ok.replace(":1,\"t_ns\":1", ":1,\"t_ns\":4")]),
        "event 1: the time is before that of the event before"
    );
    assert_eq!(
        read_error(&[header, &put(1, 5), &ok]),
        "event 1: the index is not above that of the event before"
    );
}

#[test]
fn a_header_without_members_has_the_defaults() {
    let history = read_history(r#"{"format":1,"seed":9}"#.as_bytes()).unwrap();
    assert_eq!(history.header().seed, 9);
    assert_eq!(history.header().recovery_ms.0, 30_000);
}

#[test]
fn errors_of_a_reader_name_the_line() {
    let error = read_history("{\"format\":1}\n\n{}".as_bytes()).unwrap_err();
    assert!(matches!(error, ReadError::Json { line: 3, .. }));
}

#[test]
fn a_payload_says_which_record_it_is() {
    let uid = "3-1".parse().unwrap();
    let bytes = payload::payload(uid, "alice", 100);
    assert_eq!(payload::parse(&bytes), Ok((uid, "alice")));
}
