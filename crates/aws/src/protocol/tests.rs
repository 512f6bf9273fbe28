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

const ENVELOPE: Envelope<'_> = Envelope {
    namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
    operation: "GetCallerIdentity",
    request_id: "01234567-89ab-cdef-0123-456789abcdef",
};

fn faults() -> [(&'static str, Fault); 3] {
    let fault = |code, message| Fault {
        status: StatusCode::BAD_REQUEST,
        code,
        message,
        json: None,
        query: None,
    };
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
    for protocol in
        [Protocol::Json10, Protocol::Json11, Protocol::Cbor11, Protocol::RpcV2Cbor, Protocol::Query]
    {
        add(&format!("{protocol:?}"), &|fault| protocol.failure(fault, &ENVELOPE));
    }
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
fn the_query_protocol_has_codes_of_its_own() {
    let fault = Fault {
        status: StatusCode::BAD_REQUEST,
        code: "UnrecognizedClientException",
        message: Message::Text("no".into()),
        json: None,
        query: Some((StatusCode::FORBIDDEN, "InvalidClientTokenId")),
    };
    let expected = "403 Forbidden
content-type: text/xml
x-amzn-errortype: InvalidClientTokenId

<ErrorResponse>
  <Error>
    <Type>Sender</Type>
    <Code>InvalidClientTokenId</Code>
    <Message>no</Message>
  </Error>
  <RequestId></RequestId>
</ErrorResponse>
";
    assert_eq!(shown(&Protocol::Query.failure(&fault, &Envelope::default())), expected);
    assert_eq!(query::error_header(&fault).unwrap(), "InvalidClientTokenId;Sender");
    let json = Protocol::Json10.failure(&fault, &Envelope::default());
    assert_eq!(json.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json.headers()[ERROR_TYPE], "UnrecognizedClientException");
    let broken = Fault { query: Some((StatusCode::SERVICE_UNAVAILABLE, "Down")), ..fault };
    assert_eq!(query::error_header(&broken).unwrap(), "Down;Receiver");
}

#[test]
fn a_result_of_the_query_protocol_is_in_an_envelope() {
    let with_result =
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
  <GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
";
    let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
    assert_eq!(text(ENVELOPE.around(b"<Account>1</Account>")), with_result);
    let without = "<PutMetricDataResponse>
  <ResponseMetadata>
    <RequestId>r</RequestId>
  </ResponseMetadata>
</PutMetricDataResponse>
";
    let envelope = Envelope { operation: "PutMetricData", request_id: "r", namespace: "" };
    assert_eq!(text(envelope.around(b"")), without);
}
