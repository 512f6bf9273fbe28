//! How each AWS protocol writes a fault: status, headers and body. One writer for each protocol.
//!
//! | protocol | content type | body of a fault |
//! | --- | --- | --- |
//! | JSON 1.0, JSON 1.1 | `application/x-amz-json-1.0`, `-1.1` | `{"__type":"Code","message":"…"}` |
//! | CBOR 1.1 | `application/x-amz-cbor-1.1` | the same members in CBOR |
//! | rpc-v2-cbor | `application/cbor`, header `smithy-protocol` | the same members in CBOR |
//! | query | `text/xml` | `<ErrorResponse><Error>…` ([`query`]) |
//! | none | absent | `<Code>…</Code>`: the form in which AWS responds to a request in no protocol |
//!
//! Sources: the Smithy specification of each protocol; the last row was recorded from the public Kinesis endpoint.

pub mod query;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::fault::Fault;
use crate::wire::{Format, Writer, escaped};
use query::Envelope;

/// Header with the error code. SDKs read it before the body.
pub const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// Header that marks requests and responses of rpc-v2-cbor.
pub const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
/// Value of [`SMITHY_PROTOCOL`].
pub const RPC_V2_CBOR: &str = "rpc-v2-cbor";

/// An AWS protocol.
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
    /// AWS query: STS, and CloudWatch with old SDKs. Requests are forms, responses are XML.
    Query,
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
            Self::Query => "text/xml",
        }
    }

    /// The encoding of bodies.
    pub const fn format(self) -> Format {
        match self {
            Self::Json10 | Self::Json11 => Format::Json,
            Self::Cbor11 => Format::Cbor,
            Self::RpcV2Cbor => Format::RpcCbor,
            Self::Query => Format::Query,
        }
    }

    /// The response to a call that failed. Only the query protocol writes the envelope.
    pub fn failure(self, fault: &Fault, envelope: &Envelope<'_>) -> Response<Vec<u8>> {
        let mut response = match (self, &fault.json) {
            (Self::Query, _) => {
                let (status, code) = fault.in_query();
                respond(status, code, query::failure(fault, envelope))
            }
            (Self::Json10 | Self::Json11, Some(json)) => {
                respond(fault.status, fault.code, json.clone().into_bytes())
            }
            (Self::Json10 | Self::Json11 | Self::Cbor11 | Self::RpcV2Cbor, _) => {
                respond(fault.status, fault.code, structure(self.format(), fault))
            }
        };
        let content_type = HeaderValue::from_static(self.content_type());
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        if self == Self::RpcV2Cbor {
            response.headers_mut().insert(SMITHY_PROTOCOL, HeaderValue::from_static(RPC_V2_CBOR));
        }
        response
    }
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

#[cfg(test)]
mod tests;
