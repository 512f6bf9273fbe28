//! Errors as gRPC statuses with an `ErrorDetail`, as the other native calls have them.

use anabranch_client::{Absent, Error};
use anabranch_proto::v1;
use anabranch_types::{NodeId, StreamName};
use prost::Message;
use tonic::{Code, Status};

use crate::coordinator::Failed;
use crate::group::Refused;
use crate::name::{GroupKey, Invalid};

/// The group's coordinator is on another node, or about to begin.
pub(crate) fn not_coordinator(node: Option<NodeId>) -> Status {
    let text = match node {
        Some(node) => format!("the coordinator of the group is on node {node}"),
        None => "the coordinator of the group is about to begin".to_owned(),
    };
    let leader_node = node.map_or(0, |node| node.0);
    with_kind(Code::FailedPrecondition, v1::ErrorKind::NotLeader, leader_node, text)
}

pub(crate) fn no_stream(name: &StreamName) -> Status {
    not_found(format!("stream {name} not found"))
}

pub(crate) fn no_group(key: &GroupKey) -> Status {
    not_found(format!("stream {} has no consumer group {}", key.stream, key.name))
}

pub(crate) fn unknown_member() -> Status {
    not_found(Refused::UnknownMember.to_string())
}

pub(crate) fn invalid(error: &Invalid) -> Status {
    with_kind(Code::InvalidArgument, v1::ErrorKind::Invalid, 0, error.to_string())
}

pub(crate) fn throttled(text: impl Into<String>) -> Status {
    with_kind(Code::ResourceExhausted, v1::ErrorKind::Throttled, 0, text.into())
}

pub(crate) fn damaged(text: String) -> Status {
    with_kind(Code::Internal, v1::ErrorKind::Unspecified, 0, text)
}

pub(crate) fn of_call(failed: Failed) -> Status {
    match failed {
        Failed::Refused(Refused::UnknownMember) => unknown_member(),
        Failed::Refused(error @ Refused::TooManyMembers) => throttled(error.to_string()),
        Failed::Full(text) => throttled(text),
    }
}

pub(crate) fn of_absent(error: Absent) -> Status {
    match error {
        Absent::Space => unknown("the rows of consumer groups are gone".to_owned()),
        Absent::Failed(error) => of_cluster(error),
    }
}

/// An error of the tables or the catalog.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other errors are of calls on shards, which are not made here"
)]
pub(crate) fn of_cluster(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::NotFound => not_found(text),
        Error::Throttled(_) => throttled(text),
        Error::NoLeader => not_coordinator(None),
        Error::Invalid(_) => with_kind(Code::InvalidArgument, v1::ErrorKind::Invalid, 0, text),
        _ => unknown(text),
    }
}

fn not_found(text: String) -> Status {
    with_kind(Code::NotFound, v1::ErrorKind::NotFound, 0, text)
}

pub(crate) fn unknown(text: String) -> Status {
    with_kind(Code::Unknown, v1::ErrorKind::UnknownOutcome, 0, text)
}

fn with_kind(code: Code, kind: v1::ErrorKind, leader_node: u64, text: String) -> Status {
    let detail = v1::ErrorDetail { kind: kind.into(), leader_node, message: String::new() };
    Status::with_details(code, text, detail.encode_to_vec().into())
}
