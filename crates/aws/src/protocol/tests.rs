//! Golden files: the bytes of a fault in each protocol. They change only when AWS changes.

use super::*;
use crate::fault::Message;

/// Prints a response: status line, headers in alphabetical order, an empty line, the body. CBOR is printed in
/// hexadecimal.
fn shown(response: &Response<Vec<u8>>) -> String {
    let mut text = format!("{}\n", response.status());
    let headers = response.headers().iter();
    let mut headers: Vec<_> =
        headers.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    headers.sort();
    text.extend(headers);
    text.push('\n');
    match std::str::from_utf8(response.body()) {
        Ok(body) if !body.contains('\u{7}') && body.starts_with(['{', '<']) => text.push_str(body),
        _ => text.extend(response.body().iter().map(|byte| format!("{byte:02x}"))),
    }
    text
}

fn faults() -> [(&'static str, Fault); 3] {
    let fault =
        |code, message| Fault { status: StatusCode::BAD_REQUEST, code, message, json: None };
    [
        ("message", fault("ResourceNotFoundException", Message::Text("Stream \"a<b\" & c".into()))),
        ("capitalized", fault("SerializationException", Message::Capitalized("no".into()))),
        ("absent", fault("UnknownOperationException", Message::Absent("Unknown operation"))),
    ]
}

/// Prints each kind of fault in each protocol, with a heading for each.
fn all() -> String {
    let mut text = String::new();
    let mut add = |name: &str, of: &dyn Fn(&Fault) -> Response<Vec<u8>>| {
        for (kind, fault) in faults() {
            text.push_str(&format!("=== {name}, {kind}\n{}\n", shown(&of(&fault)).trim_end()));
        }
    };
    for protocol in [Protocol::Json10, Protocol::Json11, Protocol::Cbor11, Protocol::RpcV2Cbor] {
        add(&format!("{protocol:?}"), &|fault| protocol.failure(fault));
    }
    add("query", &query_failure);
    add("none", &failure_without_protocol);
    text
}

#[test]
fn faults_are_written_as_each_protocol_demands() {
    assert_eq!(all(), include_str!("golden/faults.txt"));
}

#[test]
fn a_content_type_names_a_protocol() {
    let of = Protocol::of_content_type;
    assert_eq!(of("application/x-amz-json-1.1"), Some(Protocol::Json11));
    assert_eq!(of(" Application/X-Amz-Json-1.0 ; charset=utf-8"), Some(Protocol::Json10));
    assert_eq!(of("application/x-amz-cbor-1.1"), Some(Protocol::Cbor11));
    assert_eq!([of("application/json"), of("application/cbor"), of("text/xml"), of("")], [None; 4]);
}

#[test]
fn text_in_xml_is_escaped() {
    assert_eq!(escaped("a<b>&\u{1}\n"), "a&lt;b&gt;&amp;\u{fffd}\n");
}
