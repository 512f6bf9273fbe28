//! How each AWS protocol writes a fault: status, headers and body. One writer for each protocol.
//!
//! | protocol | content type | body of a fault |
//! | --- | --- | --- |
//! | JSON 1.0, JSON 1.1 | `application/x-amz-json-1.0`, `-1.1` | `{"__type":"Code","message":"…"}` |
//! | CBOR 1.1 | `application/x-amz-cbor-1.1` | the same members in CBOR |
//! | rpc-v2-cbor | `application/cbor`, header `smithy-protocol` | the same members in CBOR |
//! | query | `text/xml` | `<ErrorResponse><Error>…` |
//! | none | absent | `<Code>…</Code>`: the form in which AWS responds to a request in no protocol |
//!
//! Sources: the Smithy specification of each protocol; the last row was recorded from the public Kinesis endpoint.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::fault::Fault;
use crate::wire::{Format, Writer};

/// Header with the error code. SDKs read it before the body.
pub const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// Header that marks requests and responses of rpc-v2-cbor.
pub const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
/// Value of [`SMITHY_PROTOCOL`].
pub const RPC_V2_CBOR: &str = "rpc-v2-cbor";

/// An AWS protocol whose bodies are JSON or CBOR. The query protocol has no variant here, because its requests are
/// forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// AWS JSON 1.0: DynamoDB.
    Json10,
    /// AWS JSON 1.1: Kinesis, Firehose and most services.
    Json11,
    /// AWS CBOR 1.1: Kinesis with the Java SDKs.
    Cbor11,
    /// Smithy RPC v2 CBOR: CloudWatch with new SDKs.
    RpcV2Cbor,
}

impl Protocol {
    /// The protocol that a `Content-Type` names, among the protocols that name the operation in `X-Amz-Target`.
    /// Parameters such as `charset` are ignored.
    pub fn of_content_type(value: &str) -> Option<Self> {
        let kind = value.split(';').next().unwrap_or_default().trim();
        [Self::Json11, Self::Cbor11, Self::Json10]
            .into_iter()
            .find(|protocol| kind.eq_ignore_ascii_case(protocol.content_type()))
    }

    /// The `Content-Type` of responses.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json10 => "application/x-amz-json-1.0",
            Self::Json11 => "application/x-amz-json-1.1",
            Self::Cbor11 => "application/x-amz-cbor-1.1",
            Self::RpcV2Cbor => "application/cbor",
        }
    }

    /// The encoding of bodies.
    pub const fn format(self) -> Format {
        match self {
            Self::Json10 | Self::Json11 => Format::Json,
            Self::Cbor11 | Self::RpcV2Cbor => Format::Cbor,
        }
    }

    /// The response to a call that failed.
    pub fn failure(self, fault: &Fault) -> Response<Vec<u8>> {
        let body = match (&fault.json, self.format()) {
            (Some(json), Format::Json) => json.clone().into_bytes(),
            (Some(_) | None, Format::Json | Format::Cbor) => structure(self.format(), fault),
        };
        let mut response = respond(fault.status, fault.code, body);
        let content_type = HeaderValue::from_static(self.content_type());
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        if self == Self::RpcV2Cbor {
            response.headers_mut().insert(SMITHY_PROTOCOL, HeaderValue::from_static(RPC_V2_CBOR));
        }
        response
    }
}

/// The response to a call in the query protocol that failed.
///
/// Source: AWS query protocol, error responses. `Type` is `Sender` for a fault of the client.
pub fn query_failure(fault: &Fault) -> Response<Vec<u8>> {
    let side = if fault.status.is_server_error() { "Receiver" } else { "Sender" };
    let body = format!(
        "<ErrorResponse>\n  <Error>\n    <Type>{side}</Type>\n    <Code>{}</Code>\n    <Message>{}</Message>\n  \
         </Error>\n</ErrorResponse>\n",
        fault.code,
        escaped(fault.message.text())
    );
    let mut response = respond(fault.status, fault.code, body.into_bytes());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

/// The response to a request that is in no protocol: XML without a content type, as AWS sends it. A fault without a
/// message becomes an empty element with status 404.
pub fn failure_without_protocol(fault: &Fault) -> Response<Vec<u8>> {
    let code = fault.code;
    let (status, body) = match fault.message.member() {
        None => (StatusCode::NOT_FOUND, format!("<{code}/>\n")),
        Some(_) => {
            let text = escaped(fault.message.text());
            (fault.status, format!("<{code}>\n  <Message>{text}</Message>\n</{code}>\n"))
        }
    };
    respond(status, code, body.into_bytes())
}

fn respond(status: StatusCode, code: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(code));
    response
}

fn structure(format: Format, fault: &Fault) -> Vec<u8> {
    let mut writer = Writer::new(format, 256);
    writer.structure(|w| {
        w.member("__type").text(fault.code);
        if let Some(member) = fault.message.member() {
            w.member(member).text(fault.message.text());
        }
    });
    writer.finish()
}

/// Text of an XML element. Characters that XML 1.0 does not allow become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' | '\r' => out.push(character),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests;
