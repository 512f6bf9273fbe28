//! The AWS wire formats that all services share. Nothing here knows a service.
//!
//! - [`wire`] decodes request bodies into typed members and writes response bodies: JSON, CBOR, and forms with XML.
//! - [`constraints`] checks members against the rules of a service model. It writes the text of a
//!   `ValidationException`.
//! - [`fault`] is an error as clients see it: HTTP status, code, message.
//! - [`protocol`] writes faults, and what is around a result: one writer for each AWS protocol.
//!
//! Invariants: bytes of a client never cause a panic. Decoding borrows from the body. A valid request causes no
//! allocation in `constraints`.
//!
//! Absent: I/O, operations, limits and error codes of services.

pub mod constraints;
pub mod fault;
pub mod protocol;
pub mod wire;
