//! Errors of the Kinesis API. [`Error::wire`] is the only place with its AWS codes.
//!
//! Errors come from the checks of an operation, or from the cluster ([`Error::from_client`]). The texts are messages
//! for clients. Texts that AWS defines are kept byte for byte. Internal causes go to the log and never into a
//! message.

use std::fmt;

use anabranch_aws::constraints::Violations;
use anabranch_aws::fault::{Fault, Message};
use anabranch_catalog::Refusal;
use anabranch_client as client;
use anabranch_gateway::service::ServiceError;
use anabranch_gateway::{TOO_MUCH_IN_FLIGHT, service};
use anabranch_types::{AccountId, HashKeyRange, KeyFault, ShardId, StreamName, limits};
use http::StatusCode;

/// The error of an operation. Its text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Members violate constraints of the service model.
    #[error("{0}")]
    Validation(String),
    /// The request is well-formed, but its meaning is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// A stream, shard or consumer does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The stream or consumer is in a state that does not allow the operation.
    #[error("{0}")]
    InUse(String),
    /// The call exceeds a limit of the cluster.
    #[error("{0}")]
    Limit(String),
    /// A shard or the gateway accepts no more for now.
    #[error("{0}")]
    Throughput(String),
    /// A shard iterator is older than five minutes.
    #[error("{0}")]
    ExpiredIterator(String),
    /// A paging token is older than five minutes.
    #[error("{0}")]
    ExpiredNextToken(String),
    /// `DryRun` was set, and the request passed all checks.
    #[error("Request would have succeeded, but DryRun flag is set.")]
    DryRun,
    /// The stream is encrypted, and its master key cannot be used.
    #[error("{message}")]
    Key {
        /// The reason why the key cannot be used.
        fault: KeyFault,
        /// Text for the client.
        message: String,
    },
    /// The outcome is unknown, or no replica could do it in time, or there is a bug.
    #[error("Internal service failure.")]
    Internal,
}

impl Error {
    /// HTTP status and AWS error code.
    ///
    /// Source: Kinesis API reference, the errors of each operation.
    pub(crate) const fn wire(&self) -> (StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::Validation(_) => (BAD, "ValidationException"),
            Self::InvalidArgument(_) => (BAD, "InvalidArgumentException"),
            Self::NotFound(_) => (BAD, "ResourceNotFoundException"),
            Self::InUse(_) => (BAD, "ResourceInUseException"),
            Self::Limit(_) => (BAD, "LimitExceededException"),
            Self::Throughput(_) => (BAD, "ProvisionedThroughputExceededException"),
            Self::ExpiredIterator(_) => (BAD, "ExpiredIteratorException"),
            Self::ExpiredNextToken(_) => (BAD, "ExpiredNextTokenException"),
            Self::DryRun => (BAD, "DryRunOperationException"),
            Self::Key { fault, .. } => (BAD, key_code(*fault)),
            // SDKs retry every 5xx. More detail would make them stop.
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException"),
        }
    }

    /// The fault for clients.
    pub(crate) fn fault(&self) -> Fault {
        let (status, code) = self.wire();
        Fault { status, code, message: Message::Text(self.to_string()), json: None, query: None }
    }

    /// The error for a call that exceeds a limit or finds no free memory. Only data operations have a code of their
    /// own for it. For the others it is a limit of the account.
    pub(crate) fn throttled(kind: service::Kind, message: String) -> Self {
        match kind {
            service::Kind::Read | service::Kind::Write => Self::Throughput(message),
            service::Kind::Control | service::Kind::Push => Self::Limit(message),
        }
    }

    /// The error for a byte budget that is used up.
    pub(crate) fn too_much_in_flight() -> Self {
        Self::Throughput(TOO_MUCH_IN_FLIGHT.to_owned())
    }

    /// `ErrorCode` and `ErrorMessage` of one record in the response of PutRecords. AWS documents only two codes for
    /// it.
    ///
    /// Source: Kinesis API reference, `PutRecordsResultEntry`.
    pub(crate) fn entry(&self) -> (&'static str, &str) {
        if let Self::Throughput(message) = self {
            ("ProvisionedThroughputExceededException", message)
        } else {
            ("InternalFailure", "Internal Service Failure.")
        }
    }

    /// Converts an error of the cluster. `subject` names the thing that the call works on: `Stream orders under
    /// account …`.
    ///
    /// `Closed` and `Frozen` get here only if no open shard was found before the deadline.
    pub(crate) fn from_client(error: client::Error, subject: impl FnOnce() -> String) -> Self {
        match error {
            client::Error::Refused(refusal) => Self::from_refusal(&refusal, subject),
            client::Error::NotFound => Self::NotFound(format!("{} not found.", subject())),
            client::Error::InUse => Self::InUse(format!(
                "Another active subscription exists for this consumer: {}",
                subject()
            )),
            client::Error::Throttled(reason) => {
                Self::Throughput(format!("Rate exceeded for {}: {reason}", subject()))
            }
            client::Error::Invalid(reason) => Self::InvalidArgument(reason),
            client::Error::Key { fault, message } => Self::Key { fault, message },
            client::Error::Closed
            | client::Error::Frozen
            | client::Error::NoLeader
            | client::Error::Unknown(_) => {
                tracing::warn!(cause = %error, "call failed inside the cluster");
                Self::Internal
            }
        }
    }

    fn from_refusal(refusal: &Refusal, subject: impl FnOnce() -> String) -> Self {
        match refusal {
            Refusal::StreamExists { .. } => Self::InUse(format!("{} already exists.", subject())),
            Refusal::StreamNotFound { .. } => Self::NotFound(format!("{} not found.", subject())),
            Refusal::StreamNotActive { .. } => Self::InUse(format!("{} not ACTIVE", subject())),
            Refusal::NoNodes | Refusal::Limit { .. } => Self::Limit(refusal.to_string()),
            Refusal::StreamHasConsumers { .. } => Self::InUse(format!(
                "{} has enhanced fan-out consumers: deregister them first, or set \
                 EnforceConsumerDeletion.",
                subject()
            )),
            Refusal::ConsumerExists { consumer } => {
                Self::InUse(format!("Consumer {consumer} of {} already exists.", of(subject)))
            }
            Refusal::ConsumerNotFound { consumer } => {
                Self::NotFound(format!("Consumer {consumer} of {} not found.", of(subject)))
            }
            Refusal::TooManyTags { limit } => Self::InvalidArgument(format!(
                "Failed to add tags to {} because a given stream cannot have more than {limit} tags \
                 associated with it.",
                of(subject)
            )),
            Refusal::ShardNotFound { shard } => {
                Self::NotFound(format!("Could not find shard {shard} in {}.", of(subject)))
            }
            Refusal::ShardClosed { shard } => Self::InvalidArgument(format!(
                "Shard {shard} in {} has already been merged or split, and thus is not eligible for \
                 merging or splitting.",
                of(subject)
            )),
            Refusal::CannotSplit { shard, range, at } => {
                Self::InvalidArgument(cannot_split(subject, *shard, *range, at))
            }
            Refusal::NotAdjacent { lower, upper } => Self::InvalidArgument(format!(
                "Shards {lower} and {upper} in {} are not an adjacent pair of shards eligible for \
                 merging",
                of(subject)
            )),
            Refusal::ShardCount { current, target, lowest, highest } => {
                let message = format!(
                    "UpdateShardCount cannot scale {} from {current} to {target} shards: \
                     TargetShardCount must be at least {lowest} (half of the open shards) and at most \
                     {highest} (double of them).",
                    of(subject)
                );
                let is_over_quota = *target > limits::STREAM_MAX_SHARDS;
                if is_over_quota { Self::Limit(message) } else { Self::InvalidArgument(message) }
            }
            Refusal::OnDemand { .. } => {
                Self::Validation(format!("Request is invalid. {} is in On-Demand mode.", subject()))
            }
            Refusal::NotOnDemand { .. } => Self::Validation(format!(
                "{} is in PROVISIONED mode: this is for streams in ON_DEMAND mode.",
                subject()
            )),
            Refusal::Retention { current, asked } => {
                Self::InvalidArgument(retention(subject, *current, *asked))
            }
            Refusal::JobOver { .. }
            | Refusal::ReplicaNotFound { .. }
            | Refusal::NodeNotFound { .. }
            | Refusal::NodeInUse { .. }
            | Refusal::CannotMove { .. }
            | Refusal::CannotRecover { .. }
            | Refusal::UserExists { .. }
            | Refusal::UserNotFound { .. }
            | Refusal::AccessKeyExists { .. }
            | Refusal::AccessKeyNotFound { .. }
            | Refusal::UserPolicyNotFound { .. }
            | Refusal::DataKeyOver { .. } => Self::Internal,
        }
    }
}

/// The message for a hash key at which the shard cannot be split.
pub(crate) fn cannot_split(
    subject: impl FnOnce() -> String,
    shard: ShardId,
    range: HashKeyRange,
    at: impl fmt::Display,
) -> String {
    format!(
        "NewStartingHashKey {at} used in SplitShard() on shard {shard} in {} is not both greater \
         than one plus the shard's StartingHashKey {} and less than the shard's EndingHashKey {}.",
        of(subject),
        range.start(),
        range.end()
    )
}

/// The message for a retention period that is out of bounds, or that does not fit the direction of the operation.
fn retention(subject: impl FnOnce() -> String, current: u32, asked: u32) -> String {
    let (min, max) = (limits::DEFAULT_RETENTION_HOURS, limits::MAX_RETENTION_HOURS);
    if asked < min {
        return format!(
            "Minimum allowed retention period is {min} hours. Requested retention period ({asked} \
             hours) is too short."
        );
    }
    if asked > max {
        return format!(
            "Maximum allowed retention period is {max} hours. Requested retention period ({asked} \
             hours) is too long."
        );
    }
    let (is, other) = if asked < current {
        ("shorter", "DecreaseRetentionPeriod")
    } else {
        ("longer", "IncreaseRetentionPeriod")
    };
    format!(
        "Requested retention period ({asked} hours) for {} can not be {is} than existing retention \
         period ({current} hours). Use {other} API.",
        of(subject)
    )
}

/// The AWS code for an unusable master key.
const fn key_code(fault: KeyFault) -> &'static str {
    match fault {
        KeyFault::AccessDenied => "KMSAccessDeniedException",
        KeyFault::Disabled => "KMSDisabledException",
        KeyFault::InvalidState => "KMSInvalidStateException",
        KeyFault::NotFound => "KMSNotFoundException",
        KeyFault::OptInRequired => "KMSOptInRequired",
        KeyFault::Throttled => "KMSThrottlingException",
    }
}

/// The subject in the middle of a sentence: `stream orders …`.
fn of(subject: impl FnOnce() -> String) -> String {
    let subject = subject();
    match subject.strip_prefix("Stream ") {
        Some(rest) => format!("stream {rest}"),
        None => subject,
    }
}

impl ServiceError for Error {
    fn fault(&self) -> Fault {
        self.fault()
    }

    fn may_be_outdated(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::InvalidArgument(_) | Self::Validation(_) | Self::InUse(_)
        )
    }
}

impl From<Violations> for Error {
    fn from(Violations(text): Violations) -> Self {
        Self::Validation(text)
    }
}

/// The name of a stream in messages.
pub(crate) fn stream_subject(name: &StreamName, account: &AccountId) -> String {
    format!("Stream {name} under account {account}")
}

/// The error for a stream that does not exist.
pub(crate) fn not_found(name: &StreamName, account: &AccountId) -> Error {
    Error::NotFound(format!("{} not found.", stream_subject(name, account)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_cluster_have_codes_that_sdks_retry_if_a_retry_helps() {
        let code = |error| Error::from_client(error, || "Stream s".into()).wire();
        assert_eq!(code(client::Error::NotFound).1, "ResourceNotFoundException");
        let throttled = code(client::Error::Throttled("disk".into()));
        assert_eq!(throttled.1, "ProvisionedThroughputExceededException");
        for retried in [client::Error::NoLeader, client::Error::Unknown("lost".into())] {
            assert_eq!(
                code(retried),
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException")
            );
        }
        let name: anabranch_types::StreamName = "s".parse().unwrap();
        let refused = |refusal| code(client::Error::Refused(refusal)).1;
        assert_eq!(refused(Refusal::StreamExists { name: name.clone() }), "ResourceInUseException");
        assert_eq!(
            refused(Refusal::StreamNotActive { name: name.clone() }),
            "ResourceInUseException"
        );
        assert_eq!(refused(Refusal::StreamNotFound { name }), "ResourceNotFoundException");
        assert_eq!(refused(Refusal::NoNodes), "LimitExceededException");
    }
}
