//! The AWS query protocol: the XML around a result, and faults.
//!
//! ```xml
//! <GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
//!   <GetCallerIdentityResult>…</GetCallerIdentityResult>        absent for an operation without output
//!   <ResponseMetadata><RequestId>…</RequestId></ResponseMetadata>
//! </GetCallerIdentityResponse>
//! ```
//!
//! A request is a form ([`crate::wire`]). The fields `Action` and `Version` of the form name operation and service.
//! Source: AWS query protocol, as the SDKs read it.

use http::header::{HeaderName, HeaderValue};

use crate::fault::Fault;
use crate::wire::escaped;

/// Header with the code that a fault has in the query protocol. A service that had only this protocol sends it in its
/// newer protocols, so that the codes that programs compare stay the same.
pub const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// What the XML of a response says besides its result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envelope<'a> {
    /// XML namespace of the service. Empty if the service is not known.
    pub namespace: &'a str,
    /// Name of the operation.
    pub operation: &'a str,
    /// Id of the request, as in the headers of the response.
    pub request_id: &'a str,
}

impl Envelope<'_> {
    /// The body of a response whose result is `result`, which is XML. An empty result is left out.
    pub fn around(&self, result: &[u8]) -> Vec<u8> {
        let Self { namespace, operation, request_id } = self;
        let mut body = format!("<{operation}Response{}>\n", Namespace(namespace)).into_bytes();
        if !result.is_empty() {
            body.extend_from_slice(format!("  <{operation}Result>").as_bytes());
            body.extend_from_slice(result);
            body.extend_from_slice(format!("</{operation}Result>\n").as_bytes());
        }
        let rest = format!(
            "  <ResponseMetadata>\n    <RequestId>{request_id}</RequestId>\n  </ResponseMetadata>\n\
             </{operation}Response>\n"
        );
        body.extend_from_slice(rest.as_bytes());
        body
    }
}

/// The value of [`QUERY_ERROR`].
pub fn error_header(fault: &Fault) -> Option<HeaderValue> {
    let (_, code) = fault.in_query();
    HeaderValue::try_from(format!("{code};{}", side(fault))).ok()
}

/// The body of the response to a call that failed.
pub(super) fn failure(fault: &Fault, envelope: &Envelope<'_>) -> Vec<u8> {
    let (_, code) = fault.in_query();
    let body = format!(
        "<ErrorResponse{}>\n  <Error>\n    <Type>{}</Type>\n    <Code>{code}</Code>\n    \
         <Message>{}</Message>\n  </Error>\n  <RequestId>{}</RequestId>\n</ErrorResponse>\n",
        Namespace(envelope.namespace),
        side(fault),
        escaped(fault.message.text()),
        envelope.request_id,
    );
    body.into_bytes()
}

/// The side that has to change something: `Sender` is the client.
fn side(fault: &Fault) -> &'static str {
    if fault.in_query().0.is_server_error() { "Receiver" } else { "Sender" }
}

/// The attribute with the namespace of an XML element.
struct Namespace<'a>(&'a str);

impl std::fmt::Display for Namespace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " xmlns=\"{}\"", self.0) }
    }
}
