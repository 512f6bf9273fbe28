//! Finds the service and the operation of a POST request. Pure: only the head of the request and the hosted services
//! decide.
//!
//! | the request has | dispatch by |
//! | --- | --- |
//! | `X-Amz-Target: PREFIX.Operation`, content type `application/x-amz-json-1.0`, `-1.1` or `x-amz-cbor-1.1` | prefix |
//! | header `smithy-protocol: rpc-v2-cbor`, path `/service/NAME/operation/OPERATION` | prefix `NAME` |
//! | anything else | no service: the error that AWS sends outside of any protocol |
//!
//! The host name never decides, so a program needs to change only its endpoint setting to use this gateway. A prefix
//! that no hosted service has is an unknown operation.

use std::sync::Arc;

use anabranch_aws::protocol::{Protocol, RPC_V2_CBOR, SMITHY_PROTOCOL};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::host::{Hosted, OperationIndex};

const TARGET: &str = "x-amz-target";

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
