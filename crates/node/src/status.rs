//! Errors of replicas as gRPC statuses. A client of this version finds the kind of the error in the details; another
//! program sees the code and the text.

use anabranch_proto::{key_error_kind, v1};
use anabranch_replica::Error;
use prost::Message;
use tonic::{Code, Status};

/// An error as a gRPC status; its details carry an `ErrorDetail`.
pub fn status_of(error: &Error) -> Status {
    let (code, detail) = code_and_detail(error);
    Status::with_details(code, error.to_string(), detail.encode_to_vec().into())
}

/// The same as a part of a message that has other outcomes too: the detail carries the text.
pub(crate) fn detail_of(error: &Error) -> v1::ErrorDetail {
    let (_, detail) = code_and_detail(error);
    v1::ErrorDetail { message: error.to_string(), ..detail }
}

fn code_and_detail(error: &Error) -> (Code, v1::ErrorDetail) {
    use v1::ErrorKind;
    let (code, kind, leader_node) = match error {
        Error::NotLeader { leader } => {
            (Code::FailedPrecondition, ErrorKind::NotLeader, leader.map_or(0, |node| node.0))
        }
        Error::NotFound => (Code::NotFound, ErrorKind::NotFound, 0),
        Error::Frozen => (Code::Aborted, ErrorKind::Frozen, 0),
        Error::Closed => (Code::FailedPrecondition, ErrorKind::Closed, 0),
        Error::Throttled(_) => (Code::ResourceExhausted, ErrorKind::Throttled, 0),
        Error::Invalid(_) => (Code::InvalidArgument, ErrorKind::Invalid, 0),
        Error::Key(error) => (Code::FailedPrecondition, key_error_kind(error.fault), 0),
        Error::Unknown(_) => (Code::Unknown, ErrorKind::UnknownOutcome, 0),
        Error::OutOfService(_) => (Code::FailedPrecondition, ErrorKind::NotLeader, 0),
    };
    (code, v1::ErrorDetail { kind: kind.into(), leader_node, message: String::new() })
}

pub(crate) fn invalid(error: impl std::fmt::Display) -> Status {
    status_of(&Error::Invalid(error.to_string()))
}

/// The status with which a subscription is refused or ended because another one has its slot.
pub(crate) fn in_use() -> Status {
    let message = "another subscription of the consumer has the shard".to_owned();
    let kind = v1::ErrorKind::InUse.into();
    let detail = v1::ErrorDetail { kind, ..v1::ErrorDetail::default() };
    Status::with_details(Code::AlreadyExists, message, detail.encode_to_vec().into())
}
