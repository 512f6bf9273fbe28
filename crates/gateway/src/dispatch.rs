//! Finds the service and the operation of a POST request. Pure: only the request and the hosted services decide.
//!
//! | the request has | dispatch by |
//! | --- | --- |
//! | `X-Amz-Target: PREFIX.Operation`, content type `application/x-amz-json-1.0`, `-1.1` or `x-amz-cbor-1.1` | prefix |
//! | header `smithy-protocol: rpc-v2-cbor`, path `/service/NAME/operation/OPERATION` | prefix `NAME` |
//! | content type `application/x-www-form-urlencoded`, no `X-Amz-Target` | `Action` and `Version` of the form |
//! | anything else | no service: the error that AWS sends outside of any protocol |
//!
//! The host name never decides, so a program needs to change only its endpoint setting to use this gateway. A prefix
//! that no hosted service has is an unknown operation.
//!
//! A form names service and operation in its body ([`FormAction`]). Until the body is here, its call has no service.

use std::borrow::Cow;
use std::sync::Arc;

use anabranch_aws::protocol::{Protocol, RPC_V2_CBOR, SMITHY_PROTOCOL};
use anabranch_aws::wire;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::error::Error;
use crate::host::{Hosted, OperationIndex};

const TARGET: &str = "x-amz-target";
const FORM: &str = "application/x-www-form-urlencoded";
/// An error message repeats at most this much of a field of a form.
const MAX_SHOWN_CHARACTERS: usize = 128;

/// The destination of a POST request.
pub(crate) enum Route<'a> {
    /// The request is in a known protocol. Its service or its operation may be unknown.
    Call(Destination<'a>),
    /// The prefix is of a hosted service, but the service does not have the protocol. AWS responds in CBOR.
    WrongProtocol {
        /// Name of the operation as the client wrote it, for the log.
        name: &'a str,
    },
    /// The request is in no protocol.
    Unknown,
}

/// The service and operation of a request.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub protocol: Protocol,
    /// `None` for an unknown prefix.
    pub service: Option<&'a Arc<dyn Hosted>>,
    /// `None` for an unknown operation.
    pub operation: Option<OperationIndex>,
    /// Name of the operation as the client wrote it, for the log. Empty for an unknown service.
    pub name: &'a str,
}

impl<'a> Route<'a> {
    /// Finds the route of a request. Only POST requests are sent along it.
    pub(crate) fn of(services: &'a [Arc<dyn Hosted>], parts: &'a Parts) -> Self {
        let rpc = rpc_v2_cbor(parts);
        if rpc.is_none() && is_form(parts) && services.iter().any(speaks_query) {
            return Self::Call(Destination::OF_FORM);
        }
        let (prefix, name) = rpc.or_else(|| target(&parts.headers)).unwrap_or_default();
        let service = services.iter().find(|service| service.names().target == prefix);
        let protocol = match rpc {
            Some(_) => Some(Protocol::RpcV2Cbor),
            None => content_type(&parts.headers).and_then(Protocol::of_content_type),
        };
        let speaks = |protocol: &Protocol| match service {
            Some(service) => service.names().protocols.contains(protocol),
            // For an unknown prefix, AWS responds in the protocol of the request if it is one of these two.
            None => matches!(protocol, Protocol::Json11 | Protocol::Cbor11),
        };
        match (protocol.filter(speaks), service) {
            (Some(protocol), _) => {
                let operation = service.and_then(|service| service.find(name));
                let name = service.map_or("", |_| name);
                Self::Call(Destination { protocol, service, operation, name })
            }
            (None, Some(_)) => Self::WrongProtocol { name },
            (None, None) => Self::Unknown,
        }
    }
}

impl Destination<'_> {
    /// A form whose body is not here yet.
    const OF_FORM: Self =
        Self { protocol: Protocol::Query, service: None, operation: None, name: "" };
}

/// The action and the version that a form names. Empty if the form does not name them.
#[derive(Debug)]
pub(crate) struct FormAction<'f> {
    pub action: Cow<'f, str>,
    version: Cow<'f, str>,
}

impl<'f> FormAction<'f> {
    /// Reads the two fields.
    pub(crate) fn of(form: &'f [u8]) -> Self {
        let field = |name| wire::form_field(form, name).unwrap_or_default();
        Self { action: field("Action"), version: field("Version") }
    }

    /// The service of the version, and its operation of the action.
    pub(crate) fn destination<'a>(&self, services: &'a [Arc<dyn Hosted>]) -> Destination<'a> {
        let has_version = |service: &&Arc<dyn Hosted>| {
            service.names().query.is_some_and(|query| query.version == self.version)
        };
        let Some(service) = services.iter().find(has_version) else { return Destination::OF_FORM };
        let operation = service.find(&self.action);
        let name = operation.map_or("", |operation| service.name(operation));
        Destination { protocol: Protocol::Query, service: Some(service), operation, name }
    }

    /// The error for an action that no service has.
    pub(crate) fn unknown(&self) -> Error {
        let shown = |text: &str| text.chars().take(MAX_SHOWN_CHARACTERS).collect();
        let version = if self.version.is_empty() { "NO_VERSION_SPECIFIED" } else { &self.version };
        Error::UnknownAction { action: shown(&self.action), version: shown(version) }
    }
}

fn speaks_query(service: &Arc<dyn Hosted>) -> bool {
    service.names().query.is_some()
}

fn is_form(parts: &Parts) -> bool {
    let kind = content_type(&parts.headers).and_then(|value| value.split(';').next());
    let is_form = kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM));
    is_form && !parts.headers.contains_key(TARGET)
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

/// Reads prefix and operation from the `X-Amz-Target` header.
fn target(headers: &HeaderMap) -> Option<(&str, &str)> {
    headers.get(TARGET)?.to_str().ok()?.split_once('.')
}

/// Reads service and operation from the path of a request in rpc-v2-cbor.
fn rpc_v2_cbor(parts: &Parts) -> Option<(&str, &str)> {
    if parts.headers.get(SMITHY_PROTOCOL)?.as_bytes() != RPC_V2_CBOR.as_bytes() {
        return None;
    }
    parts.uri.path().strip_prefix("/service/")?.split_once("/operation/")
}

#[cfg(test)]
mod tests;
