use std::fmt;

use anabranch_access::signature;
use anabranch_catalog::Refusal;
use anabranch_client as client;
use anabranch_types::{HashKeyRange, KeyFault, ShardId, limits};
use http::StatusCode;

use crate::wire::{self, DecodeError, Format, Writer};

/// Why a call was not done. The text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// There is no body, or it isn't JSON or CBOR.
    #[error("The request body is not valid")]
    Malformed,
    /// A member has the wrong type, or the body is encoded in a way that isn't known.
    #[error("{0}")]
    Serialization(String),
    /// Members break constraints of the service model.
    #[error("{0}")]
    Validation(String),
    /// The request is well-formed but makes no sense.
    #[error("{0}")]
    InvalidArgument(String),
    /// A stream or shard isn't there.
    #[error("{0}")]
    NotFound(String),
    /// The stream isn't in a state that allows it.
    #[error("{0}")]
    InUse(String),
    /// A limit of the cluster.
    #[error("{0}")]
    Limit(String),
    /// A shard or the gateway takes no more for now.
    #[error("{0}")]
    Throughput(String),
    /// A shard iterator is older than five minutes.
    #[error("{0}")]
    ExpiredIterator(String),
    /// A paging token is older than five minutes.
    #[error("{0}")]
    ExpiredNextToken(String),
    /// `DryRun` was set and the request would have been tried.
    #[error("Request would have succeeded, but DryRun flag is set.")]
    DryRun,
    /// No operation is named, or one that isn't known.
    #[error("Unknown operation")]
    UnknownOperation,
    /// Not a POST.
    #[error("Unable to determine service/operation name to be authorized")]
    NotPost,
    /// No signature.
    #[error("Missing Authentication Token")]
    MissingAuthentication,
    /// Part of a signature.
    #[error("{0}")]
    IncompleteSignature(String),
    /// A signature that isn't the request's, or of another time or service.
    #[error("{0}")]
    InvalidSignature(String),
    /// The access key or the session isn't known, or no longer good.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The session has ended.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// No policy allows it, or one denies it.
    #[error("{0}")]
    AccessDenied(String),
    /// Two signatures.
    #[error(
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    )]
    TwoSignatures,
    /// The body is over the limit.
    #[error("Request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body didn't come in time.
    #[error("The request body was not received within the time limit.")]
    BodyTimeout,
    /// The stream is encrypted, and its master key can't be used.
    #[error("{message}")]
    Key {
        /// What is wrong with it.
        fault: KeyFault,
        /// In words.
        message: String,
    },
    /// The node has just started, and its copy of the catalog may be old.
    #[error("The service is starting. Try again later.")]
    Starting,
    /// It is not known whether it happened, or no replica could do it in time, or a bug.
    #[error("Internal service failure.")]
    Internal,
}

impl Error {
    /// HTTP status and AWS error code: the only place that names either.
    ///
    /// Source: Kinesis API reference, common errors and the errors of each operation.
    pub(crate) const fn wire(&self) -> (StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::Malformed | Self::Serialization(_) => (BAD, "SerializationException"),
            Self::Validation(_) => (BAD, "ValidationException"),
            Self::InvalidArgument(_) => (BAD, "InvalidArgumentException"),
            Self::NotFound(_) => (BAD, "ResourceNotFoundException"),
            Self::InUse(_) => (BAD, "ResourceInUseException"),
            Self::Limit(_) => (BAD, "LimitExceededException"),
            Self::Throughput(_) => (BAD, "ProvisionedThroughputExceededException"),
            Self::ExpiredIterator(_) => (BAD, "ExpiredIteratorException"),
            Self::ExpiredNextToken(_) => (BAD, "ExpiredNextTokenException"),
            Self::DryRun => (BAD, "DryRunOperationException"),
            Self::UnknownOperation => (BAD, "UnknownOperationException"),
            Self::NotPost => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::AccessDenied(_) => (BAD, "AccessDeniedException"),
            Self::UnknownKey => (BAD, "UnrecognizedClientException"),
            Self::ExpiredToken => (BAD, "ExpiredTokenException"),
            Self::MissingAuthentication => (BAD, "MissingAuthenticationTokenException"),
            Self::IncompleteSignature(_) => (BAD, "IncompleteSignatureException"),
            Self::TwoSignatures | Self::InvalidSignature(_) => (BAD, "InvalidSignatureException"),
            Self::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException")
            }
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
            Self::Key { fault, .. } => (BAD, key_code(*fault)),
            // 5xx: every SDK retries it. Nothing tells more, or clients would stop retrying.
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException"),
        }
    }

    /// Whether a newer version of the catalog might not say so.
    pub(crate) const fn may_be_of_an_old_version(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::InvalidArgument(_) | Self::Validation(_) | Self::InUse(_)
        )
    }

    /// `ErrorCode` and `ErrorMessage` of one entry of PutRecords, which knows two codes only.
    ///
    /// Source: Kinesis API reference, `PutRecordsResultEntry`.
    pub(crate) fn entry(&self) -> (&'static str, &str) {
        if let Self::Throughput(message) = self {
            ("ProvisionedThroughputExceededException", message)
        } else {
            ("InternalFailure", "Internal Service Failure.")
        }
    }

    /// Body of the error answer.
    pub(crate) fn body(&self, format: Format) -> Vec<u8> {
        // SerializationException has a capital letter here, every other code a small one.
        let is_serialization = matches!(self, Self::Serialization(_));
        let message = if is_serialization { "Message" } else { "message" };
        // The service says no more to a request that it couldn't read.
        let is_bare = matches!(self, Self::Malformed | Self::UnknownOperation);
        let mut writer = Writer::new(format, 256);
        writer.structure(|w| {
            w.member("__type").text(self.wire().1);
            if !is_bare {
                w.member(message).text(&self.to_string());
            }
        });
        writer.finish()
    }

    /// The byte budget is used up.
    pub(crate) fn too_much_in_flight() -> Self {
        Self::Throughput("Rate exceeded: too many bytes in flight. Try again later.".to_owned())
    }

    /// A failure of the cluster in a call that concerns `subject`: `Stream orders under account …`.
    ///
    /// `Closed` and `Frozen` end here only when no open shard was found before the deadline.
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

/// A key that isn't inside a shard.
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

/// A retention period that is beyond the bounds, or on the wrong side of the one that holds.
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

/// The code of a master key's fault.
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

/// The subject in the middle of a sentence.
fn of(subject: impl FnOnce() -> String) -> String {
    let subject = subject();
    match subject.strip_prefix("Stream ") {
        Some(rest) => format!("stream {rest}"),
        None => subject,
    }
}

impl From<signature::Error> for Error {
    fn from(error: signature::Error) -> Self {
        match error {
            signature::Error::Missing => Self::MissingAuthentication,
            signature::Error::Two => Self::TwoSignatures,
            signature::Error::Incomplete(message) => Self::IncompleteSignature(message),
            signature::Error::Invalid(message) => Self::InvalidSignature(message),
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed(_) => Self::Malformed,
            DecodeError::Type(message) => Self::Serialization(message),
            DecodeError::TooMany => {
                Self::Validation(format!("1 validation error detected: {}", wire::TOO_MANY))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_carry_code_and_message() {
        let body = Error::NotFound("Stream \"x\"".into()).body(Format::Json);
        let text = String::from_utf8(body).unwrap();
        assert_eq!(text, r#"{"__type":"ResourceNotFoundException","message":"Stream \"x\""}"#);
        let body = Error::Serialization("no".into()).body(Format::Json);
        let text = String::from_utf8(body).unwrap();
        assert_eq!(text, r#"{"__type":"SerializationException","Message":"no"}"#);
    }

    #[test]
    fn cbor_bodies_are_maps_of_text() {
        let body = Error::DryRun.body(Format::Cbor);
        let mut expected = b"\xbf\x66__type\x78\x18DryRunOperationException\x67message".to_vec();
        let message = Error::DryRun.to_string();
        expected.extend_from_slice(&[0x78, u8::try_from(message.len()).unwrap()]);
        expected.extend_from_slice(message.as_bytes());
        expected.push(0xff);
        assert_eq!(body, expected);
    }

    #[test]
    fn failures_of_the_cluster_have_the_codes_that_make_sdks_do_the_right_thing() {
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
