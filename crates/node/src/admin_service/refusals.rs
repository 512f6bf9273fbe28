//! The gRPC status of a request that was refused.

use anabranch_catalog::Refusal;
use anabranch_replica::Error;
use tonic::Status;

pub(super) fn invalid(field: &str, rule: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {rule}"))
}

/// The status of a refusal by the catalog.
pub(super) fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NodeNotFound { .. }
        | Refusal::StreamNotFound { .. }
        | Refusal::ShardNotFound { .. }
        | Refusal::ConsumerNotFound { .. }
        | Refusal::UserNotFound { .. }
        | Refusal::AccessKeyNotFound { .. }
        | Refusal::UserPolicyNotFound { .. }
        | Refusal::ReplicaNotFound { .. } => Status::not_found(refusal.to_string()),
        Refusal::StreamExists { .. }
        | Refusal::StreamNotActive { .. }
        | Refusal::StreamHasConsumers { .. }
        | Refusal::ConsumerExists { .. }
        | Refusal::UserExists { .. }
        | Refusal::AccessKeyExists { .. }
        | Refusal::TooManyTags { .. }
        | Refusal::NoNodes
        | Refusal::Limit { .. }
        | Refusal::ShardClosed { .. }
        | Refusal::CannotSplit { .. }
        | Refusal::NotAdjacent { .. }
        | Refusal::ShardCount { .. }
        | Refusal::OnDemand { .. }
        | Refusal::NotOnDemand { .. }
        | Refusal::Retention { .. }
        | Refusal::JobOver { .. }
        | Refusal::NodeInUse { .. }
        | Refusal::CannotMove { .. }
        | Refusal::CannotRecover { .. }
        | Refusal::DataKeyOver { .. } => Status::failed_precondition(refusal.to_string()),
    }
}

/// The status of a command that has no outcome, or none that reached this node.
pub(super) fn not_changed(error: &Error) -> Status {
    match error {
        Error::NotLeader { .. } | Error::NotFound | Error::OutOfService(_) => {
            Status::unavailable("the catalog has no leader that answers")
        }
        Error::Throttled(_) => Status::unavailable(error.to_string()),
        Error::Unknown(_) => Status::unknown(error.to_string()),
        Error::Frozen | Error::Closed | Error::Invalid(_) | Error::Key(_) => {
            Status::internal(error.to_string())
        }
    }
}
